# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of both papers' tables as models: variants of GPViT and HRViT, and what these are compared with."""

from typing import Any

from transformers import AutoModelForImageClassification, AutoModelForSemanticSegmentation, PreTrainedModel

from .configuration_gpvit_ablation import GPViTAblationConfig
from .configuration_hrnet_vit import HRNetViTConfig
from .configuration_hrvit_ablation import HRViTAblationConfig
from .modeling_gpvit_ablation import (
    GPViTAblationBackbone,
    GPViTAblationForImageClassification,
    GPViTAblationForSemanticSegmentation,
    GPViTAblationModel,
)
from .modeling_hrnet_vit import (
    HRNetViTBackbone,
    HRNetViTForImageClassification,
    HRNetViTForSemanticSegmentation,
    HRNetViTModel,
)
from .modeling_hrvit_ablation import (
    HRViTAblationBackbone,
    HRViTAblationForImageClassification,
    HRViTAblationForSemanticSegmentation,
    HRViTAblationModel,
)
from .variants import VARIANTS, Variant, variant


AUTO_CLASSES = {
    "image-classification": AutoModelForImageClassification,
    "semantic-segmentation": AutoModelForSemanticSegmentation,
}
# Of ImageNet and Cityscapes, which the papers' figures are of.
NUM_LABELS = {"image-classification": 1000, "semantic-segmentation": 19}


def variants() -> tuple[str, ...]:
    """Keys that `build_model` takes."""
    return tuple(VARIANTS)


def build_model(key: str, **fields: Any) -> PreTrainedModel:
    """A variant with random weights: a classifier of 1000 classes, or for `hrnet...` a segmentor of 19.

    It can be built under `torch.device("meta")`.

    Args:
        key: One of `variants()`.
        **fields: Fields of its config to change, such as `num_labels`.

    Raises:
        ValueError: `key` or a field is unknown, or a field's value is not valid.
    """
    found = variant(key)
    return AUTO_CLASSES[found.task].from_config(found.config(**{"num_labels": NUM_LABELS[found.task]} | fields))


__all__ = [
    "GPViTAblationBackbone",
    "GPViTAblationConfig",
    "GPViTAblationForImageClassification",
    "GPViTAblationForSemanticSegmentation",
    "GPViTAblationModel",
    "HRNetViTBackbone",
    "HRNetViTConfig",
    "HRNetViTForImageClassification",
    "HRNetViTForSemanticSegmentation",
    "HRNetViTModel",
    "HRViTAblationBackbone",
    "HRViTAblationConfig",
    "HRViTAblationForImageClassification",
    "HRViTAblationForSemanticSegmentation",
    "HRViTAblationModel",
    "VARIANTS",
    "Variant",
    "build_model",
    "variants",
]
