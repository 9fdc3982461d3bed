# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures that nobody has looked at: each is read as what it shows, or refused with its name and the reason.

What reads them is the same everywhere; `read_everywhere` tries the ways into it: a file for `predict`, a row with a
path or with bytes for training and evaluation, and a PIL image that somebody has opened.
"""

import io
import json
import os
import re
import struct
import subprocess
import sys
import textwrap
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from packaging.version import Version
from PIL import EpsImagePlugin, ExifTags, Image, ImageOps, features
from transformers import ViTImageProcessor, pipeline

import hf_gpvit_cli
from families import GPVIT, HRVIT, awake
from hf_gpvit.data import image_processor_for, read_mask, read_rgb, to_rgb
from hf_gpvit.data import pictures as door
from hf_gpvit.data.folders import load_folder
from hf_gpvit.data.pictures import UnreadablePictureError, opened_picture
from hf_gpvit.files import printable
from hf_gpvit.inference import classify, find_pictures, load_picture, overlay_segmentation, predict_pictures, segment
from hf_gpvit.inference.pictures import check_resized_size
from hf_gpvit.tasks.image_classification import LabelReader
from hf_gpvit.tasks.semantic_segmentation import AnnotationReader


# Smooth, so that JPEG loses little, and different in every corner.
ROWS, COLUMNS = np.mgrid[0:17, 0:24]
PIXELS = np.stack([10 * COLUMNS, 14 * ROWS, 120 + 3 * COLUMNS - 4 * ROWS], axis=-1).astype(np.uint8)
PHOTO = Image.fromarray(PIXELS)
GREY = PHOTO.convert("L")
NUM_PIXELS = 17 * 24


def read_everywhere(path):
    """The pixels of a file, which are the same by all ways into the package."""
    pixels = np.asarray(load_picture(path))
    for row in ({"bytes": None, "path": str(path)}, {"bytes": path.read_bytes(), "path": None}):
        image, _ = LabelReader(2).read({"image": row, "label": 0}, "row 7")
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)
        np.testing.assert_array_equal(np.asarray(read_rgb(row)), pixels)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(np.asarray(to_rgb(opened)), pixels)
    return pixels


def refused_everywhere(path, reason):
    """Every way into the package refuses the file, and names it."""
    told = f"Can't read the {{}}: .*{reason}"
    with pytest.raises(UnreadablePictureError, match=told.format(f"picture {re.escape(str(path))}")):
        load_picture(path)
    row = {"image": {"bytes": None, "path": str(path)}, "label": 0}
    with pytest.raises(UnreadablePictureError, match=told.format(rf"image {re.escape(str(path))} \(row 7\)")):
        LabelReader(2).read(row, "row 7")
    if path.is_file():
        row["image"] = {"bytes": path.read_bytes(), "path": None}
        with pytest.raises(UnreadablePictureError, match=told.format("image in row 7")):
            LabelReader(2).read(row, "row 7")


# --- what is read


def in_palette(transparency=None):
    picture = Image.new("P", (24, 17))
    picture.putpalette([value for index in range(256) for value in (index, 255 - index, index // 2)])
    picture.putdata([(7 * index) % 256 for index in range(NUM_PIXELS)])
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


def with_alpha(mode="RGBA"):
    """Transparent in the left half, where it keeps its colours."""
    picture = PHOTO.convert(mode)
    picture.putalpha(Image.fromarray(np.where(COLUMNS < 12, 0, 200).astype(np.uint8)))
    return picture


def sixteen_bits(kind="<u2"):
    return Image.fromarray((np.asarray(GREY).astype(np.uint32) * 257).astype(kind))


BLACK_AND_WHITE = GREY.point(lambda value: 255 * (value > 100), "1")
COLOURS = in_palette().convert("RGB")
CMYK = PHOTO.convert("CMYK")
OTHER = ImageOps.invert(PHOTO)
FRAMES = {"save_all": True, "append_images": [OTHER]}
# name: what is stored, how, what it shows, the largest difference of a pixel
STORED = {
    "1.png": (BLACK_AND_WHITE, {}, BLACK_AND_WHITE, 0),
    "1.tif": (BLACK_AND_WHITE, {"compression": "group4"}, BLACK_AND_WHITE, 0),
    "1.bmp": (BLACK_AND_WHITE, {}, BLACK_AND_WHITE, 0),
    "L.png": (GREY, {}, GREY, 0),
    "L.tif": (GREY, {}, GREY, 0),
    "L.jpg": (GREY, {"quality": 95}, GREY, 4),
    "LA.png": (with_alpha("L"), {}, GREY, 0),
    "LA.tif": (with_alpha("L"), {}, GREY, 0),
    "P.png": (in_palette(), {}, COLOURS, 0),
    "P.gif": (in_palette(), {}, COLOURS, 0),
    "P.tif": (in_palette(), {}, COLOURS, 0),
    "P-one-transparent.png": (in_palette(3), {}, COLOURS, 0),
    "P-half-transparent.png": (in_palette(bytes(range(256))), {}, COLOURS, 0),
    "P-one-transparent.gif": (in_palette(3), {"transparency": 3}, COLOURS, 0),
    "RGB-one-transparent.png": (PHOTO, {"transparency": (0, 0, 120)}, PHOTO, 0),
    "RGB.png": (PHOTO, {}, PHOTO, 0),
    "RGB.bmp": (PHOTO, {}, PHOTO, 0),
    "RGB.ppm": (PHOTO, {}, PHOTO, 0),
    "RGB.tga": (PHOTO, {}, PHOTO, 0),
    "RGB.webp": (PHOTO, {"lossless": True}, PHOTO, 0),
    "RGB-lossy.webp": (PHOTO, {"quality": 95}, PHOTO, 12),
    "RGB.jpg": (PHOTO, {"quality": 95, "subsampling": 0}, PHOTO, 8),
    "progressive.jpg": (PHOTO, {"quality": 95, "subsampling": 0, "progressive": True}, PHOTO, 8),
    "lzw.tif": (PHOTO, {"compression": "tiff_lzw"}, PHOTO, 0),
    "deflate.tif": (PHOTO, {"compression": "tiff_adobe_deflate"}, PHOTO, 0),
    "profile.png": (PHOTO, {"icc_profile": b"a profile"}, PHOTO, 0),
    "profile.jpg": (PHOTO, {"quality": 95, "subsampling": 0, "icc_profile": b"a profile"}, PHOTO, 8),
    "RGBA.png": (with_alpha(), {}, PHOTO, 0),
    "RGBA.tif": (with_alpha(), {}, PHOTO, 0),
    "RGBA.webp": (with_alpha(), {"lossless": True, "exact": True}, PHOTO, 0),
    "CMYK.tif": (CMYK, {}, PHOTO, 2),
    "CMYK-inverted-by-Adobe.jpg": (CMYK, {"quality": 95, "subsampling": 0}, PHOTO, 8),
    "YCbCr.jpg": (PHOTO.convert("YCbCr"), {"quality": 95, "subsampling": 0}, PHOTO, 8),
    "YCbCr.tif": (PHOTO.convert("YCbCr"), {}, PHOTO, 3),
    "LAB.tif": (GREY.convert("RGB").convert("LAB"), {}, GREY, 4),
    "16-bit.png": (sixteen_bits(), {}, GREY, 0),
    "16-bit.tif": (sixteen_bits(), {}, GREY, 0),
    "16-bit-big-endian.tif": (sixteen_bits(">u2"), {}, GREY, 0),
    "16-bit-of-32.tif": (sixteen_bits("<i4"), {}, GREY, 0),
    "16-bit.pgm": (sixteen_bits("<i4"), {}, GREY, 0),
    "animated.gif": (PHOTO.quantize(256), FRAMES, PHOTO.quantize(256), 0),
    "animated.png": (PHOTO, FRAMES, PHOTO, 0),
    "animated.webp": (PHOTO, FRAMES | {"lossless": True}, PHOTO, 0),
    "pages.tif": (PHOTO, FRAMES, PHOTO, 0),
    "two-views.mpo": (
        PHOTO,
        {"save_all": True, "append_images": [OTHER.copy()], "quality": 95, "subsampling": 0},
        PHOTO,
        8,
    ),
    "name is wrong.jpg": (PHOTO, {"format": "PNG"}, PHOTO, 0),
}


def store(name, folder):
    """Writes the file; returns what it shows, and the largest difference."""
    picture, options, shown, tolerance = STORED[name]
    picture.copy().save(folder / name, **options)  # Pillow leaves its settings in what it saves
    return shown.convert("RGB"), tolerance


@pytest.mark.parametrize("name", STORED)
def test_modes_and_formats(tmp_path, name):
    if name == "YCbCr.tif" and Version(PIL.__version__) < Version("13.0"):
        pytest.skip("before Pillow 13, uncompressed YCbCr in TIFF is refused as truncated")
    shown, tolerance = store(name, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read_everywhere(tmp_path / name)
    difference = np.abs(pixels.astype(int) - np.asarray(shown))
    assert difference.max() <= tolerance


@pytest.mark.parametrize("name", ["picture.jp2", "picture.avif"])
def test_formats_that_not_every_pillow_has(tmp_path, name):
    codec = {"picture.jp2": "jpg_2000", "picture.avif": "avif"}[name]
    if not features.check(codec):
        pytest.skip(f"this Pillow has no {codec}")
    PHOTO.save(tmp_path / name, quality=95) if codec == "avif" else PHOTO.save(tmp_path / name)
    assert np.abs(read_everywhere(tmp_path / name).astype(int) - PIXELS).max() <= 12


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows, depth=8, color=2, interlaced=False, chunks=()):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_interlaced_png(tmp_path):
    """Pillow writes none: left, top, and the steps of the seven passes."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [PIXELS[top::down, left::right] for left, top, right, down in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    (tmp_path / "interlaced.png").write_bytes(png(24, 17, rows, interlaced=True))
    np.testing.assert_array_equal(read_everywhere(tmp_path / "interlaced.png"), PIXELS)


@pytest.mark.parametrize(("color", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bits_a_channel(tmp_path, color, channels):
    """Of colours and of grey with transparency Pillow keeps the upper 8 bits."""
    source = PIXELS if channels > 2 else np.asarray(GREY)[..., None].repeat(3, axis=-1)
    values = np.full((17, 24, channels), 90)
    values[..., : 3 if channels > 2 else 1] = source[..., : 3 if channels > 2 else 1]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values * 257)
    (tmp_path / "deep.png").write_bytes(png(24, 17, rows, depth=16, color=color))
    np.testing.assert_array_equal(read_everywhere(tmp_path / "deep.png"), source)


def test_all_values_of_16_bits():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    scaled = np.asarray(to_rgb(Image.fromarray(values)))[..., 0]
    np.testing.assert_array_equal(scaled, np.rint(values / 65535 * 255).astype(np.uint8))


def test_what_is_given_stays_as_it_was():
    for picture in (in_palette(bytes(range(256))), with_alpha(), sixteen_bits(), PHOTO.copy()):
        mode, info, before = picture.mode, dict(picture.info), np.array(picture)
        assert to_rgb(picture).mode == "RGB"
        assert (picture.mode, picture.info) == (mode, info)
        np.testing.assert_array_equal(np.array(picture), before)


# --- which way is up


AS_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def store_turned(picture, path, orientation, **options):
    """As a camera does that was held so: what it saw, and how to turn it to see it upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    way = AS_STORED.get(orientation)
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if way is None else picture.transpose(way)).save(path, exif=exif, **options)


@pytest.mark.parametrize("orientation", AS_STORED)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_orientations(tmp_path, suffix, orientation):
    options = {"png": {}, "jpg": {"quality": 95, "subsampling": 0}, "tif": {}, "webp": {"lossless": True}}[suffix]
    store_turned(PHOTO, tmp_path / f"turned.{suffix}", orientation, **options)
    pixels = read_everywhere(tmp_path / f"turned.{suffix}").astype(int)
    assert np.abs(pixels - PIXELS).max() <= (8 if suffix == "jpg" else 0)
    again = ImageOps.exif_transpose(load_picture(tmp_path / f"turned.{suffix}"))
    np.testing.assert_array_equal(np.asarray(again), pixels)  # no pipeline turns it once more


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_orientations_that_are_none(tmp_path, orientation):
    store_turned(PHOTO, tmp_path / "odd.png", orientation)
    np.testing.assert_array_equal(read_everywhere(tmp_path / "odd.png"), PIXELS)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_orientations_of_pictures_and_masks(tmp_path, suffix):
    """A mask belongs to the upright picture, and may be turned itself."""
    ids = (COLUMNS // 8 + 3 * (ROWS > 8)).astype(np.uint8)
    for number in AS_STORED:
        store_turned(PHOTO, tmp_path / f"images/{number}.{suffix}", number, quality=95)
        store_turned(Image.fromarray(ids), tmp_path / f"masks/{number}.png", 9 - number)
    dataset, names = load_folder(tmp_path)
    assert len(names) == 6
    reader = AnnotationReader(6)
    read = [reader.read(row, "") for part in dataset.values() for row in part]
    assert len(read) == len(AS_STORED)
    for image, target in read:
        assert np.abs(np.asarray(image).astype(int) - PIXELS).mean() < 4
        np.testing.assert_array_equal(target.numpy(), ids)


# --- what is refused


def cut(path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped_bits(path):
    PHOTO.save(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"IDAT")
    content[place + 8 : place + 40] = bytes(32)
    path.write_bytes(content)


def written(content):
    return lambda path: path.write_bytes(content)


def saved(picture):
    return lambda path: picture.save(path)


def tiff(width, height):
    """The header of an uncompressed grey TIFF, and no pixels."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, 2**32 - 1)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(200)


def gif(width, height):
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + frame + b";"


def jpeg(width, height):
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\0"
    return b"\xff\xd8" + frame + b"\xff\xda" + struct.pack(">H", 8) + b"\x01\x01\0\0?\0" + bytes(64)


def ico(picture):
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(picture), 22) + picture


ZEROS = zlib.compress(bytes(2**27))
BOMBS = {
    "bomb.png": png(60000, 60000, bytes(10000), depth=1, color=0),
    "bomb.gif": gif(65535, 65535),
    "bomb.tif": tiff(2**31 - 1, 2**31 - 1),
    "bomb.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 1000, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
    "bomb.jpg": jpeg(65500, 65500),
    "bomb.ppm": b"P6\n60000 60000\n255\n",
    "bomb.ico": ico(png(60000, 60000, bytes(10000), depth=1, color=0)),
}
REFUSED = {
    "empty.png": (written(b""), "it is empty"),
    "text.jpg": (written(b"no picture"), "no picture of a format that Pillow knows"),
    "page.jpg": (written(b"<html>404</html>"), "no picture of a format that Pillow knows"),
    "drawing.svg": (written(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "no picture of a format that Pillow knows"),
    "zeros.png": (written(bytes(5000)), "no picture of a format that Pillow knows"),
    "magic-only.png": (written(b"\x89PNG\r\n\x1a\n"), ""),
    "magic-only.jpg": (written(b"\xff\xd8\xff"), ""),
    "flipped-bits.png": (flipped_bits, ""),
    "no-pixels.ppm": (written(b"P6\n0 0\n255\n"), ""),
    "program.eps": (written(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"), "is a program"),
    "program.jpg": (written(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"), "is a program"),
    "floats.tif": (saved(GREY.convert("F")), "its pixels are floats"),
    "32-bit.tif": (saved(Image.new("I", (24, 17), 70000)), "integers from 70000 to 70000; expected 8 or 16 bits"),
    "signed.tif": (saved(Image.new("I", (24, 17), -1)), "integers from -1 to -1"),
    "text-bomb.png": (written(png(24, 17, bytes(73 * 17), chunks=[(b"zTXt", b"a\0\0" + ZEROS)])), "too large"),
} | {f"cut.{suffix}": (cut, "") for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "tga", "mpo")}
REFUSED |= {name: (written(content), "") for name, content in BOMBS.items()}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Image was not the expected size")
def test_refused(tmp_path, name):
    make, reason = REFUSED[name]
    make(tmp_path / name)
    refused_everywhere(tmp_path / name, reason)


def iptc(content):
    """An IPTC file around another picture of 8x8 pixels."""

    def field(record, tag, data):
        return struct.pack(">BBBH", 0x1C, record, tag, len(data)) + data

    size = [(3, 20, struct.pack(">H", 8)), (3, 30, struct.pack(">H", 8))]
    fields = [(3, 60, b"\x01\x00"), *size, (3, 120, b"\x05"), (8, 10, content)]
    return b"".join(field(*each) for each in fields)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
DOS_EPS = struct.pack("<IIIIIIIH", 0xC6D3D0C5, 32, len(EPS), 0, 0, 0, 0, 0xFFFF) + bytes(2) + EPS


@pytest.mark.parametrize("content", [EPS, DOS_EPS, iptc(EPS), iptc(iptc(EPS))])
def test_no_program_is_started(content, tmp_path, monkeypatch):
    """Neither by a file nor by a row, be it of bytes, of a path, or of a file in an archive."""
    script = '#!/bin/sh\ncase "$*" in *--version*) exit 0;; esac\ntouch {}\nexit 1\n'
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gs").write_text(script.format(tmp_path / "started"))
    (tmp_path / "bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow looks for it once
    (tmp_path / "photo.png").write_bytes(content)
    refused_everywhere(tmp_path / "photo.png", "")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("photo.png", content)
    row = {"image": {"path": f"zip://photo.png::{tmp_path / 'archive.zip'}", "bytes": None}, "label": 0}
    with pytest.raises(UnreadablePictureError, match=r"zip://photo\.png"):
        LabelReader(2).read(row, "row 0")
    # opened by somebody else, Pillow reads no more than a header before the picture is used
    for use in (to_rgb, read_rgb, read_mask, lambda picture: overlay_segmentation(picture, [[0]], {0: "a"})):
        with (
            Image.open(tmp_path / "photo.png") as opened,
            pytest.raises(ValueError, match="is a (EPS|IPTC) file; exp"),
        ):
            use(opened)
    assert not (tmp_path / "started").exists()


def test_row_of_a_file_in_an_archive(tmp_path):
    content = io.BytesIO()
    PHOTO.save(content, "png")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("photo.png", content.getvalue())
    row = {"image": {"path": f"zip://photo.png::{tmp_path / 'archive.zip'}", "bytes": None}, "label": 1}
    image, label = LabelReader(2).read(row, "row 0")
    assert label == 1
    np.testing.assert_array_equal(np.asarray(image), PIXELS)


URLS = (
    "https://example.com/cat.png",
    "http://localhost/cat.png",
    "ftp://example.com/cat.png",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "s3://bucket/cat.png",
    "zip://cat.png::https://example.com/cats.zip",
    "simplecache::https://example.com/cat.png",
    "filecache::hf://datasets/you/cats/cat.png",
    "zip://cat.png",
)


@pytest.mark.parametrize("url", URLS)
def test_urls_in_rows_are_not_fetched(url, monkeypatch):
    """One line that names the row and says what to write; a row that has its bytes may say where they are from."""
    monkeypatch.setattr("datasets.utils.file_utils.xopen", lambda *_, **__: pytest.fail("it is fetched"))
    message = (
        rf"image {re.escape(url)} \(row 7\): it is a URL, and nothing is fetched: download it, .* path of the file"
    )
    row = {"image": {"path": url, "bytes": None}, "label": 0}
    with pytest.raises(UnreadablePictureError, match=message) as caught:
        LabelReader(2).read(row, "row 7")
    assert "\n" not in str(caught.value)
    row = {"image": {"path": None, "bytes": png_bytes(PHOTO)}, "annotation": row["image"]}
    with pytest.raises(UnreadablePictureError, match=re.escape(f"annotation {url} (row 7)")):
        AnnotationReader(2).read(row, "row 7")
    with pytest.raises(UnreadablePictureError, match="nothing is fetched"):
        read_rgb(url)
    np.testing.assert_array_equal(np.asarray(read_rgb({"path": url, "bytes": png_bytes(PHOTO)})), PIXELS)


@pytest.mark.parametrize(
    "path", ["hf://datasets/you/cats@main/cat.png", "zip://cat.png::hf://datasets/you/cats/cats.zip"]
)
def test_files_on_the_hub_are_opened_by_datasets(path, monkeypatch):
    opened = []

    def xopen(name, mode):
        opened.append(name)
        return io.BytesIO(png_bytes(PHOTO))

    monkeypatch.setattr("datasets.utils.file_utils.xopen", xopen)
    np.testing.assert_array_equal(np.asarray(read_rgb({"path": path, "bytes": None})), PIXELS)
    assert opened == [path]


def test_archives_of_huge_files(tmp_path, monkeypatch):
    """A small archive may hold a file of any size."""
    monkeypatch.setattr(door, "_MAX_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photo.png", bytes(2**20 + 1))
    with pytest.raises(UnreadablePictureError, match="it has more than 1048576 bytes"):
        read_rgb(f"zip://photo.png::{tmp_path / 'archive.zip'}")


def test_files_whose_names_look_like_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a::b.png", "http:-b.png"):
        PHOTO.save(tmp_path / name)
        for path in (Path(name), tmp_path / name, str(tmp_path / name)):
            assert read_rgb(path).size == PHOTO.size


@pytest.mark.parametrize("wrong", [None, 3, PIXELS, {}, {"path": None, "bytes": None}, {"path": 3, "bytes": None}])
def test_what_is_no_picture_at_all(wrong):
    for read in (read_rgb, read_mask):
        with pytest.raises(
            UnreadablePictureError, match="Can't read the picture: (there is none|it has neither|expect)"
        ):
            read(wrong)


def png_bytes(picture, **options):
    file = io.BytesIO()
    picture.save(file, "png", **options)
    return file.getvalue()


def test_masks(tmp_path):
    """Ids as they are stored, upright; other modes are refused with the name."""
    ids = (COLUMNS + 24 * ROWS).astype(np.uint16)
    store_turned(Image.fromarray(ids), tmp_path / "deep.png", 6)
    store_turned(in_palette(), tmp_path / "palette.png", 3)
    for path, expected in ((tmp_path / "deep.png", ids), (tmp_path / "palette.png", np.asarray(in_palette()))):
        for mask in (path, str(path), path.read_bytes(), {"path": None, "bytes": path.read_bytes()}, Image.open(path)):
            np.testing.assert_array_equal(np.asarray(read_mask(mask)), expected)
    for picture in (PHOTO, BLACK_AND_WHITE, GREY.convert("LA")):
        picture.save(tmp_path / "mask.png")
        with pytest.raises(
            ValueError, match=r"The picture .*mask\.png has the mode .*; expected class ids in one channel"
        ):
            read_mask(tmp_path / "mask.png")


ROOT = Path(__file__).parents[1]
DOORS = {"src/hf_gpvit/data/pictures.py", "hub_cards/read_rgb.md"}


def shown_code():
    """By file, what people are told to run: scripts, blocks of pages and cards, cells of notebooks."""
    for path in (ROOT / "scripts").glob("*.py"):
        yield path, path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "hub_cards").glob("*.md")]:
        yield path, "".join(re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL))
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_there_is_one_door():
    """Nothing opens pictures in another way than the package does, nor shows how to."""
    package = [(path, path.read_text(encoding="utf-8")) for path in (ROOT / "src").rglob("*.py")]
    for path, code in [*package, *shown_code()]:
        if path.relative_to(ROOT).as_posix() not in DOORS:
            assert not re.search(r"Image\.open\(|load_image\(|imread\(", code), path
    for path, code in shown_code():
        assert not re.search(r"""convert\(["']RGB""", code), path


def test_errors_have_a_reason(tmp_path, monkeypatch):
    def fail(picture):
        raise MemoryError

    PHOTO.save(tmp_path / "large.png")
    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    refused_everywhere(tmp_path / "large.png", "MemoryError")


def test_between_pillows_warning_and_its_error(tmp_path, monkeypatch):
    """What Pillow warns of is read, and what it refuses is not; whoever sets its limit has set ours."""
    PHOTO.save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", NUM_PIXELS - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        assert load_picture(tmp_path / "photo.png").size == PHOTO.size
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", NUM_PIXELS // 2 - 1)
    refused_everywhere(tmp_path / "photo.png", "exceeds limit")


@pytest.mark.timeout(30)
def test_what_is_no_file(tmp_path, monkeypatch):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "lost.png").symlink_to("nowhere.png")
    for name, reason in {
        "folder.png": "it is a folder",
        "pipe.png": "it is a pipe or a device",
        "zeros.png": "it is a pipe or a device",
        "loop.png": "[Ss]ymbolic links",
        "lost.png": "No such file",
        "gone.png": "No such file",
    }.items():
        refused_everywhere(tmp_path / name, reason)
    for name in ("pipe.png", "zeros.png", "loop.png", "lost.png"):
        with pytest.raises(ValueError, match=f"{name} is a pipe, a device or a link that leads nowhere"):
            find_pictures([tmp_path / name])
    (tmp_path / "circle").symlink_to(tmp_path)
    PHOTO.save(tmp_path / "photo.png")
    assert list(find_pictures([tmp_path])) == [tmp_path / "photo.png"]


def denied(function, path):
    def call(file, *arguments, **options):
        if str(file) == str(path):
            raise PermissionError(13, "Permission denied", str(file))
        return function(file, *arguments, **options)

    return call


def test_without_permission(tmp_path, monkeypatch, caplog):
    """The superuser may read everything, so the refusal is played."""
    PHOTO.save(tmp_path / "secret.png")
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", denied(open, tmp_path / "secret.png"))
        with pytest.raises(UnreadablePictureError, match=r"picture \S+secret.png: Permission denied\.$"):
            load_picture(tmp_path / "secret.png")
    (tmp_path / "private").mkdir()
    monkeypatch.setattr(os, "scandir", denied(os.scandir, tmp_path / "private"))
    warned = []
    monkeypatch.setattr("hf_gpvit.data.pictures.logger.warning", warned.append)
    assert list(find_pictures([tmp_path])) == [tmp_path / "secret.png"]
    assert warned == [f"The folder {tmp_path / 'private'} is left out: Permission denied."]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_file_that_shrinks_while_it_is_read(tmp_path):
    """Uncompressed files could be mapped into memory, where what is gone ends the process."""
    values = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "raw.tif")
    with opened_picture(tmp_path / "raw.tif") as picture:
        picture.load()
        os.truncate(tmp_path / "raw.tif", 10)
        np.testing.assert_array_equal(np.asarray(picture), values)
    refused_everywhere(tmp_path / "raw.tif", "")


def test_folders_to_train_on(tmp_path):
    """Bad files are named or left out; what is no file is no picture."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            PHOTO.save(tmp_path / name / f"{number}.png")
    os.mkfifo(tmp_path / "cat/pipe.png")
    (tmp_path / "cat/loop.png").symlink_to("loop.png")
    (tmp_path / "dog/a\nb.png").write_bytes(BOMBS["bomb.png"])
    with pytest.raises(UnreadablePictureError, match=r"dog/a\\nb\.png: Image size \(3600000000 pixels\)"):
        load_folder(tmp_path)
    dataset, _ = load_folder(tmp_path, skip_corrupt=True)
    assert sum(map(len, dataset.values())) == 6


def test_masks_of_huge_ids(tmp_path):
    """Ids up to 2**31 are named, not counted one by one."""
    for number in range(2):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        PHOTO.save(tmp_path / f"images/{number}.png")
        Image.fromarray((COLUMNS // 12).astype(np.uint8)).save(tmp_path / f"masks/{number}.png")
    for huge in (2**31 - 1, -5):
        # a TIFF by its content is a PNG by its name
        Image.new("I", PHOTO.size, huge).save(tmp_path / "masks/1.png", format="TIFF")
        with pytest.raises(ValueError, match=f"masks/1.png has the id {huge}, but none has"):
            load_folder(tmp_path)
        with pytest.raises(ValueError, match=f"masks/1.png has the class ids {huge}; of 9 classes they are 0 to 8"):
            load_folder(tmp_path, class_names=list("abcdefghi"))


# --- predict, and transformers' pipelines


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder for each task; the image processors are as they always are, with a small size."""
    torch.manual_seed(0)
    folders = {}
    for family, kind in ((GPVIT, "classifier"), (HRVIT, "segmentor"), (HRVIT, "model")):
        model = awake(getattr(family, f"{kind}_class")(family.config()))
        folders[kind] = tmp_path_factory.mktemp(kind)
        model.save_pretrained(folders[kind])
        image_processor_for(model, 32).save_pretrained(folders[kind])
    return folders


NAMES = {
    "plain.png": "plain.png",
    "with space and  two.png": "with space and  two.png",
    "日本 été 🐱.png": "日本 été 🐱.png",
    "line\nbreak.png": "line\\nbreak.png",
    "esc\x1b[31m.png": "esc\\x1b[31m.png",
    os.fsdecode(b"no-utf8-\xff.png"): "no-utf8-\\udcff.png",
    "-dash.png": "-dash.png",
    "ü" * 125 + ".png": "ü" * 125 + ".png",
}


@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
def test_names_of_files(models, tmp_path, monkeypatch, capsys, kind):
    """Each file is a line of the table, and a record under its own name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in NAMES:
        PHOTO.save(tmp_path / "photos" / name)
    (tmp_path / "photos/bro\nken  .png").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as ended:
        hf_gpvit_cli.main(["predict", "--model", str(models[kind]), "photos", "--output_dir", "out"])
    assert ended.value.code == 1
    output = capsys.readouterr()
    lines = output.out.splitlines()
    shown = {line.split("  LABEL_")[0].rstrip() for line in lines if "  LABEL_" in line}
    assert shown == {f"photos/{name}" for name in NAMES.values()}
    assert lines[-1].startswith(f"{len(NAMES)} of {len(NAMES) + 1} pictures, ")
    assert lines[-1].endswith(" in a second: " + os.path.join("out", ""))
    errors = [line for line in output.err.splitlines() if line.startswith("hf-gpvit predict: ")]
    assert len(errors) == 1 and "Traceback" not in output.err
    assert errors[0].startswith("hf-gpvit predict: Can't read the picture photos/bro\\nken  .png: it is no picture")
    records = json.loads((tmp_path / "out/predictions.json").read_text(encoding="utf-8"))
    good = {record["file"] for record in records if "error" not in record}
    assert good == {f"photos/{name}" for name in NAMES}
    for record in records:
        assert all((tmp_path / "out" / record[key]).is_file() for key in ("mask", "overlay") if key in record)


@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Image was not the expected size")
def test_bad_files_in_a_folder(models, tmp_path, monkeypatch, kind):
    """One record for each, and the others get what they would get alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "plain").mkdir()
    good = ("16-bit.png", "CMYK.tif", "RGBA.png", "animated.gif")
    for name in good:
        store(name, tmp_path / "photos")[0].save(tmp_path / "plain" / f"{name}.png")
    bad = {"bomb.png", "cut.jpg", "empty.png", "floats.tif", "text.jpg", "zeros.png"}
    for name in bad:
        REFUSED[name][0](tmp_path / "photos" / name)
    os.mkfifo(tmp_path / "photos/pipe.png")
    records = {Path(record["file"]).name: record for record in predict_pictures(models[kind], ["photos"], "out")}
    assert records.keys() == {*good, *bad}
    assert {name for name, record in records.items() if "error" in record} == bad
    assert all(f"picture photos/{name}: " in records[name]["error"] for name in bad)
    plain = {Path(record["file"]).stem: record for record in predict_pictures(models[kind], ["plain"], "alone")}
    for name in good:
        key = "predictions" if kind == "classifier" else "shares"
        values = [[list(entry.values())[1] for entry in record[key]] for record in (records[name], plain[name])]
        np.testing.assert_allclose(*values, atol=2e-3 if name == "CMYK.tif" else 1e-5)


@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 900)])
def test_tiny_and_thin_pictures(models, tmp_path, monkeypatch, kind, size):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", size, "tan").save("photo.png")
    PHOTO.save("other.png")
    thin, other = predict_pictures(models[kind], ["photo.png", "other.png"], "out")
    assert "error" not in other
    too_thin = kind == "segmentor" and 300 in size  # 32x128 at most: a side would shrink to nothing
    assert ("error" in thin) == too_thin
    if too_thin:
        assert thin["error"].startswith(f"photo.png: image of {size[0]}x{size[1]} pixels")
    elif kind == "segmentor":
        assert Image.open(tmp_path / "out" / thin["mask"]).size == size


def test_pictures_that_would_grow(models, tmp_path, monkeypatch):
    """A line of pixels would have gigabytes once its shorter side is resized."""
    monkeypatch.chdir(tmp_path)
    processor = ViTImageProcessor(size={"shortest_edge": 256}, default_to_square=False)
    check_resized_size(processor, Image.new("L", (1, 2730)))
    with pytest.raises(ValueError, match="image of 1x5000 pixels is too thin: with 256 .* the longer one 1280000"):
        check_resized_size(processor, Image.new("L", (1, 5000)))
    check_resized_size(processor, Image.new("L", (2, 5000)))
    with pytest.raises(ValueError, match="too thin: with 512 pixels"):
        check_resized_size(processor, Image.new("L", (2, 5000)), scale=2)
    sizes = ({"height": 9, "width": 9}, {"shortest_edge": 9, "longest_edge": 99})
    bounded = ({"do_resize": False}, *({"size": size} for size in sizes))
    for options in bounded:
        check_resized_size(ViTImageProcessor(**options), Image.new("L", (1, 10**6)))
    Image.new("L", (1, 10**6)).save("line.png")
    PHOTO.save("photo.png")
    line, photo = predict_pictures(models["classifier"], ["line.png", "photo.png"], "out")
    assert line["error"].startswith("line.png: image of 1x1000000 pixels is too thin") and "predictions" in photo
    model = awake(HRVIT.segmentor_class(HRVIT.config()))
    with pytest.raises(ValueError, match="too thin"):
        segment(model, processor, Image.open("line.png"))


@pytest.mark.parametrize("path", ["https://example.com/cat.png", "data:image/png;base64,AAAA"])
def test_nothing_is_fetched(path):
    with pytest.raises(FileNotFoundError, match="does not exist; expected a picture or a folder"):
        find_pictures([path])


def test_opened_photos_are_turned_upright(models, tmp_path):
    """A PIL image from a camera is seen as the pipeline sees it, and drawn on upright."""
    segmentor, classifier = (
        pipeline(task, model=str(models[kind]))
        for kind, task in (("segmentor", "image-segmentation"), ("classifier", "image-classification"))
    )
    store_turned(PHOTO, tmp_path / "turned.png", 6)
    with Image.open(tmp_path / "turned.png") as turned:
        ids = segment(segmentor.model, segmentor.image_processor, turned)
        assert torch.equal(ids, segment(segmentor.model, segmentor.image_processor, PHOTO))
        scores = classify(classifier.model, classifier.image_processor, [turned, PHOTO])
        assert torch.equal(scores[0], scores[1])
        drawn = [overlay_segmentation(picture, ids, segmentor.model.config.id2label) for picture in (turned, PHOTO)]
    assert drawn[0].tobytes() == drawn[1].tobytes()


AS_WE_READ_THEM = ["1.png", "LA.png", "P-half-transparent.png", "RGBA.png", "CMYK.tif", "animated.webp", "pages.tif"]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_pipelines(models, tmp_path):
    """Transformers opens files by itself: as we do, but for 16 bits, where it is to be given what we opened."""
    for name in [*AS_WE_READ_THEM, "16-bit.png"]:
        store(name, tmp_path)
    store_turned(PHOTO, tmp_path / "turned.png", 6)
    GREY.save(tmp_path / "grey.png")
    for kind, task in (
        ("classifier", "image-classification"),
        ("segmentor", "image-segmentation"),
        ("model", "image-feature-extraction"),
    ):
        run = pipeline(task, model=str(models[kind]))
        for name in [*AS_WE_READ_THEM, "turned.png"]:
            assert run(str(tmp_path / name)) == run(load_picture(tmp_path / name)), name
        assert run(load_picture(tmp_path / "16-bit.png")) == run(str(tmp_path / "grey.png"))
        for name in ("empty.png", "text.jpg", "cut.png", "bomb.png"):
            REFUSED[name][0](tmp_path / name)
            with pytest.raises(Exception):  # noqa: B017 (Pillow's, which are of many kinds)
                run(str(tmp_path / name))


def test_printable():
    assert printable(Path("a b/é🐱.png")) == "a b/é🐱.png"
    assert printable("a\nb\x1b\u202e\udcff") == "a\\nb\\x1b\\u202e\\udcff"


# --- memory


def peak(code, *arguments):
    """MiB that a fresh process takes for the code, beyond what it took before."""
    program = """
        import resource, sys
        from pathlib import Path
        from hf_gpvit.inference import load_picture, predict_pictures
        def highest():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        before = highest()
    """
    program = textwrap.dedent(program) + textwrap.dedent(code) + "\nprint(highest() - before)"
    answer = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return int(answer.stdout.splitlines()[-1])


@pytest.mark.slow
def test_memory_for_bombs(tmp_path):
    """Next to none: their headers are enough. One is whole, 60000x60000 pixels in 450 kB."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + 60000 // 8)
    rows = b"".join(compressor.compress(row * 1000) for _ in range(60)) + compressor.flush()
    header = struct.pack(">IIBBBBB", 60000, 60000, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    (tmp_path / "whole.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    for name, content in BOMBS.items():
        (tmp_path / name).write_bytes(content)
    REFUSED["text-bomb.png"][0](tmp_path / "text-bomb.png")
    code = """
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            load_picture(path)
        except ValueError as error:
            continue
        raise SystemExit(f"{path} was read")
    """
    assert peak(code, tmp_path) < 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("mode", ["P", "I;16", "RGB", "CMYK"])
def test_memory_for_the_largest_pictures(tmp_path, mode):
    """177 million pixels, just what Pillow lets through, take at most three times what they are in RGB."""
    side = 13300
    Image.new(mode, (side, side)).save(tmp_path / "large.tif", compression="tiff_adobe_deflate")
    taken = peak("load_picture(Path(sys.argv[1]))", tmp_path / "large.tif")
    assert taken < 3 * 4 * side * side / 2**20 + 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
def test_memory_for_predicting_many_large_pictures(models, tmp_path, kind):
    """Pictures of a batch take no more than one: some gigabytes, whatever their number."""
    (tmp_path / "photos").mkdir()
    Image.new("1", (13300, 13300)).save(tmp_path / "photos/0.png")
    code = "predict_pictures(sys.argv[1], [sys.argv[2]], sys.argv[3], device='cpu')"
    one = peak(code, models[kind], tmp_path / "photos", tmp_path / "one")
    (tmp_path / "photos/1.png").write_bytes((tmp_path / "photos/0.png").read_bytes())
    two = peak(code, models[kind], tmp_path / "photos", tmp_path / "two")
    assert one < 4500
    assert two < one + 400
