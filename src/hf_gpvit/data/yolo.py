# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Objects as YOLO's tools write them: a text file for each picture, a line for each object."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging

from ..files import is_unicode, printable
from ..plain_yaml import Written, read_yaml
from .layouts import some
from .object_columns import ObjectCensus
from .object_folders import AnnotatedPicture, ObjectSource, by_split, chosen_parts, in_image_folders, paired
from .objects import Item


logger = logging.get_logger(__name__)

LABEL_FOLDERS = ("labels", "label", "annotations", "annotation")
# Where the names of the classes are, the first that is there.
YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_FILES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
MAX_BYTES = 2**24
_LINE = re.compile(r"\d{1,9}(\s+[-+.\deE]+){4,}")


def find_yolo(
    root: Path, pictures: Sequence[Path], others: Sequence[Path], with_train: bool = True
) -> "YoloSource | None":
    """What a folder with these pictures and other files holds; None unless text beside pictures looks like labels."""
    files = [file for file in others if file.suffix.lower() == ".txt" and file.name not in NAME_FILES]
    pictures = in_image_folders(root, pictures)
    pairs = paired(root, pictures, files, LABEL_FOLDERS)
    filled = next((file for file in pairs.values() if file.stat().st_size), None)
    if filled is None or not _looks_like_labels(filled):
        return None
    names_file = _names_file(root, others)
    lone = [file for file in set(files).difference(pairs.values()) if _looks_like_labels(file)]
    parts = chosen_parts(root, by_split(root, [*pictures, *sorted(lone)]), with_train)
    return YoloSource(root, parts, pairs, names_file)


class YoloPicture(AnnotatedPicture):
    """A picture and its lines: class, and centre and size of the box or the corners of a polygon, as parts of 1."""

    def __init__(self, file: Path, labels: Path | None):
        super().__init__(file)
        self.labels = labels

    def items(self, size: tuple[int, int], census: ObjectCensus) -> list[Item]:
        items = []
        for number, line in enumerate(_lines(self.labels), start=1):
            try:
                items.append(_item(line, size))
            except ValueError as error:
                census.add_fault("line that is no label", f"{self.labels}, line {number}: {error}")
        return items


class YoloSource(ObjectSource):
    """A folder of pictures and labels.

    Args:
        root: The folder.
        parts: By split, its pictures and its labels without a picture.
        pairs: Labels by picture.
        names_file: Where the names of the classes are. None: nowhere.
    """

    def __init__(self, root: Path, parts: dict[str, list[Path]], pairs: dict[Path, Path], names_file: Path | None):
        self.root, self.parts, self.pairs = root, parts, pairs
        self.class_names = None if names_file is None else _read_names(names_file)
        self.used = {names_file} if names_file is not None else set()

    def read(self, split: str, census: ObjectCensus) -> list[YoloPicture]:
        lone = {file for file in self.parts[split] if file.suffix.lower() == ".txt"}
        for file in sorted(lone):
            census.add_fault("picture without a file", str(file))
        self.used |= lone
        files = [file for file in self.parts[split] if file not in lone]
        labels = [self.pairs.get(file) for file in files]
        self.used |= set(filter(None, labels))
        bare = [file for file, label in zip(files, labels, strict=True) if label is None]
        if bare:
            logger.warning(f"{len(bare)} pictures have no file of labels, and count as without objects: {some(bare)}")
        return [YoloPicture(file, label) for file, label in zip(files, labels, strict=True)]

    def guessed_names(self) -> list[str]:
        """`class_0`, ... for ids without gaps; a ValueError where they have some."""
        counts = Counter(
            int(line.split()[0]) for file in set(self.pairs.values()) for line in _lines(file) if _LINE.match(line)
        )
        gap = next(((place, index) for place, index in enumerate(sorted(counts)) if place != index), None)
        if gap is not None:
            raise ValueError(
                f"Nothing says which classes there are, so the ids in the labels must be 0, 1, ... without gaps, but "
                f"there is {gap[1]} and no {gap[0]}. Name all classes in data.yaml, such as names: [cat, dog], in "
                "classes.txt, or as class_names."
            )
        table = ", ".join(f"{index} ({counts[index]} objects)" for index in sorted(counts))
        logger.warning(
            f"Nothing says which classes there are: the ids in the labels are taken for them, {table}. Name them in "
            "data.yaml or classes.txt."
        )
        return [f"class_{index}" for index in sorted(counts)]


def _lines(file: Path | None) -> list[str]:
    """Those with something in them."""
    if file is None:
        return []
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{printable(file)} has more than {MAX_BYTES:,} bytes, which no labels have.")
    text = file.read_text(encoding="utf-8-sig", errors="backslashreplace")
    return [line for line in text.splitlines() if line.strip()]


def _looks_like_labels(file: Path) -> bool:
    lines = _lines(file)
    return bool(lines) and _LINE.match(lines[0].strip()) is not None


def _item(line: str, size: tuple[int, int]) -> Item:
    """The object of a line, in pixels."""
    category, *fields = line.split()
    numbers = [float(field) for field in fields]
    width, height = size
    if not category.isdecimal():
        raise ValueError(f"{category!r:.40} is no class id")
    if len(numbers) == 4:
        x, y, box_width, box_height = numbers
        box = ((x - box_width / 2) * width, (y - box_height / 2) * height, box_width * width, box_height * height)
        return Item(_rounded(box), int(category))
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"{len(fields) + 1} fields; expected a class, and 4 of a box or 6 or more of a polygon")
    xs, ys = [x * width for x in numbers[::2]], [y * height for y in numbers[1::2]]
    box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    polygon = _rounded([value for corner in zip(xs, ys, strict=True) for value in corner])
    return Item(_rounded(box), int(category), segmentation=[polygon])


def _rounded(numbers: Sequence[float]) -> list[float]:
    """Without digits that labels of six can't tell, so that whole pixels stay so."""
    return [round(number, 2) for number in numbers]


# --- names


def _names_file(root: Path, others: Sequence[Path]) -> Path | None:
    found = [root / name for name in YAML_FILES if (root / name) in others]
    found += [file for file in others if file.parent == root and file.suffix in (".yaml", ".yml") and _has_names(file)]
    found += [file for name in NAME_FILES for file in others if file.name == name]
    return next(iter(found), None)


def _has_names(file: Path) -> bool:
    try:
        return "names" in read_yaml(file)
    except ValueError:
        return False


def _read_names(file: Path) -> list[str]:
    if file.suffix in (".yaml", ".yml"):
        names = read_yaml(file).get("names")
        if isinstance(names, dict):
            ids = [str(index) for index in range(len(names))]
            names = [names[index] for index in ids] if set(ids) == names.keys() else None
    else:
        names = [line.strip() for line in _lines(file)]
    is_list = isinstance(names, list) and all(isinstance(name, (str, Written)) and name.strip() for name in names)
    if not is_list or not names or len(set(names)) < len(names) or not all(map(is_unicode, names)):
        raise ValueError(
            f"{printable(file)} must have unique names of the classes, as names: [cat, dog] or names: {{0: cat, 1: "
            f"dog}} in YAML and a line each in text; got {names!r:.80}."
        )
    return [str(name) for name in names]
