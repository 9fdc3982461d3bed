# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From a row of a dataset to a picture and its target, both checked; for training and for evaluation alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable
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
