# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Object detection and instance segmentation: a box, and a mask, of each object."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from transformers import (
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from ..data.detection_transforms import DetectionTransform, pad_to_batch
from ..data.image_processors import detection_processor
from ..data.object_columns import checked_objects, has_objects, typed_objects, with_image_ids
from ..data.objects import ObjectReader, Objects, is_small, items_of
from ..extras import import_extra
from ..inference.detection import (
    Detected,
    DetectionSettings,
    PreparedDetection,
    detect_prepared,
    prepare_detection,
)
from ..inference.detection_files import describe_detections, detection_writer, write_detections
from ..metrics.coco_precision import CocoPrecision
from ..models.configuration_base import MAX_SIDE
from .base import Task
from .recipe import Recipe, option


logger = logging.get_logger(__name__)


@dataclass
class DetectionRecipe(Recipe):
    """How a detector is trained and tested. The defaults are those of COCO's short schedule."""

    task: ClassVar[str] = "object-detection"

    detector_type: Literal["mask_rcnn", "retinanet"] | None = option(None, "By default the model's.")
    resize_size: list[int] = option([800, 1333], "Limits of the shorter and longer side that pictures are fitted to.")
    train_sides: list[int] | None = option(None, "Limits of the shorter side in training, one of them at random.")
    zoom_rate: float = option(0.0, "Rate at which a part of a picture is cut out in training before it is resized.")
    scale_range: list[float] | None = option(
        None, "Large-scale jitter: random factor of crop_size that training pictures are fitted to, instead."
    )
    crop_size: int | None = option(None, "Side of a last random crop in training; by default there is none.")
    photometric_distortion: bool = option(False, "Vary brightness, contrast, saturation and hue.")
    skip_empty: bool = option(True, "Leave pictures without an object out of training.")
    test_window_size: int | None = option(None, "In tests, side of sliding windows; by default the whole picture.")
    test_window_stride: int | None = option(None, "Their distance; by default three quarters of their side.")

    def __post_init__(self):
        super().__post_init__()
        self._require_sides("crop_size", "test_window_size", "test_window_stride")
        sides, scales = self.resize_size, self.scale_range
        limits = f"(shorter, longer) side of at most {MAX_SIDE}"
        self._require("resize_size", len(sides) == 2 and 1 <= sides[0] <= sides[1] <= MAX_SIDE, limits)
        train_sides = self.train_sides
        is_within = train_sides is None or all(1 <= side <= sides[1] for side in train_sides)
        self._require("train_sides", is_within, f"at least 1 and at most the longer side of resize_size={sides}")
        self._require("train_sides", train_sides != [], "of at least one, or left out")
        self._require("zoom_rate", 0 <= self.zoom_rate <= 1, "in [0, 1]")
        if scales is None:
            return
        self._require("scale_range", len(scales) == 2 and 0 < scales[0] <= scales[1], "(least, greatest) factor")
        self._require("crop_size", self.crop_size is not None, f"given with scale_range={scales}")
        self._require("scale_range", self.crop_size * scales[1] <= MAX_SIDE, f"such that sides are at most {MAX_SIDE}")
        for name in ("train_sides", "zoom_rate"):
            self._require(name, not getattr(self, name), f"left out with scale_range={scales}")

    @property
    def shorthands(self) -> dict[str, Any]:
        return super().shorthands | {"detector_type": self.detector_type}


@dataclass
class InstanceSegmentationRecipe(DetectionRecipe):
    """The same for Mask R-CNN with its masks."""

    task: ClassVar[str] = "instance-segmentation"

    def __post_init__(self):
        super().__post_init__()
        self._require("detector_type", self.detector_type != "retinanet", "mask_rcnn, which has masks, or left out")


class ObjectDetection(Task):
    """Trained by the detector's own losses on pictures of their own sizes."""

    name = "object-detection"
    class_ending = "ForObjectDetection"
    recipe_class = DetectionRecipe
    auto_class = AutoModelForObjectDetection
    pipeline = "object-detection"
    target_column = "objects"
    optional_columns = ("image_id",)
    figures = {"map": "mAP", "map_50": "mAP at IoU 0.5", "map_75": "mAP at IoU 0.75"}
    usual_num_labels = 80
    least_num_labels = 1
    settings_class = DetectionSettings
    batch_size = 1
    with_masks = False

    # --- data

    @staticmethod
    def typed(dataset, column: str, names: Sequence[str] | None, source: str):
        return with_image_ids(typed_objects(dataset, column, names, source))

    has_targets = staticmethod(has_objects)

    @classmethod
    def checked(cls, dataset, num_labels: int, source: str, skip_corrupt: bool):
        return checked_objects(dataset, num_labels, source, skip_corrupt, cls.with_masks)

    @classmethod
    def reader(cls, config: PreTrainedConfig, image_processor: BaseImageProcessor, split: str | None) -> ObjectReader:
        return ObjectReader(config.num_labels, split, cls.with_masks)

    # --- use

    @staticmethod
    def build_image_processor(
        config: PreTrainedConfig, image_size: int | tuple[int, int] | None, crop_ratio: float | None
    ) -> BaseImageProcessor:
        return detection_processor(config, image_size)

    @staticmethod
    def workload(config: PreTrainedConfig) -> str:
        return "" if config.detector_type == "retinanet" else f"{config.rpn_post_nms_top_n} regions"

    @staticmethod
    def prepare(
        image_processor: BaseImageProcessor, image: Image.Image, settings: DetectionSettings | None = None
    ) -> PreparedDetection:
        return prepare_detection(image_processor, image, settings)

    @staticmethod
    def predict(
        model: PreTrainedModel,
        image_processor: BaseImageProcessor,
        prepared: Sequence[PreparedDetection],
        settings: DetectionSettings | None = None,
    ) -> Iterator[Detected]:
        """Each picture by itself: they have different sizes."""
        for picture in prepared:
            yield detect_prepared(model, image_processor, picture, settings)

    @classmethod
    def metric(cls, config: PreTrainedConfig) -> CocoPrecision:
        # before anything is predicted; the metric itself also stands alone
        for module in ("torchmetrics.detection", "faster_coco_eval"):
            import_extra(module)
        return CocoPrecision(config.num_labels, config.id2label, cls.with_masks)

    @staticmethod
    def count(
        metric: CocoPrecision, predictions: Iterable[Detected], targets: Sequence[Objects], positions: Sequence[int]
    ) -> None:
        for found in zip(predictions, targets, positions, strict=True):
            metric.count(*([part] for part in found))

    coco_results = staticmethod(CocoPrecision.results)

    @staticmethod
    def describe(prediction: Detected, config: PreTrainedConfig, top_k: int) -> list[dict[str, Any]]:
        """`[{"label", "score", "box", "label_id"}, ...]` of what is shown, whatever `top_k`."""
        return describe_detections(prediction, config)

    @classmethod
    def writer(
        cls, config: PreTrainedConfig, folder: Path, top_k: int
    ) -> Callable[[Detected, str, None], dict[str, Any]]:
        """For each picture `<name>-overlay.jpg`."""
        return detection_writer(config, folder)

    conclude = staticmethod(write_detections)

    # --- training

    def __init__(self, recipe: DetectionRecipe, num_labels: int):
        super().__init__(recipe, num_labels)
        self.preset_image_size = None
        self.evaluation_settings = DetectionSettings(
            window_size=recipe.test_window_size, window_stride=recipe.test_window_stride
        )
        self.collate = pad_to_batch

    def image_processor(self, model: PreTrainedModel) -> BaseImageProcessor:
        return detection_processor(model.config, *self.recipe.resize_size)

    def training_rows(self, dataset: Any) -> Any:
        """Without those that have no object to learn, if the recipe says so; see `rows_to_learn_from`."""
        return rows_to_learn_from(dataset) if self.recipe.skip_empty else dataset

    def transform(self, config: PreTrainedConfig, image_processor: BaseImageProcessor) -> DetectionTransform:
        recipe = self.recipe
        return DetectionTransform(
            image_processor,
            tuple(recipe.resize_size),
            recipe.train_sides,
            recipe.zoom_rate,
            recipe.scale_range,
            recipe.crop_size,
            recipe.photometric_distortion,
        )

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Of images (B, C, H, W), what of them is no padding (B, H, W), and a dict of labels for each."""
        return model(**{name: batch[name] for name in ("pixel_values", "pixel_mask", "labels")}).loss


class InstanceSegmentation(ObjectDetection):
    """Trained by Mask R-CNN's own losses, those of masks too."""

    name = "instance-segmentation"
    class_ending = "ForInstanceSegmentation"
    recipe_class = InstanceSegmentationRecipe
    auto_class = AutoModelForInstanceSegmentation
    pipeline = "image-segmentation"
    figures = {"segm_map": "Mask mAP", "segm_map_50": "Mask mAP at IoU 0.5", "bbox_map": "Box mAP"}
    with_masks = True

    @staticmethod
    def workload(config: PreTrainedConfig) -> str:
        return f"{config.rpn_post_nms_top_n} regions and {config.num_detections} masks"


def rows_to_learn_from(dataset: Any) -> Any:
    """The rows of a dataset, or of a stream, that have an object which is neither a crowd nor left out as too small.

    Raises:
        ValueError: There is none; of a stream nobody knows.
    """
    if isinstance(dataset, import_extra("datasets").IterableDataset):
        return dataset.filter(_has_object_to_learn, input_columns=["objects"])
    objects = dataset.select_columns("objects")["objects"]
    kept = [row for row, value in enumerate(objects) if _has_object_to_learn(value)]
    if not kept:
        raise ValueError(f"None of the {len(dataset)} pictures to train on has an object to learn.")
    if len(kept) == len(dataset):
        return dataset
    logger.warning(f"{len(dataset) - len(kept)} of {len(dataset)} pictures to train on have no object: left out.")
    return dataset.select(kept)


def _has_object_to_learn(objects: dict[str, Any]) -> bool:
    return not all(item.iscrowd or is_small(item.box) for item in items_of(objects))
