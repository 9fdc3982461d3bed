# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The papers' test-time preprocessing as transformers' own image processors."""

from transformers import BaseImageProcessor, PreTrainedConfig, SegformerImageProcessor, ViTImageProcessor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from .labels import load_label_set


# Part of the resized image's shorter side that the centre crop keeps, for classification.
CROP_RATIO = {"gpvit": 224 / 256, "hrvit": 0.9}
# ADE20K: the image is fitted into 512 x 2048, keeping its ratio.
SEGMENTATION_SIDE = 512
SEGMENTATION_MAX_RATIO = 4


def cropping_processor(
    config: PreTrainedConfig, image_size: int | tuple[int, int] | None = None, crop_ratio: float | None = None
) -> ViTImageProcessor:
    """Shorter side resized bicubically, and a centre crop of `image_size`, which is `crop_ratio` of that side.

    The defaults are the config's `image_size`, and the paper's ratio.
    """
    _check_family(config)
    height, width = _sides(image_size or config.image_size)
    return ViTImageProcessor(
        size={"shortest_edge": int(max(height, width) / (crop_ratio or CROP_RATIO[config.model_type]))},
        default_to_square=False,
        do_center_crop=True,
        crop_size={"height": height, "width": width},
        resample=PILImageResampling.BICUBIC,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )


def fitting_processor(
    config: PreTrainedConfig, image_size: int | tuple[int, int] | None = None
) -> SegformerImageProcessor:
    """Fits the whole picture into `image_size`, by default 512, of two sides the shorter, times four times that."""
    _check_family(config)
    side = min(_sides(image_size or SEGMENTATION_SIDE))
    return SegformerImageProcessor(
        size={"shortest_edge": side, "longest_edge": SEGMENTATION_MAX_RATIO * side},
        default_to_square=False,
        do_reduce_labels=config.id2label == load_label_set("ade20k").id2label,
    )


def size_after(image_processor: BaseImageProcessor) -> tuple[int, int]:
    """Height and width of what the image processor makes of a square image."""
    is_cropped = getattr(image_processor, "do_center_crop", False)
    size = image_processor.crop_size if is_cropped else image_processor.size
    side = size.get("shortest_edge")
    return (side, side) if side else (size["height"], size["width"])


def _check_family(config: PreTrainedConfig) -> None:
    if config.model_type not in CROP_RATIO:
        raise ValueError(f"model must be of a type in {list(CROP_RATIO)}, got {config.model_type!r}.")


def _sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width."""
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
