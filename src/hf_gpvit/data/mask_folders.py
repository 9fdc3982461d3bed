# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images and masks: which belong together, and which classes the masks have."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import is_unicode, printable
from .layouts import composed, layout_error, some
from .masks import EXPECTED_MODES, MASK_MODES, check_reducible, mode_and_mask, void_id
from .pictures import looked_at, picture_files, upright_size


MAX_CLASSES = 65535
# More ids than this that nobody has named are levels of grey rather than classes.
MAX_GUESSED = 64


def find_pairs(root: Path, image_folder: Path, mask_folder: Path) -> list[tuple[Path, Path]]:
    """Images and masks of one split, paired by their paths below the two folders, whatever their suffixes."""
    images, masks = _by_stem(image_folder), _by_stem(mask_folder)
    other = [mask.name for mask in masks.values() if mask.suffix.lower() != ".png"]
    if other:
        raise ValueError(f"Masks must be PNG files, because other formats may change the ids: {some(other)}.")
    for label, lone in (
        ("Images without a mask", images.keys() - masks.keys()),
        ("Masks without an image", masks.keys() - images.keys()),
    ):
        if lone:
            names = some((images | masks)[stem].name for stem in lone)
            found = f"{names} ({len(images)} images, {len(masks)} masks)"
            raise layout_error(root, f"{label} of the same name in {image_folder.parent}: {found}.")
    if not images:
        raise layout_error(root, f"No pictures in {image_folder}.")
    return [(images[stem], masks[stem]) for stem in images]


def _by_stem(folder: Path) -> dict[str, Path]:
    files = {}
    for file in picture_files(folder):
        stem = composed(file.relative_to(folder).with_suffix("").as_posix())
        if stem in files:
            raise ValueError(f"Two files of the same name in {folder}: {files[stem].name} and {file.name}.")
        files[stem] = file
    return files


class MaskCensus:
    """Checks masks one by one, and counts their ids.

    Args:
        names: Of the classes, None where nothing says which there are.
        reduce_labels: Whether masks have 0 for no class too, and classes from 1 on.

    Attributes:
        num_pixels, num_masks: With this id, by id.
    """

    def __init__(self, names: Sequence[str] | None, reduce_labels: bool = False):
        if names is not None and reduce_labels:
            check_reducible(len(names))
        self.names, self.least = names, int(reduce_labels)
        self.void = void_id(0 if names is None else len(names))
        self.num_pixels, self.num_masks = Counter(), Counter()
        self._first: dict[int, Path] = {}

    @property
    def ids(self) -> list[int]:
        """Those of classes."""
        return sorted(self.num_pixels.keys() - {self.void} - set(range(self.least)))

    def check(self, image: Path, mask: Path) -> None:
        """Counts a mask; a ValueError unless it fits its image and the classes."""
        mode, size, counts = looked_at(mask, _contents)
        if mode not in MASK_MODES:
            raise ValueError(f"The mask {printable(mask)} has the mode {mode}; expected {EXPECTED_MODES}.")
        image_size = looked_at(image, upright_size)
        if size != image_size:
            raise ValueError(
                f"The mask {printable(mask)} has {size[0]}x{size[1]} pixels, but its image {printable(image.name)} "
                f"has {image_size[0]}x{image_size[1]}."
            )
        self._check_ids(mask, counts)
        self.num_pixels.update(counts)
        self.num_masks.update(counts.keys())
        for index in counts:
            self._first.setdefault(index, mask)

    def _check_ids(self, mask: Path, ids: dict[int, int]) -> None:
        if self.names is None:
            return
        largest = len(self.names) - 1 + self.least
        outside = sorted(index for index in ids if index != self.void and not 0 <= index <= largest)
        if outside:
            raise ValueError(
                f"The mask {printable(mask)} has the class ids {some(outside)}; of {len(self.names)} classes they are "
                f"{self.least} to {largest}, and {self.void} is ignored. {_LEVELS}"
            )

    def check_varied(self, root: Path) -> None:
        """A ValueError where there is nothing to tell apart."""
        if len(self.ids) < 2:
            least = self.least
            raise ValueError(
                f"The masks of {printable(root)} have fewer than two classes: their ids are {self.ids}, and "
                f"{self.void} is ignored. Number the classes {least}, {least + 1}, ...; a foreground of 255 must "
                f"become {least + 1}."
            )

    def guessed_names(self, root: Path) -> list[str]:
        """`class_0`, ... for ids without gaps; a ValueError, with the file to look at, where they may be anything."""
        ids = self.ids
        gap = next((pair for pair in zip(count(self.least), ids, strict=False) if pair[0] != pair[1]), None)
        if gap is not None:
            expected, found = gap
            problem = f"the mask {printable(self._first[found])} has the id {found}, but none has {expected}"
        elif len(ids) > MAX_GUESSED:
            problem = f"{len(ids)} ids, such as {ids[-1]} in {printable(self._first[ids[-1]])}, are too many for that"
        else:
            return [f"class_{index}" for index in range(len(ids))]
        raise ValueError(
            f"{printable(root)} doesn't say which classes there are, so the ids in its masks must be {self.least}, "
            f"{self.least + 1}, ... without gaps; {problem}.\n{self.table()}\nIf these are ids, name all classes in "
            f'{printable(root / "classes.json")}, such as ["background", "ball"], or as class_names. {_LEVELS}'
        )

    def table(self) -> str:
        """A line for each id: its share of all pixels, and in how many masks it is."""
        total = self.num_pixels.total()
        ids = [*self.ids, *sorted(self.num_pixels.keys() - set(self.ids))]
        shown = ids if len(ids) <= MAX_GUESSED else [*ids[: MAX_GUESSED // 2], *ids[-MAX_GUESSED // 2 :]]
        lines = [
            f"{index:6}  {self.num_pixels[index] / total:7.2%}  {self.num_masks[index]:6}"
            + ("" if index in self.ids else "  (ignored)")
            for index in shown
        ]
        left_out = [f"   ...  {len(ids) - len(shown)} more"] if len(shown) < len(ids) else []
        return "\n".join(["    id   pixels   masks", *lines, *left_out])


_LEVELS = (
    "If they are levels of grey, of a mask that was drawn, resized smoothly or saved for viewing, such as 0, 127 and "
    "254, make masks of the numbers 0, 1, 2 instead."
)


def _contents(mask: Image.Image) -> tuple[str, tuple[int, int], dict[int, int]]:
    """Mode, size and how often each id is there, in one go, so that the mask is decoded once."""
    mode, upright = mode_and_mask(mask)
    if mode not in MASK_MODES:
        return mode, upright.size, {}
    ids = np.asarray(upright).ravel()
    if mode == "I":  # up to 2**31, which is more than can be counted one by one
        found, counts = np.unique(ids, return_counts=True)
    else:
        counts = np.bincount(ids)
        found = np.flatnonzero(counts)
        counts = counts[found]
    return mode, upright.size, dict(zip(found.tolist(), counts.tolist(), strict=True))


def read_class_names(file: Path) -> list[str] | None:
    """The names in classes.json by id, or None without that file."""
    if not file.is_file():
        return None
    try:
        # not by `read_json`: objects as tuples of pairs, because a dict would lose a name that is there twice
        record = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
        pairs = list(enumerate(record)) if isinstance(record, list) else list(map(_id_and_name, record))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(_json_problem(file, f"it can't be read as such ({error})")) from error
    ids, names = sorted(index for index, _ in pairs), [name for _, name in sorted(pairs, key=lambda pair: pair[0])]
    wrong = [name for name in names if not isinstance(name, str) or not name.strip() or not is_unicode(name)]
    if wrong:
        raise ValueError(_json_problem(file, f"these are no names: {some(wrong)}"))
    twice = {name for name, times in Counter(names).items() if times > 1}
    if twice:
        raise ValueError(_json_problem(file, f"these names are there more than once: {some(twice)}"))
    if ids != list(range(len(ids))) or not 2 <= len(ids) <= MAX_CLASSES:
        raise ValueError(_json_problem(file, f"its ids are {some(ids)} ({len(ids)} in all)"))
    return names


def _id_and_name(pair: tuple[str, Any]) -> tuple[int, Any]:
    key, value = pair
    return (value, key) if isinstance(value, int) else (int(key), value)


def _json_problem(file: Path, problem: str) -> str:
    return (
        f'{printable(file)}: expected a list of names, {{"0": name, ...}} or {{name: 0, ...}} with unique names and '
        f"each of the ids 0, 1, ... once, 2 to {MAX_CLASSES} classes; {problem}."
    )
