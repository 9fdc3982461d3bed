# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""High-resolution vision transformers for Hugging Face: GPViT and HRViT.

Importing the package registers its models with the Auto classes of transformers.
"""

from pathlib import Path

from .models.configuration_gpvit import GPViTConfig
from .models.configuration_gpvit_adapter import GPViTAdapterConfig
from .models.configuration_gpvit_detection import GPViTDetectionConfig
from .models.configuration_hrvit import HRViTConfig
from .models.image_processing_gpvit_detection import GPViTDetectionImageProcessor
from .models.modeling_gpvit import (
    GPViTBackbone,
    GPViTForImageClassification,
    GPViTForSemanticSegmentation,
    GPViTModel,
)
from .models.modeling_gpvit_adapter import GPViTAdapterBackbone
from .models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection
from .models.modeling_hrvit import (
    HRViTBackbone,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTModel,
)
from .registration import register_auto_classes


__version__ = (Path(__file__).parent / "version.txt").read_text(encoding="utf-8").strip()

__all__ = [
    "GPViTAdapterBackbone",
    "GPViTAdapterConfig",
    "GPViTBackbone",
    "GPViTConfig",
    "GPViTDetectionConfig",
    "GPViTDetectionImageProcessor",
    "GPViTForImageClassification",
    "GPViTForInstanceSegmentation",
    "GPViTForObjectDetection",
    "GPViTForSemanticSegmentation",
    "GPViTModel",
    "HRViTBackbone",
    "HRViTConfig",
    "HRViTForImageClassification",
    "HRViTForSemanticSegmentation",
    "HRViTModel",
]

register_auto_classes()
