# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""All that differs between the tasks, a file each: columns, transforms, loss, metric, predictions and how they look.

What trains, evaluates, predicts or publishes asks the task of `TASKS`, and knows none by name.
"""

from transformers import BaseImageProcessor, PreTrainedModel

from ..data.image_processors import cropping_processor, detection_processor
from ..registration import IMAGE_PROCESSORS
from .base import Task
from .detection import DetectionRecipe, InstanceSegmentation, InstanceSegmentationRecipe, ObjectDetection
from .image_classification import ClassificationRecipe, ImageClassification
from .recipe import Recipe, load_recipe
from .semantic_segmentation import SegmentationRecipe, SemanticSegmentation


TASKS: dict[str, type[Task]] = {
    task.name: task for task in (ImageClassification, SemanticSegmentation, ObjectDetection, InstanceSegmentation)
}


def find_task(name: str) -> type[Task]:
    """The task of this name; a ValueError names all where there is none."""
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {name!r}.")
    return TASKS[name]


def task_called_by(architecture: str) -> type[Task] | None:
    """The task of the model class with this name, such as "GPViTForImageClassification"; None of trunks, backbones."""
    return next((task for task in TASKS.values() if architecture.endswith(task.class_ending)), None)


def task_of_model(model: PreTrainedModel) -> type[Task]:
    """The task that the class of a model says, under what PEFT wraps around it; a ValueError where it says none."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    names = [cls.__name__ for cls in type(model).__mro__]
    task = next(filter(None, map(task_called_by, names)), None)
    if task is None:
        raise ValueError(f"model must be for one of {', '.join(TASKS)}, got a {names[0]}.")
    return task


def image_processor_for(
    model: PreTrainedModel, image_size: int | tuple[int, int] | None = None, crop_ratio: float | None = None
) -> BaseImageProcessor:
    """The image processor that feeds `model` as its paper does at test time.

    Classifiers and trunks: shorter side resized bicubically, centre crop of `image_size` (by default the config's),
    which is `crop_ratio` of the shorter side (by default the paper's: 0.875 for GPViT, 0.9 for HRViT).
    Segmentors: fitted into `image_size` (by default 512, of two sides the shorter) x four times that with the ratio
    kept; a segmentor with ADE20K's labels also reduces them by one (0 becomes 255, ignored). Pixels are normalised
    with ImageNet's mean and standard deviation.
    Detectors and their pyramid: shorter side resized to `image_size` (by default 800), or the longer one to
    1333 / 800 times that, with the ratio kept, and padded to multiples of 32.

    The built-in class can't round the resized sides up to multiples of 32, as the official ADE20K evaluation does
    with a second resize; the model takes any size without it.

    Raises:
        ValueError: The model is of another family, its `num_channels` aren't 3, or `image_size` is out of range.
    """
    task = task_called_by(type(model).__name__)
    if task is None and type(model.config) in IMAGE_PROCESSORS:
        return detection_processor(model.config, image_size)
    build = cropping_processor if task is None else task.build_image_processor
    return build(model.config, image_size, crop_ratio)


__all__ = [
    "TASKS",
    "ClassificationRecipe",
    "DetectionRecipe",
    "ImageClassification",
    "InstanceSegmentation",
    "InstanceSegmentationRecipe",
    "ObjectDetection",
    "Recipe",
    "SegmentationRecipe",
    "SemanticSegmentation",
    "Task",
    "find_task",
    "image_processor_for",
    "load_recipe",
    "task_called_by",
    "task_of_model",
]
