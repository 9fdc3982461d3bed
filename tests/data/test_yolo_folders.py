# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""YOLO's text files: arrangements, boxes and polygons, names of classes, and what is refused."""

import logging
from pathlib import Path

import pytest
from datasets import Image as ImageFeature

from annotated_folders import picture, text
from hf_gpvit.data.folders import load_folder
from hf_gpvit.data.loading import load_data
from hf_gpvit.data.objects import ObjectReader


LINES = "0 0.25 0.5 0.2 0.4\n1 0.5 0.5 1 1\n"
NAMES = "names: [cat, dog]\nnc: 2\ntrain: ../train/images\nval: ../valid/images\n"


def files(dataset):
    return [Path(row["path"]) for row in dataset.cast_column("image", ImageFeature(decode=False))["image"]]


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    return caplog


def flat(root, count=4, lines=LINES, names=True):
    """Pictures and text side by side."""
    for number in range(count):
        picture(root / f"{number}.png")
        text(root / f"{number}.txt", lines)
    if names:
        text(root / "classes.txt", "cat\ndog\n")
    return root


@pytest.mark.parametrize("task", ["object-detection", None])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("test", ["val", "valid", "test", "val2017"])
def test_splits(tmp_path, task, inside, test):
    for split, count in (("train", 3), (test, 2)):
        for number in range(count):
            for folder, make in (("images", picture), ("labels", lambda path: text(path, LINES))):
                parent = f"{folder}/{split}" if inside else f"{split}/{folder}"
                make(tmp_path / parent / f"{number}.{'jpg' if folder == 'images' else 'txt'}")
    text(tmp_path / "data.yaml", NAMES)
    dataset, names = load_folder(tmp_path, task)
    assert names == ["cat", "dog"]
    assert {split: part["image_id"][:] for split, part in dataset.items()} == {"train": [0, 1, 2], "test": [3, 4]}
    assert {file.parent for file in files(dataset["test"])} == {
        tmp_path / (f"images/{test}" if inside else f"{test}/images")
    }
    objects = dataset["train"][0]["objects"]
    assert objects["category"] == [0, 1]
    assert objects["bbox"] == [pytest.approx([6, 9, 8, 12]), [0, 0, 40, 30]]


def test_without_splits(tmp_path):
    dataset, names = load_folder(flat(tmp_path, 5), "object-detection")
    assert names == ["cat", "dog"]
    assert {split: len(part) for split, part in dataset.items()} == {"train": 4, "test": 1}
    data = load_data(str(tmp_path), "object-detection")
    assert data.category_ids is None
    assert sorted(data.train["image_id"][:] + data.test["image_id"][:]) == [0, 1, 2, 3, 4]


def test_polygons(tmp_path):
    """A triangle: its box is that of its corners."""
    flat(tmp_path, 2, "0 0.1 0.1 0.6 0.1 0.1 0.9\n")
    row = load_data(str(tmp_path), "object-detection").test[0]
    assert row["objects"]["bbox"] == [pytest.approx([4, 3, 20, 24])]
    row = load_data(str(tmp_path), "instance-segmentation").test[0]
    _, objects = ObjectReader(2, with_masks=True).read(row, "row 0")
    assert objects.masks.sum().item() == pytest.approx(240, abs=15)
    assert objects.areas.item() == objects.masks.sum()
    text(tmp_path / "1.txt", LINES)
    with pytest.raises(ValueError, match="2 x object without a mask: 1.png, object 0"):
        load_data(str(tmp_path), "instance-segmentation")


def test_pictures_without_objects(tmp_path, said):
    flat(tmp_path, 4)
    (tmp_path / "1.txt").unlink()
    text(tmp_path / "2.txt", "")
    dataset, _ = load_folder(tmp_path, "object-detection")
    rows = {row["image"].filename: row["objects"]["bbox"] for part in dataset.values() for row in part}
    assert sorted(map(len, rows.values())) == [0, 0, 2, 2]
    assert "1 pictures have no file of labels, and count as without objects" in said.text


# --- names


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", "names:\n  0: cat\n  1: dog\npath: ../somewhere\n"),
        ("dataset.yaml", "names: ['cat', \"dog\"]"),
        ("pets.yaml", "names: [cat, dog]"),
        ("obj.names", "cat\n\ndog\n"),
    ],
)
def test_names(tmp_path, name, content):
    flat(tmp_path, names=False)
    text(tmp_path / name, content)
    assert load_folder(tmp_path, "object-detection")[1] == ["cat", "dog"]


def test_a_single_class(tmp_path):
    flat(tmp_path, lines="0 0.5 0.5 0.1 0.1", names=False)
    text(tmp_path / "data.yaml", "names: [ball]")
    assert load_data(str(tmp_path), "object-detection").class_names == ["ball"]
    assert load_data(str(tmp_path), "object-detection", class_names=["disc"]).class_names == ["disc"]


def test_names_that_nothing_says(tmp_path, said):
    flat(tmp_path, names=False)
    assert load_folder(tmp_path, "object-detection")[1] == ["class_0", "class_1"]
    assert "0 (4 objects), 1 (4 objects)" in said.text
    assert load_data(str(tmp_path), "object-detection", class_names=["a", "b"]).class_names == ["a", "b"]
    text(tmp_path / "1.txt", "5 0.5 0.5 0.1 0.1")
    with pytest.raises(ValueError, match="without gaps, but there is 5 and no 2. Name all classes in data.yaml"):
        load_folder(tmp_path, "object-detection")


@pytest.mark.parametrize("content", ["names: [cat, cat]", "names: {0: cat, 2: dog}", "names: 2", "nc: 2"])
def test_names_that_are_wrong(tmp_path, content):
    flat(tmp_path, names=False)
    text(tmp_path / "data.yaml", content)
    with pytest.raises(ValueError, match="data.yaml must have unique names of the classes"):
        load_folder(tmp_path, "object-detection")


# --- what is refused, or left out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", "class id without a name: 1.png, object 0: 2 of 2 classes"),
        ("cat 0.5 0.5 0.1 0.1", "line that is no label: .*1.txt, line 1: 'cat' is no class id"),
        ("0 0.5 0.5 0.1", "line that is no label: .*1.txt, line 1: 4 fields"),
        ("0 0.5 0.5 0.1 x", "line that is no label: .*1.txt, line 1: could not convert"),
        ("0 0.5 0.5 0.1 0.1 0.9", "line that is no label: .*1.txt, line 1: 6 fields"),
        ("0 0.5 0.5 nan 0.1", "box that isn't four numbers: 1.png"),
        ("0 0.5 0.5 0 0.1", "box that is empty: 1.png, object 0"),
        ("0 200 100 30 40", "box outside of its picture: 1.png, object 0: .* in 40x30 pixels"),
    ],
)
def test_faults(tmp_path, said, line, message):
    flat(tmp_path)
    text(tmp_path / "1.txt", line)
    with pytest.raises(ValueError, match=f"1 x {message}"):
        load_folder(tmp_path, "object-detection")
    dataset, _ = load_folder(tmp_path, "object-detection", skip_corrupt=True)
    assert sum(len(row["objects"]["bbox"]) for part in dataset.values() for row in part) == 6
    assert "it is left out" in said.text


def test_labels_without_a_picture(tmp_path):
    flat(tmp_path)
    text(tmp_path / "9.txt", LINES)
    text(tmp_path / "notes.txt", "by nobody")
    with pytest.raises(ValueError, match="1 x picture without a file: .*9.txt"):
        load_folder(tmp_path, "object-detection")
