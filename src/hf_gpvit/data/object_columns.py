# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Datasets with a column of objects: its type, and what is wrong in it before anything is learned."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transformers.utils import logging

from ..extras import import_extra
from ..files import printable
from .layouts import SHOWN
from .objects import EXPECTED, Item, fault_of, is_small, items_of, reaches_out
from .pictures import UnreadablePictureError, picture_name, size_of
from .rows import check_classes, class_label


datasets = import_extra("datasets")
pyarrow = import_extra("pyarrow")
compute = import_extra("pyarrow.compute")
logger = logging.get_logger(__name__)

ROWS_AT_ONCE = 1000


class ObjectCensus:
    """Checks objects one by one, and counts those that can't be used.

    Args:
        num_labels: Number of classes; None where any id may be one.
        with_masks: Whether objects must have masks.
    """

    def __init__(self, num_labels: int | None, with_masks: bool = False):
        self.num_labels, self.with_masks = num_labels, with_masks
        self.num_kept = self.num_small = self.num_cut = 0
        self._counts, self._examples = Counter(), {}

    def add_fault(self, kind: str, example: str) -> None:
        """Counts what can't be used: of a kind, in the singular, such as "box that is empty"."""
        self._counts[kind] += 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < SHOWN:
            examples.append(printable(example))

    def usable(self, items: Iterable[Item], size: tuple[int, int], name: str) -> list[int]:
        """Places of the objects of a picture that can be used.

        Args:
            items: The objects.
            size: Width and height of the picture.
            name: What to call the picture.
        """
        kept = []
        for number, item in enumerate(items):
            fault = fault_of(item, size, self.num_labels, self.with_masks)
            if fault is not None:
                self.add_fault(fault[0], f"{name}, object {number}: {fault[1]}")
            else:
                self.num_small += is_small(item.box)
                self.num_cut += reaches_out(item.box, size)
                kept.append(number)
        self.num_kept += len(kept)
        return kept

    @property
    def has_faults(self) -> bool:
        return bool(self._counts)

    def close(self, source: str, skip_corrupt: bool) -> None:
        """Warns of what is left out, not learned, or cut.

        Raises:
            ValueError: There are faults, and `skip_corrupt` is false.
        """
        source = printable(source)
        if self.has_faults and not skip_corrupt:
            raise ValueError(
                f"{source} has what can't be used. Correct it, or have it left out by skip_corrupt.\n{self._table()}"
            )
        if self.has_faults:
            logger.warning(f"{source} has what can't be used; it is left out.\n{self._table()}")
        if self.num_small:
            logger.warning(
                f"{source} has {self.num_small} objects with a side of less than a pixel: they are not learned."
            )
        if self.num_cut:
            logger.warning(
                f"{source} has {self.num_cut} boxes that reach out of their pictures: for training they are cut."
            )

    def _table(self) -> str:
        """A line for each kind: how many there are, and the first of them."""
        return "\n".join(
            f"    {count} x {kind}: {'; '.join(self._examples[kind])}{'; ...' if count > SHOWN else ''}"
            for kind, count in self._counts.items()
        )


# --- types


def typed_objects(dataset, column: str, names: Sequence[str] | None, source: str):
    """The dataset, in whose column `objects` names of classes have become ids.

    Args:
        dataset: `datasets.Dataset` or `datasets.IterableDataset` with the columns `image` and `objects`.
        column: What `objects` is called in `source`, for messages.
        names: Of the classes, where they are given. Default: those of the column's ClassLabel.
        source: Where the dataset comes from, for messages.

    Raises:
        ValueError: The column has something else than objects; or nothing says what its classes are, or `names` are
            others.
    """
    feature = dataset.features["objects"]
    category = _checked_type(feature, column, source)
    wanted = check_classes(category, names, f"The classes of the column {column} of {source!r}", source)
    is_number = isinstance(category, datasets.Value) and category.dtype != "string"
    if wanted == category or is_number:
        return dataset
    if isinstance(feature, dict):
        feature = feature | {"category": datasets.List(wanted)}
    else:
        feature = datasets.List(feature.feature | {"category": wanted})
    try:
        if isinstance(dataset, datasets.IterableDataset):
            return dataset.cast_column("objects", feature)
        return with_objects(dataset, dataset.select_columns("objects").cast_column("objects", feature))
    except ValueError as error:
        raise ValueError(f"The column {column} of {source!r} has something else than class_names: {error}") from error


def with_objects(dataset, objects):
    """The dataset with another column `objects`, that of a dataset which has this column alone."""
    return datasets.concatenate_datasets([dataset.remove_columns("objects"), objects], axis=1)


def with_image_ids(dataset):
    """The dataset with a column `image_id`: where it has none, the numbers of its rows. A stream stays as it is."""
    if "image_id" in dataset.features or isinstance(dataset, datasets.IterableDataset):
        return dataset
    ids = datasets.Dataset.from_dict({"image_id": range(len(dataset))})
    return datasets.concatenate_datasets([dataset, ids], axis=1)


def has_objects(objects) -> bool:
    """Whether a dataset, whose column `objects` this is, has any; of a stream, nobody knows."""
    if isinstance(objects, datasets.IterableDataset):
        return True
    is_dict = isinstance(objects.features["objects"], dict)
    return any(
        compute.sum(compute.list_value_length(chunk.field("category") if is_dict else chunk)).as_py()
        for batch in objects.with_format("arrow").iter(ROWS_AT_ONCE)
        for chunk in batch["objects"].chunks
    )


def check_image_ids(dataset, source: str) -> None:
    """Raises a ValueError where two pictures of a dataset have one id."""
    if isinstance(dataset, datasets.IterableDataset):
        return
    first: dict[Any, int] = {}
    for row, image_id in enumerate(dataset["image_id"]):
        other = first.setdefault(image_id, row)
        if other != row:
            raise ValueError(
                f"image_id must be another one for each picture that is tested on, but rows {other} and {row} of "
                f"{source!r} both have {image_id!r:.80}: give one split as eval_split, or correct it."
            )


def _checked_type(feature: Any, column: str, source: str):
    """The type of single classes; a ValueError where a column doesn't hold objects."""
    fields = getattr(feature, "feature", feature)
    category = fields.get("category") if isinstance(fields, dict) else None
    if fields is feature:
        category = getattr(category, "feature", None)
    is_class = class_label(category) is not None
    is_value = isinstance(category, datasets.Value) and category.dtype.startswith(("int", "uint", "string"))
    if not (is_class or is_value) or "bbox" not in fields:
        raise ValueError(f"The column {column} of {source!r} must hold objects, {EXPECTED}; got {feature}.")
    return category


# --- checks


def checked_objects(dataset, num_labels: int, source: str, skip_corrupt: bool = False, with_masks: bool = False):
    """The dataset without the objects that can't be used, in all rows; of a stream, rows are checked as they are read.

    Pictures are opened, and not decoded; those that can't be are found when they are read.

    Args:
        dataset: As `typed_objects` gives it.
        num_labels: Number of classes.
        source: What to call the dataset in messages.
        skip_corrupt: Leave such objects out, with a warning that counts and names them. Default False: raise.
        with_masks: Whether objects must have masks. Default False.

    Raises:
        ValueError: There are such objects: their boxes aren't four finite numbers, empty or outside of the picture,
            classes aren't among those that have names, or masks are missing. The message counts and names them.
    """
    if isinstance(dataset, datasets.IterableDataset):
        return dataset
    census = ObjectCensus(num_labels, with_masks)
    usable = [
        None if size is None else census.usable(items, size, name) for items, size, name in _rows(dataset, source)
    ]
    census.close(source, skip_corrupt)
    if not census.has_faults:
        return dataset
    objects = dataset.select_columns("objects")
    rows = [
        row if kept is None else _selected(row, kept) for row, kept in zip(objects["objects"], usable, strict=True)
    ]
    return with_objects(dataset, datasets.Dataset.from_dict({"objects": rows}, features=objects.features))


def _rows(dataset, source: str) -> Iterator[tuple[list[Item], tuple[int, int] | None, str]]:
    """Objects of each picture, its width and height, None where they can't be read, and its name."""
    for start, batch in enumerate(dataset.with_format("arrow").iter(ROWS_AT_ONCE)):
        pictures = (picture for chunk in batch["image"].chunks for picture in chunk)
        for number, (picture, objects) in enumerate(zip(pictures, batch["objects"], strict=True)):
            content, path = picture.get("bytes"), picture["path"].as_py()
            opened = pyarrow.BufferReader(content.as_buffer()) if content.is_valid else path
            name = picture_name(path, "image", f"row {start * ROWS_AT_ONCE + number}")
            yield list(items_of(objects.as_py())), _size(opened), name


def _selected(row: dict | list, kept: list[int]) -> dict | list:
    """These objects of a row alone."""
    if isinstance(row, dict):
        return {field: values and [values[number] for number in kept] for field, values in row.items()}
    return [row[number] for number in kept]


def _size(opened: Any) -> tuple[int, int] | None:
    try:
        return size_of(opened)
    except UnreadablePictureError:
        return None
