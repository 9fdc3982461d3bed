# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures are found wherever they lie, and read whatever they are."""

import warnings

import numpy as np
import pytest
from PIL import Image

from hf_gpvit.inference import find_pictures, load_picture


ORIENTATION = 274


def draw(path, color="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), color).save(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "sub/b.webp", "sub/deeper/c.d.tif", ".hidden/x.png", "._b.jpg", "__MACOSX/b.jpg"):
        draw(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    (tmp_path / "photos" / "folder.png").mkdir()
    return tmp_path


def found(*paths):
    return {file.as_posix(): name for file, name in find_pictures(paths).items()}


def test_folders_are_searched(folder):
    assert list(found("photos").items()) == [
        ("photos/a.PNG", "a"),
        ("photos/b.jpg", "b"),
        ("photos/sub/b.webp", "sub/b"),
        ("photos/sub/deeper/c.d.tif", "sub/deeper/c.d"),
    ]
    assert list(found(folder / "photos" / "sub").values()) == ["b", "deeper/c.d"]


def test_files_are_taken_whatever_their_suffix(folder):
    assert found("photos/notes.txt", "photos/.hidden/x.png") == {
        "photos/notes.txt": "notes",
        "photos/.hidden/x.png": "x",
    }


def test_order_is_that_of_the_paths(folder):
    assert list(found("photos/sub", "photos/b.jpg", "photos/a.PNG").values()) == ["b", "deeper/c.d", "b-1", "a"]


def test_names_are_unique_where_case_is_ignored(folder):
    draw(folder / "photos" / "b.png")
    draw(folder / "other" / "B.jpg")
    draw(folder / "other" / "b-1.jpg")
    names = list(found("photos", "other").values())
    assert names[1:3] == ["b", "b-1"]
    assert len({name.casefold() for name in names}) == len(names) == 7


def test_names_are_unique_where_accents_are_composed(folder):
    """As on the disks of a Mac."""
    for number, stem in enumerate(("\u00e9", "e\u0301", "\u00c9")):
        draw(folder / f"other{number}" / f"{stem}.jpg")
    names = list(found("other0", "other1", "other2").values())
    assert names == ["\u00e9", "e\u0301-1", "\u00c9-2"]


def test_no_name_makes_a_file_where_another_makes_a_folder(folder):
    for name in ("a.jpg", "a.png/b.jpg", "a.png/c.jpg", "predictions.json/x.jpg", "z-overlay.jpg/z.jpg", "z.jpg"):
        draw(folder / "other" / name)
    assert list(found("other").items()) == [
        ("other/a.jpg", "a"),
        ("other/a.png/b.jpg", "a.png-1/b"),
        ("other/a.png/c.jpg", "a.png-1/c"),
        ("other/predictions.json/x.jpg", "predictions.json-1/x"),
        ("other/z-overlay.jpg/z.jpg", "z-overlay.jpg/z"),
        ("other/z.jpg", "z-1"),
    ]


def test_nothing_is_found_twice(folder):
    assert len(found("photos", "photos/b.jpg", folder / "photos", "photos/../photos/sub")) == 4


def test_no_pictures(folder):
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures in empty, photos.folder.png"):
        found("empty", "photos/folder.png")
    with pytest.raises(ValueError, match="no pictures in an empty list"):
        found()


def test_path_that_does_not_exist(folder):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected a picture or a folder"):
        found("photos", "nowhere")


# --- reading


def test_turned_photo_is_upright(tmp_path):
    values = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    picture = Image.fromarray(values)
    exif = picture.getexif()
    exif[ORIENTATION] = 6  # the camera was turned: to be shown a quarter clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(load_picture(tmp_path / "turned.png")), np.rot90(values, -1))


@pytest.mark.parametrize(
    "mode, value, expected",
    [
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (77, 10), (77, 77, 77)),
        ("RGBA", (1, 2, 3, 0), (1, 2, 3)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 90, (90, 90, 90)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_modes(tmp_path, mode, value, expected):
    path = tmp_path / "picture.tif"
    Image.new(mode, (4, 3), value).save(path)
    picture = load_picture(path)
    assert (picture.mode, picture.size) == ("RGB", (4, 3))
    assert picture.getcolors() == [(12, expected)]


def test_16_bit_png(tmp_path):
    Image.new("I;16", (4, 3), 257 * 200).save(tmp_path / "picture.png")
    assert load_picture(tmp_path / "picture.png").getcolors() == [(12, (200, 200, 200))]


def test_palette_with_transparency(tmp_path):
    picture = Image.new("P", (4, 3), 1)
    picture.putpalette([9, 9, 9, 10, 20, 30])
    picture.save(tmp_path / "picture.png", transparency=b"\x00\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_picture(tmp_path / "picture.png").getcolors() == [(12, (10, 20, 30))]


def test_first_frame_of_several(tmp_path):
    frames = [Image.new("RGB", (4, 3), color) for color in ("#ff0000", "#00ff00")]
    frames[0].save(tmp_path / "picture.gif", save_all=True, append_images=frames[1:])
    assert load_picture(tmp_path / "picture.gif").getcolors() == [(12, (255, 0, 0))]


@pytest.mark.parametrize("kind", ["text", "empty", "cut"])
def test_unreadable(tmp_path, kind):
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(path)
    path.write_bytes({"text": b"no picture", "empty": b"", "cut": path.read_bytes()[:2000]}[kind])
    with pytest.raises(ValueError, match=r"Can't read the picture .*picture\.png: "):
        load_picture(path)
