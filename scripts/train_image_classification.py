# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Trains an image classifier on Accelerate.

    python scripts/train_image_classification.py --config configs/small/shapes-classification.yaml
    accelerate launch scripts/train_image_classification.py \\
        --config configs/imagenet1k/gpvit-l1.yaml --output_dir runs/l1

A config is a YAML file of fields; all fields are options too, which override the file. `--resume` goes on with the run
in `--output_dir`. What it leaves there, best/ above all, loads with `AutoModelForImageClassification`.
"""

from hf_gpvit.commands.train import train_command
from hf_gpvit.training import ClassificationRecipe


if __name__ == "__main__":
    train_command(ClassificationRecipe, __doc__)
