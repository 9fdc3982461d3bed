# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The papers' test-time preprocessing as transformers' own image processors."""

from transformers import BaseImageProcessor, PreTrainedModel, SegformerImageProcessor, ViTImageProcessor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from ..registration import architecture_task
from .labels import load_label_set


# Part of the resized image's shorter side that the centre crop keeps, for classification.
CROP_RATIO = {"gpvit": 224 / 256, "hrvit": 0.9}
# ADE20K: the image is fitted into 512 x 2048, keeping its ratio.
SEGMENTATION_SIDE = 512
SEGMENTATION_MAX_RATIO = 4


def image_processor_for(
    model: PreTrainedModel, image_size: int | tuple[int, int] | None = None, crop_ratio: float | None = None
) -> BaseImageProcessor:
    """The image processor that feeds `model` as its paper does at test time.

    Classifiers and trunks: shorter side resized bicubically, centre crop of `image_size` (by default the config's),
    which is `crop_ratio` of the shorter side (by default the paper's: 0.875 for GPViT, 0.9 for HRViT).
    Segmentors: fitted into `image_size` (by default 512, of two sides the shorter) x four times that with the ratio
    kept; a segmentor with ADE20K's labels also reduces them by one (0 becomes 255, ignored). Pixels are normalised
    with ImageNet's mean and standard deviation.

    The built-in class can't round the resized sides up to multiples of 32, as the official ADE20K evaluation does
    with a second resize; the model takes any size without it.

    Raises:
        ValueError: the model is of another family.
    """
    if model.config.model_type not in CROP_RATIO:
        raise ValueError(f"model must be of a type in {list(CROP_RATIO)}, got {model.config.model_type!r}.")
    if architecture_task(type(model).__name__) == "semantic-segmentation":
        side = min(_sides(image_size or SEGMENTATION_SIDE))
        return SegformerImageProcessor(
            size={"shortest_edge": side, "longest_edge": SEGMENTATION_MAX_RATIO * side},
            default_to_square=False,
            do_reduce_labels=model.config.id2label == load_label_set("ade20k").id2label,
        )
    height, width = _sides(image_size or model.config.image_size)
    return ViTImageProcessor(
        size={"shortest_edge": int(max(height, width) / (crop_ratio or CROP_RATIO[model.config.model_type]))},
        default_to_square=False,
        do_center_crop=True,
        crop_size={"height": height, "width": width},
        resample=PILImageResampling.BICUBIC,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )


def _sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width."""
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
