# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of objects outside of the model: from annotations in COCO's format, and from detections into pictures."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> torch.Tensor:
    """The bool mask (height, width) of an annotation: polygons, or runs of pixels (RLE) in either of COCO's forms.

    Args:
        segmentation: Polygons [[x1, y1, x2, y2, ...], ...] in pixels, or {"size": [height, width], "counts": ...} with
            the lengths of the runs as a list, or as the text (or bytes) that pycocotools makes of it.
        size: Height and width of the picture.

    Raises:
        ValueError: it is neither, or of a picture of another size.
    """
    if isinstance(segmentation, Mapping):
        return _decode_runs(segmentation, size)
    if not isinstance(segmentation, (list, tuple)) or not segmentation:
        raise ValueError(f"segmentation must be polygons or RLE in COCO's format, got {segmentation!r:.80}.")
    mask = torch.zeros(size, dtype=torch.bool)
    for polygon in segmentation:
        mask |= _fill(_corners(polygon), size)
    return mask


def _corners(polygon: Any) -> torch.Tensor:
    try:
        corners = torch.as_tensor(polygon, dtype=torch.float64).reshape(-1, 2)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"a polygon must be x and y in turn, [x1, y1, x2, y2, ...], got {polygon!r:.80}.") from error
    if not corners.isfinite().all():
        raise ValueError(f"a polygon must have finite corners, got {polygon!r:.80}.")
    return corners


def _fill(corners: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pixels whose centres are within a polygon (V, 2): those with an odd number of its sides on their left."""
    height, width = size
    ends = corners.roll(-1, dims=0)
    rows = torch.arange(height, dtype=torch.float64) + 0.5
    crosses = (corners[:, 1:] <= rows) != (ends[:, 1:] <= rows)
    side, row = crosses.nonzero(as_tuple=True)
    start, step = corners[side], ends[side] - corners[side]
    x = start[:, 0] + step[:, 0] * (rows[row] - start[:, 1]) / step[:, 1]
    first = (x - 0.5).ceil().clamp(0, width).long()  # pixel on the right of the side
    sides = torch.zeros(height, width + 1, dtype=torch.int32)
    sides.index_put_((row, first), torch.ones_like(row, dtype=torch.int32), accumulate=True)
    return sides[:, :width].cumsum(dim=1) % 2 == 1


def _decode_runs(segmentation: Mapping[str, Any], size: tuple[int, int]) -> torch.Tensor:
    """Runs outside and inside of the object in turn, column after column."""
    height, width = size
    counts, own_size = segmentation.get("counts"), segmentation.get("size")
    if own_size is None or [int(side) for side in own_size] != [height, width]:
        raise ValueError(f"size of RLE must be that of the picture, {[height, width]}, got {own_size!r:.80}.")
    if isinstance(counts, (str, bytes)):
        counts = _unpack(counts.encode() if isinstance(counts, str) else counts)
    runs = torch.as_tensor(counts if counts is not None else [], dtype=torch.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"counts of RLE must be runs of {height * width} pixels in all, got {runs.sum().item()}.")
    inside = torch.arange(len(runs)) % 2 == 1
    return inside.repeat_interleave(runs).reshape(width, height).T


def _unpack(text: Iterable[int]) -> list[int]:
    """Runs from COCO's text of them: 5 bits in a character, the lowest first, and a sixth where more follow.

    From the fourth on a run is written as its difference to the last but one.
    """
    runs, value, shift = [], 0, 0
    for character in text:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def resize_mask(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(h, w) -> (height, width), each pixel the one that it falls on."""
    rows, columns = (torch.arange(new) * old // new for new, old in zip(size, mask.shape, strict=True))
    return mask[rows][:, columns]


def paste_mask(
    probabilities: torch.Tensor, box: torch.Tensor, size: tuple[int, int], threshold: float
) -> torch.Tensor:
    """The bool mask (height, width) of an object in a picture, from its mask (S, S) within its box.

    A pixel belongs to the object if the mask, interpolated at its centre and 0 around the box, is at least the
    threshold there.

    Args:
        probabilities: (S, S) in [0, 1].
        box: (4,), x1, y1, x2, y2 in pixels of the picture.
        size: Height and width of the picture.
        threshold: Greater than 0.
    """
    height, width = size
    pasted = torch.zeros(size, dtype=torch.bool, device=box.device)
    sides = (box[2:] - box[:2]).clamp(min=1e-6)
    reach = sides / probabilities.shape[-1]  # more than the half of a cell that interpolation reaches out of the box
    left, top = (box[:2] - reach).floor().long().clamp(min=0).tolist()
    right, bottom = (box[2:] + reach).ceil().long().minimum(box.new_tensor([width, height])).long().tolist()
    if left >= right or top >= bottom:
        return pasted
    x, y = (
        (torch.arange(first, last, dtype=box.dtype, device=box.device) + 0.5 - box[axis]) / sides[axis] * 2 - 1
        for axis, (first, last) in enumerate([(left, right), (top, bottom)])
    )
    places = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)
    values = F.grid_sample(probabilities[None, None], places[None], mode="bilinear", align_corners=False)
    pasted[top:bottom, left:right] = values[0, 0] >= threshold
    return pasted
