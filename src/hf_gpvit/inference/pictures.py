# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Finding and reading people's pictures."""

import csv
import itertools
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import BaseImageProcessor

from ..data.pictures import picture_files, read_rgb
from ..files import printable


# What predictions of a picture are called: its name and one of these.
MASK, OVERLAY = ".png", "-overlay.jpg"
# What lies beside them.
PREDICTIONS, PREDICTIONS_TABLE = "predictions.json", "predictions.csv"
DETECTIONS, DETECTIONS_TABLE = "detections.json", "detections.csv"
# Of 255, which most file systems take: `-1-overlay.jpg` or so comes behind.
_MAX_NAME_BYTES = 200


def find_pictures(paths: Sequence[str | os.PathLike]) -> dict[Path, str]:
    """The pictures among files and folders, and a name for each.

    Folders are searched recursively for files that by their suffix are pictures that Pillow reads; hidden files and
    folders, links to folders, pipes and devices are skipped, and folders that may not be read, with a warning. Files
    that are named themselves are taken as they are.

    Returns:
        Name by file, in the order of `paths` and within a folder sorted. A name is the path below the folder, or the
        file's name, with `/` between folders and without suffix; very long ones are cut. Where something that a
        prediction writes would take the place of something else, be it a folder, on a file system that ignores case
        or how accents are composed, the later name gets `-1`, `-2`, ....

    Raises:
        FileNotFoundError: One of `paths` doesn't exist.
        ValueError: There are no pictures, or a path is a pipe, a device or a link that leads nowhere.
    """
    names, free_names, seen = {}, _FreeNames(), set()
    for root in map(Path, paths):
        for file in _files(root):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            relative = file.relative_to(root) if file != root else Path(file.name)
            names[file] = free_names.take(relative)
    if not names:
        raise ValueError(f"There are no pictures in {', '.join(map(printable, paths)) or 'an empty list of paths'}.")
    return names


def load_picture(path: str | os.PathLike) -> Image.Image:
    """The picture at `path` in RGB and upright: `hf_gpvit.data.read_rgb` of a file.

    Pillow's limit holds: a file of more than twice `PIL.Image.MAX_IMAGE_PIXELS` (179 million pixels) is not decoded.

    Raises:
        ValueError: The file is no picture, broken, too large, not to be opened, or of floats or integers beyond 16
            bits. The message names it.
    """
    return read_rgb(path)


def write_table(path: Path, records: Sequence[dict[str, Any]], key: str, columns: Sequence[str]) -> None:
    """Writes a CSV file with the column `file` and these, a line for each entry of `key` in the records of pictures.

    Bytes of a file's name that are no UTF-8 become escapes, as in predictions.json.
    """
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", *columns])
        for record in records:
            table.writerows([record["file"], *(entry[column] for column in columns)] for entry in record.get(key, ()))


def check_resized_size(image_processor: BaseImageProcessor, image: Image.Image, scale: float = 1.0) -> None:
    """Refuse a picture so thin that resizing its shorter side makes it larger than any picture may be.

    A line of a hundred thousand pixels is a small file, and many gigabytes once its shorter side has 256.

    Args:
        image_processor: What would resize it.
        image: Picture of any mode.
        scale: Factor of the image processor's size. Default 1.

    Raises:
        ValueError: It would have more than twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    size = dict(image_processor.size or {})
    if not image_processor.do_resize or not size.get("shortest_edge") or size.get("longest_edge"):
        return  # it doesn't grow, or its longer side is bounded too
    shorter, longer = sorted(image.size)
    short_side = scale * size["shortest_edge"]
    long_side = short_side * longer / shorter
    limit = 2 * (Image.MAX_IMAGE_PIXELS or float("inf"))
    if short_side * long_side > limit:
        raise ValueError(
            f"image of {image.width}x{image.height} pixels is too thin: with {short_side:.0f} pixels its shorter side "
            f"would make the longer one {long_side:.0f}, and more than {limit} pixels in all are not resized to."
        )


def _files(root: Path) -> Iterable[Path]:
    if root.is_file():
        return [root]
    if root.is_dir():
        return picture_files(root)
    if os.path.lexists(root):
        raise ValueError(
            f"{printable(root)} is a pipe, a device or a link that leads nowhere; expected a picture or a folder of "
            "pictures."
        )
    raise FileNotFoundError(f"{printable(root)} does not exist; expected a picture or a folder of pictures.")


class _FreeNames:
    """Names of pictures, of which no two make a file where the other makes a file or a folder."""

    def __init__(self):
        beside = (PREDICTIONS, PREDICTIONS_TABLE, DETECTIONS, DETECTIONS_TABLE)
        self.files, self.folders = set(map(_as_one, beside)), set()

    def take(self, picture: Path) -> str:
        """The path of a picture without suffix, or what comes nearest to it."""
        folder = ""
        for part in picture.parts[:-1]:
            folder = next(name for name in _numbered(folder + part) if _as_one(name) not in self.files)
            self.folders.add(_as_one(folder))
            folder += "/"
        name = next(filter(self._is_free, _numbered(folder + _cut(picture.stem))))
        self.files.update(_outputs(name))
        return name

    def _is_free(self, name: str) -> bool:
        outputs = _outputs(name)
        return outputs.isdisjoint(self.files) and outputs.isdisjoint(self.folders)


def _outputs(name: str) -> set[str]:
    return {_as_one(name + ending) for ending in (MASK, OVERLAY)}


def _as_one(name: str) -> str:
    """The same for names that some file system takes for one: it may ignore case, and how accents are composed."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(1):
        yield f"{name}-{number}"


def _cut(stem: str) -> str:
    encoded = os.fsencode(stem)
    return encoded[:_MAX_NAME_BYTES].decode(errors="ignore") if len(encoded) > _MAX_NAME_BYTES else stem
