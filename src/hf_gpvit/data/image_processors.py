# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The papers' test-time preprocessing as transformers' own image processors, and what is refused of other ones."""

import math
from collections.abc import Iterable
from typing import Any

from transformers import BaseImageProcessor, PreTrainedConfig, SegformerImageProcessor, ViTImageProcessor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from ..models.image_processing_gpvit_detection import GPViTDetectionImageProcessor, resized_size
from ..models.layers import ceil_div
from .labels import load_label_set


# Part of the resized image's shorter side that the centre crop keeps, for classification.
CROP_RATIO = {"gpvit": 224 / 256, "gpvit_ablation": 224 / 256, "hrvit": 0.9, "hrvit_ablation": 0.9, "hrnet_vit": 0.9}
# ADE20K: the image is fitted into 512 x 2048, keeping its ratio.
SEGMENTATION_SIDE = 512
SEGMENTATION_MAX_RATIO = 4
# COCO: the shorter side becomes 800 pixels, or the longer one 1333.
DETECTION_SIDE = 800
DETECTION_MAX_RATIO = 1333 / 800
# Height and width, in proportion, of the pictures that their costs are counted for.
DETECTION_RATIO = (5, 8)

# What makes more of a picture, such as 2048x4096 pixels or a line of 16,384, is taken for broken; so is what pads
# further, since no model here needs padding.
_MAX_PIXELS = 2**23
_MAX_SIDE = 2**14
_MAX_PADDING = 2**11
# Of factors and offsets of pixel values, and of these themselves: far beyond any in use, far from where float32 ends.
_LEAST, MAX_PIXEL_VALUE = 1e-6, 1e6


def cropping_processor(
    config: PreTrainedConfig, image_size: int | tuple[int, int] | None = None, crop_ratio: float | None = None
) -> ViTImageProcessor:
    """Shorter side resized bicubically, and a centre crop of `image_size`, which is `crop_ratio` of that side.

    The defaults are the config's `image_size`, and the paper's ratio.

    Raises:
        ValueError: The config is of another family, its `num_channels` aren't 3, or the size is out of range.
    """
    _check_config(config)
    height, width = _sides(image_size or config.image_size)
    image_processor = ViTImageProcessor(
        size={"shortest_edge": int(max(height, width) / (crop_ratio or CROP_RATIO[config.model_type]))},
        default_to_square=False,
        do_center_crop=True,
        crop_size={"height": height, "width": width},
        resample=PILImageResampling.BICUBIC,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )
    check_image_processor(image_processor)
    return image_processor


def fitting_processor(
    config: PreTrainedConfig, image_size: int | tuple[int, int] | None = None, longest_side: int | None = None
) -> SegformerImageProcessor:
    """Fits the whole picture into `image_size`, by default 512, of two sides the shorter, times `longest_side`.

    That is by default four times the shorter one. The errors are those of `cropping_processor`.
    """
    _check_config(config)
    side = min(_sides(image_size or SEGMENTATION_SIDE))
    image_processor = SegformerImageProcessor(
        size={"shortest_edge": side, "longest_edge": longest_side or SEGMENTATION_MAX_RATIO * side},
        default_to_square=False,
        do_reduce_labels=config.id2label == load_label_set("ade20k").id2label,
    )
    check_image_processor(image_processor)
    return image_processor


def detection_processor(
    config: PreTrainedConfig, image_size: int | tuple[int, int] | None = None, longest_side: int | None = None
) -> GPViTDetectionImageProcessor:
    """Shorter side `image_size`, of two the shorter, by default 800; the longer one at most `longest_side`.

    That is by default 1333 / 800 times the shorter one.

    Raises:
        ValueError: The config's `num_channels` aren't 3, or the size is out of range.
    """
    _check_channels(config)
    side = min(_sides(image_size or DETECTION_SIDE))
    size = {"shortest_edge": side, "longest_edge": longest_side or int(side * DETECTION_MAX_RATIO)}
    image_processor = GPViTDetectionImageProcessor(size=size)
    check_image_processor(image_processor)
    return image_processor


def size_after(image_processor: BaseImageProcessor) -> tuple[int, int]:
    """Height and width of what the image processor makes of a square image; a detector's, of one of 5:8.

    Costs of detectors are published for 800x1280 pixels.
    """
    if isinstance(image_processor, GPViTDetectionImageProcessor):
        height, width = resized_size(*DETECTION_RATIO, image_processor.size)
        divisor = image_processor.size_divisor or 1
        return divisor * ceil_div(height, divisor), divisor * ceil_div(width, divisor)
    is_cropped = getattr(image_processor, "do_center_crop", False)
    size = image_processor.crop_size if is_cropped else image_processor.size
    side = size.get("shortest_edge")
    return (side, side) if side else (size["height"], size["width"])


def check_image_processor(image_processor: BaseImageProcessor) -> None:
    """That no picture becomes gigabytes, nor numbers that no model can take; of a processor that nobody has tried.

    Raises:
        ValueError: `size`, `crop_size` or `pad_size` is too large, or `image_mean`, `image_std` or `rescale_factor` is
            no number, not finite, zero where it divides, or huge. The message names field and value.
    """
    for field in ("size", "crop_size"):
        _check_size(field, _sides_of(image_processor, field))
    for field in ("pad_size", "size_divisor"):
        _check_numbers(field, _sides_of(image_processor, field).values(), 1, _MAX_PADDING)
    for field, least in (("image_mean", -MAX_PIXEL_VALUE), ("image_std", _LEAST), ("rescale_factor", _LEAST)):
        value = getattr(image_processor, field, None)
        _check_numbers(field, value if isinstance(value, (list, tuple)) else [value], least, MAX_PIXEL_VALUE)


def _sides_of(image_processor: BaseImageProcessor, field: str) -> dict[str, Any]:
    value = getattr(image_processor, field, None)
    return {field: value} if isinstance(value, (int, float)) else dict(value or {})


def _check_size(field: str, size: dict[str, Any]) -> None:
    areas = {name: size.pop(name, None) for name in ("min_pixels", "max_pixels")}
    _check_numbers(field, size.values(), 1, _MAX_SIDE)
    _check_numbers(field, areas.values(), 1, _MAX_PIXELS)
    sides = [side for side in size.values() if side is not None]
    area = math.prod(sides if len(sides) > 1 else 2 * sides)
    if area > _MAX_PIXELS:
        raise ValueError(f"{field} must be of at most {_MAX_PIXELS} pixels, got {size}, {area} pixels.")


def _check_numbers(field: str, values: Iterable[Any], least: float, greatest: float) -> None:
    for value in values:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and least <= value <= greatest):
            raise ValueError(f"{field} must have numbers from {least:g} to {greatest:g}, got {value!r}.")


def _check_config(config: PreTrainedConfig) -> None:
    if config.model_type not in CROP_RATIO:
        raise ValueError(f"model must be of a type in {list(CROP_RATIO)}, got {config.model_type!r}.")
    _check_channels(config)


def _check_channels(config: PreTrainedConfig) -> None:
    if config.num_channels != 3:
        raise ValueError(
            f"num_channels must be 3 where pictures are read, which is in RGB, got {config.num_channels}: make "
            "pixel_values of other channels yourself."
        )


def _sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width."""
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
