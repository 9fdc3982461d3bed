# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Object detection and instance segmentation: a box, and a mask, of each object."""

from collections.abc import Callable, Sequence
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

from ..data.image_processors import detection_processor
from ..data.object_columns import checked_objects, has_objects, typed_objects, with_image_ids
from ..data.objects import ObjectReader, Objects
from ..inference.detection import Detected, DetectionSettings, detect
from .base import Task
from .recipe import Recipe, option


@dataclass
class DetectionRecipe(Recipe):
    """How a detector is trained and tested."""

    task: ClassVar[str] = "object-detection"

    detector_type: Literal["mask_rcnn", "retinanet"] | None = option(None, "By default the model's.")

    @property
    def shorthands(self) -> dict[str, Any]:
        return super().shorthands | {"detector_type": self.detector_type}


@dataclass
class InstanceSegmentationRecipe(DetectionRecipe):
    """How Mask R-CNN is trained and tested."""

    task: ClassVar[str] = "instance-segmentation"


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
    def prepare(
        model: PreTrainedModel,
        image_processor: BaseImageProcessor,
        image: Image.Image,
        settings: DetectionSettings | None = None,
    ) -> Detected:
        """The prediction itself: pictures have different sizes."""
        return detect(model, image_processor, image, settings)

    @staticmethod
    def predict(model: PreTrainedModel, prepared: Sequence[Detected]) -> Sequence[Detected]:
        return prepared

    @staticmethod
    def metric(config: PreTrainedConfig) -> Any:
        raise NotImplementedError

    @staticmethod
    def count(metric: Any, predictions: Sequence[Detected], targets: Sequence[Objects]) -> None:
        raise NotImplementedError

    @staticmethod
    def describe(prediction: Detected, config: PreTrainedConfig, top_k: int) -> list[dict[str, Any]]:
        raise NotImplementedError

    @classmethod
    def writer(cls, config: PreTrainedConfig, folder: Path, top_k: int) -> Callable[[Detected, str], dict[str, Any]]:
        raise NotImplementedError

    # --- training

    def __init__(self, recipe: DetectionRecipe, num_labels: int):
        super().__init__(recipe, num_labels)
        self.preset_image_size = None
        self.evaluation_settings = None

    def image_processor(self, model: PreTrainedModel) -> BaseImageProcessor:
        return detection_processor(model.config)

    def transform(self, config: PreTrainedConfig, image_processor: BaseImageProcessor) -> Callable[..., Any]:
        raise NotImplementedError

    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Of images (B, C, H, W), their `pixel_mask` (B, H, W), and the labels of each."""
        return model(**{name: batch[name] for name in ("pixel_values", "pixel_mask", "labels")}).loss


class InstanceSegmentation(ObjectDetection):
    """The same with masks."""

    name = "instance-segmentation"
    class_ending = "ForInstanceSegmentation"
    recipe_class = InstanceSegmentationRecipe
    auto_class = AutoModelForInstanceSegmentation
    pipeline = "image-segmentation"
    figures = {"segm_map": "Mask mAP", "segm_map_50": "Mask mAP at IoU 0.5", "bbox_map": "Box mAP"}
    with_masks = True
