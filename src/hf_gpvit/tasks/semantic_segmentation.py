# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation: a class for each pixel."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForSemanticSegmentation, BaseImageProcessor, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from ..data.image_processors import fitting_processor
from ..data.masks import (
    IGNORE_INDEX,
    annotation_ids,
    as_bytes,
    check_reducible,
    read_mask,
    reduces_labels,
    void_id,
)
from ..data.pictures import picture_name
from ..data.rows import RowReader, check_holds_pictures
from ..data.transforms import SegmentationTransform
from ..inference.pictures import MASK, OVERLAY, PREDICTIONS_TABLE, write_table
from ..inference.segmentation import (
    PreparedSegmentation,
    SegmentationSettings,
    prepare_segmentation,
    segment_prepared,
)
from ..inference.visualize import color_palette, label_set_palette, overlay_segmentation
from ..metrics.confusion_matrix import ConfusionMatrix
from ..models.configuration_base import MAX_SIDE
from ..models.inputs import usual_ignore_index
from .base import Task
from .recipe import Recipe, option


logger = logging.get_logger(__name__)

# Overlays are to be looked at: larger ones are scaled down to this side.
OVERLAY_SIDE = 2048


class AnnotationReader(RowReader):
    """Rows with the columns `image` and `annotation`, a picture of class ids that is as large: targets are the ids.

    They are uint8 where they can be, else int64; transforms get int64.

    In annotations 255 says that there is no class, or 65535 where there are more than 255 classes.

    Args:
        num_labels, split: As in `RowReader`.
        reduce_labels: Whether annotations have 0 for no class too, and classes from 1 on. Default False.
        ignore_index: Id in targets where there is no class. Default 255, or -100 where 255 is a class.

    Raises:
        ValueError: `reduce_labels` with more than 254 classes, or an `ignore_index` of 255 where that is a class.
    """

    target = "annotation"
    picture_columns = ("image", "annotation")

    def __init__(
        self,
        num_labels: int,
        split: str | None = None,
        reduce_labels: bool = False,
        ignore_index: int | None = None,
    ):
        super().__init__(num_labels, split)
        if reduce_labels:
            check_reducible(num_labels)
        self.reduce_labels = reduce_labels
        self.ignore_index = usual_ignore_index(num_labels) if ignore_index is None else ignore_index
        self.void = void_id(num_labels)
        if self.ignore_index == IGNORE_INDEX < num_labels:
            raise ValueError(
                f"semantic_loss_ignore_index is {IGNORE_INDEX}, so that this one of {num_labels} classes would "
                f"never be learned or counted; set it to {usual_ignore_index(num_labels)}."
            )
        if self.void != IGNORE_INDEX:
            logger.warning_once(f"255 is one of {num_labels} classes: masks say {self.void} where there is no class.")

    def read_target(self, row: dict, image: Image.Image, place: str) -> torch.Tensor:
        if row["annotation"] is None:
            raise ValueError(f"The {picture_name(row['image'], 'image', place)} has no annotation.")
        name = picture_name(row["annotation"], "annotation", place)
        annotation = read_mask(row["annotation"], name)
        if annotation.size != image.size:
            sizes = [f"{width}x{height}" for width, height in (annotation.size, image.size)]
            raise ValueError(f"The {name} has {sizes[0]} pixels, but its image has {sizes[1]}.")
        self._check_ids(np.asarray(annotation), name)
        ids = annotation_ids(annotation, self.reduce_labels)
        if self.ignore_index != self.void:
            ids = torch.where(ids == self.void, self.ignore_index, ids)
        return as_bytes(ids)

    def _check_ids(self, ids: np.ndarray, name: str) -> None:
        # in the file, where reduced labels start at 1
        largest = self.num_labels - 1 + self.reduce_labels
        used = np.where((ids == self.void) | (ids == self.ignore_index), 0, ids)
        if used.max() > largest or used.min() < 0:
            outside = np.unique(used[(used > largest) | (used < 0)]).tolist()
            raise ValueError(
                f"The {name} has the class ids {outside[:5]}, but num_labels is {self.num_labels}: "
                f"expected 0 to {largest}, and {self.void} where there is no class."
            )

    def sample(self, transform: Callable[..., Any], image: Image.Image, target: torch.Tensor) -> dict[str, Any]:
        pixel_values, labels = transform(image, target.long())
        return {"pixel_values": pixel_values, "labels": labels}


@dataclass
class SegmentationRecipe(Recipe):
    """How a segmentor is trained and tested. The defaults are those of ADE20K at a crop of 512."""

    task: ClassVar[str] = "semantic-segmentation"

    decode_head_type: Literal["segformer", "upernet"] | None = option(None, "By default the model's.")
    reduce_labels: bool = option(False, "Mask id 0 is no class: ignore it and count the others from 0, as ADE20K.")
    crop_size: int = option(512, "Side of training crops.")
    resize_size: list[int] = option([512, 2048], "Limits of the shorter and longer side that pictures are fitted to.")
    scale_range: list[float] = option([0.5, 2.0], "Random factor of resize_size in training.")
    max_category_ratio: float = option(0.75, "Crops with more of one class are drawn again; 1: any crop will do.")
    photometric_distortion: bool = option(True, "Vary brightness, contrast, saturation and hue.")
    test_size_divisor: int | None = option(None, "In tests, both sides are resized up to multiples of this.")
    test_window_size: int | None = option(None, "In tests, side of sliding windows; by default the whole picture.")
    test_window_stride: int | None = option(None, "Their distance; by default three quarters of their side.")
    test_scales: list[float] = option([1.0], "In tests, factors of resize_size whose predictions are averaged.")
    test_flip: bool = option(False, "In tests, average with the mirrored picture's prediction.")

    def __post_init__(self):
        super().__post_init__()
        self._require_sides("crop_size", "test_size_divisor", "test_window_size", "test_window_stride")
        sides, scales, factors = self.resize_size, self.scale_range, self.test_scales
        limits = f"(shorter, longer) side of at most {MAX_SIDE}"
        self._require("resize_size", len(sides) == 2 and 1 <= sides[0] <= sides[1] <= MAX_SIDE, limits)
        self._require("scale_range", len(scales) == 2 and 0 < scales[0] <= scales[1], "(least, greatest) factor")
        self._require("test_scales", len(factors) > 0 and min(factors) > 0, "at least one factor greater than 0")
        for name in ("scale_range", "test_scales"):
            largest = sides[1] * max(getattr(self, name))
            self._require(name, largest <= MAX_SIDE, f"such that resize_size={sides} gets sides of at most {MAX_SIDE}")
        self._require("max_category_ratio", 0 < self.max_category_ratio <= 1, "in (0, 1]")

    @property
    def shorthands(self) -> dict[str, Any]:
        return super().shorthands | {"decode_head_type": self.decode_head_type}


class SemanticSegmentation(Task):
    """Trained by the segmentor's own loss on crops of resized pictures."""

    name = "semantic-segmentation"
    class_ending = "ForSemanticSegmentation"
    recipe_class = SegmentationRecipe
    auto_class = AutoModelForSemanticSegmentation
    pipeline = "image-segmentation"
    target_column = "annotation"
    figures = {
        "mean_iou": "Mean IoU",
        "mean_accuracy": "Mean accuracy of the classes",
        "overall_accuracy": "Accuracy of the pixels",
    }
    usual_num_labels = 150
    settings_class = SegmentationSettings
    batch_size = 8

    # --- data

    @staticmethod
    def typed(dataset, column: str, names: Sequence[str] | None, source: str):
        check_holds_pictures(dataset.features["annotation"], column, source)
        return dataset

    @staticmethod
    def reader(config: PreTrainedConfig, image_processor: BaseImageProcessor, split: str | None) -> AnnotationReader:
        reduce_labels, ignore_index = reduces_labels(image_processor), config.semantic_loss_ignore_index
        return AnnotationReader(config.num_labels, split, reduce_labels, ignore_index)

    # --- use

    @staticmethod
    def build_image_processor(
        config: PreTrainedConfig, image_size: int | tuple[int, int] | None, crop_ratio: float | None
    ) -> BaseImageProcessor:
        return fitting_processor(config, image_size)

    @staticmethod
    def prepare(
        image_processor: BaseImageProcessor, image: Image.Image, settings: SegmentationSettings | None = None
    ) -> PreparedSegmentation:
        return prepare_segmentation(image_processor, image, settings)

    @staticmethod
    def predict(
        model: PreTrainedModel,
        image_processor: BaseImageProcessor,
        prepared: Sequence[PreparedSegmentation],
        settings: SegmentationSettings | None = None,
    ) -> Iterator[torch.Tensor]:
        """Class ids (height, width) of each picture, int64 on the CPU."""
        return segment_prepared(model, prepared, settings)

    @staticmethod
    def metric(config: PreTrainedConfig) -> ConfusionMatrix:
        return ConfusionMatrix(config.num_labels, config.semantic_loss_ignore_index, config.id2label)

    @staticmethod
    def count(
        metric: ConfusionMatrix,
        predictions: Iterable[torch.Tensor],
        targets: Sequence[torch.Tensor],
        positions: Sequence[int],
    ) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            metric.count([prediction], [target])

    @staticmethod
    def describe(prediction: torch.Tensor, config: PreTrainedConfig, top_k: int) -> list[dict[str, Any]]:
        """`[{"label", "share"}, ...]` of all pixels, the largest first; all of them, whatever `top_k`."""
        counts = np.bincount(prediction.numpy().ravel())
        order = np.argsort(-counts, kind="stable")
        return [
            {"label": config.id2label[index], "share": counts[index].item() / prediction.numel()}
            for index in order.tolist()
            if counts[index]
        ]

    @staticmethod
    def shown(image: Image.Image) -> Image.Image:
        """The picture in RGB, and not larger than an overlay."""
        picture = image.copy()
        picture.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))
        return picture

    @classmethod
    def writer(
        cls, config: PreTrainedConfig, folder: Path, top_k: int
    ) -> Callable[[torch.Tensor, str, Image.Image], dict[str, Any]]:
        """For each picture `<name>.png` with the class ids, and `<name>-overlay.jpg`."""
        id2label = config.id2label
        palette = color_palette(max(id2label) + 1, label_set_palette(id2label))

        def write(prediction: torch.Tensor, name: str, shown: Image.Image) -> dict[str, Any]:
            paths = {"mask": name + MASK, "overlay": name + OVERLAY}
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            ids = prediction.numpy()
            _mask(ids, palette).save(folder / paths["mask"])
            _overlay(shown, ids, id2label, palette).save(folder / paths["overlay"], quality=90)
            return paths | {"shares": cls.describe(prediction, config, top_k)}

        return write

    @staticmethod
    def conclude(config: PreTrainedConfig, folder: Path, records: Sequence[dict[str, Any]]) -> None:
        """`predictions.csv` with the columns file, label, share."""
        write_table(folder / PREDICTIONS_TABLE, records, "shares", ["label", "share"])

    # --- training

    def __init__(self, recipe: SegmentationRecipe, num_labels: int):
        super().__init__(recipe, num_labels)
        self.preset_image_size = recipe.crop_size
        self.evaluation_settings = SegmentationSettings.of(recipe, prefix="test_")

    def image_processor(self, model: PreTrainedModel) -> BaseImageProcessor:
        shorter, longer = self.recipe.resize_size
        image_processor = fitting_processor(model.config, shorter, longer)
        image_processor.do_reduce_labels = self.recipe.reduce_labels
        return image_processor

    def transform(self, config: PreTrainedConfig, image_processor: BaseImageProcessor) -> SegmentationTransform:
        return SegmentationTransform(
            image_processor,
            self.recipe.crop_size,
            resize_size=tuple(self.recipe.resize_size),
            scale_range=tuple(self.recipe.scale_range),
            max_category_ratio=self.recipe.max_category_ratio,
            photometric_distortion=self.recipe.photometric_distortion,
            ignore_index=config.semantic_loss_ignore_index,
        )

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Of images (B, C, H, W) and class ids (B, H, W), over the labelled pixels."""
        return model(pixel_values=batch["pixel_values"], labels=batch["labels"]).loss


def _mask(ids: np.ndarray, palette: np.ndarray) -> Image.Image:
    if len(palette) > 256:
        return Image.fromarray(ids.astype(np.uint16))
    mask = Image.fromarray(ids.astype(np.uint8))
    mask.putpalette(palette.tobytes())
    return mask


def _overlay(shown: Image.Image, ids: np.ndarray, id2label: Mapping[int, str], palette: np.ndarray) -> Image.Image:
    shown_ids = Image.fromarray(ids.astype(np.int32)).resize(shown.size, Image.Resampling.NEAREST)
    # no id is ignored: -1 is none
    return overlay_segmentation(shown, np.asarray(shown_ids), id2label, palette, ignore_index=-1)
