# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics that count as the data streams by: memory is constant, nothing is downloaded, and processes add up.

Each module also loads by itself, as `evaluate.load("path/to/mean_iou.py", num_labels=19)`.
"""

from ..extras import import_extra


import_extra("evaluate")

from .accuracy import TopKAccuracy  # noqa: E402
from .mean_iou import MeanIoU  # noqa: E402


__all__ = ["MeanIoU", "TopKAccuracy"]
