# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The one place where files and bytes that nobody has looked at become pictures."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers.utils import logging

from ..files import printable


logger = logging.get_logger(__name__)

# What Pillow decodes by itself, from the bytes of the file alone. Not EPS, which it hands to Ghostscript as a program
# to run, nor IPTC, which opens whatever lies in it (an EPS, for instance), nor what other programs decode.
FORMATS = (
    *("AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "GIF", "ICNS", "ICO", "IM"),
    *("IMT", "JPEG", "JPEG2000", "MCIDAS", "MPO", "MSP", "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI"),
    *("SPIDER", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM", "XVTHUMB"),
)
_EPS_BEGINNINGS = (b"%!PS", b"\xc5\xd0\xd3\xc6")
_GREATEST_OF_16_BITS = 65535
_SCALED_TO_8_BITS = (np.arange(_GREATEST_OF_16_BITS + 1) / 257).round().astype(np.uint8)


class UnreadablePictureError(ValueError):
    """A picture can't be decoded; the message names it."""


@contextmanager
def naming_unreadable(name: str) -> Iterator[None]:
    """Errors inside become an `UnreadablePictureError` with this name and the reason."""
    try:
        yield
    except Exception as error:  # Pillow has a different one for each way in which a file is broken
        raise UnreadablePictureError(f"Can't read the {name}: {_reason(error)}.") from error


@contextmanager
def opened_picture(source: str | os.PathLike | bytes) -> Iterator[Image.Image]:
    """A picture whose header is read and whose pixels are not, in the mode of its file.

    The file is read rather than mapped into memory, so that one that shrinks meanwhile is an error and not the end of
    the process.

    Args:
        source: Path, or what the file holds.

    Raises:
        OSError, ValueError, ...: What Pillow says of a broken file, or of one with more than twice
            `PIL.Image.MAX_IMAGE_PIXELS`; or the source is no regular file, empty, without pixels, a program or of a
            format that isn't one of `FORMATS`.
    """
    if not isinstance(source, bytes):
        _check_is_file(source)
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        beginning = file.read(4)
        if not beginning:
            raise ValueError("it is empty")
        if beginning in _EPS_BEGINNINGS:
            raise ValueError("it is a program that draws a picture (EPS), which is not run")
        with Image.open(file, formats=known_formats()) as picture:
            if 0 in picture.size:
                raise ValueError("it has no pixels")
            yield picture


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
    """What is no folder in a folder and in those below, sorted; as `picture_files` says."""
    found = []
    for folder, folders, files in os.walk(root, onerror=_warn_of_folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [Path(folder, name) for name in files if not is_hidden(name)]
    return sorted(found)


def is_hidden(name: str) -> bool:
    """Whether a file or folder isn't its owner's: archives made on a Mac bring `__MACOSX` and `._name` along."""
    return name.startswith((".", "__MACOSX")) or name in ("Thumbs.db", "desktop.ini")


def _warn_of_folder(error: OSError) -> None:
    logger.warning(f"The folder {printable(error.filename)} is left out: {error.strerror}.")


def upright(picture: Image.Image) -> Image.Image:
    """The picture decoded, turned as its EXIF data say, and without its file."""
    return ImageOps.exif_transpose(picture)


def to_rgb(picture: Image.Image) -> Image.Image:
    """The picture in RGB, 8 bits a channel; one that is RGB already as it is.

    16-bit grey is scaled, where Pillow's `convert` cuts all off at 255. Transparency is dropped, as in `pipeline`:
    what shows is the colour that transparent pixels hide. Colour profiles are left alone.

    Raises:
        ValueError: The pixels are floats or integers beyond 16 bits, of which nothing says what is white, or Pillow
            can't convert their mode.
    """
    if picture.mode == "RGB":
        return picture
    if picture.mode == "F":
        raise ValueError("its pixels are floats, of which nothing says what is white; store it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        return _with_8_bits(picture).convert("RGB")
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # Pillow would warn of what is lost otherwise
    return picture.convert("RGB")


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
