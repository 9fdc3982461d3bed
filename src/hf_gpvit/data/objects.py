# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Objects in pictures: boxes, classes and masks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from PIL import Image

from ..models.detection_masks import decode_segmentation
from .rows import RowReader


class Objects(NamedTuple):
    """What there is in a picture, in pixels of the upright picture.

    Attributes:
        boxes: (N, 4) float32 x1, y1, x2, y2, within the picture.
        class_labels: (N,) int64.
        areas: (N,) float32, COCO's `area`, or of the box.
        iscrowd: (N,) bool, regions of many objects: not learned, ignored as COCO does in evaluation.
        masks: (N, H, W) bool; None for object detection.
        image_id: Of the picture.
    """

    boxes: torch.Tensor
    class_labels: torch.Tensor
    areas: torch.Tensor
    iscrowd: torch.Tensor
    masks: torch.Tensor | None
    image_id: int | str


class ObjectReader(RowReader):
    """Rows with the columns `image` and `objects`: targets are `Objects`."""

    target = "objects"

    def __init__(self, num_labels: int, split: str | None = None, with_masks: bool = False):
        super().__init__(num_labels, split)
        self.with_masks = with_masks

    def read_target(self, row: dict, image: Image.Image, place: str) -> Objects:
        objects = row["objects"]
        boxes = torch.tensor(objects["bbox"], dtype=torch.float32).reshape(-1, 4)
        boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        number = len(boxes)
        areas = objects.get("area") or ((boxes[:, 2:] - boxes[:, :2]).prod(dim=1)).tolist()
        masks = None
        if self.with_masks:
            size = (image.height, image.width)
            masks = torch.zeros((number, *size), dtype=torch.bool)
            for mask, segmentation in zip(masks, objects["segmentation"], strict=True):
                mask.copy_(decode_segmentation(segmentation, size))
        return Objects(
            boxes,
            torch.tensor(objects["category"], dtype=torch.int64),
            torch.tensor(areas, dtype=torch.float32),
            torch.tensor(objects.get("iscrowd") or [0] * number, dtype=torch.bool),
            masks,
            row.get("image_id", place),
        )

    def sample(self, transform: Callable[..., Any], image: Image.Image, target: Objects) -> dict[str, Any]:
        pixel_values, labels = transform(image, target)
        return {"pixel_values": pixel_values, "labels": labels}
