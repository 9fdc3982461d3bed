# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Windows that slide over a picture, and the part of settings that says which."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class WindowSettings:
    """Whether a model sees a picture whole or through windows.

    Attributes:
        window_size: Side in pixels of the square windows. Default: the whole picture at once.
        window_stride: Pixels from one window to the next. Default: three quarters of `window_size`.

    Raises:
        ValueError: A field is out of range.
    """

    window_size: int | None = None
    window_stride: int | None = None

    def __post_init__(self):
        if self.window_size is not None:
            checked_stride(self.window_size, self.window_stride)
        elif self.window_stride is not None:
            raise ValueError(f"window_stride needs a window_size, got window_stride={self.window_stride} alone.")

    @classmethod
    def of(cls, source: Any, prefix: str = "") -> Self:
        """From the attributes of another object that are called as the fields are, after `prefix`.

        What it lacks, or has as None, is the default.
        """
        values = {field.name: getattr(source, prefix + field.name, None) for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if value is not None})


def check_pixels(field: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{field} must be an integer of at least 1, got {value!r}.")


def checked_stride(window_size: int, window_stride: int | None) -> int:
    """The stride, or its default, after checking both."""
    check_pixels("window_size", window_size)
    if window_stride is None:
        return max(3 * window_size // 4, 1)
    check_pixels("window_stride", window_stride)
    if window_stride > window_size:
        raise ValueError(
            f"window_stride must be at most window_size={window_size}, else windows leave gaps, got {window_stride}."
        )
    return window_stride


def window_starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows of a side begin; the last ends with the side."""
    return [min(start, side - window) for start in range(0, side - window + stride, stride)]
