# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics that count as the data streams by: memory is constant, nothing is written, and processes add up.

`MeanIoU` and `TopKAccuracy` are `evaluate` metrics around counts that need no evaluate. Their modules also load by
themselves, as `evaluate.load("path/to/mean_iou.py", num_labels=19)`.
"""

import importlib
from typing import Any

from ..extras import import_extra


_MODULES = {"MeanIoU": "mean_iou", "TopKAccuracy": "accuracy"}

__all__ = ["MeanIoU", "TopKAccuracy"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_extra("evaluate")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
