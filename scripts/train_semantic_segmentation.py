# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a segmentor on Accelerate.

    python scripts/train_semantic_segmentation.py --config configs/small/shapes-segmentation.yaml
    accelerate launch scripts/train_semantic_segmentation.py --config configs/ade20k/gpvit-l1-segformer.yaml \\
        --model path/to/imagenet/classifier --output_dir runs/l1-ade20k

A config is a YAML file of fields; all fields are options too, which override the file. `--model` takes a classifier's
folder as well: its trunk is kept, its head replaced. `--resume` goes on with the run in `--output_dir`. What it leaves
there, best/ above all, loads with `AutoModelForSemanticSegmentation`.
"""

from hf_gpvit.commands.train import train_command
from hf_gpvit.training import SegmentationRecipe


if __name__ == "__main__":
    train_command(SegmentationRecipe, __doc__)
