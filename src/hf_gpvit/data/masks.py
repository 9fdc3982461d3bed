# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Masks: pictures whose pixels are class ids."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BaseImageProcessor

from .pictures import decoded, naming_unreadable, picture_name, upright_copy


# One channel of class ids. "I" is what Pillow before 11 calls a 16-bit PNG.
MASK_MODES = ("L", "P", "I;16", "I")
EXPECTED_MODES = "class ids in one channel, 8 or 16 bits: mode L, P or I;16"
IGNORE_INDEX = 255
# With reduced labels, 0 and 255 are none in 8 bits.
MAX_REDUCED_LABELS = 254
_VOID_OF_16_BITS = 65535
# Grey of few bits, as Pillow calls it before it spreads it over 0 to 255, so that 3 of 2 bits becomes 255.
_FEW_BITS = ("L;2", "L;4")
# As Pillow calls JPEGs.
_LOSSY = ("JPEG", "MPO")


def void_id(num_labels: int) -> int:
    """What says "no class" in a mask: 255, or 65535 where 255 is the id of a class."""
    return IGNORE_INDEX if num_labels <= IGNORE_INDEX else _VOID_OF_16_BITS


def read_mask(picture: Any, name: str | None = None) -> Image.Image:
    """A picture of class ids, upright and with the ids that are stored, in the mode L, P, I;16 or I.

    The arguments are those of `read_rgb`.

    Raises:
        ValueError: As `read_rgb`, or it has another mode: several channels, floats, or grey of less than 8 bits; or it
            is a JPEG.
    """
    name = name or picture_name(picture)
    with naming_unreadable(name):
        mode, mask = decoded(picture, mode_and_mask)
    if mode not in MASK_MODES:
        raise ValueError(f"The {name} has the mode {mode}; expected {EXPECTED_MODES}.")
    return mask


def mode_and_mask(picture: Image.Image) -> tuple[str, Image.Image]:
    """An opened picture decoded and upright, and its mode, one of `MASK_MODES` where the ids are those in the file."""
    arguments = picture.tile[0][3] if getattr(picture, "tile", None) else None
    stored = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    mode = stored if stored in _FEW_BITS else picture.mode
    if picture.format in _LOSSY:
        mode = f"{mode} of a JPEG, which changes ids"
    return mode, upright_copy(picture)


def annotation_ids(annotation: Image.Image, reduce_labels: bool = False) -> Tensor:
    """(H, W) int64 class ids of an annotation of any mode that holds them in one channel: L, P, I;16 or I.

    With `reduce_labels`, for datasets whose id 0 is "no class" (ADE20K): 0 becomes 255, which is ignored, and 1, 2,
    ... become 0, 1, ...; 255 stays. Pass what the model's image processor says (`reduces_labels`).

    Raises:
        ValueError: `reduce_labels` with an id above 255: class 256 would become 255, and be ignored.
    """
    ids = torch.from_numpy(np.array(annotation)).long()
    if reduce_labels:
        if ids.max() > IGNORE_INDEX:
            raise ValueError(f"reduce_labels is for ids of at most {IGNORE_INDEX}, got {ids.max().item()}.")
        ids = torch.where((ids == 0) | (ids == IGNORE_INDEX), IGNORE_INDEX, ids - 1)
    return ids


def as_bytes(ids: Tensor) -> Tensor:
    """The same ids as uint8, if they are such, which take an eighth of the memory and are resized faster."""
    return ids.to(torch.uint8) if ids.min() >= 0 and ids.max() <= 255 else ids


def reduces_labels(image_processor: BaseImageProcessor) -> bool:
    """Whether the image processor says that class ids of annotations are to be reduced by one."""
    return bool(getattr(image_processor, "do_reduce_labels", False))


def check_reducible(num_labels: int) -> None:
    """Raises a ValueError where `reduce_labels` is asked for with so many classes that 255 is one of them."""
    if num_labels > MAX_REDUCED_LABELS:
        raise ValueError(
            f"reduce_labels is for at most {MAX_REDUCED_LABELS} classes, got {num_labels}: image processors "
            "make 255 of what is no class. Number the classes from 0 in the masks, with 65535 where there is none."
        )
