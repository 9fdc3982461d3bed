# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Objects in the XML files of Pascal VOC: one for each picture."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..files import is_unicode, printable
from .layouts import composed, layout_error, some
from .object_columns import ObjectCensus
from .object_folders import (
    AnnotatedPicture,
    ObjectSource,
    by_split,
    chosen_parts,
    in_image_folders,
    paired,
    split_word,
)
from .objects import Item


LABEL_FOLDERS = ("annotations", "annotation", "labels", "label", "xmls", "xml")
MAX_BYTES = 2**24
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def find_voc(
    root: Path, pictures: Sequence[Path], others: Sequence[Path], with_train: bool = True
) -> "VocSource | None":
    """What a folder with these pictures and other files holds; None unless there are XML files of pictures."""
    files = [file for file in others if file.suffix.lower() == ".xml"]
    pictures = in_image_folders(root, pictures)
    pairs = paired(root, pictures, files, LABEL_FOLDERS)
    if not pairs:
        return None
    lists = _split_lists(others)
    if lists:
        parts = _listed(pictures, pairs, chosen_parts(root, lists, with_train))
    else:
        lone = set(files).difference(pairs.values())
        parts = chosen_parts(root, by_split(root, [*pictures, *sorted(lone)]), with_train)
    return VocSource(root, parts, pairs, lists.values())


class VocPicture(AnnotatedPicture):
    """A picture and its XML file."""

    def __init__(self, file: Path, labels: Path):
        super().__init__(file)
        self.labels = labels
        self.ids: dict[str, int] = {}

    @cached_property
    def tree(self) -> ElementTree.Element:
        """A ValueError names a file that is no XML, too large, or defines entities."""
        name = printable(self.labels)
        content = self.labels.read_bytes() if self.labels.stat().st_size <= MAX_BYTES else b"<!DOCTYPE"
        if b"<!DOCTYPE" in content:
            raise ValueError(f"{name} is no file of labels: it has more than {MAX_BYTES:,} bytes or a DOCTYPE.")
        try:
            return ElementTree.fromstring(content)
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise ValueError(f"{name} is no XML: {error}.") from error

    def items(self, size: tuple[int, int], census: ObjectCensus) -> list[Item] | None:
        own = tuple(_number(self.tree.find("size"), side) for side in ("width", "height"))
        if all(own) and own != size:
            name = f"{self.file}: {own[0]:g}x{own[1]:g}, but the upright picture has {size[0]}x{size[1]}"
            return census.add_fault("picture of another size than its labels say", name)
        items = []
        for number, entry in enumerate(self.tree.iter("object")):
            name = _text(entry, "name")
            if name in self.ids:
                items.append(_item(entry, self.ids[name]))
            else:
                where = f"{self.labels}, object {number}"
                census.add_fault("class without a name that is known", f"{where}: {name!r:.80}")
        return items


class VocSource(ObjectSource):
    """A folder of pictures and XML files.

    Args:
        root: The folder.
        parts: By split, its pictures, its XML files without a picture, and names of pictures that are not there.
        pairs: XML files by picture.
        lists: Files that say which pictures are in which split.
    """

    def __init__(self, root: Path, parts: dict[str, list[Path | str]], pairs: dict[Path, Path], lists: Iterable[Path]):
        self.root, self.parts, self.pairs = root, parts, pairs
        self.used = set(lists)
        self._found = {split: self._find(entries) for split, entries in self.parts.items()}
        pictures, _ = self._found.get("train") or self._found["test"]
        self.class_names = sorted({name for picture in pictures for name in picture.names})
        wrong = [name for name in self.class_names if not name or not is_unicode(name)]
        if wrong or not self.class_names:
            raise layout_error(root, f"The XML files have no objects with names ({some(wrong) or 'none'}).")

    def _find(self, entries: Sequence[Path | str]) -> tuple[list[VocPicture], list[tuple[str, str]]]:
        """The pictures of a split, and kinds and examples of what can't be used."""
        found, faults = [], []
        for entry in entries:
            if isinstance(entry, str) or entry.suffix.lower() == ".xml":
                faults.append(("picture without a file", str(entry)))
            elif entry not in self.pairs:
                faults.append(("picture without an XML file", str(entry)))
            else:
                picture = VocPicture(entry, self.pairs[entry])
                self.used.add(picture.labels)
                try:
                    picture.names = [_text(entry, "name") for entry in picture.tree.iter("object")]
                    found.append(picture)
                except ValueError as error:
                    faults.append(("XML file that can't be read", str(error)))
        return found, faults

    def read(self, split: str, census: ObjectCensus) -> list[VocPicture]:
        pictures, faults = self._found[split]
        for kind, example in faults:
            census.add_fault(kind, example)
        ids = {name: index for index, name in enumerate(self.class_names)}
        for picture in pictures:
            picture.ids = ids
        return pictures


def _split_lists(others: Sequence[Path]) -> dict[str | None, Path]:
    """Files of ImageSets/Main by the words of splits; those of one class have its name before."""
    lists = [file for file in others if file.suffix == ".txt" and "imagesets" in map(str.casefold, file.parts)]
    main = [file for file in lists if file.parent.name.casefold() == "main"] or lists
    found = {split_word([file.stem]): file for file in main}
    trainval = next((file for file in main if file.stem == "trainval"), None)
    if trainval is not None and "train" not in found:
        found["train"] = trainval
    return {word: file for word, file in found.items() if word is not None}


def _listed(pictures: Sequence[Path], pairs: dict[Path, Path], lists: dict[str, Path]) -> dict[str, list[Path | str]]:
    """Pictures of each list, or what it says where there is none."""
    by_stem = {composed(picture.stem): picture for picture in (*pictures, *pairs)}
    return {split: [by_stem.get(composed(stem), stem) for stem in _stems(file)] for split, file in lists.items()}


def _stems(file: Path) -> list[str]:
    return [line.split()[0] for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def _item(entry: ElementTree.Element, category: int) -> Item:
    """In VOC, pixels are counted from 1, and the last one is in the box."""
    box = entry.find("bndbox")
    left, top, right, bottom = (_number(box, corner) for corner in _CORNERS)
    if None in (left, top, right, bottom):
        return Item((left, top, right, bottom), category)
    left, top = max(left - 1, 0), max(top - 1, 0)
    is_difficult = _number(entry, "difficult") == 1
    return Item((left, top, right - left, bottom - top), category, iscrowd=is_difficult)


def _text(entry: ElementTree.Element, field: str) -> str:
    return (entry.findtext(field) or "").strip()


def _number(entry: Any, field: str) -> float | None:
    """None where it says no number."""
    try:
        return float(entry.findtext(field))
    except (AttributeError, TypeError, ValueError):
        return None
