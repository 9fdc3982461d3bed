# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Objects in pictures: boxes, classes and masks, as rows of datasets have them and as they are read from there."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..extras import import_extra
from ..files import printable
from ..models.detection_masks import decode_segmentation
from .pictures import picture_name
from .rows import RowReader


# Smaller ones are left out, as by the official training on COCO.
LEAST_SIDE = 1
# Parts of a pixel that boxes may reach out of their picture by rounding alone.
ROUNDING = 0.05
LEAST_CORNERS = 3
MAX_NUMBER = 2**31
EXPECTED = "dicts of lists: `bbox` (x, y, width, height in pixels) and `category` (class ids)"


class Objects(NamedTuple):
    """What there is in a picture, in pixels of the upright picture.

    Attributes:
        boxes: (N, 4) float32 x1, y1, x2, y2, within the picture.
        class_labels: (N,) int64.
        areas: (N,) float32, of the objects where the dataset says it, else of the masks or boxes.
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


class Item(NamedTuple):
    """An object as a row has it.

    Attributes:
        box: x, y, width and height in pixels.
        category: Class id.
        area: In pixels; None where nothing says it.
        iscrowd: Whether it is a region of many objects.
        segmentation: Polygons or RLE in COCO's format, or JSON text of these; None where there is none.
    """

    box: Sequence[float]
    category: int
    area: float | None = None
    iscrowd: bool = False
    segmentation: Any = None


class ObjectReader(RowReader):
    """Rows with the columns `image`, `objects` and perhaps `image_id`: targets are `Objects`.

    `objects` is a dict of lists: `bbox` (x, y, width, height in pixels of the upright picture), `category` (class
    ids), and where there are `area`, `iscrowd` (0 or 1) and `segmentation` (polygons or RLE in COCO's format, or JSON
    text of these). Boxes are cut at the edges of the picture, and those with a side of less than a pixel left out.
    Polygons are drawn as COCO's own library draws them.

    Args:
        num_labels, split: As in `RowReader`.
        with_masks: Whether targets have masks. Default False.
    """

    target = "objects"
    optional_columns = ("image_id",)

    def __init__(self, num_labels: int, split: str | None = None, with_masks: bool = False):
        super().__init__(num_labels, split)
        self.with_masks = with_masks

    def read_target(self, row: dict, image: Image.Image, place: str) -> Objects:
        name = picture_name(row["image"], "image", place)
        if row["objects"] is None:
            raise ValueError(f"The {name} has no objects.")
        kept = []
        for number, item in enumerate(items_of(row["objects"])):
            fault = fault_of(item, image.size, self.num_labels, self.with_masks)
            if fault is not None:
                kind, value = fault
                raise ValueError(f"Object {number} of the {name}: {kind}, {value}.")
            kept += [] if is_small(item.box) else [item]
        image_id = row.get("image_id")
        return self._objects(kept, image.size, place if image_id is None else image_id)

    def _objects(self, items: list[Item], size: tuple[int, int], image_id: int | str) -> Objects:
        width, height = size
        boxes = torch.tensor([item.box for item in items], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height])).float()
        areas, masks = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1), None
        if self.with_masks:
            masks = torch.zeros((len(items), height, width), dtype=torch.bool)
            for mask, item, box in zip(masks, items, boxes, strict=True):
                mask.copy_(_box_mask(box, size) if item.segmentation is None else mask_of(item.segmentation, size))
            areas = masks.sum(dim=(1, 2)).float()
        own = [math.nan if item.area is None else item.area for item in items]
        own = torch.tensor(own, dtype=torch.float32)
        return Objects(
            boxes=boxes,
            class_labels=torch.tensor([item.category for item in items], dtype=torch.int64),
            areas=torch.where(own.isfinite(), own, areas),
            iscrowd=torch.tensor([item.iscrowd for item in items], dtype=torch.bool),
            masks=masks,
            image_id=image_id,
        )

    def sample(self, transform: Callable[..., Any], image: Image.Image, target: Objects) -> dict[str, Any]:
        pixel_values, labels = transform(image, target)
        return {"pixel_values": pixel_values, "labels": labels}


def items_of(objects: Mapping[str, Sequence] | Sequence[Mapping[str, Any]]) -> Iterator[Item]:
    """The objects of a row, which is a dict of lists, or a list of dicts.

    Raises:
        ValueError: There are no boxes or no classes, or not as many of the one as of the other.
    """
    if not isinstance(objects, Mapping):
        fields = dict.fromkeys(field for entry in objects for field in entry) or ("bbox", "category")
        objects = {field: [entry.get(field) for entry in objects] for field in fields}
    missing = [field for field in ("bbox", "category") if objects.get(field) is None]
    if missing:
        raise ValueError(f"objects must be {EXPECTED}; {' and '.join(missing)} missing in {', '.join(objects)}.")
    number = len(objects["bbox"])
    columns = []
    for field, default in (("bbox", None), ("category", None), ("area", None), ("iscrowd", 0), ("segmentation", None)):
        values = objects.get(field)
        values = [default] * number if values is None else values
        if len(values) != number:
            raise ValueError(f"objects must have as many {field} as bbox, {number}, got {len(values)}.")
        columns.append(values)
    for box, category, area, iscrowd, segmentation in zip(*columns, strict=True):
        yield Item(box, category, area, bool(iscrowd), segmentation or None)


# --- checks


def fault_of(
    item: Item, size: tuple[int, int], num_labels: int | None, with_masks: bool = False
) -> tuple[str, str] | None:
    """Why an object can't be learned, and the value that says so; None of most objects.

    Args:
        item: The object.
        size: Width and height of its picture.
        num_labels: Number of classes; None where any number may be one.
        with_masks: Whether it must have a mask.
    """
    box, category = item.box, item.category
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(is_number, box)):
        return "box that isn't four numbers", _shown(box)
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return "box that is empty", _shown(box)
    if x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0:
        return "box outside of its picture", f"{_shown(box)} in {size[0]}x{size[1]} pixels"
    if category is None or category < 0 or (num_labels is not None and category >= num_labels):
        return "class id without a name", f"{category} of {num_labels} classes"
    if with_masks and not (item.iscrowd and item.segmentation is None):
        return _mask_fault(item.segmentation, size)
    return None


def is_small(box: Sequence[float]) -> bool:
    return min(box[2:]) < LEAST_SIDE


def reaches_out(box: Sequence[float], size: tuple[int, int]) -> bool:
    """Whether a box isn't within a picture of this width and height, and that not by rounding."""
    x, y, width, height = box
    return min(x, y, size[0] - x - width, size[1] - y - height) < -ROUNDING


def is_number(value: Any) -> bool:
    """Whether it is finite, and as large as numbers of pixels may be."""
    return isinstance(value, (int, float)) and abs(value) < MAX_NUMBER


def _shown(value: Any) -> str:
    """A value of a file on one line: long lists are cut, and numbers have no digits that tell nothing."""
    if isinstance(value, (list, tuple)) and all(map(is_number, value)):
        value = [float(f"{number:.6g}") for number in value]
        value = [int(number) if number.is_integer() else number for number in value]
    return printable(f"{value!r:.80}")


def _mask_fault(segmentation: Any, size: tuple[int, int]) -> tuple[str, str] | None:
    segmentation = _parsed(segmentation)
    if not segmentation:
        return "object without a mask", "segmentation is missing"
    if isinstance(segmentation, Mapping):
        own = segmentation.get("size")
        if own is None or list(own) != [size[1], size[0]]:
            return "mask of another size", f"size {_shown(own)}, expected {[size[1], size[0]]} (height, width)"
        return None
    for polygon in segmentation if isinstance(segmentation, list) else [segmentation]:
        is_list = isinstance(polygon, (list, tuple))
        if not is_list or len(polygon) < 2 * LEAST_CORNERS or len(polygon) % 2 or not all(map(is_number, polygon)):
            return "mask that is no polygon", f"{_shown(polygon)}, expected x1, y1, x2, y2, x3, y3, ..."
    return None


# --- masks


def mask_of(segmentation: Any, size: tuple[int, int]) -> torch.Tensor:
    """The bool mask (height, width) of a segmentation, in a picture of this width and height.

    Raises:
        ValueError: It is neither polygons nor RLE, or of a picture of another size.
    """
    width, height = size
    segmentation = _parsed(segmentation)
    if isinstance(segmentation, Mapping):
        return decode_segmentation(segmentation, (height, width))
    fault = _mask_fault(segmentation, size)
    if fault is not None:
        raise ValueError(f"{fault[0]}, {fault[1]}.")
    coco_masks = import_extra("faster_coco_eval.core.mask")
    runs = coco_masks.segmToRle([list(polygon) for polygon in segmentation], width, height)
    return torch.from_numpy(coco_masks.decode(runs)).bool()


def runs_of(mask: np.ndarray) -> dict[str, Any]:
    """COCO's RLE, {"size": [height, width], "counts": text}, of a bool mask (height, width)."""
    runs = import_extra("faster_coco_eval.core.mask").encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode()}


def _parsed(segmentation: Any) -> Any:
    return json.loads(segmentation) if isinstance(segmentation, str) else segmentation


def _box_mask(box: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """All pixels of a box: of a crowd that nobody has outlined."""
    mask = torch.zeros((size[1], size[0]), dtype=torch.bool)
    left, top, right, bottom = box.round().int().tolist()
    mask[top:bottom, left:right] = True
    return mask
