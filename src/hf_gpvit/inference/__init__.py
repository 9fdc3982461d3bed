# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Using trained models: what they predict, and pictures of it and of where they look."""

from ..extras import looked_up
from .classification import classify
from .detection import Detected, DetectionSettings, detect
from .object_overlays import overlay_objects
from .pictures import find_pictures, load_picture
from .segmentation import (
    SegmentationSettings,
    segment,
    segmentation_inputs,
    segmentation_scores,
    sliding_window_logits,
)
from .visualize import (
    color_palette,
    group_assignment,
    group_assignment_map,
    group_heatmaps,
    group_map_panel,
    label_set_palette,
    overlay_heatmap,
    overlay_segmentation,
    seen_picture,
    side_by_side,
    stripe_attention_map,
)


__all__ = [
    "Detected",
    "DetectionSettings",
    "SegmentationSettings",
    "classify",
    "color_palette",
    "describe_picture",
    "detect",
    "find_pictures",
    "group_assignment",
    "group_assignment_map",
    "group_heatmaps",
    "group_map_panel",
    "label_set_palette",
    "load_picture",
    "overlay_heatmap",
    "overlay_objects",
    "overlay_segmentation",
    "predict_pictures",
    "seen_picture",
    "segment",
    "segmentation_inputs",
    "segmentation_scores",
    "side_by_side",
    "sliding_window_logits",
    "stripe_attention_map",
    "task_of",
]

# what is built on this package, and is public here all the same
_PREDICTION = "hf_gpvit.prediction"
__getattr__ = looked_up(
    __name__,
    {"describe_picture": _PREDICTION, "predict_pictures": _PREDICTION, "task_of": "hf_gpvit.saved_models"},
)
