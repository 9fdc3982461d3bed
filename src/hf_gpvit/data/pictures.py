# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The one door for pictures that nobody has looked at: paths, bytes, rows of datasets and PIL images."""

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from transformers.utils import logging

from ..extras import import_extra
from ..files import printable


logger = logging.get_logger(__name__)

# What photographs, drawings, scans and masks are stored in, each decoded by Pillow itself from the bytes of the file
# alone. Not EPS, which it hands to Ghostscript as a program to run, nor IPTC, which opens whatever lies in it (an EPS,
# for instance), nor what other programs decode, nor what hardly anybody has. MPO is what Pillow makes of some JPEGs.
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA"),
    *("TIFF", "WEBP"),
)
_EPS_BEGINNINGS = (b"%!PS", b"\xc5\xd0\xd3\xc6")
_GREATEST_OF_16_BITS = 65535
_SCALED_TO_8_BITS = (np.arange(_GREATEST_OF_16_BITS + 1) / 257).round().astype(np.uint8)
# How URLs begin, and fsspec's chains of them; a drive of Windows has one letter.
_URL = re.compile(r"[A-Za-z][\w.+-]+:(//|:)|data:")
# Longer than any path: a URL may hold a whole picture.
_MAX_NAME = 4096
# More than any picture that Pillow lets through takes uncompressed. A small archive may hold a file of any size.
_MAX_BYTES = 2**31


class UnreadablePictureError(ValueError):
    """A picture can't be decoded; the message names it."""


def read_rgb(picture: Any, name: str | None = None) -> Image.Image:
    """A picture in RGB and upright, 8 bits a channel: as the package reads it wherever it does.

    Of several frames it is the first. 16-bit grey is scaled to 8 bits, and transparency is dropped: see `to_rgb`.

    Args:
        picture: Path of a file, what a file holds (bytes), PIL image of any mode, or a dict of `path` and `bytes`, as
            a dataset's rows have it after `cast_column("image", datasets.Image(decode=False))`. A path of a dataset
            may also lie in a zip archive (`zip://...::...`) or on the Hub (`hf://...`).
        name: What to call it in messages. Default: "picture" and its path.

    Raises:
        ValueError: The file is no picture, broken, too large, not to be opened, or of floats or integers beyond 16
            bits; or it is a URL: nothing is fetched. The message names it.
    """
    with naming_unreadable(name or picture_name(picture)):
        return to_rgb(decoded(picture))


def picture_name(picture: Any, kind: str = "picture", place: str | None = None) -> str:
    """What to call a picture in messages: its file, if that is known, and where it comes from.

    Args:
        picture: As in `read_rgb`.
        kind: What it is. Default "picture".
        place: Such as the row of a dataset. Default: unknown.
    """
    if isinstance(picture, dict):
        picture = picture.get("path")
    path = getattr(picture, "filename", None) if isinstance(picture, Image.Image) else picture
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        return f"{kind} in {place}" if place else kind
    name = printable(path)[:_MAX_NAME]
    return f"{kind} {name} ({place})" if place else f"{kind} {name}"


@contextmanager
def naming_unreadable(name: str) -> Iterator[None]:
    """Errors inside become an `UnreadablePictureError` with this name and the reason."""
    try:
        yield
    except Exception as error:  # Pillow has a different one for each way in which a file is broken
        raise UnreadablePictureError(f"Can't read the {name}: {_reason(error)}.") from error


@contextmanager
def opened_picture(source: str | os.PathLike | bytes | BinaryIO) -> Iterator[Image.Image]:
    """A picture whose header is read and whose pixels are not, in the mode of its file.

    The file is read rather than mapped into memory, so that one that shrinks meanwhile is an error and not the end of
    the process.

    Args:
        source: Path, what the file holds, or an open file.

    Raises:
        OSError, ValueError, ...: What Pillow says of a broken file, or of one with more than twice
            `PIL.Image.MAX_IMAGE_PIXELS`; or the source is no regular file, empty, without pixels, a program or of a
            format that isn't one of `FORMATS`.
    """
    with _opened(source) as file:
        beginning = file.read(4)
        if not beginning:
            raise ValueError("it is empty")
        if beginning in _EPS_BEGINNINGS:
            raise ValueError("it is a program that draws a picture (EPS), which is not run")
        with Image.open(file, formats=known_formats()) as picture:
            if 0 in picture.size:
                raise ValueError("it has no pixels")
            yield picture


def _opened(source: str | os.PathLike | bytes | BinaryIO) -> BinaryIO:
    if isinstance(source, (str, os.PathLike)):
        _check_is_file(source)
        return open(source, "rb")
    return io.BytesIO(source) if isinstance(source, bytes) else source


def looked_at(file: Path, look: Callable[[Image.Image], Any]) -> Any:
    """What `look` finds in a file that is opened and not yet decoded; an `UnreadablePictureError` names the file."""
    with naming_unreadable(picture_name(file)), opened_picture(file) as picture:
        return look(picture)


def size_of(source: str | os.PathLike | bytes | BinaryIO) -> tuple[int, int]:
    """Width and height of an upright picture, of which no more than the beginning is read.

    Args:
        source: Path, what the file holds, or an open file.

    Raises:
        UnreadablePictureError: It is no picture, or its beginning is broken.
    """
    with naming_unreadable(picture_name(source)), opened_picture(source) as picture:
        # what says that a PNG is turned is at its beginning; Pillow would decode all of it to look for it at the end
        is_plain = picture.format == "PNG" and "exif" not in picture.info
        return picture.size if is_plain else upright_size(picture)


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """(width, height) of an opened photo that the camera marked as turned, once it is decoded."""
    if picture.format == "TIFF":  # Pillow turns these by itself, and tells their upright size before
        return picture.size
    turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return picture.size[::-1] if turned else picture.size


def known_formats() -> list[str]:
    """Those of `FORMATS` that this Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def picture_suffixes() -> set[str]:
    """How the names of files of `known_formats` end, in lower case, dots included."""
    formats = known_formats()
    return {suffix for suffix, name in Image.registered_extensions().items() if name in formats}


def picture_files(root: Path) -> list[Path]:
    """The files in a folder, and in those below, that are pictures by their suffix, sorted.

    What is hidden and links to folders are skipped; folders that may not be read too, with a warning.
    """
    suffixes = picture_suffixes()
    return [file for file in files_below(root) if file.suffix.lower() in suffixes and file.is_file()]


def files_below(root: Path) -> list[Path]:
    """What is no folder, or a link to one, in a folder and in those below, sorted; as `picture_files` says."""
    found = []
    for folder, folders, files in os.walk(root, onerror=_warn_of_folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found += [Path(folder, name) for name in files + links if not is_hidden(name)]
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Whether a file or folder isn't its owner's: archives made on a Mac bring `__MACOSX` and `._name` along."""
    return name.startswith((".", "__MACOSX")) or name in ("Thumbs.db", "desktop.ini")


def _warn_of_folder(error: OSError) -> None:
    logger.warning(f"The folder {printable(error.filename)} is left out: {error.strerror}.")


def upright(picture: Image.Image) -> Image.Image:
    """The picture decoded and turned as its EXIF data say; as it is where they say nothing."""
    picture.load()
    if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def to_rgb(picture: Image.Image) -> Image.Image:
    """The PIL image in RGB, 8 bits a channel, and upright; one that is so already as it is.

    16-bit grey is scaled, where Pillow's `convert` cuts all off at 255. Transparency is dropped, as in `pipeline`:
    what shows is the colour that transparent pixels hide. Colour profiles are left alone.

    Raises:
        ValueError: The pixels are floats or integers beyond 16 bits, of which nothing says what is white; Pillow can't
            convert their mode; or it was opened as a format that isn't one of `FORMATS`.
    """
    _check_format(picture)
    picture = upright(picture)
    if picture.mode == "RGB":
        return picture
    if picture.mode == "F":
        raise ValueError("its pixels are floats, of which nothing says what is white; store it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        return _with_8_bits(picture).convert("RGB")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # Pillow would warn of what is lost otherwise
    return picture.convert("RGB")


def upright_copy(picture: Image.Image) -> Image.Image:
    """The same without the file that it comes from."""
    return ImageOps.exif_transpose(picture)


def decoded(picture: Any, read: Callable[[Image.Image], Any] = upright_copy) -> Any:
    """What `read` makes of the opened picture; by default it is upright, in its own mode, and without its file."""
    if isinstance(picture, Image.Image):
        _check_format(picture)
        return read(picture)
    with opened_picture(_source(picture)) as opened:
        return read(opened)


def _check_format(picture: Image.Image) -> None:
    """Pillow reads a file that somebody else has opened only now, whatever that starts."""
    if getattr(picture, "format", None) not in (None, *FORMATS):
        raise ValueError(
            f"it is a {picture.format} file; expected one of {', '.join(FORMATS)}, or a copy() of the opened picture"
        )


def _source(picture: Any) -> str | os.PathLike | bytes:
    """Path of a local file, or what a file holds."""
    if isinstance(picture, dict):
        content = picture.get("bytes")
        picture = picture.get("path") if content is None else content
        if picture is None:
            raise ValueError("it has neither bytes nor a path")
    if picture is None:
        raise ValueError("there is none")
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if not isinstance(picture, (str, os.PathLike)):
        raise ValueError(f"expected a path, bytes, a PIL image or a dict of path and bytes, got {type(picture)}")
    return _archived(picture) if isinstance(picture, str) and _URL.match(picture) else picture


def _archived(path: str) -> bytes:
    """What a file in a zip archive or on the Hub holds, as `datasets` names them."""
    *archives, source = path.split("::")
    is_local = not _URL.match(source)
    if not all(hop.startswith("zip://") for hop in archives) or not (is_local or source.startswith("hf://")):
        raise ValueError(
            "it is a URL, and nothing is fetched: download it, and give the path of the file, or its bytes; of a "
            "dataset the paths of local files, zip://FILE::ARCHIVE.zip or hf://datasets/OWNER/NAME/FILE"
        )
    with import_extra("datasets.utils.file_utils").xopen(path, "rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes")
    return content


def _with_8_bits(picture: Image.Image) -> Image.Image:
    # "I" is what Pillow before 11 calls a 16-bit PNG, and what it makes of a 16-bit PGM
    values = np.asarray(picture)
    least, greatest = values.min(), values.max()
    if least < 0 or greatest > _GREATEST_OF_16_BITS:
        raise ValueError(
            f"its pixels are integers from {least} to {greatest}; expected 8 or 16 bits, 0 to {_GREATEST_OF_16_BITS}"
        )
    return Image.fromarray(_SCALED_TO_8_BITS[values])


def _check_is_file(path: str | os.PathLike) -> None:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):  # reading from a pipe waits for somebody to write
        raise ValueError("it is a folder" if stat.S_ISDIR(mode) else "it is a pipe or a device, not a regular file")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no picture of a format that Pillow knows and that is read here, or its beginning is broken"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rstrip(".") or type(error).__name__
