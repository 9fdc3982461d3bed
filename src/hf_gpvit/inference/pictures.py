# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Finding and reading people's pictures."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


# Pillow knows these formats, but can't decode them by itself, or they are no pictures.
_NOT_DECODED = {"BUFR", "GRIB", "HDF5", "MPEG"}


def find_pictures(paths: Sequence[str | os.PathLike]) -> dict[Path, str]:
    """The pictures among files and folders, and a name for each.

    Folders are searched recursively for files that by their suffix are pictures that Pillow reads; hidden files and
    folders are skipped. Files that are named themselves are taken as they are.

    Returns:
        Name by file, in the order of `paths` and within a folder sorted. A name is the path below the folder, or the
        file's name, with `/` between folders and without suffix; where several are the same on a file system that
        ignores case, the later ones get `-1`, `-2`, ...

    Raises:
        FileNotFoundError: One of `paths` doesn't exist.
        ValueError: There are no pictures.
    """
    names, taken, seen = {}, set(), set()
    for root in map(Path, paths):
        for file in _files(root):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            relative = file.relative_to(root) if file != root else Path(file.name)
            names[file] = _free_name(relative.with_suffix("").as_posix(), taken)
            taken.add(names[file].casefold())
    if not names:
        raise ValueError(f"There are no pictures in {', '.join(map(str, paths)) or 'an empty list of paths'}.")
    return names


def load_picture(path: str | os.PathLike) -> Image.Image:
    """The picture at `path` in RGB and upright, as its EXIF data say.

    Of several frames it is the first. 16-bit grey is scaled to 8 bits; transparency is dropped, as in training and in
    `pipeline`.

    Raises:
        ValueError: The file is no picture, or broken.
    """
    try:
        with Image.open(path) as picture:
            return _rgb(ImageOps.exif_transpose(picture))
    except Exception as error:  # Pillow has a different one for each way in which a file is broken
        raise ValueError(f"Can't read the picture {path}: {error}") from error


def _files(root: Path) -> Iterable[Path]:
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist; expected a picture or a folder of pictures.")
    suffixes = _suffixes()
    return sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in suffixes and not _is_hidden(file.relative_to(root)) and file.is_file()
    )


def _suffixes() -> set[str]:
    formats = Image.registered_extensions()
    return {suffix for suffix, name in formats.items() if name in Image.OPEN and name not in _NOT_DECODED}


def _is_hidden(path: Path) -> bool:
    # archives made on a Mac bring `__MACOSX` and `._name` along
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 0
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _rgb(picture: Image.Image) -> Image.Image:
    # "I" is what Pillow before 11 calls a 16-bit PNG; conversion would cut all of them off at 255
    if picture.mode.startswith("I"):
        values = np.asarray(picture).clip(0, 65535)
        return Image.fromarray((values / 257).round().astype(np.uint8)).convert("RGB")
    if picture.mode == "P":
        picture = picture.convert("RGBA")  # a palette may have transparency, of which Pillow would warn
    return picture.convert("RGB")
