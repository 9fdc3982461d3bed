# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision and recall of boxes and masks, from compact records of all pictures."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch


# COCO's thresholds in double precision: an IoU of just 0.6 is enough for 0.6, which it isn't for that in float32.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10).tolist()
RECALL_THRESHOLDS = np.linspace(0, 1, 101).tolist()
# COCO's twelve figures, as torchmetrics calls them.
FIGURES = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
)
# torchmetrics takes an area of 0 for one that isn't given.
LEAST_AREA = 1e-6


class PictureRecord(NamedTuple):
    """What was found in a picture (N) and what is there (M).

    Attributes:
        position: Of the picture among all.
        image_id: What the dataset calls it. Of equal scores, those in the picture with the lower number count first.
        size: Its height and width; None without masks.
        boxes: (N, 4) float32 x, y, width, height.
        labels, scores: (N,) int64 and float32.
        masks: N runs in COCO's compressed form; None without masks.
        true_boxes: (M, 4) float32 x, y, width, height.
        true_labels, true_areas, true_crowds: (M,) int64, float32 and int64.
        true_masks: M runs; None without masks.
    """

    position: int
    image_id: int | str
    size: tuple[int, int] | None
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: list[bytes] | None
    true_boxes: np.ndarray
    true_labels: np.ndarray
    true_areas: np.ndarray
    true_crowds: np.ndarray
    true_masks: list[bytes] | None


class CocoPrecision:
    """Keeps what was found and what is there, some kilobytes for each picture, and computes COCO's figures of it all.

    Args:
        num_labels: Number of classes.
        id2label: Names of the classes by id, for the keys of the result. Default: the ids themselves.
        with_masks: Whether objects have masks, which then count first. Default False: boxes alone.

    Raises:
        ValueError: `num_labels` is less than 1, or `id2label` has an id that is no class.
    """

    def __init__(self, num_labels: int, id2label: dict[int, str] | None = None, with_masks: bool = False):
        if num_labels < 1:
            raise ValueError(f"num_labels must be at least 1, got {num_labels}.")
        self.id2label = {int(index): name for index, name in (id2label or {}).items()}
        unknown = sorted(self.id2label.keys() - range(num_labels))
        if unknown:
            raise ValueError(f"id2label has the ids {unknown}, but num_labels is {num_labels}.")
        self.num_labels, self.with_masks = num_labels, with_masks
        self.reset()

    def reset(self) -> None:
        self._records = []

    @property
    def state(self) -> list[PictureRecord]:
        """A record of each picture; what is assigned may be in any order."""
        return list(self._records)

    @state.setter
    def state(self, state: Sequence[PictureRecord]) -> None:
        self._records = list(state)

    def merge(self, other: "CocoPrecision") -> None:
        """Adds what `other` has counted; a ValueError if it has another `num_labels` or `with_masks`."""
        for name in ("num_labels", "with_masks"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"Only metrics of the same {name} can be merged, got {mine} and {theirs}.")
        self._records += other._records

    def count(self, predictions: Sequence, targets: Sequence, positions: Sequence[int] | None = None) -> None:
        """Adds pictures.

        Args:
            predictions: Of each, an object with the attributes of `hf_gpvit.inference.Detected`: `scores` (N,),
                `class_labels` (N,), `boxes` (N, 4) as x1, y1, x2, y2 in pixels, and `masks`, COCO's RLE
                {"size": [height, width], "counts": bytes} of each object.
            targets: Of each, an object with the attributes of `hf_gpvit.data.objects.Objects`: `class_labels` (M,),
                `boxes` (M, 4), `areas` (M,), `iscrowd` (M,), `masks` (M, height, width) bool, and `image_id`.
            positions: Their places in the dataset, which no two pictures share. Default: as they are counted.

        Raises:
            ValueError: Numbers of pictures or of their parts differ, an id is no class, a score or box is not finite,
                or masks are missing or of another size.
        """
        if positions is None:
            positions = range(len(self._records), len(self._records) + len(predictions))
        if not len(predictions) == len(targets) == len(positions):
            raise ValueError(
                "predictions and references must be equally many, "
                f"got {len(predictions)} predictions and {len(targets)} references."
            )
        # all of them or none
        records = [self._record(*parts) for parts in zip(predictions, targets, positions, strict=True)]
        self._records += records

    def _record(self, prediction: Any, target: Any, position: int) -> PictureRecord:
        boxes, labels = self._boxes_and_labels("predictions", prediction)
        true_boxes, true_labels = self._boxes_and_labels("references", target)
        scores = as_array(prediction.scores, np.float32)
        areas, crowds = as_array(target.areas, np.float32), as_array(target.iscrowd, np.int64)
        _check_lengths("predictions", {"class_labels": labels, "scores": scores})
        _check_lengths("references", {"class_labels": true_labels, "areas": areas, "iscrowd": crowds})
        if not np.isfinite(scores).all():
            raise ValueError(f"predictions have scores that are not finite, in picture {position}.")
        size = masks = true_masks = None
        if self.with_masks:
            size, true_masks = self._true_masks(target, true_labels)
            masks = self._masks(prediction, labels, size)
        found = boxes, labels, scores, masks
        return PictureRecord(
            position, target.image_id, size, *found, true_boxes, true_labels, areas, crowds, true_masks
        )

    def _boxes_and_labels(self, name: str, objects: Any) -> tuple[np.ndarray, np.ndarray]:
        """Boxes as x, y, width, height, and class ids."""
        boxes, labels = as_array(objects.boxes, np.float32).reshape(-1, 4), as_array(objects.class_labels, np.int64)
        _check_lengths(name, {"class_labels": labels, "boxes": boxes})
        if not np.isfinite(boxes).all():
            raise ValueError(f"{name} have boxes that are not finite.")
        outside = labels[(labels < 0) | (labels >= self.num_labels)].tolist()
        if outside:
            raise ValueError(
                f"{name} have the id {outside[0]}, but num_labels is {self.num_labels}: ids are 0 to "
                f"{self.num_labels - 1}."
            )
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1), labels

    def _true_masks(self, target: Any, labels: np.ndarray) -> tuple[tuple[int, int], list[bytes]]:
        """Size of the picture, and the runs of each object."""
        if target.masks is None:
            raise ValueError("references must have masks, got none.")
        masks = as_array(target.masks, np.uint8)
        _check_lengths("references", {"class_labels": labels, "masks": masks})
        if masks.ndim != 3:
            raise ValueError(f"masks of references must be (N, height, width), got the shape {masks.shape}.")
        return masks.shape[1:], [rle["counts"] for rle in encode_masks(masks)]

    def _masks(self, prediction: Any, labels: np.ndarray, size: tuple[int, int]) -> list[bytes]:
        if prediction.masks is None:
            raise ValueError("predictions must have masks, got none.")
        _check_lengths("predictions", {"class_labels": labels, "masks": prediction.masks})
        others = [tuple(rle["size"]) for rle in prediction.masks if tuple(rle["size"]) != size]
        if others:
            raise ValueError(f"masks of predictions must be of the references' size, {size}, got {others[0]}.")
        return [rle["counts"] for rle in prediction.masks]

    def figures(self) -> dict[str, float]:
        """COCO's twelve figures, floats in [0, 1], and the mean average precision of each class.

        Of boxes: `map` (of all IoU thresholds from 0.5 to 0.95), `map_50`, `map_75`, `map_small`, `map_medium`,
        `map_large` (areas up to 32 x 32, up to 96 x 96, and above), `mar_1`, `mar_10`, `mar_100` (recall with so many
        detections in a picture), `mar_small`, `mar_medium`, `mar_large`, and `map/<class>`. With masks all of that
        twice: after "segm_" of masks, then after "bbox_" of boxes. Of what the pictures have no objects, or only
        regions of many, it is NaN, and left out of means.

        Raises:
            ImportError: torchmetrics or faster-coco-eval is missing.
        """
        computed = self._computed() if any(len(record.true_labels) for record in self._records) else {}
        figures = {}
        for prefix in ("segm_", "bbox_") if self.with_masks else ("",):
            figures |= {prefix + name: _figure(computed.get(prefix + name)) for name in FIGURES}
            of_classes = self._of_classes(computed, prefix)
            figures |= {f"{prefix}map/{name}": value for name, value in zip(self._names(), of_classes, strict=True)}
        return figures

    def _computed(self) -> dict[str, torch.Tensor]:
        """What torchmetrics says of all pictures."""
        # here, so that counting needs neither of them
        from torchmetrics.detection import MeanAveragePrecision

        metric = MeanAveragePrecision(
            iou_type=("segm", "bbox") if self.with_masks else "bbox",
            iou_thresholds=IOU_THRESHOLDS,
            rec_thresholds=RECALL_THRESHOLDS,
            extended_summary=True,
            backend="faster_coco_eval",
            sync_on_compute=False,  # every process has all records by then
        )
        metric.update([], [])
        for record in self._ordered():
            _add(metric, record)
        return metric.compute()

    def _ordered(self) -> list[PictureRecord]:
        """By ids of pictures, as COCO's own evaluation has them, or by position where these are no numbers."""
        if all(isinstance(record.image_id, int) for record in self._records):
            return sorted(self._records, key=lambda record: (record.image_id, record.position))
        return sorted(self._records, key=lambda record: record.position)

    def _of_classes(self, computed: dict[str, torch.Tensor], prefix: str) -> list[float]:
        """Mean average precision of each class; NaN where there is none."""
        means = [float("nan")] * self.num_labels
        if not computed:
            return means
        # (IoU thresholds, recall thresholds, classes, ranges of areas, numbers of detections); -1 where there is none
        precision = computed[f"{prefix}precision"][..., 0, -1]
        classes = computed["classes"].reshape(-1).tolist()  # torchmetrics gives a single one as a number
        for index, values in zip(classes, precision.unbind(dim=2), strict=True):
            means[index] = values[values > -1].mean().item()
        return means

    def results(self, category_ids: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
        """Everything that was found, in COCO's results format, picture by picture and the best first.

        Args:
            category_ids: The dataset's own id of each class. Default: the ids of the classes.
        """
        category_ids = range(self.num_labels) if category_ids is None else category_ids
        for record in self._ordered():
            for index in np.argsort(-record.scores, kind="stable"):
                result = {
                    "image_id": record.image_id,
                    "category_id": category_ids[record.labels[index]],
                    "bbox": record.boxes[index].tolist(),
                    "score": record.scores[index].item(),
                }
                if record.masks is not None:
                    counts = record.masks[index].decode("ascii")
                    result["segmentation"] = {"size": list(record.size), "counts": counts}
                yield result

    def _names(self) -> list[str]:
        names = [str(self.id2label.get(index, index)) for index in range(self.num_labels)]
        # a key for each class, even if two of them have the same name
        return [f"{name} ({index})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def encode_masks(masks: torch.Tensor | np.ndarray) -> list[dict[str, Any]]:
    """COCO's RLE {"size": [height, width], "counts": bytes} of each of the bool masks (N, height, width).

    Raises:
        ImportError: faster-coco-eval is missing.
    """
    from faster_coco_eval.core import mask as coco_masks

    return [coco_masks.encode(np.asfortranarray(mask)) for mask in as_array(masks, np.uint8)]


def _add(metric: Any, record: PictureRecord) -> None:
    """What torchmetrics' `update` does, which takes masks as pixels alone: 30 MB and a tenth of a second a picture."""
    metric.detection_box.append(torch.from_numpy(record.boxes))
    metric.groundtruth_box.append(torch.from_numpy(record.true_boxes))
    if record.masks is not None:
        metric.detection_mask.append(tuple((record.size, counts) for counts in record.masks))
        metric.groundtruth_mask.append(tuple((record.size, counts) for counts in record.true_masks))
    metric.detection_labels.append(torch.from_numpy(record.labels))
    metric.detection_scores.append(torch.from_numpy(record.scores))
    metric.groundtruth_labels.append(torch.from_numpy(record.true_labels))
    metric.groundtruth_crowds.append(torch.from_numpy(record.true_crowds))
    metric.groundtruth_area.append(torch.from_numpy(record.true_areas.clip(min=LEAST_AREA)))


def as_array(values: Any, dtype: type) -> np.ndarray:
    """A copy on the CPU of a tensor, an array or lists of numbers; nothing else stays in memory with it."""
    values = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    return np.array(values, dtype)


def _check_lengths(name: str, parts: dict[str, Any]) -> None:
    """Raises a ValueError unless the second and later ones are as long as the first."""
    (first, expected), *others = ((part, len(values)) for part, values in parts.items())
    for part, length in others:
        if length != expected:
            raise ValueError(f"{name} must have as many {part} as {first}, got {length} and {expected}.")


def _figure(value: torch.Tensor | None) -> float:
    return float("nan") if value is None or value < 0 else value.item()
