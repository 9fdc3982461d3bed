# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics that count as the data streams by: nothing is written, and processes add up.

`MeanIoU`, `TopKAccuracy` and `MeanAveragePrecision` are `evaluate` metrics around counts that need no evaluate, the
first two of constant memory. Their modules also load by themselves, as
`evaluate.load("path/to/mean_iou.py", num_labels=19)`.
"""

from typing import Any

from ..extras import import_extra, looked_up


__all__ = ["MeanAveragePrecision", "MeanIoU", "TopKAccuracy"]

_look_up = looked_up(
    __name__,
    {
        "MeanAveragePrecision": f"{__name__}.mean_average_precision",
        "MeanIoU": f"{__name__}.mean_iou",
        "TopKAccuracy": f"{__name__}.accuracy",
    },
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        import_extra("evaluate")
    return _look_up(name)
