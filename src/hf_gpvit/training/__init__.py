# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Training on Accelerate, by recipes, and how good the result is."""

from ..saved_models import AUTO_CLASSES
from ..tasks import (
    ClassificationRecipe,
    DetectionRecipe,
    InstanceSegmentationRecipe,
    SegmentationRecipe,
    load_recipe,
)
from .building import build_model
from .engine import TrainingStopped, train
from .evaluation import evaluate_model


__all__ = [
    "AUTO_CLASSES",
    "ClassificationRecipe",
    "DetectionRecipe",
    "InstanceSegmentationRecipe",
    "SegmentationRecipe",
    "TrainingStopped",
    "build_model",
    "evaluate_model",
    "load_recipe",
    "train",
]
