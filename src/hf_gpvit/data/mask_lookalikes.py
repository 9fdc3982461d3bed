# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Masks that lie where classes are expected, which would be learned as pictures."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from .layouts import composed
from .masks import MASK_MODES
from .pictures import UnreadablePictureError, looked_at


# How many pictures of two folders are looked at to find out whether the one has masks of the other.
NUM_COMPARED = 8
# Folders of images and of masks of all splits are fewer.
MAX_DIVIDED = 12
# What stands in the names of folders of masks.
MASK_WORDS = ("mask", "annot", "label", "segm", "truth", "gt")
# More of them are no classes.
MAX_MASK_COLOURS = 256
# How the names of masks end that lie beside their pictures, as `1_mask.png` beside `1.png`.
_MASK_ENDING = re.compile(r"[ _-](masks?|gt|labels?|annotations?|seg|segmentation)([ _-]?\d+)?$", re.IGNORECASE)


def masks_beside(files: Sequence[Path]) -> list[Path]:
    """Those of the files that by their names are masks of others."""
    stems = {file: composed(file.with_suffix("").as_posix()) for file in files}
    names = set(stems.values())
    return [file for file, stem in stems.items() if _MASK_ENDING.sub("", stem) in names - {stem}]


def masks_among_classes(pictures: Mapping[str, list[Path]]) -> tuple[str, str] | None:
    """Two folders, by their names, of which the second has masks of the first; None where there are none."""
    pairs = _image_and_mask_classes(pictures)
    return next((pair for pair in pairs if _are_masks(*map(pictures.get, pair), _says_masks(pair[1]))), None)


def _image_and_mask_classes(names: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of folders of which the second may have masks of the first: of more than two, its name must say so."""
    pairs = list(permutations(names, 2)) if len(names) <= MAX_DIVIDED else []
    return pairs if len(pairs) == 2 else [pair for pair in pairs if _says_masks(pair[1])]


def _says_masks(name: str) -> bool:
    return any(word in name.casefold() for word in MASK_WORDS)


def _are_masks(images: list[Path], masks: list[Path], says_masks: bool) -> bool:
    """Whether two folders have the same names and sizes, in the one colours and in the other a single channel.

    Where a folder is called one of masks, few colours are as good as a single channel.
    """
    pairs = _pairs_by_name(images, masks)
    looks = (_look, _look_for_colours) if says_masks else (_look,)
    return len(pairs) > 1 and any(_look_so(pairs[:NUM_COMPARED], look) for look in looks)


def _look_so(pairs: list[tuple[Path, Path]], look: Callable[[Image.Image], "_Look"]) -> bool:
    """Whether these are pictures and their masks, as far as `look` can tell."""
    try:
        found = [(looked_at(image, look), looked_at(mask, look)) for image, mask in pairs]
    except UnreadablePictureError:
        return False
    return all(mask.is_mask and not image.is_mask and image.size == mask.size for image, mask in found)


def _pairs_by_name(images: list[Path], masks: list[Path]) -> list[tuple[Path, Path]]:
    """All files in pairs of one name, where masks may have one ending more, such as `_mask`; else none."""
    by_name, by_longer = ({composed(file.stem): file for file in files} for files in (images, masks))
    ending, rest = divmod(sum(map(len, by_longer)) - sum(map(len, by_name)), max(len(by_longer), 1))
    endings = {name[len(name) - ending :] for name in by_longer}
    by_mask = {name[: len(name) - ending]: file for name, file in by_longer.items()}
    if rest or ending < 0 or len(endings) > 1 or by_name.keys() != by_mask.keys():
        return []
    return [(by_name[name], by_mask[name]) for name in sorted(by_name)]


class _Look(NamedTuple):
    size: tuple[int, int]
    is_mask: bool


def _look(picture: Image.Image) -> _Look:
    return _Look(picture.size, picture.mode in (*MASK_MODES, "1"))


def _look_for_colours(picture: Image.Image) -> _Look:
    has_few = picture.convert("RGB").getcolors(MAX_MASK_COLOURS) is not None
    return _Look(picture.size, has_few or _look(picture).is_mask)
