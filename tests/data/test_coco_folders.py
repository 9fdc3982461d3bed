# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON files: where their pictures are, what ids become, and what is refused."""

import json
import logging
from pathlib import Path

import pytest
from datasets import Image as ImageFeature

from annotated_folders import coco_file, coco_record, picture, text
from hf_gpvit.data.folders import load_folder, read_folder
from hf_gpvit.data.loading import load_data
from hf_gpvit.data.objects import ObjectReader


NAMES = ["1.jpg", "2.jpg", "3.jpg"]


def files(dataset):
    return [Path(row["path"]) for row in dataset.cast_column("image", ImageFeature(decode=False))["image"]]


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    return caplog


# --- where things are


def official(root):
    for name in NAMES:
        picture(root / "train2017" / name)
        picture(root / "val2017" / name)
    coco_file(root / "annotations" / "instances_train2017.json", NAMES)
    coco_file(root / "annotations" / "instances_val2017.json", NAMES[:2], first_id=10)
    coco_file(root / "annotations" / "person_keypoints_train2017.json", NAMES)
    text(root / "annotations" / "captions_train2017.json", json.dumps({"images": [], "annotations": []}))
    return "train2017", "val2017"


def with_images(root):
    train, test = official(root)
    (root / "images").mkdir()
    for name in (train, test):
        (root / name).rename(root / "images" / name)
    return f"images/{train}", f"images/{test}"


def linked(root):
    elsewhere = root.parent / "elsewhere"
    train, test = official(root)
    elsewhere.mkdir()
    for name in (train, test):
        (root / name).rename(elsewhere / name)
        (root / name).symlink_to(elsewhere / name)
    return train, test


def beside_the_pictures(root):
    for split, names in (("train", NAMES), ("valid", NAMES[:2])):
        for name in NAMES:
            picture(root / split / name)
        coco_file(root / split / "_annotations.coco.json", names, first_id=5 * len(names))
    return "train", "valid"


def paths_in_the_file(root):
    for name in NAMES:
        picture(root / "images" / "train" / name)
        picture(root / "images" / "val" / name)
    coco_file(root / "train.json", [f"train\\{name}" for name in NAMES])
    coco_file(root / "val.json", [f"/home/somebody/val/{name}" for name in NAMES[:2]], first_id=10)
    return "images/train", "images/val"


@pytest.mark.parametrize("lay_out", [official, with_images, linked, beside_the_pictures, paths_in_the_file])
@pytest.mark.parametrize("task", ["object-detection", None])
def test_arrangements(tmp_path, lay_out, task):
    """Names are the same in both splits."""
    root = tmp_path / "set"
    folders = lay_out(root)
    dataset, names = load_folder(root, task)
    assert names == ["cat", "dog"]
    for split, folder, expected in zip(("train", "test"), folders, (NAMES, NAMES[:2]), strict=True):
        assert files(dataset[split]) == [root / folder / name for name in expected]
        assert dataset[split][0]["objects"]["bbox"] == [[4, 3, 10, 8]]


@pytest.mark.parametrize("folder", ["", "images", "photos/of cats"])
def test_one_file_is_divided_as_for_other_tasks(tmp_path, folder):
    names = [f"{number}.jpg" for number in range(10)]
    for name in names:
        picture(tmp_path / folder / name)
    file = coco_file(tmp_path / "result.json", names)
    parts = read_folder(tmp_path, "object-detection").parts
    assert {split: len(part) for split, part in parts.items()} == {"train": 8, "test": 2}
    assert sorted(parts["train"]["image_id"][:] + parts["test"]["image_id"][:]) == list(range(10))
    assert load_data(str(file), "object-detection").test[:] == parts["test"][:]


def test_a_file_of_tests_alone(tmp_path):
    official(tmp_path)
    data = load_data(str(tmp_path / "annotations" / "instances_val2017.json"), "object-detection", train_split=None)
    assert data.test["image_id"][:] == [10, 11]


def test_what_is_trained_on_is_not_read_for_a_test(tmp_path):
    official(tmp_path)
    text(tmp_path / "annotations" / "instances_train2017.json", '{"images", "annotations", "categories"')
    data = load_data(str(tmp_path), "object-detection", train_split=None)
    assert (data.train, data.test["image_id"][:]) == (None, [10, 11])
    with pytest.raises(ValueError, match="instances_train2017.json is no JSON"):
        load_data(str(tmp_path), "object-detection")


# --- what they hold


def test_ids_of_the_file_are_kept(tmp_path):
    picture(tmp_path / "1.jpg")
    picture(tmp_path / "2.jpg")
    boxes = [(1, 1, 5, 5), (2, 2, 6, 6), (3, 3, 7, 7)]
    coco_file(
        tmp_path / "a.json", ["1.jpg", "2.jpg"], boxes=boxes, categories=[(90, "zebra"), (3, "cat"), (44, "dog")]
    )
    data = load_data(str(tmp_path), "object-detection")
    assert data.class_names == ["cat", "dog", "zebra"]
    assert data.category_ids == [3, 44, 90]
    assert data.test[0]["objects"]["category"] == [2, 0, 1]
    others = load_data(str(tmp_path), "object-detection", default_class_names=["dog", "bird", "zebra", "cat"])
    assert others.class_names == ["dog", "bird", "zebra", "cat"]
    assert others.category_ids == [44, 91, 90, 3]
    assert others.test[0]["objects"]["category"] == [2, 3, 0]


def test_what_categories_are_called_together_is_no_class(tmp_path, said):
    record = coco_record(NAMES)
    for category in record["categories"]:
        category["supercategory"] = "animals"
    record["categories"].append({"id": 0, "name": "animals", "supercategory": "none"})
    for name in NAMES:
        picture(tmp_path / name)
    text(tmp_path / "a.json", json.dumps(record))
    data = load_data(str(tmp_path), "object-detection")
    assert (data.class_names, data.category_ids) == (["cat", "dog"], [1, 7])
    assert "'animals' has no objects" in said.text


def test_crowds_areas_and_masks(tmp_path):
    record = coco_record(["1.jpg", "2.jpg"], boxes=[(4, 3, 10, 8), (0, 0, 40, 30)])
    polygon = [4.0, 3.0, 14.0, 3.0, 14.0, 11.0, 4.0, 11.0]
    for number, annotation in enumerate(record["annotations"]):
        annotation["iscrowd"] = number % 2
        annotation["area"] = 70.5
        runs = {"size": [30, 40], "counts": [300, 600, 300]}
        annotation["segmentation"] = runs if number % 2 else [polygon]
    for name in ("1.jpg", "2.jpg"):
        picture(tmp_path / name)
    text(tmp_path / "a.json", json.dumps(record))
    for task in ("object-detection", "instance-segmentation"):
        row = load_data(str(tmp_path), task).test[0]
        with_masks = task == "instance-segmentation"
        assert ("segmentation" in row["objects"]) == with_masks
        _, objects = ObjectReader(2, with_masks=with_masks).read(row, "row 0")
        assert objects.iscrowd.tolist() == [False, True]
        assert objects.areas.tolist() == [70.5, 70.5]
        assert objects.image_id == row["image_id"]
    assert objects.masks.sum((1, 2)).tolist() == [80, 600]
    assert objects.masks[0, 3:11, 4:14].all()
    assert objects.masks[1, :, 10:30].all()


# --- what is refused, or left out


def faulty(record, kind):
    first = record["annotations"][0]
    if kind == "empty":
        first["bbox"] = [4, 3, 0, 8]
    elif kind == "outside":
        first["bbox"] = [40, 3, 5, 5]
    elif kind == "not finite":
        first["bbox"] = [1, 2, float("nan"), 4]
    elif kind == "three numbers":
        first["bbox"] = [1, 2, 3]
    elif kind == "no list":
        first["bbox"] = 10**400
    elif kind == "too large":
        first["bbox"], first["area"] = [10**400, 1, 1, 1], 10**400
    elif kind == "unknown category":
        first["category_id"] = 2
    elif kind == "unknown picture":
        first["image_id"] = 99
    elif kind == "no file":
        record["images"][0]["file_name"] = "9.jpg"
    elif kind == "two of one id":
        record["images"][0]["id"] = 1
    elif kind == "other size":
        record["images"][0]["width"] = 80
    elif kind == "id beyond numbers":
        record["images"][0]["id"] = 2**63
    elif kind == "no id":
        record["images"][0]["id"] = [0]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", r"1 x box that is empty: 1.jpg, object 0: \[4, 3, 0, 8\]"),
        ("outside", r"1 x box outside of its picture: 1.jpg, object 0: \[40, 3, 5, 5\] in 40x30"),
        ("not finite", r"1 x box that isn't four numbers: 1.jpg, object 0: \[1, 2, nan, 4\]"),
        ("three numbers", r"four numbers: 1.jpg, object 0: \[1, 2, 3\]"),
        ("unknown category", "1 x category without a name: a.json, annotation 0: category_id 2"),
        ("unknown picture", "1 x annotation of an unknown picture: a.json, annotation 0: image_id 99"),
        ("no file", "1 x picture without a file: a.json: 9.jpg"),
        ("other size", "1 x picture of another size .*1.jpg: 80x30, but the upright picture has 40x30"),
        ("two of one id", "picture id that is there twice: 1: 1.jpg and 2.jpg"),
        ("no list", "four numbers: 1.jpg, object 0: 1000000"),
        ("too large", r"four numbers: 1.jpg, object 0: \[1000000"),
        ("id beyond numbers", "1 x picture without id or file_name: images, entry 0"),
        ("no id", "1 x picture without id or file_name: images, entry 0"),
    ],
)
def test_faults(tmp_path, said, kind, message):
    record = coco_record(["1.jpg", "2.jpg"], boxes=[(4, 3, 10, 8), (5, 5, 5, 5)])
    faulty(record, kind)
    for name in ("1.jpg", "2.jpg", "3.jpg", "4.jpg"):
        picture(tmp_path / name)
    record["images"] += [{"id": 3, "file_name": "3.jpg"}, {"id": 4, "file_name": "4.jpg"}]
    record["annotations"].append(record["annotations"][3] | {"image_id": 3})
    text(tmp_path / "a.json", json.dumps(record))
    with pytest.raises(ValueError, match=f"(?s)skip_corrupt.*{message}"):
        load_folder(tmp_path, "object-detection")
    dataset, _ = load_folder(tmp_path, "object-detection", skip_corrupt=True)
    assert "it is left out.\n    1 x" in said.text
    rows = [*dataset["train"], *dataset["test"]]
    lost_picture = kind in ("no file", "two of one id", "other size", "id beyond numbers", "no id")
    # nobody knows whose objects those of an id are that two pictures have
    assert len(rows) == (2 if kind == "two of one id" else 3 if lost_picture else 4)
    if not lost_picture:
        assert sum(len(row["objects"]["bbox"]) for row in rows) == 4


def test_boxes_are_cut_and_small_ones_left_out(tmp_path, said):
    for name in ("1.jpg", "2.jpg"):
        picture(tmp_path / name)
    coco_file(tmp_path / "a.json", ["1.jpg", "2.jpg"], boxes=[(-4, 3, 10, 8), (5, 5, 0.5, 9), (30, 20, 20.5, 20)])
    dataset, _ = load_folder(tmp_path, "object-detection")
    assert "has 2 objects with a side of less than a pixel: they are left out" in said.text
    assert "has 4 boxes that reach out of their pictures: they are cut" in said.text
    _, objects = ObjectReader(2).read(dataset["test"][0], "row 0")
    assert objects.boxes.tolist() == [[0, 3, 6, 11], [30, 20, 40, 30]]


def test_unreadable_pictures(tmp_path, said):
    for name in NAMES:
        picture(tmp_path / name)
    (tmp_path / "2.jpg").write_bytes(b"no picture")
    coco_file(tmp_path / "a.json", NAMES)
    with pytest.raises(ValueError, match=r"Can't read the picture .*2.jpg"):
        load_folder(tmp_path, "object-detection")
    dataset, _ = load_folder(tmp_path, "object-detection", skip_corrupt=True)
    assert len(dataset["train"]) + len(dataset["test"]) == 2


def test_masks_are_needed_for_instances(tmp_path):
    for name in NAMES:
        picture(tmp_path / name)
    coco_file(tmp_path / "a.json", NAMES)
    with pytest.raises(ValueError, match="3 x object without a mask: 1.jpg, object 0: segmentation is missing"):
        load_folder(tmp_path, "instance-segmentation")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": []}, "categories with unique numbers as id and unique names; got none"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "unique names; got 1"),
        ({"categories": [{"id": "1", "name": "a"}]}, r"unique names; got \('1', 'a'\)"),
        ({"annotations": {}}, "a.json must have lists of objects called images, annotations, categories"),
        ({"images": [1]}, "must have lists of objects"),
        ({"annotations": []}, "There are no objects to train on"),
    ],
)
def test_files_that_are_wrong(tmp_path, change, message):
    for name in NAMES:
        picture(tmp_path / name)
    text(tmp_path / "a.json", json.dumps(coco_record(NAMES) | change))
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path, "object-detection")


def test_several_files(tmp_path):
    for name in NAMES:
        picture(tmp_path / name)
    coco_file(tmp_path / "a.json", NAMES)
    coco_file(tmp_path / "b.json", NAMES)
    with pytest.raises(ValueError, match=r"several files of COCO's to train on: a.json, b.json"):
        load_folder(tmp_path, "object-detection")


def test_splits_with_other_categories(tmp_path):
    for split in ("train", "test"):
        picture(tmp_path / split / "1.jpg")
    coco_file(tmp_path / "train" / "a.json", ["1.jpg"])
    coco_file(tmp_path / "test" / "a.json", ["1.jpg"], categories=[(1, "cat"), (7, "cow")])
    with pytest.raises(ValueError, match=r"test/a.json has the category 7 \('cow'\), and .*train/a.json has 'dog'"):
        load_folder(tmp_path, "object-detection")


def test_ids_of_pictures_that_are_tested_on_differ(tmp_path):
    for split in ("train", "test"):
        picture(tmp_path / split / "1.jpg")
        coco_file(tmp_path / split / "a.json", ["1.jpg"])
    assert len(load_data(str(tmp_path), "object-detection", train_split="train+test").train) == 2
    with pytest.raises(ValueError, match="image_id must be another one .* rows 0 and 1 of .* both have 0"):
        load_data(str(tmp_path), "object-detection", eval_split="train+test")


def test_expected_layouts_are_drawn(tmp_path):
    picture(tmp_path / "1.jpg")
    with pytest.raises(ValueError, match="(?s)no boxes in a format.*object detection, and instance.*COCO.*YOLO.*VOC"):
        load_folder(tmp_path, "object-detection")


def test_what_is_not_used_is_named(tmp_path, said):
    official(tmp_path)
    picture(tmp_path / "train2017" / "extra.jpg")
    load_folder(tmp_path, "object-detection")
    assert "files that are not used: 2 pictures (train2017/extra.jpg, val2017/3.jpg)" in said.text
    assert "annotations/captions_train2017.json" in said.text
