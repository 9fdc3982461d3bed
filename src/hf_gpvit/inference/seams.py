# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""One detection for each object, of what overlapping windows of a picture have found."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from ..models.detection_boxes import box_areas, box_ious


# Two windows see the same object if, in what both of them see, their boxes have at least this IoU, beyond which
# detectors themselves take a box for a repetition.
SAME = 0.5
# A cut box is a part of a larger one that covers this share of it and scores at least `FULLER` times as much.
PART, FULLER = 0.8, 0.5
# Share of a window's side: a box that ends nearer to the window's border than this may go on behind it.
SEAM = 0.02


class Window(NamedTuple):
    """Sides in pixels of the picture."""

    left: int
    top: int
    right: int
    bottom: int


class Joined(NamedTuple):
    """One detection, and the places among all that were found of those that its mask is made of."""

    score: float
    label: int
    box: torch.Tensor  # (4,)
    parts: list[int]


def join_seams(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    origins: torch.Tensor,
    windows: Sequence[Window],
    size: tuple[int, int],
) -> list[Joined]:
    """Detections of the whole picture, best first.

    Boxes of one class from different windows are one object if they agree in what both windows see: it may be whole
    in both, cut in one, or cut in both, when it is longer than the overlap. Two boxes of one window are always two
    objects, since the detector has taken them for two. The object's box is the one of the best window that sees it
    whole; where no window does, the smallest box around all of its parts. Its score is the best one. What is left of
    a cut object beside a fuller box of its class goes.

    Non-maximum suppression over all windows has nothing left to do: boxes of two windows intersect within what both
    see alone, so they agree there at least as much as they overlap.

    Args:
        boxes: (N, 4) float32 x1, y1, x2, y2, in pixels of the picture, each within its window.
        scores, labels, origins: (N,) float32, int64, and int64 indices of the windows that have found them.
        windows: All of them, row after row.
        size: Height and width of the picture.
    """
    groups = _Groups(origins)
    for _, first, second in sorted(_agreeing(boxes, labels, origins, windows), reverse=True):
        groups.unite(first, second)
    objects = [_object(group, boxes, scores, labels, origins, windows, size) for group in groups.all()]
    objects.sort(key=lambda item: (-item.joined.score, item.members[0]))
    return [item.joined for item in _without_parts(objects)]


class _Groups:
    """Sets of detections, of each window at most one."""

    def __init__(self, origins: torch.Tensor):
        self.windows = [{origin} for origin in origins.tolist()]
        self.members = [[index] for index in range(len(self.windows))]
        self.group_of = list(range(len(self.windows)))

    def unite(self, first: int, second: int) -> None:
        """The groups of two detections become one, unless both have something of one window."""
        one, other = sorted((self.group_of[first], self.group_of[second]))
        if self.windows[one].isdisjoint(self.windows[other]):
            self.windows[one] |= self.windows[other]
            self.members[one] += self.members[other]
            for index in self.members[other]:
                self.group_of[index] = one
            self.members[other] = []

    def all(self) -> list[list[int]]:
        return [sorted(members) for members in self.members if members]


class _Object(NamedTuple):
    joined: Joined
    members: list[int]
    windows: set[int]
    is_cut: bool


def _agreeing(
    boxes: torch.Tensor, labels: torch.Tensor, origins: torch.Tensor, windows: Sequence[Window]
) -> Iterator[tuple[float, int, int]]:
    """IoU in what both windows see, and indices, of each two detections that are one object."""
    indices = [(origins == index).nonzero()[:, 0] for index in range(len(windows))]
    found = [index for index in range(len(windows)) if len(indices[index])]
    for place, one in enumerate(found):
        for other in found[place + 1 :]:
            if windows[other].top >= windows[one].bottom:
                break
            common = _common(windows[one], windows[other])
            if common is None:
                continue
            first, second = indices[one], indices[other]
            ious = box_ious(_clipped(boxes[first], common), _clipped(boxes[second], common))
            is_same = (ious >= SAME) & (labels[first][:, None] == labels[second])
            rows, columns = is_same.nonzero(as_tuple=True)
            pairs = zip(ious[rows, columns], first[rows], second[columns], strict=True)
            yield from ((iou.item(), a.item(), b.item()) for iou, a, b in pairs)


def _common(first: Window, second: Window) -> torch.Tensor | None:
    """The box (4,) of what both windows see."""
    common = [*map(max, first[:2], second[:2]), *map(min, first[2:], second[2:])]
    return torch.tensor(common, dtype=torch.float32) if common[0] < common[2] and common[1] < common[3] else None


def _clipped(boxes: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """The part of boxes (N, 4) within another box (4,); without area where there is none."""
    begins = boxes[:, :2].maximum(limits[:2])
    return torch.cat([begins, boxes[:, 2:].minimum(limits[2:]).maximum(begins)], dim=1)


def _object(
    members: list[int],
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    origins: torch.Tensor,
    windows: Sequence[Window],
    size: tuple[int, int],
) -> _Object:
    around = torch.cat([boxes[members, :2].amin(dim=0), boxes[members, 2:].amax(dim=0)])
    ends = around.tolist()
    seen = [_seen_sides(ends, windows[origin], size) for origin in origins[members].tolist()]
    whole = [member for member, sides in zip(members, seen, strict=True) if all(sides)]
    best = max(whole, key=lambda member: (scores[member].item(), -member), default=None)
    box, parts = (around, members) if best is None else (boxes[best], [best])
    joined = Joined(scores[members].max().item(), labels[members[0]].item(), box, parts)
    is_cut = not all(map(any, zip(*seen, strict=True)))
    return _Object(joined, members, set(origins[members].tolist()), is_cut)


def _seen_sides(box: Sequence[float], window: Window, size: tuple[int, int]) -> list[bool]:
    """Whether a box ends within the window: on the left, at the top, on the right, at the bottom."""
    height, width = size
    margins = [SEAM * (window.right - window.left), SEAM * (window.bottom - window.top)]
    begins = [window[axis] == 0 or box[axis] >= window[axis] + margins[axis] for axis in range(2)]
    ends = [
        window[axis + 2] == side or box[axis + 2] <= window[axis + 2] - margins[axis]
        for axis, side in enumerate((width, height))
    ]
    return begins + ends


def _without_parts(objects: list[_Object]) -> list[_Object]:
    """No cut object that is within a fuller one which other windows see."""
    if not objects:
        return []
    boxes, scores, labels = _columns(objects)
    areas = box_areas(boxes)

    def is_part(index: int) -> bool:
        covered = box_areas(_clipped(boxes, boxes[index])) / areas[index].clamp(min=1e-6)
        fuller = (covered >= PART) & (areas > areas[index]) & (scores >= FULLER * scores[index])
        return _is_seen_elsewhere(index, fuller & (labels == labels[index]), objects)

    return [item for index, item in enumerate(objects) if not (item.is_cut and is_part(index))]


def _columns(objects: list[_Object]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes (M, 4), scores (M,), labels (M,)."""
    joined = [item.joined for item in objects]
    boxes = torch.stack([item.box for item in joined])
    return boxes, boxes.new_tensor([item.score for item in joined]), torch.tensor([item.label for item in joined])


def _is_seen_elsewhere(index: int, others: torch.Tensor, objects: list[_Object]) -> bool:
    """Whether one of the others (M,) bool is found by none of the windows that have found this one."""
    own = objects[index].windows
    return any(own.isdisjoint(objects[other].windows) for other in others.nonzero()[:, 0].tolist())
