# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC's XML files: lists of splits, boxes that count pixels from 1, and what is refused."""

import logging
from pathlib import Path

import pytest
from datasets import Image as ImageFeature

from annotated_folders import picture, text, voc_file
from hf_gpvit.data.folders import load_folder
from hf_gpvit.data.loading import load_data
from hf_gpvit.data.objects import ObjectReader


PETS = (("dog", (5, 4, 14, 11)), ("cat", (1, 1, 40, 30)))


def stems(dataset):
    return [Path(row["path"]).stem for row in dataset.cast_column("image", ImageFeature(decode=False))["image"]]


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    return caplog


def official(root, lists):
    """With masks of classes, as VOC's own folder has them for some pictures."""
    for stem in "abcdef":
        picture(root / "JPEGImages" / f"{stem}.jpg")
        voc_file(root / "Annotations" / f"{stem}.xml", PETS)
    picture(root / "SegmentationClass" / "a.png")
    for name, listed in lists.items():
        text(root / "ImageSets" / "Main" / f"{name}.txt", "\n".join(listed))
    text(root / "ImageSets" / "Main" / "dog_train.txt", "a -1\nb 1\n")
    return root


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        ({"train": "abc", "val": "de"}, "abc", "de"),
        ({"train": "ab", "val": "cd", "trainval": "abcd", "test": "ef"}, "ab", "ef"),
        ({"trainval": "abcd", "test": "ef"}, "abcd", "ef"),
    ],
)
def test_lists_of_splits(tmp_path, lists, train, test):
    dataset, names = load_folder(official(tmp_path, lists), "object-detection")
    assert names == ["cat", "dog"]
    assert {split: "".join(stems(part)) for split, part in dataset.items()} == {"train": train, "test": test}
    objects = dataset["train"][0]["objects"]
    assert objects["bbox"] == [[4, 3, 10, 8], [0, 0, 40, 30]]
    assert objects["category"] == [1, 0]


@pytest.mark.parametrize("task", ["object-detection", None])
@pytest.mark.parametrize(
    ("images", "labels"),
    [("{}", "{}"), ("images/{}", "annotations/{}"), ("{}/images", "{}/annotations"), ("{}/images", "{}/labels/xmls")],
)
def test_beside_the_pictures(tmp_path, task, images, labels):
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            stem = f"{split[0]}{number}"
            picture(tmp_path / images.format(split) / f"{stem}.jpg")
            voc_file(tmp_path / labels.format(split) / f"{stem}.xml")
    dataset, names = load_folder(tmp_path, task)
    assert names == ["cat"]
    assert {split: len(part) for split, part in dataset.items()} == {"train": 3, "test": 2}


def test_without_splits(tmp_path):
    dataset, _ = load_folder(official(tmp_path, {}), "object-detection")
    assert {split: len(part) for split, part in dataset.items()} == {"train": 5, "test": 1}


def test_difficult_objects_are_neither_learned_nor_counted(tmp_path):
    for stem, flags in (("a", {"difficult": 1}), ("b", {"difficult": 0}), ("c", {})):
        picture(tmp_path / f"{stem}.jpg")
        voc_file(tmp_path / f"{stem}.xml", **flags)
    data = load_data(str(tmp_path), "object-detection")
    rows = [*data.train, *data.test]
    crowds = {Path(row["image"].filename).stem: ObjectReader(1).read(row, "row")[1].iscrowd for row in rows}
    assert {stem: crowd.tolist() for stem, crowd in crowds.items()} == {"a": [True], "b": [False], "c": [False]}


def test_masks_are_needed_for_instances(tmp_path):
    with pytest.raises(ValueError, match="12 x object without a mask"):
        load_folder(official(tmp_path, {}), "instance-segmentation")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no picture", "picture without a file: .*b.xml"),
        ("no xml", "picture without an XML file: .*b.jpg"),
        ("other size", "picture of another size .*b.jpg: 80x30, but the upright picture has 40x30"),
        ("broken", "XML file that can't be read: .*b.xml is no XML"),
        ("entities", "XML file that can't be read: .*b.xml is no file of labels: .* or a DOCTYPE"),
        ("no number", "box that isn't four numbers: b.jpg, object 0"),
        ("empty", r"box that is empty: b.jpg, object 0: \[8, 3, 0, 8\]"),
        ("outside", "box outside of its picture: b.jpg, object 0"),
    ],
)
def test_faults(tmp_path, said, kind, message):
    for stem in "abcd":
        picture(tmp_path / f"{stem}.jpg")
        voc_file(tmp_path / f"{stem}.xml")
    changes = {
        "no picture": lambda: (tmp_path / "b.jpg").unlink(),
        "no xml": lambda: (tmp_path / "b.xml").unlink(),
        "other size": lambda: voc_file(tmp_path / "b.xml", size=(80, 30)),
        "broken": lambda: text(tmp_path / "b.xml", "<annotation>"),
        "entities": lambda: text(tmp_path / "b.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'),
        "no number": lambda: voc_file(tmp_path / "b.xml", [("cat", (1, 2, "x", 4))]),
        "empty": lambda: voc_file(tmp_path / "b.xml", [("cat", (9, 4, 8, 11))]),
        "outside": lambda: voc_file(tmp_path / "b.xml", [("cat", (50, 4, 60, 11))]),
    }
    changes[kind]()
    with pytest.raises(ValueError, match=f"1 x {message}"):
        load_folder(tmp_path, "object-detection")
    dataset, _ = load_folder(tmp_path, "object-detection", skip_corrupt=True)
    assert sum(len(row["objects"]["bbox"]) for part in dataset.values() for row in part) == 3
    assert "it is left out" in said.text


def test_listed_pictures_that_are_not_there(tmp_path):
    official(tmp_path, {"train": "abc", "test": "dxyz"})
    with pytest.raises(ValueError, match="3 x picture without a file: x; y; z"):
        load_folder(tmp_path, "object-detection")


def test_classes_of_tests_alone(tmp_path):
    for split, name in (("train", "cat"), ("test", "cow")):
        picture(tmp_path / split / "a.jpg")
        voc_file(tmp_path / split / "a.xml", [(name, (5, 4, 14, 11))])
    with pytest.raises(ValueError, match="1 x class without a name that is known: .*test/a.xml, object 0: 'cow'"):
        load_folder(tmp_path, "object-detection")
