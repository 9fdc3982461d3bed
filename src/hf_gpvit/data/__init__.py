# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Image processors, label sets, and pictures of any mode in RGB."""

from .image_processors import image_processor_for
from .labels import LabelSet, load_label_set
from .pictures import to_rgb


__all__ = ["LabelSet", "image_processor_for", "load_label_set", "to_rgb"]
