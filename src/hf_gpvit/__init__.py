# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""High-resolution vision transformers for Hugging Face: GPViT and HRViT.

Importing the package registers its models with the Auto classes of transformers.
"""

from pathlib import Path

from .models.configuration_gpvit import GPViTConfig
from .models.configuration_hrvit import HRViTConfig
from .models.modeling_gpvit import (
    GPViTBackbone,
    GPViTForImageClassification,
    GPViTForSemanticSegmentation,
    GPViTModel,
)
from .models.modeling_hrvit import (
    HRViTBackbone,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTModel,
)
from .registration import register_auto_classes


__version__ = (Path(__file__).parent / "version.txt").read_text(encoding="utf-8").strip()

__all__ = [
    "GPViTBackbone",
    "GPViTConfig",
    "GPViTForImageClassification",
    "GPViTForSemanticSegmentation",
    "GPViTModel",
    "HRViTBackbone",
    "HRViTConfig",
    "HRViTForImageClassification",
    "HRViTForSemanticSegmentation",
    "HRViTModel",
]

register_auto_classes()
