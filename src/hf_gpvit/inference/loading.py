# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a saved model does, and what loads it."""

import os
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
    BaseImageProcessor,
    PreTrainedModel,
)

from ..model_folders import check_finite, check_weights, one_line, own_class, read_config, weight_files
from ..registration import TASKS, architecture_task
from .segmentation import SegmentationSettings


AUTO_CLASSES = {
    "image-classification": AutoModelForImageClassification,
    "semantic-segmentation": AutoModelForSemanticSegmentation,
}

# Image processors that make larger pictures are taken for broken.
_MAX_SIDE = 2**14


def task_of(model: str | os.PathLike, settings: SegmentationSettings | None = None) -> str:
    """The task of a saved model, "image-classification" or "semantic-segmentation": a key of `AUTO_CLASSES`.

    Args:
        model: Folder or Hub name; only its config is read.
        settings: How it shall segment. Default: as `pipeline` does.

    Raises:
        OSError: There is no such model.
        ValueError: Its config is broken, it has another task, or `settings` that are not the default are given for a
            classifier.
    """
    try:
        architectures = read_config(model).architectures or []
    except OSError as error:
        raise OSError(f"model must be the folder or Hub name of a model, got {str(model)!r}: {error}") from error
    task = next(filter(None, map(architecture_task, architectures)), None)
    if task is None:
        raise ValueError(f"model must be one of {', '.join(TASKS)}, but {model} has architectures {architectures}.")
    if task == "image-classification" and settings not in (None, SegmentationSettings()):
        raise ValueError(f"settings are for segmentation, but {model} is a classifier, got {settings}.")
    return task


def load_model(model: str | os.PathLike, task: str) -> PreTrainedModel:
    """A saved model with all of its weights, in eval mode. No code in its folder is run.

    Args:
        model: Folder or Hub name.
        task: Key of `AUTO_CLASSES`.

    Raises:
        OSError: There are no weights.
        ValueError: They are broken, not finite, or not those that the config describes: some would be random.
    """
    _check_folder(Path(model))
    options = {"trust_remote_code": False, "output_loading_info": True}
    try:
        loaded, loading = AUTO_CLASSES[task].from_pretrained(model, **options)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"The weights of {model} can't be loaded: {one_line(error)}") from error
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ValueError(
            f"The weights of {model} are not all there: {len(missing)} are missing, such as {missing[0]}."
        )
    check_finite(loaded.state_dict().items(), model)
    return loaded


def load_image_processor(model: str | os.PathLike) -> BaseImageProcessor:
    """The image processor that was saved with a model, after a try. No code in its folder is run.

    Raises:
        OSError: There is none, or its file is no JSON.
        ValueError: It can't make a picture into numbers.
    """
    try:
        image_processor = AutoImageProcessor.from_pretrained(model, trust_remote_code=False)
        _check_sides(image_processor)
        pixel_values = image_processor(Image.new("RGB", (24, 16)), return_tensors="pt")["pixel_values"]
    except OSError:
        raise
    except Exception as error:  # a wrong entry can break it anywhere
        raise ValueError(f"The preprocessor_config.json of {model} can't be used: {one_line(error)}") from error
    if not (isinstance(pixel_values, torch.Tensor) and pixel_values.dim() == 4 and pixel_values.isfinite().all()):
        raise ValueError(f"The preprocessor_config.json of {model} can't be used: it makes no finite pixel values.")
    return image_processor


def _check_folder(folder: Path) -> None:
    """What transformers finds out late, or not at all; of models of this package in safetensors files."""
    if not folder.is_dir() or own_class(read_config(folder)) is None:
        return
    if any((folder / name).is_file() for name in weight_files(folder)):
        check_weights(folder)


def _check_sides(image_processor: BaseImageProcessor) -> None:
    for field in ("size", "crop_size"):
        for name, side in dict(getattr(image_processor, field, None) or {}).items():
            if side is not None and not 1 <= side <= _MAX_SIDE:
                raise ValueError(f"{field} must have sides from 1 to {_MAX_SIDE}, got {name}={side}.")
