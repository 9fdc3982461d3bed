# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From a row of a dataset to a picture and its target, both checked; for training and for evaluation alike."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from ..extras import import_extra
from ..files import printable
from .folders import MASK_MODES
from .pictures import naming_unreadable, opened_picture, to_rgb, upright
from .transforms import IGNORE_INDEX, annotation_ids


datasets = import_extra("datasets")
file_utils = import_extra("datasets.utils.file_utils")


class RowReader:
    """Rows with the columns `image`, and `label` or `annotation` -> decoded picture and target.

    Args:
        target: "label" (class ids) or "annotation" (pictures of class ids, as large as `image`).
        num_labels: Number of classes.
        reduce_labels: Whether annotations have 0 for no class, and classes from 1 on. Default False.
        ignore_index: Id in annotations where there is no class. Default 255.
        split: Name of the split, for messages. Default: none.
    """

    def __init__(
        self,
        target: str,
        num_labels: int,
        reduce_labels: bool = False,
        ignore_index: int = IGNORE_INDEX,
        split: str | None = None,
    ):
        self.target = target
        self.num_labels = num_labels
        self.reduce_labels = reduce_labels
        # what reduction leaves is 255, whatever else is ignored
        self.ignore_index = IGNORE_INDEX if reduce_labels else ignore_index
        self.split = split

    def read(self, row: dict, place: str) -> tuple[Image.Image, torch.Tensor | int]:
        """RGB picture, and class id or (H, W) int64 class ids.

        Args:
            row: Pictures in it are decoded, or dicts of path and bytes.
            place: What to call the row in messages, beside the files' names.

        Raises:
            UnreadablePictureError: A picture can't be decoded, or not be made RGB.
            ValueError: The label is no class; the annotation is missing, has several channels, another size than its
                picture or an id that is no class.
        """
        place = f"{place} of the split {self.split}" if self.split else place
        with naming_unreadable(picture_name(row["image"], "image", place)):
            image = to_rgb(_decoded(row["image"]))
        if self.target == "label":
            return image, self._label(row, place)
        return image, self._ids(row, image, place)

    def _label(self, row: dict, place: str) -> int:
        label = row["label"]
        if label is None or not 0 <= label < self.num_labels:
            name = picture_name(row["image"], "image", place)
            raise ValueError(f"The {name} has the label {label}; num_labels is {self.num_labels}.")
        return label

    def _ids(self, row: dict, image: Image.Image, place: str) -> torch.Tensor:
        if row["annotation"] is None:
            raise ValueError(f"The {picture_name(row['image'], 'image', place)} has no annotation.")
        name = picture_name(row["annotation"], "annotation", place)
        with naming_unreadable(name):
            annotation = _decoded(row["annotation"])
        if annotation.mode not in MASK_MODES:
            expected = "class ids in one channel, 8 or 16 bits: mode L, P or I;16"
            raise ValueError(f"The {name} has the mode {annotation.mode}; expected {expected}.")
        if annotation.size != image.size:
            sizes = [f"{width}x{height}" for width, height in (annotation.size, image.size)]
            raise ValueError(f"The {name} has {sizes[0]} pixels, but its image has {sizes[1]}.")
        # in the file, where reduced labels start at 1
        largest = self.num_labels - 1 + self.reduce_labels
        ids = np.asarray(annotation)
        used = np.where(ids == self.ignore_index, 0, ids)
        if used.max() > largest or used.min() < 0:
            outside = np.unique(used[(used > largest) | (used < 0)]).tolist()
            raise ValueError(
                f"The {name} has the class ids {outside[:5]}, but num_labels is {self.num_labels}: "
                f"expected 0 to {largest}, and {self.ignore_index} where there is no class."
            )
        return annotation_ids(annotation, self.reduce_labels)


def undecoded(dataset, target: str):
    """The columns `image` and `target` alone, with pictures as they are in their files.

    So one that can't be read doesn't stop all, and rows that are not needed cost little. A stream whose features are
    not known gives what it has.
    """
    dataset = dataset.select_columns(["image", target])
    if dataset.features is None:
        return dataset
    for column in {"image", target} - {"label"}:
        dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def _decoded(picture: Any) -> Image.Image:
    """The picture in its own mode, upright where the camera says how; one that is decoded already, as it is."""
    if isinstance(picture, Image.Image):
        return picture
    if picture is None:
        raise ValueError("there is none")
    source = picture["path"] if picture["bytes"] is None else picture["bytes"]
    if source is None:
        raise ValueError("it has neither bytes nor a path")
    if isinstance(source, str) and not file_utils.is_local_path(source):
        with file_utils.xopen(source, "rb") as file:  # in an archive or on the Hub
            source = file.read()
    with opened_picture(source) as opened:
        return upright(opened)


def picture_name(picture: Any, column: str, place: str) -> str:
    """What to call a picture in messages: its file, if that is known, and its row."""
    path = picture.get("path") if isinstance(picture, dict) else None
    return f"{column} {printable(path)} ({place})" if path else f"{column} in {place}"
