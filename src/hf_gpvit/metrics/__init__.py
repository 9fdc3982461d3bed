# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics that count as the data streams by: memory is constant, nothing is written, and processes add up.

`MeanIoU` and `TopKAccuracy` are `evaluate` metrics around counts that need no evaluate. Their modules also load by
themselves, as `evaluate.load("path/to/mean_iou.py", num_labels=19)`.
"""

from typing import Any

from ..extras import import_extra, looked_up


__all__ = ["MeanIoU", "TopKAccuracy"]

_look_up = looked_up(__name__, {"MeanIoU": f"{__name__}.mean_iou", "TopKAccuracy": f"{__name__}.accuracy"})


def __getattr__(name: str) -> Any:
    if name in __all__:
        import_extra("evaluate")
    return _look_up(name)
