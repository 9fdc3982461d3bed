# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures and their objects, in whatever format: which belong to which split, and what becomes of them."""

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ..extras import import_extra
from ..files import printable
from .layouts import IMAGE_FOLDERS, TEST_FOLDERS, TRAIN_FOLDERS, composed, folders_in, layout_error
from .object_columns import ObjectCensus
from .objects import Item
from .pictures import UnreadablePictureError, files_below, picture_suffixes, size_of


datasets = import_extra("datasets")
logger = logging.get_logger(__name__)

_SPLIT = re.compile(rf"({'|'.join(sorted((*TRAIN_FOLDERS, *TEST_FOLDERS), key=len, reverse=True))})\d*")


class AnnotatedPicture(ABC):
    """A picture, and what a file says of its objects.

    Attributes:
        file: The picture.
        image_id: What its source calls it. Default: nothing.
    """

    def __init__(self, file: Path, image_id: int | str | None = None):
        self.file, self.image_id = file, image_id

    @abstractmethod
    def items(self, size: tuple[int, int], census: ObjectCensus) -> list[Item] | None:
        """The objects in a picture of this width and height; None if it can't be used, which the census then knows."""


class ObjectSource(ABC):
    """What a folder holds in one format.

    Attributes:
        root: The folder.
        parts: By split, "train" or "test" or both: what is in it, in the format's own terms.
        class_names: In the order of their ids; None where nothing says them, before `read`.
        category_ids: Those of the classes in the format's files. Default: there are no other ones.
        used: Files that were read beside the pictures.
    """

    root: Path
    parts: dict[str, Any]
    class_names: list[str] | None
    category_ids: list[int] | None = None
    used: set[Path]

    @abstractmethod
    def read(self, split: str, census: ObjectCensus) -> Sequence[AnnotatedPicture]:
        """The pictures of a split; the census gets to know what can't be used."""


def read_part(
    pictures: Sequence[AnnotatedPicture],
    census: ObjectCensus,
    root: Path,
    features: datasets.Features,
    class_ids: Sequence[int],
    skip_corrupt: bool,
    first_id: int = 0,
) -> datasets.Dataset:
    """Rows of a split: pictures are opened, and not decoded.

    Args:
        pictures: Of the split.
        census: Counts what can't be used, by the source's own class ids.
        root: The folder that the source is in, for messages.
        features: Types of the columns.
        class_ids: What becomes of the source's own class ids 0, 1, ...
        skip_corrupt: Leave pictures that can't be read out, with a warning. Otherwise raise.
        first_id: Of pictures that their source doesn't number. Default 0.
    """
    columns: dict[str, list] = {field: [] for field in features}
    errors = []
    for picture in pictures:
        try:
            size = size_of(picture.file)
        except UnreadablePictureError as error:
            if not skip_corrupt:
                raise
            errors.append(error)
            continue
        items = picture.items(size, census)
        if items is None:
            continue
        kept = census.usable(items, size, str(picture.file.relative_to(root)))
        number = first_id + len(columns["image"])
        columns["image"].append(str(picture.file))
        columns["objects"].append(_row([items[number] for number in kept], class_ids, features["objects"]))
        columns["image_id"].append(number if picture.image_id is None else picture.image_id)
    if errors:
        logger.warning(f"{len(errors)} of {len(pictures)} samples are left out: {printable(errors[0])}")
    return datasets.Dataset.from_dict(columns, features=features)


def object_features(class_names: list[str], with_masks: bool, image_ids: Iterable[Any]) -> datasets.Features:
    """Types of the columns; ids of pictures are numbers if all are, else text."""
    fields = {
        "bbox": datasets.List(datasets.List(datasets.Value("float32"), length=4)),
        "category": datasets.List(datasets.ClassLabel(names=class_names)),
        "area": datasets.List(datasets.Value("float32")),
        "iscrowd": datasets.List(datasets.Value("int8")),
    }
    if with_masks:
        fields["segmentation"] = datasets.List(datasets.Value("string"))
    has_text = any(isinstance(image_id, str) for image_id in image_ids)
    image_id = datasets.Value("string" if has_text else "int64")
    return datasets.Features({"image": datasets.Image(), "objects": fields, "image_id": image_id})


def _row(items: Sequence[Item], class_ids: Sequence[int], fields: dict[str, Any]) -> dict[str, list]:
    row = {
        "bbox": [item.box for item in items],
        "category": [class_ids[item.category] for item in items],
        "area": [item.area for item in items],
        "iscrowd": [item.iscrowd for item in items],
    }
    if "segmentation" in fields:
        row["segmentation"] = [item.segmentation and json.dumps(item.segmentation) for item in items]
    return row


# --- splits and pairs


def split_word(names: Iterable[str]) -> str | None:
    """The first of the names that is one of a split, as `train2017` is, without its number; None where none is."""
    found = (_SPLIT.fullmatch(name.casefold()) for name in names)
    return next((match[1] for match in found if match), None)


def split_in(stem: str) -> str | None:
    """That of the words in the name of a file, as in `instances_train2017`."""
    return split_word(re.split(r"[\W_]+", stem))


def chosen_parts(root: Path, found: dict[str | None, Any], with_train: bool = True) -> dict[str, Any]:
    """What to train on and what to test on, of what was found by the words of splits; None is of no split.

    Without `with_train`, what to train on is left out where there is something to test on.
    """
    train = [word for word in TRAIN_FOLDERS if word in found]
    if len(train) > 1:
        raise layout_error(root, f"{root} has several parts to train on: {' and '.join(train)}.")
    tests = [word for word in TEST_FOLDERS if word in found]
    parts = {"train": found[train[0]]} if train else {}
    if tests:
        parts = (parts if with_train else {}) | {"test": found[tests[0]]}
    return parts or {"train": found[None]}


def tree(root: Path) -> tuple[list[Path], list[Path]]:
    """Pictures, and other files, in a folder and in those below; folders in it may be links."""
    files = set(files_below(root))
    for folder in folders_in(root):
        for linked in (folder, *folders_in(folder)):
            if linked.is_symlink():
                files |= set(files_below(linked))
    suffixes = picture_suffixes()
    pictures = [file for file in files if file.suffix.lower() in suffixes and file.is_file()]
    return sorted(pictures), sorted(files.difference(pictures))


def in_image_folders(root: Path, pictures: Sequence[Path]) -> list[Path]:
    """The pictures in folders such as `images`; all of them where there are no such folders."""
    inside = [
        picture
        for picture in pictures
        if any(part.casefold() in IMAGE_FOLDERS for part in picture.relative_to(root).parts[:-1])
    ]
    return inside or list(pictures)


def paired(root: Path, pictures: Sequence[Path], files: Sequence[Path], folders: Sequence[str]) -> dict[Path, Path]:
    """By picture, its file: beside it, in one of these folders beside that of the pictures, or wherever there is one.

    Args:
        root: What pictures and files are in.
        pictures: The pictures.
        files: The files.
        folders: Names of the folders of files, in lower case.
    """
    keys = {_key(root, file, folders): file for file in files}
    stems = Counter(composed(picture.stem) for picture in pictures)
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(composed(file.stem), []).append(file)
    pairs = {}
    for picture in pictures:
        stem = composed(picture.stem)
        file = keys.get(_key(root, picture, IMAGE_FOLDERS))
        if file is None and stems[stem] == 1 and len(by_stem.get(stem, ())) == 1:
            [other] = by_stem[stem]
            file = other if _split_of(root, other) == _split_of(root, picture) else None
        if file is not None:
            pairs[picture] = file
    return pairs


def _key(root: Path, file: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Of two files that belong together it is the same: the path without the suffix and the last of these folders."""
    *parts, name = file.relative_to(root).with_suffix("").parts
    named = [index for index, part in enumerate(parts) if part.casefold() in folders]
    if named:
        del parts[named[-1]]
    return tuple(map(composed, (*parts, name)))


def by_split(root: Path, files: Iterable[Path]) -> dict[str | None, list[Path]]:
    """The files by the words of splits that the folders on their way from `root` are called by."""
    found: dict[str | None, list[Path]] = {}
    for file in files:
        found.setdefault(_split_of(root, file), []).append(file)
    return found


def _split_of(root: Path, file: Path) -> str | None:
    return split_word(file.relative_to(root).parts[:-1])
