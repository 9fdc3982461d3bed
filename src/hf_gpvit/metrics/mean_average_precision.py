# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""COCO's mean average precision of boxes and masks as a metric of `evaluate`."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import datasets
import evaluate
import numpy as np

from .coco_precision import CocoPrecision, as_array, encode_masks
from .streaming import StreamingMetric


_DESCRIPTION = """\
COCO's average precision and recall of detected boxes and masks: means over classes and over IoU thresholds from 0.5 to
0.95, also of small, medium and large objects. Regions of many objects are ignored as COCO does.
"""
_CITATION = """\
@inproceedings{lin2014microsoft,
  title = {{Microsoft COCO}: Common Objects in Context},
  author = {Lin, Tsung-Yi and Maire, Michael and Belongie, Serge and Hays, James and Perona, Pietro and Ramanan, Deva
    and Doll{\\'a}r, Piotr and Zitnick, C. Lawrence},
  booktitle = {European Conference on Computer Vision},
  pages = {740--755},
  year = {2014},
}
"""
_INPUTS = """
Args:
    predictions: Of each picture a dict with scores (N,), labels (N,), boxes (N, 4) as x1, y1, x2, y2 in pixels, and
        with_masks also masks (N, height, width), bool.
    references: Of each picture a dict with labels (M,), boxes (M, 4), with_masks also masks, and where they are known
        area (M,), by default that of the mask or box, and iscrowd (M,), by default 0.
Returns:
    map, map_50, map_75, map_small, map_medium, map_large, mar_1, mar_10, mar_100, mar_small, mar_medium, mar_large and
    map/<class> for each class: floats in [0, 1], or NaN where there are no objects. with_masks, all of them twice:
    with segm_ before their names, then with bbox_.
"""


class MeanAveragePrecision(StreamingMetric, CocoPrecision):
    """COCO's mean average precision of boxes, and of masks.

    ```python
    metric = MeanAveragePrecision(num_labels=80, id2label=model.config.id2label)
    for pictures, sizes, references in batches:
        outputs = model(**image_processor(pictures, return_tensors="pt"))
        predictions = image_processor.post_process_object_detection(outputs, threshold=0, target_sizes=sizes)
        metric.add_batch(predictions=predictions, references=references)
    metric.compute()  # {"map": ..., "map_50": ..., "map/<class>": ...}
    ```

    It keeps boxes, and masks as runs of pixels: some kilobytes for each picture. Where several processes see a part of
    the data each, put their records together before computing, with
    `metric.state = accelerate.utils.gather_object(metric.state)` or `metric.merge(other)`. Figures depend on the order
    of the pictures where detections in two of them score the same.

    Args:
        num_labels: Number of classes.
        id2label: Names of the classes by id, for the keys of the result. Default: the ids themselves.
        with_masks: Whether objects have masks. Default False: boxes alone.
        config_name, kwargs: As for any `evaluate.Metric`, but `num_process` must be 1.

    Raises:
        ValueError: `num_process` is not 1, `num_labels` is less than 1, or `id2label` has an id that is no class.
    """

    def __init__(
        self,
        config_name: str | None = None,
        *,
        num_labels: int,
        id2label: dict[int, str] | None = None,
        with_masks: bool = False,
        **kwargs,
    ):
        StreamingMetric.__init__(self, config_name, **kwargs)
        CocoPrecision.__init__(self, num_labels, id2label, with_masks)

    def _info(self) -> evaluate.MetricInfo:
        objects = {
            "labels": datasets.Sequence(datasets.Value("int64")),
            "boxes": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
        }
        scores = {"scores": datasets.Sequence(datasets.Value("float32"))}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": objects | scores, "references": objects}),
        )

    def count(self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]) -> None:
        """Adds pictures; a ValueError as `CocoPrecision.count` has it, or where a part is missing."""
        first = len(self.state)
        found = [_prediction(prediction, self.with_masks) for prediction in predictions]
        true = [_reference(first + place, reference, self.with_masks) for place, reference in enumerate(references)]
        super().count(found, true)


def _prediction(prediction: Mapping[str, Any], with_masks: bool) -> SimpleNamespace:
    scores, labels, boxes = (_part("predictions", prediction, name) for name in ("scores", "labels", "boxes"))
    masks = encode_masks(_part("predictions", prediction, "masks")) if with_masks else None
    return SimpleNamespace(scores=scores, class_labels=labels, boxes=boxes, masks=masks)


def _reference(position: int, reference: Mapping[str, Any], with_masks: bool) -> SimpleNamespace:
    labels, boxes = (_part("references", reference, name) for name in ("labels", "boxes"))
    masks = _part("references", reference, "masks") if with_masks else None
    return SimpleNamespace(
        class_labels=labels,
        boxes=boxes,
        areas=reference["area"] if "area" in reference else _areas(boxes, masks),
        iscrowd=reference.get("iscrowd", [False] * len(labels)),
        masks=masks,
        image_id=position,
    )


def _part(name: str, parts: Mapping[str, Any], part: str) -> Any:
    if part not in parts:
        raise ValueError(f"Each of {name} must have {part}, got {', '.join(parts)}.")
    return parts[part]


def _areas(boxes: Any, masks: Any) -> np.ndarray:
    if masks is not None:
        return np.array([as_array(mask, bool).sum() for mask in masks])
    boxes = as_array(boxes, np.float32).reshape(-1, 4)
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
