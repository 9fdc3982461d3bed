# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What was detected as plain values, and as the files that `predict` leaves: pictures, COCO's JSON and a table."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import PreTrainedConfig

from .detection import Detected
from .object_overlays import overlay_objects
from .pictures import DETECTIONS, DETECTIONS_TABLE, OVERLAY, write_table
from .rle import mask_area
from .visualize import color_palette, label_set_palette


# Overlays are to be looked at: the longer side of others is scaled to the nearer of these.
OVERLAY_SIDES = (640, 2048)
# Of boxes, in tables.
_SIDES = ("x1", "y1", "x2", "y2")


def describe_detections(prediction: Detected, config: PreTrainedConfig) -> list[dict[str, Any]]:
    """`[{"label", "score", "box": [x1, y1, x2, y2], "label_id"}, ...]` of what is shown, the best first.

    Boxes are in pixels, to a hundredth; `label_id` is the model's id of the class. With masks there is also
    `segmentation`, COCO's RLE with its counts as text.
    """
    shown = prediction.shown()
    found = zip(shown.class_labels.tolist(), shown.scores.tolist(), shown.boxes.tolist(), strict=True)
    records = [
        {"label": config.id2label[label], "score": score, "box": [round(side, 2) for side in box], "label_id": label}
        for label, score, box in found
    ]
    if shown.masks is None:
        return records
    return [
        record | {"segmentation": mask | {"counts": mask["counts"].decode()}}
        for record, mask in zip(records, shown.masks, strict=True)
    ]


def detection_writer(config: PreTrainedConfig, folder: Path) -> Callable[[Detected, str, None], dict[str, Any]]:
    """Takes a prediction and its name, writes `<name>-overlay.jpg`, and gives what predictions.json says of it.

    That is `overlay`, the path in the folder, `size`, width and height of the upright picture, and `detections`, as
    `describe_detections` gives them. What to draw on is part of the prediction.
    """
    id2label = config.id2label
    palette = color_palette(max(id2label) + 1, label_set_palette(id2label))

    def write(prediction: Detected, name: str, shown: None) -> dict[str, Any]:
        path = folder / (name + OVERLAY)
        path.parent.mkdir(parents=True, exist_ok=True)
        scale = _overlay_scale(prediction.image)
        overlay_objects(prediction.image, prediction.shown(), id2label, palette, scale=scale).save(path, quality=90)
        return {
            "overlay": name + OVERLAY,
            "size": list(prediction.image.size),
            "detections": describe_detections(prediction, config),
        }

    return write


def write_detections(config: PreTrainedConfig, folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Writes what was detected in all pictures into two files; nothing where no picture could be predicted.

    - `detections.json` is a COCO file, which `pycocotools.coco.COCO` and labelling tools load: `images` with `id`
      (from 1 on), `file_name`, `width` and `height`; `categories` with the model's class ids; and `annotations` in
      COCO's results format (`image_id`, `category_id`, `bbox` as x, y, width, height, `score`, and `segmentation`
      where there are masks) with the `id`, `area` and `iscrowd` that all annotations have. The list alone is what
      `COCO.loadRes` takes.
    - `detections.csv` has the columns file, label, score, x1, y1, x2, y2.

    Args:
        config: Of the model.
        folder: Where to write.
        records: Of all pictures, with the `file` of each and what the writer gave.
    """
    found = [record for record in records if "detections" in record]
    if not found:
        return
    # bytes of a file's name that are no UTF-8 become escapes, as in predictions.json
    options = {"encoding": "utf-8", "errors": "backslashreplace"}
    (folder / DETECTIONS).write_text(json.dumps(_coco(config, found), ensure_ascii=False, allow_nan=False), **options)
    rows = [{"file": record["file"], "rows": list(map(_row, record["detections"]))} for record in found]
    write_table(folder / DETECTIONS_TABLE, rows, "rows", ["label", "score", *_SIDES])


def _row(item: dict[str, Any]) -> dict[str, Any]:
    return item | dict(zip(_SIDES, item["box"], strict=True))


def _overlay_scale(image: Image.Image) -> float:
    side = max(image.size)
    least, largest = OVERLAY_SIDES
    return min(max(side, least), largest) / side


def _coco(config: PreTrainedConfig, records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    images = [
        {"id": image_id, "file_name": record["file"], "width": record["size"][0], "height": record["size"][1]}
        for image_id, record in enumerate(records, start=1)
    ]
    found = [
        (image["id"], item) for image, record in zip(images, records, strict=True) for item in record["detections"]
    ]
    return {
        "images": images,
        "categories": [{"id": index, "name": name} for index, name in config.id2label.items()],
        "annotations": [_annotation(number, *place) for number, place in enumerate(found, start=1)],
    }


def _annotation(number: int, image_id: int, item: dict[str, Any]) -> dict[str, Any]:
    left, top, right, bottom = item["box"]
    width, height = round(right - left, 2), round(bottom - top, 2)
    annotation = {
        "id": number,
        "image_id": image_id,
        "category_id": item["label_id"],
        "bbox": [left, top, width, height],
        "score": item["score"],
        "area": round(width * height, 2),
        "iscrowd": 0,
    }
    if "segmentation" in item:
        annotation |= {"segmentation": item["segmentation"], "area": mask_area(item["segmentation"])}
    return annotation
