# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Finding and reading people's pictures."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image
from transformers import BaseImageProcessor

from ..data.pictures import picture_files, read_rgb
from ..files import printable


# Of 255, which most file systems take: `-1-overlay.jpg` or so comes behind.
_MAX_NAME_BYTES = 200


def find_pictures(paths: Sequence[str | os.PathLike]) -> dict[Path, str]:
    """The pictures among files and folders, and a name for each.

    Folders are searched recursively for files that by their suffix are pictures that Pillow reads; hidden files and
    folders, links to folders, pipes and devices are skipped, and folders that may not be read, with a warning. Files
    that are named themselves are taken as they are.

    Returns:
        Name by file, in the order of `paths` and within a folder sorted. A name is the path below the folder, or the
        file's name, with `/` between folders and without suffix; where several are the same on a file system that
        ignores case, the later ones get `-1`, `-2`, ...; very long ones are cut.

    Raises:
        FileNotFoundError: One of `paths` doesn't exist.
        ValueError: There are no pictures, or a path is a pipe, a device or a link that leads nowhere.
    """
    names, taken, seen = {}, set(), set()
    for root in map(Path, paths):
        for file in _files(root):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            relative = file.relative_to(root) if file != root else Path(file.name)
            names[file] = _free_name(_cut(relative.with_suffix("").as_posix()), taken)
            taken.add(names[file].casefold())
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


def _cut(name: str) -> str:
    folder, slash, stem = name.rpartition("/")
    encoded = os.fsencode(stem)
    if len(encoded) > _MAX_NAME_BYTES:
        stem = encoded[:_MAX_NAME_BYTES].decode(errors="ignore")
    return f"{folder}{slash}{stem}"


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 0
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    return free
