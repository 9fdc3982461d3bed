# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Image processors, label sets, and the door through which all pictures come."""

from ..extras import looked_up
from .labels import LabelSet, load_label_set
from .masks import read_mask
from .pictures import read_rgb, to_rgb


__all__ = ["LabelSet", "image_processor_for", "load_label_set", "read_mask", "read_rgb", "to_rgb"]


# it asks the tasks, and they are built on this package
__getattr__ = looked_up(__name__, {"image_processor_for": "hf_gpvit.tasks"})
