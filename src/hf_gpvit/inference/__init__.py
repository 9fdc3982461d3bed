# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
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
