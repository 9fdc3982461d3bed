# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of objects as runs of pixels, in COCO's format: small, whatever the size of the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..extras import import_extra


def encode_mask(
    mask: torch.Tensor, corner: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """The RLE `{"size": [height, width], "counts": bytes}` of a mask, or of a picture that it is a part of.

    Args:
        mask: (h, w) bool, on any device.
        corner: Where its upper left pixel is in the picture: x, y. Default: (0, 0).
        size: Height and width of the picture. Default: the mask's.
    """
    height, width = size or mask.shape
    (top, bottom), (left, right) = (_extent(mask.any(dim=dim)) for dim in (1, 0))
    mask, corner = mask[top:bottom, left:right], (corner[0] + left, corner[1] + top)
    # runs go down the columns, from the first True to the one behind the last
    columns = np.pad(mask.cpu().numpy().T, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(columns, axis=1)
    starts, ends = (_places(steps == step, corner, height) for step in (1, -1))
    # a run that reaches the lower edge goes on at the top of the next column
    goes_on = starts[1:] == ends[:-1]
    starts, ends = starts[np.append(True, ~goes_on)[: len(starts)]], ends[np.append(~goes_on, True)[: len(ends)]]
    borders = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], borders, [height * width]]))
    if len(borders) and borders[-1] == height * width:
        counts = counts[:-1]
    rle = {"size": [height, width], "counts": counts.tolist()}
    return _coco_mask().frPyObjects(rle, height, width)


def unite(masks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The RLE of what at least one of the masks of one picture covers."""
    return masks[0] if len(masks) == 1 else _coco_mask().merge(list(masks), intersect=False)


def mask_area(mask: dict[str, Any]) -> int:
    """Number of pixels in an RLE, with its counts as text or bytes."""
    counts = mask["counts"]
    return int(_coco_mask().area(mask | {"counts": counts.encode() if isinstance(counts, str) else counts}))


def _extent(is_some: torch.Tensor) -> tuple[int, int]:
    """Where the first True is, and the place behind the last; (0, 0) where there is none."""
    places = is_some.nonzero()[:, 0]
    return (places[0].item(), places[-1].item() + 1) if len(places) else (0, 0)


def _coco_mask():
    return import_extra("faster_coco_eval.core.mask")


def _places(is_border: np.ndarray, corner: tuple[int, int], height: int) -> np.ndarray:
    """Of (w, h) places, the numbers of those that are True among the pixels of the picture, column after column."""
    x, y = is_border.nonzero()
    return (x + corner[0]) * height + y + corner[1]
