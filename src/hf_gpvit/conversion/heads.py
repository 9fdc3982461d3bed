# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Decode heads of official segmentors (mmsegmentation names) in ours, and which label set they have. Data only."""

from typing import NamedTuple


class Classifier(NamedTuple):
    """What shows an official model's task and number of classes.

    Attributes:
        entry: Name of the entry that holds the classifier's weight, (rows, ...).
        rows_per_class: How many of its rows belong to each class.
    """

    entry: str
    rows_per_class: int = 1


CLASSIFIER = Classifier("decode_head.conv_seg.weight")

# The entry that only this head has.
HEAD_SIGNATURE = {
    "segformer": "decode_head.fusion_conv.conv.weight",
    "upernet": "decode_head.fpn_bottleneck.conv.weight",
}

# The last part of a BatchNorm entry's name, in heads and backbones.
BATCH_NORM_ENTRY = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
# The projections of the SegFormer head's levels differ between the families: their tables have them.
NAMES = {
    "segformer": [
        (r"decode_head\.fusion_conv\.conv\.weight", r"decode_head.fusion.convolution.weight"),
        (r"decode_head\.fusion_conv\.bn\." + BATCH_NORM_ENTRY, r"decode_head.fusion.batch_norm.\1"),
        (r"decode_head\.conv_seg\.(weight|bias)", r"decode_head.classifier.\1"),
    ],
    "upernet": [
        (r"(decode_head|auxiliary_head)\.conv_seg\.(weight|bias)", r"\1.classifier.\2"),
        (r"(decode_head|auxiliary_head)\.(.+)\.conv\.weight", r"\1.\2.conv.weight"),
        (r"(decode_head|auxiliary_head)\.(.+)\.bn\." + BATCH_NORM_ENTRY, r"\1.\2.batch_norm.\3"),
    ],
}

LABEL_SETS = {
    ("image-classification", 1000): "imagenet-1k",
    ("semantic-segmentation", 150): "ade20k",
    ("semantic-segmentation", 19): "cityscapes",
    ("semantic-segmentation", 11): "camvid",
    ("instance-segmentation", 80): "coco",
    ("object-detection", 80): "coco",
}
