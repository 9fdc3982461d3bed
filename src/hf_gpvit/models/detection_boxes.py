# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes of detectors: anchors, their coding, and which of them is which object.

Boxes are float32 (x1, y1, x2, y2) in pixels of `pixel_values`. The rules are those of the official detectors' toolkit,
which differ from torchvision's: anchors are not rounded, and an object takes every anchor that is its best.
"""

import math
from typing import NamedTuple

import torch

from .compat import sizes_as_tensor


MAX_LOG_RATIO = math.log(1000 / 16)
UNIT_STDS = (1.0, 1.0, 1.0, 1.0)  # of the coding of anchors
BOX_STDS = (0.1, 0.1, 0.2, 0.2)  # and of regions


def base_anchors(stride: int, scales: list[float], ratios: list[float], device: torch.device) -> torch.Tensor:
    """Anchors of one place, (len(ratios) * len(scales), 4) around the origin: for each ratio all scales."""
    ratios, scales = (torch.tensor(list(values), dtype=torch.float32, device=device) for values in (ratios, scales))
    heights = stride * (ratios.sqrt()[:, None] * scales).flatten()
    widths = stride * ((1 / ratios.sqrt())[:, None] * scales).flatten()
    return torch.stack([-widths, -heights, widths, heights], dim=-1) / 2


def grid_anchors(
    grid: tuple[int, int], stride: int, scales: list[float], ratios: list[float], device: torch.device
) -> torch.Tensor:
    """(h * w * A, 4) anchors of a map, row after row, those of one place together; the first stands at the origin."""
    height, width = grid
    y, x = (torch.arange(side, device=device, dtype=torch.float32) * stride for side in (height, width))
    corners = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).flatten(0, 1)[:, None]
    return (base_anchors(stride, scales, ratios, device) + corners.repeat(1, 1, 2)).flatten(0, 1)


def encode_boxes(boxes: torch.Tensor, anchors: torch.Tensor, stds: tuple[float, ...]) -> torch.Tensor:
    """(N, 4) boxes as (dx, dy, dw, dh) of their (N, 4) anchors, in units of `stds`."""
    centres, sizes = _centres_and_sizes(boxes)
    anchor_centres, anchor_sizes = _centres_and_sizes(anchors)
    deltas = torch.cat([(centres - anchor_centres) / anchor_sizes, (sizes / anchor_sizes).log()], dim=-1)
    return deltas / deltas.new_tensor(stds)


def decode_boxes(deltas: torch.Tensor, anchors: torch.Tensor, stds: tuple[float, ...]) -> torch.Tensor:
    """The inverse of `encode_boxes` for (..., 4), sides at most 62.5 times longer or shorter than the anchor's."""
    deltas = deltas * deltas.new_tensor(stds)
    centres, sizes = _centres_and_sizes(anchors)
    centres = centres + deltas[..., :2] * sizes
    half = sizes * deltas[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def clip_boxes(boxes: torch.Tensor, image_sizes: torch.Tensor) -> torch.Tensor:
    """(B, N, 4) boxes cut at the borders of images with (B, 2) heights and widths."""
    limits = image_sizes.flip(-1).repeat(1, 2)[:, None].to(boxes.dtype)
    return boxes.clamp(min=0).minimum(limits)


def relative_boxes(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(..., 4) boxes as centre and size, relative to an image of this height and width."""
    centres, sizes = _centres_and_sizes(boxes)
    return torch.cat([centres, sizes], dim=-1) / _units(boxes, size)


def absolute_boxes(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The inverse of `relative_boxes`."""
    boxes = boxes * _units(boxes, size)
    centres, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def box_areas(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) -> (...,)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_ious(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(N, 4), (M, 4) -> (N, M) intersections over unions; 0 for two boxes without area."""
    corner = torch.maximum(first[:, None, :2], second[:, :2])
    sides = (torch.minimum(first[:, None, 2:], second[:, 2:]) - corner).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    return common / (box_areas(first)[:, None] + box_areas(second) - common).clamp(min=1e-6)


def _units(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    height, width = size
    return sizes_as_tensor((width, height, width, height), boxes.dtype, boxes.device)


def _centres_and_sizes(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


# --- which anchor is which object

BACKGROUND, UNUSED = -1, -2


class Matcher(NamedTuple):
    """Gives each anchor an object, `BACKGROUND` or, between the two thresholds, `UNUSED`.

    Attributes:
        foreground: An anchor with at least this IoU with an object is the one that it shares most with.
        background: One with less than this with all objects is background.
        least: An object whose best IoU is at least this takes all anchors that have that IoU with it, whatever they
            share with others; of two such objects the later one.
    """

    foreground: float
    background: float
    least: float

    def __call__(self, anchors: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """(N, 4), (M, 4) -> (N,) int64 indices of boxes, or what they are instead."""
        if 0 in (anchors.shape[0], boxes.shape[0]):
            return torch.full(anchors.shape[:1], BACKGROUND, dtype=torch.int64, device=anchors.device)
        ious = box_ious(anchors, boxes)
        best, matches = ious.max(dim=1)
        matches = torch.where(best >= self.foreground, matches, UNUSED)
        matches = torch.where(best < self.background, BACKGROUND, matches)
        best_of_box = ious.max(dim=0).values
        takes = (ious == best_of_box) & (best_of_box >= self.least)
        order = torch.arange(1, boxes.shape[0] + 1, device=boxes.device)
        later = (takes * order).max(dim=1).values
        return torch.where(later > 0, later - 1, matches)


def sample_matches(matches: torch.Tensor, number: int, positive_fraction: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of at most `number` matched and background anchors, drawn at random: objects first as far as they go."""
    positive, negative = (matches >= 0).nonzero()[:, 0], (matches == BACKGROUND).nonzero()[:, 0]
    positive = _draw(positive, int(number * positive_fraction))
    return positive, _draw(negative, number - positive.shape[0])


def _draw(indices: torch.Tensor, number: int) -> torch.Tensor:
    if indices.shape[0] <= number:
        return indices
    return indices[torch.randperm(indices.shape[0], device=indices.device)[:number]]
