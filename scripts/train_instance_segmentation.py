# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a detector of boxes and masks on Accelerate.

    python scripts/train_instance_segmentation.py --config configs/small/shapes-instance-segmentation.yaml
    accelerate launch scripts/train_instance_segmentation.py --config configs/coco/gpvit-l1-mask_rcnn-1x.yaml \\
        --model path/to/imagenet/classifier --output_dir runs/l1-mask_rcnn

A config is a YAML file of fields; all fields are options too, which override the file. `--model` takes a classifier's
folder as well: its trunk is kept, the adapter and the heads begin anew. `--resume` goes on with the run in
`--output_dir`. What it leaves there, best/ above all, loads with `AutoModelForInstanceSegmentation`.
"""

from hf_gpvit.commands.train import train_command
from hf_gpvit.training import InstanceSegmentationRecipe


if __name__ == "__main__":
    train_command(InstanceSegmentationRecipe, __doc__)
