# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From a row of a dataset to a picture and its target, both checked; for training and for evaluation alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from PIL import Image

from ..extras import import_extra
from .pictures import picture_name, read_rgb


class RowReader(ABC):
    """Rows with the columns `image` and `target` -> decoded picture and target -> sample.

    Args:
        num_labels: Number of classes.
        split: Name of the split, for messages. Default: none.

    Attributes:
        target: Column of the targets.
        picture_columns: Those of the two that have pictures. Default: `image` alone.
        optional_columns: Others that are read where they are. Default: none.
    """

    target: ClassVar[str]
    picture_columns: ClassVar[tuple[str, ...]] = ("image",)
    optional_columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, num_labels: int, split: str | None = None):
        self.num_labels = num_labels
        self.split = split

    def undecoded(self, dataset):
        """The columns that are read alone, with pictures as they are in their files.

        So one that can't be read doesn't stop all, and rows that are not needed cost little. A stream whose features
        are not known gives what it has.

        Raises:
            ValueError: There is no such column.
        """
        columns = dataset.column_names  # None for streams that say nothing about themselves
        missing = {"image", self.target} - set(columns or ("image", self.target))
        if missing:
            raise ValueError(f"The dataset has no column {', '.join(sorted(missing))}, but {', '.join(columns)}.")
        present = [column for column in self.optional_columns if column in (columns or ())]
        dataset = dataset.select_columns(["image", self.target, *present])
        if dataset.features is None:
            return dataset
        for column in self.picture_columns:
            dataset = dataset.cast_column(column, import_extra("datasets").Image(decode=False))
        return dataset

    def read(self, row: dict, place: str) -> tuple[Image.Image, Any]:
        """RGB picture and target.

        Args:
            row: Pictures in it are decoded, or dicts of path and bytes.
            place: What to call the row in messages, beside the files' names.

        Raises:
            UnreadablePictureError: A picture can't be decoded, or not be made RGB.
            ValueError: The target is missing or wrong.
        """
        place = f"{place} of the split {self.split}" if self.split else place
        image = read_rgb(row["image"], picture_name(row["image"], "image", place))
        return image, self.read_target(row, image, place)

    @abstractmethod
    def read_target(self, row: dict, image: Image.Image, place: str) -> Any:
        """The target of a row whose picture was read."""

    @abstractmethod
    def sample(self, transform: Callable[..., Any], image: Image.Image, target: Any) -> dict[str, Any]:
        """What `transform` makes of a picture and its target, by the names of the model's arguments."""


def check_holds_pictures(feature: Any, column: str, source: str) -> None:
    """Raises a ValueError unless a column of a dataset has pictures."""
    if not isinstance(feature, import_extra("datasets").Image):
        raise ValueError(f"The column {column} of {source!r} must hold pictures (datasets.Image), got {feature}.")


def class_label(feature: Any) -> Any:
    """A column's `datasets.ClassLabel`, also that of the objects' `category`; None where it has none with names."""
    datasets = import_extra("datasets")
    while not isinstance(feature, datasets.ClassLabel) and feature is not None:
        feature = feature.get("category") if isinstance(feature, dict) else getattr(feature, "feature", None)
    return None if feature is None or feature.names is None else feature


def check_classes(feature: Any, names: Sequence[str] | None, column: str, source: str) -> Any:
    """The `datasets.ClassLabel` that a column of classes has or can be made of.

    Args:
        feature: The column's type.
        names: Of the classes, where they are given.
        column: What to call it in messages.
        source: Where the dataset comes from, for messages.

    Raises:
        ValueError: Nothing says what its classes are, or `names` are others than its own.
    """
    datasets = import_extra("datasets")
    own = class_label(feature) if isinstance(feature, datasets.ClassLabel) else None
    if own is not None and names in (None, own.names):
        return own
    if names is None or not isinstance(feature, (datasets.ClassLabel, datasets.Value)):
        raise ValueError(
            f"{column} must be a ClassLabel, got {feature}; numbers or names of classes will do if class_names says "
            "which there are."
        )
    if own is not None and len(names) != len(own.names):
        raise ValueError(f"class_names has {len(names)} names, but {source!r} has {len(own.names)} classes.")
    if own is not None and set(names) == set(own.names):
        raise ValueError(
            f"class_names has the classes of {source!r} in another order; they are {', '.join(own.names)}."
        )
    return datasets.ClassLabel(names=list(names))
