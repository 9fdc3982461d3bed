# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Using trained models: what they predict, and pictures of it and of where they look."""

from .classification import classify
from .loading import task_of
from .pictures import find_pictures, load_picture
from .predict import describe_picture, label_set_palette, predict_pictures
from .segmentation import (
    SegmentationSettings,
    segment,
    segmentation_inputs,
    segmentation_scores,
    sliding_window_logits,
)
from .visualize import (
    color_palette,
    group_heatmaps,
    group_map_panel,
    overlay_heatmap,
    overlay_segmentation,
    side_by_side,
    stripe_attention_map,
)


__all__ = [
    "SegmentationSettings",
    "classify",
    "color_palette",
    "describe_picture",
    "find_pictures",
    "group_heatmaps",
    "group_map_panel",
    "label_set_palette",
    "load_picture",
    "overlay_heatmap",
    "overlay_segmentation",
    "predict_pictures",
    "segment",
    "segmentation_inputs",
    "segmentation_scores",
    "side_by_side",
    "sliding_window_logits",
    "stripe_attention_map",
    "task_of",
]
