# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Objects in COCO's JSON files: one for all pictures of a split."""

import json
import mmap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from transformers.utils import logging

from ..files import is_unicode, one_line, printable
from .layouts import layout_error, some
from .object_columns import ObjectCensus
from .object_folders import AnnotatedPicture, ObjectSource, chosen_parts, split_in, split_word
from .objects import Item, is_number


logger = logging.get_logger(__name__)

# Of COCO's own files those of objects, rather than of keypoints or stuff.
PREFERRED = "instances"
MAX_ID = 2**63
_NOTHING_ABOVE = (None, "", "none")
_SECTIONS = ("images", "annotations", "categories")


def find_coco(
    root: Path, pictures: Sequence[Path], others: Sequence[Path], with_train: bool = True
) -> "CocoSource | None":
    """What a folder with these pictures and other files holds; None without files of COCO's."""
    files = [file for file in others if is_coco(file)]
    return coco_source(root, files, pictures, with_train) if files else None


def coco_source(root: Path, files: Sequence[Path], pictures: Sequence[Path], with_train: bool = True) -> "CocoSource":
    """What these files of COCO's say of pictures in a folder; a ValueError where there are several of a split."""
    found: dict[str | None, list[Path]] = {}
    for file in files:
        found.setdefault(_word(file.relative_to(root)), []).append(file)
    parts = {}
    for split, candidates in chosen_parts(root, found, with_train).items():
        preferred = [file for file in candidates if file.name.startswith(PREFERRED)] or candidates
        if len(preferred) > 1:
            names = some(file.relative_to(root) for file in preferred)
            raise layout_error(root, f"{root} has several files of COCO's to {split} on: {names}.")
        parts[split] = preferred[0]
    return CocoSource(root, pictures, parts)


class CocoPicture(AnnotatedPicture):
    """A picture and its annotations, as they are in the file."""

    def __init__(self, file: Path, image: dict[str, Any], items: list[Item]):
        super().__init__(file, image["id"])
        self.own_size = image.get("width"), image.get("height")
        self._items = items

    def items(self, size: tuple[int, int], census: ObjectCensus) -> list[Item] | None:
        if all(self.own_size) and self.own_size != size:
            own = "x".join(map(str, self.own_size))
            name = f"{self.file}: {own}, but the upright picture has {size[0]}x{size[1]}"
            return census.add_fault("picture of another size than its file says", name)
        return self._items


class CocoSource(ObjectSource):
    """A folder of pictures and a JSON file for each split.

    Args:
        root: The folder.
        pictures: All pictures in it.
        files: JSON files by split.
    """

    def __init__(self, root: Path, pictures: Sequence[Path], files: dict[str, Path]):
        self.root, self.parts = root, files
        self.used = set(files.values())
        self.pictures = set(pictures)
        self._records = {split: _read(file) for split, file in files.items()}
        categories = {split: _categories(files[split], record) for split, record in self._records.items()}
        [first, *others] = categories
        self._names = dict(sorted(categories[first].items()))
        for split in others:
            for index, name in categories[split].items():
                if self._names.get(index) != name:
                    raise ValueError(
                        f"{printable(files[split])} has the category {index} ({name!r:.80}), and "
                        f"{printable(files[first])} has {self._names.get(index, 'none')!r:.80} there."
                    )
        for index in self._umbrellas():
            name = self._names.pop(index)
            logger.warning(f"{name!r:.80} has no objects and is what other categories are called together: no class.")
        self.class_names, self.category_ids = list(self._names.values()), list(self._names)

    def _umbrellas(self) -> list[int]:
        """Categories that have no objects and are what the others are called together, as some tools write them."""
        above, used, top = set(), set(), set()
        for record in self._records.values():
            above |= {_id(entry, "supercategory") for entry in record["categories"]}
            top |= {entry["id"] for entry in record["categories"] if entry.get("supercategory") in _NOTHING_ABOVE}
            used |= {_id(entry, "category_id") for entry in record["annotations"]}
        return [index for index, name in self._names.items() if name in above and index in top - used]

    def read(self, split: str, census: ObjectCensus) -> list[CocoPicture]:
        record, file = self._records.pop(split), self.parts[split]
        images, twice = self._images(record, census)
        items: dict[Any, list[Item]] = {image_id: [] for image_id in images}
        classes = {index: place for place, index in enumerate(self.category_ids)}
        for number, annotation in enumerate(record["annotations"]):
            image_id, category_id = _id(annotation, "image_id"), _id(annotation, "category_id")
            if image_id in twice:
                continue
            if image_id not in items:
                kind = "annotation of an unknown picture"
                census.add_fault(kind, f"{file.name}, annotation {number}: image_id {image_id!r:.80}")
            elif category_id not in classes:
                kind = "category without a name"
                census.add_fault(kind, f"{file.name}, annotation {number}: category_id {category_id!r:.80}")
            else:
                items[image_id].append(_item(annotation, classes[category_id], census.with_masks))
        places = _places(self.root, file, self.pictures, [image["file_name"] for image in images.values()])
        found = []
        for (image_id, image), place in zip(images.items(), places, strict=True):
            if place is None:
                census.add_fault("picture without a file", f"{file.name}: {image['file_name']}")
            else:
                found.append(CocoPicture(place, image, items[image_id]))
        return found

    @staticmethod
    def _images(record: dict[str, Any], census: ObjectCensus) -> tuple[dict[Any, dict[str, Any]], set]:
        """Pictures by their ids, and the ids that several have, none of which is among them."""
        images: dict[Any, dict[str, Any]] = {}
        twice = set()
        for number, image in enumerate(record["images"]):
            image_id, name = _id(image, "id"), image.get("file_name")
            if image_id is None or not isinstance(name, str):
                census.add_fault("picture without id or file_name", f"images, entry {number}: {image!r:.80}")
            elif image_id in images:
                example = f"{image_id!r:.80}: {images[image_id]['file_name']} and {name}"
                census.add_fault("picture id that is there twice", example)
                twice.add(image_id)
            else:
                images[image_id] = image
        return {image_id: image for image_id, image in images.items() if image_id not in twice}, twice


def is_coco(file: Path) -> bool:
    """Whether a file is JSON, and the names of COCO's sections are in it; it may be large."""
    if file.suffix.lower() != ".json" or not file.is_file() or not file.stat().st_size:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(f'"{section}"'.encode()) >= 0 for section in _SECTIONS)


def _read(file: Path) -> dict[str, Any]:
    name = printable(file)
    try:
        record = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON: {one_line(error)}") from error
    sections = [record.get(section) if isinstance(record, dict) else None for section in _SECTIONS]
    lists = [section for section in sections if isinstance(section, list)]
    if len(lists) < len(sections) or not all(isinstance(entry, dict) for section in lists for entry in section):
        raise ValueError(f"{name} must have lists of objects called {', '.join(_SECTIONS)}, as COCO's files do.")
    return record


def _categories(file: Path, record: dict[str, Any]) -> dict[int, str]:
    """Names by ids."""
    pairs = [(entry.get("id"), entry.get("name")) for entry in record["categories"]]
    wrong = [
        pair for pair in pairs if type(pair[0]) is not int or not isinstance(pair[1], str) or not is_unicode(pair[1])
    ]
    values = [] if wrong else [value for pair in pairs for value in pair]
    twice = [value for value, times in Counter(values).items() if times > 1]
    if wrong or twice or not pairs:
        raise ValueError(
            f"{printable(file)} must have categories with unique numbers as id and unique names; got "
            f"{some(wrong or twice) or 'none'}."
        )
    return dict(pairs)


def _id(entry: dict[str, Any], field: str) -> int | str | None:
    """A number or text; None where it says something else, or what no dataset can hold."""
    value = entry.get(field)
    is_id = is_unicode(value) if isinstance(value, str) else type(value) is int and abs(value) < MAX_ID
    return value if is_id else None


def _item(annotation: dict[str, Any], category: int, with_mask: bool) -> Item:
    area = annotation.get("area")
    return Item(
        annotation.get("bbox"),
        category,
        area if is_number(area) else None,
        bool(annotation.get("iscrowd")),
        (with_mask and annotation.get("segmentation")) or None,
    )


# --- where pictures are


def _places(root: Path, file: Path, pictures: set[Path], names: Sequence[str]) -> list[Path | None]:
    """The files of these names, all in the one folder where most of them are; None where there is none."""
    names = [PurePosixPath(name.replace("\\", "/")) for name in names]
    places = _places_in(root, file, pictures, names)
    if not any(places):  # they may say where the pictures were once
        places = _places_in(root, file, pictures, [PurePosixPath(name.name) for name in names])
    return places


def _places_in(root: Path, file: Path, pictures: set[Path], names: Sequence[PurePosixPath]) -> list[Path | None]:
    word = _word(file.relative_to(root))
    wanted, counts = set(map(str, names)), Counter()
    for picture in pictures:
        path = picture.relative_to(root)
        tails = ("/".join(path.parts[depth:]) for depth in range(len(path.parts)))
        counts.update(path.parents[-1 - depth] for depth, tail in enumerate(tails) if tail in wanted)

    def rank(folder: Path) -> tuple:
        is_of_split = word is not None and split_word(reversed(folder.parts)) == word
        return is_of_split, counts[folder], root / folder == file.parent, -len(folder.parts), str(folder)

    best = root / max(counts, key=rank, default=Path())
    return [best / name if best / name in pictures else None for name in names]


def _word(path: Path) -> str | None:
    """Of the split that a file of COCO's is of, by its name or else by its folders."""
    return split_in(path.stem) or split_word(reversed(path.parts[:-1]))
