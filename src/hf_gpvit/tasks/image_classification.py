# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Image classification: a class for each picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoModelForImageClassification, BaseImageProcessor, PreTrainedConfig, PreTrainedModel

from ..data.image_processors import cropping_processor
from ..data.pictures import picture_name
from ..data.rand_augment import MAX_MAGNITUDE
from ..data.rows import RowReader, check_classes
from ..data.transforms import ClassificationTransform, mixup_cutmix
from ..inference.classification import classification_inputs, classification_scores
from ..inference.pictures import PREDICTIONS_TABLE, write_table
from ..metrics.top_k_counts import TopKCounts
from .base import Task
from .recipe import Recipe, option


class LabelReader(RowReader):
    """Rows with the columns `image` and `label`: targets are class ids."""

    target = "label"

    def read_target(self, row: dict, image: Image.Image, place: str) -> int:
        label = row["label"]
        if label is None or not 0 <= label < self.num_labels:
            name = picture_name(row["image"], "image", place)
            raise ValueError(f"The {name} has the label {label}; num_labels is {self.num_labels}.")
        return label

    def sample(self, transform: Callable[..., Any], image: Image.Image, target: int) -> dict[str, Any]:
        return {"pixel_values": transform(image), "labels": target}


@dataclass
class ClassificationRecipe(Recipe):
    """How a classifier is trained."""

    task: ClassVar[str] = "image-classification"

    image_size: int | None = option(None, "Side of what the model sees; by default the model's.")
    test_crop_ratio: float | None = option(None, "Part of the shorter side that tests see; by default the paper's.")
    crop_scale: list[float] = option([0.08, 1.0], "Least and greatest part of a picture's area in a training crop.")
    rand_augment_magnitude: int = option(
        0, "Mean level of RandAugment's 2 operations, up to 10: 9 is rand-m9-mstd0.5-inc1 of timm; 0: none."
    )
    random_erasing: float = option(0.0, "Rate at which a rectangle is erased.")
    mixup_alpha: float = option(0.0, "Of Mixup's beta distribution; 0: none.")
    cutmix_alpha: float = option(0.0, "Of CutMix's beta distribution; 0: none. With Mixup, half of the steps each.")
    label_smoothing: float = option(0.0, "Part of the target that all classes share.")

    def __post_init__(self):
        super().__post_init__()
        self._require_sides("image_size")
        ratio = self.test_crop_ratio
        self._require("test_crop_ratio", ratio is None or 0 < ratio <= 1, "in (0, 1]")
        for name in ("mixup_alpha", "cutmix_alpha"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        magnitude = self.rand_augment_magnitude
        self._require("rand_augment_magnitude", 0 <= magnitude <= MAX_MAGNITUDE, f"in 0..{MAX_MAGNITUDE}")
        self._require("random_erasing", 0 <= self.random_erasing <= 1, "in [0, 1]")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        scale = self.crop_scale
        self._require("crop_scale", len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1, "two parts in (0, 1]")


class ImageClassification(Task):
    """Trained by cross-entropy on augmented crops, which Mixup and CutMix mix within a batch."""

    name = "image-classification"
    class_ending = "ForImageClassification"
    recipe_class = ClassificationRecipe
    auto_class = AutoModelForImageClassification
    pipeline = "image-classification"
    target_column = "label"
    figures = {"accuracy": "Top-1 accuracy", "top5_accuracy": "Top-5 accuracy"}
    usual_num_labels = 1000
    batch_size = 32

    # --- data

    @staticmethod
    def typed(dataset, column: str, names: Sequence[str] | None, source: str):
        feature = dataset.features["label"]
        wanted = check_classes(feature, names, f"The target column of {source!r}", source)
        if wanted is feature:
            return dataset
        try:
            return dataset.cast_column("label", wanted)
        except ValueError as error:
            raise ValueError(
                f"The target column of {source!r} has something else than class_names: {error}"
            ) from error

    @staticmethod
    def reader(config: PreTrainedConfig, image_processor: BaseImageProcessor, split: str | None) -> LabelReader:
        return LabelReader(config.num_labels, split)

    # --- use

    build_image_processor = staticmethod(cropping_processor)

    @staticmethod
    def prepare(image_processor: BaseImageProcessor, image: Image.Image, settings: None = None) -> torch.Tensor:
        """Pixel values (1, num_channels, height, width)."""
        return classification_inputs(image_processor, image)

    @staticmethod
    def predict(
        model: PreTrainedModel,
        image_processor: BaseImageProcessor,
        prepared: Sequence[torch.Tensor],
        settings: None = None,
    ) -> torch.Tensor:
        """(B, num_labels) float32 scores on the CPU."""
        return classification_scores(model, prepared)

    @staticmethod
    def metric(config: PreTrainedConfig) -> TopKCounts:
        return TopKCounts(config.num_labels)

    @staticmethod
    def count(metric: TopKCounts, predictions: torch.Tensor, targets: Sequence[int], positions: Sequence[int]) -> None:
        metric.count(predictions, targets)

    @staticmethod
    def describe(prediction: torch.Tensor, config: PreTrainedConfig, top_k: int) -> list[dict[str, Any]]:
        """`[{"label", "score"}, ...]`, the best first."""
        best = prediction.topk(min(top_k, config.num_labels))
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"label": config.id2label[index], "score": score} for index, score in found]

    @classmethod
    def writer(
        cls, config: PreTrainedConfig, folder: Path, top_k: int
    ) -> Callable[[torch.Tensor, str, None], dict[str, Any]]:
        return lambda prediction, name, shown: {"predictions": cls.describe(prediction, config, top_k)}

    @staticmethod
    def conclude(config: PreTrainedConfig, folder: Path, records: Sequence[dict[str, Any]]) -> None:
        """`predictions.csv` with the columns file, label, score."""
        write_table(folder / PREDICTIONS_TABLE, records, "predictions", ["label", "score"])

    # --- training

    def __init__(self, recipe: ClassificationRecipe, num_labels: int):
        super().__init__(recipe, num_labels)
        self.preset_image_size = recipe.image_size

    def image_processor(self, model: PreTrainedModel) -> BaseImageProcessor:
        return cropping_processor(model.config, self.recipe.image_size, self.recipe.test_crop_ratio)

    def transform(self, config: PreTrainedConfig, image_processor: BaseImageProcessor) -> ClassificationTransform:
        crop = image_processor.crop_size
        return ClassificationTransform(
            image_processor,
            (crop["height"], crop["width"]),
            crop_scale=tuple(self.recipe.crop_scale),
            rand_augment_magnitude=self.recipe.rand_augment_magnitude,
            random_erasing=self.recipe.random_erasing,
        )

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Of images (B, C, H, W) and class ids (B,). Models have no loss for mixed targets, so it is here."""
        pixel_values, labels = batch["pixel_values"], batch["labels"]
        alphas = self.recipe.mixup_alpha, self.recipe.cutmix_alpha
        if any(alphas):
            pixel_values, labels = mixup_cutmix(pixel_values, labels, self.num_labels, *alphas)
        logits = model(pixel_values=pixel_values).logits
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
