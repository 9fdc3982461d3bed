# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What differs between training a classifier and training a segmentor."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from transformers import BaseImageProcessor, PreTrainedModel

from ..data.image_processors import image_processor_for
from ..data.transforms import ClassificationTransform, SegmentationTransform, mixup_cutmix
from ..inference import SegmentationSettings
from .recipe import ClassificationRecipe, SegmentationRecipe


class ClassificationTask:
    """Cross-entropy on augmented crops, which Mixup and CutMix mix within a batch."""

    def __init__(self, recipe: ClassificationRecipe, num_labels: int):
        self.recipe = recipe
        self.num_labels = num_labels
        self.evaluation_settings = None

    @property
    def preset_image_size(self) -> int | None:
        """Side in pixels that a preset's positions are made for; None: the preset's own."""
        return self.recipe.image_size

    def image_processor(self, model: PreTrainedModel) -> BaseImageProcessor:
        return image_processor_for(model, self.recipe.image_size, crop_ratio=self.recipe.test_crop_ratio)

    def transform(self, image_processor: BaseImageProcessor) -> Callable[..., dict[str, Any]]:
        crop = image_processor.crop_size
        return ClassificationTransform(
            image_processor,
            (crop["height"], crop["width"]),
            crop_scale=tuple(self.recipe.crop_scale),
            rand_augment_magnitude=self.recipe.rand_augment_magnitude,
            random_erasing=self.recipe.random_erasing,
        )

    def loss(self, model: torch.nn.Module, pixel_values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) images, (B,) class ids -> mean loss. Models have no loss for mixed targets, so it is here."""
        alphas = self.recipe.mixup_alpha, self.recipe.cutmix_alpha
        if any(alphas):
            pixel_values, labels = mixup_cutmix(pixel_values, labels, self.num_labels, *alphas)
        logits = model(pixel_values=pixel_values).logits
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)


class SegmentationTask:
    """The segmentor's own loss on crops of resized pictures."""

    def __init__(self, recipe: SegmentationRecipe, num_labels: int):
        self.recipe = recipe
        self.evaluation_settings = SegmentationSettings(
            window_size=recipe.test_window_size,
            window_stride=recipe.test_window_stride,
            scales=tuple(recipe.test_scales),
            flip=recipe.test_flip,
            size_divisor=recipe.test_size_divisor,
        )

    @property
    def preset_image_size(self) -> int:
        """Side in pixels that a preset's positions are made for."""
        return self.recipe.crop_size

    def image_processor(self, model: PreTrainedModel) -> BaseImageProcessor:
        shorter, longer = self.recipe.resize_size
        image_processor = image_processor_for(model, shorter)
        image_processor.size = {"shortest_edge": shorter, "longest_edge": longer}
        image_processor.do_reduce_labels = self.recipe.reduce_labels
        return image_processor

    def transform(self, image_processor: BaseImageProcessor) -> Callable[..., dict[str, Any]]:
        return SegmentationTransform(
            image_processor,
            self.recipe.crop_size,
            resize_size=tuple(self.recipe.resize_size),
            scale_range=tuple(self.recipe.scale_range),
            max_category_ratio=self.recipe.max_category_ratio,
            photometric_distortion=self.recipe.photometric_distortion,
        )

    def loss(self, model: torch.nn.Module, pixel_values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) images, (B, H, W) class ids -> mean loss over the labelled pixels."""
        return model(pixel_values=pixel_values, labels=labels).loss


TASKS = {"image-classification": ClassificationTask, "semantic-segmentation": SegmentationTask}
