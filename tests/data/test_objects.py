# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Objects: rows as they are read, columns of parquet files and the Hub, and what is found before training."""

import io
import json
import logging

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, List, Value, config
from datasets import Image as ImageFeature
from PIL import ExifTags, Image
from pycocotools import mask as coco_masks

from hf_gpvit.data import loading
from hf_gpvit.data.loading import load_data
from hf_gpvit.data.objects import ObjectReader, runs_of
from hf_gpvit.data.pictures import size_of
from hf_gpvit.data.shapes import SCENE_NAMES


SIZE = (40, 30)
DETECTION, INSTANCES = "object-detection", "instance-segmentation"


@pytest.fixture(autouse=True)
def _caches_stay_here(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    return caplog


def encoded(size=SIZE, format="jpeg", **options):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, format=format, **options)
    return {"bytes": file.getvalue(), "path": None}


def row(**objects):
    objects = {"bbox": [[4, 3, 10, 8], [0, 0, 40, 30]], "category": [1, 0]} | objects
    return {"image": Image.new("RGB", SIZE), "objects": objects}


def read(objects, num_labels=3, **options):
    return ObjectReader(num_labels, "train", **options).read(objects, "row 5")[1]


# --- reading


def test_what_a_row_says():
    objects = read(row() | {"image_id": 17})
    assert objects.boxes.tolist() == [[4, 3, 14, 11], [0, 0, 40, 30]]
    assert objects.boxes.dtype == objects.areas.dtype == torch.float32
    assert objects.class_labels.tolist() == [1, 0]
    assert objects.class_labels.dtype == torch.int64
    assert objects.areas.tolist() == [80, 1200]
    assert objects.iscrowd.tolist() == [False, False]
    assert objects.masks is None
    assert objects.image_id == 17


def test_nothing_in_a_picture():
    objects = read(row(bbox=[], category=[], segmentation=[]), with_masks=True)
    assert (objects.boxes.shape, objects.masks.shape) == ((0, 4), (0, 30, 40))
    assert len(objects.class_labels) == len(objects.areas) == len(objects.iscrowd) == 0


def test_objects_one_by_one():
    """As a list of dicts, which datasets make of a list of structs."""
    objects = [
        {"bbox": [4, 3, 10, 8], "category": 1, "area": 3.5},
        {"bbox": [0, 0, 1, 1], "category": 0, "area": None},
    ]
    objects = read({"image": Image.new("RGB", SIZE), "objects": objects})
    assert objects.class_labels.tolist() == [1, 0]
    assert objects.areas.tolist() == [3.5, 1]


def test_cut_and_left_out():
    boxes = [[-5, -5, 10, 10], [10, 10, 0.9, 5], [35, 25, 5.5, 50]]
    objects = read(row(bbox=boxes, category=[0, 1, 2]))
    assert objects.boxes.tolist() == [[0, 0, 5, 5], [35, 25, 40, 30]]
    assert objects.class_labels.tolist() == [0, 2]
    assert objects.areas.tolist() == [25, 25]


def test_boxes_are_of_the_upright_picture():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    objects = read(row(bbox=[[25, 35, 5, 5], [0, 0, 30, 40]]) | {"image": encoded(exif=exif)})
    assert objects.boxes.tolist() == [[25, 35, 30, 40], [0, 0, 30, 40]]
    assert size_of(encoded(exif=exif)["bytes"]) == (30, 40)
    assert size_of(encoded(format="png")["bytes"]) == SIZE


@pytest.mark.parametrize("form", ["polygons", "runs", "lengths", "text"])
def test_masks(form):
    """As COCO's library draws them."""
    random = np.random.default_rng(0)
    polygons = [[random.uniform(-2, 38, 12).round(2).tolist()], [[1, 1, 20.5, 1, 9, 25], [30, 2, 39, 2, 39, 9.5]]]
    expected = [coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(parts, 30, 40))) for parts in polygons]
    runs = [runs_of(mask) for mask in expected]
    flat = [mask.T.ravel() for mask in expected]
    starts = [np.flatnonzero(np.diff(mask, prepend=0, append=1 - mask[-1])) for mask in flat]
    lengths = [{"size": [30, 40], "counts": np.diff(start, prepend=0).tolist()} for start in starts]
    forms = {"polygons": polygons, "runs": runs, "lengths": lengths, "text": list(map(json.dumps, polygons))}
    objects = read(row(segmentation=forms[form]), with_masks=True)
    np.testing.assert_array_equal(objects.masks, expected)
    assert objects.areas.tolist() == [mask.sum() for mask in expected]


def test_crowds_without_an_outline():
    objects = read(row(iscrowd=[1, 0], segmentation=[None, [[0, 0, 40, 0, 40, 30, 0, 30]]]), with_masks=True)
    assert objects.masks.sum((1, 2)).tolist() == [80, 1200]
    assert objects.masks[0, 3:11, 4:14].all()


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"bbox": [[40, 3, 5, 5], [0, 0, 1, 1]]}, "Object 0 .*box outside of its picture, .* in 40x30 pixels"),
        ({"bbox": [[0, 3, 5, 5], [0, 0, 1, -1]]}, r"Object 1 .*box that is empty, \[0, 0, 1, -1\]"),
        ({"bbox": [[0, 3, 5, 5], [0, float("inf"), 1, 1]]}, "Object 1 .*four numbers"),
        ({"category": [1, 3]}, "Object 1 .*class id without a name, 3 of 3 classes"),
        ({"category": [-1, 0]}, "Object 0 .*class id without a name, -1 of 3"),
        ({"category": [1]}, "as many category as bbox, 2, got 1"),
        ({"category": None}, "objects must be dicts of lists: .*category missing"),
        ({"segmentation": [[[1, 1, 2, 2]], None]}, "Object 0 .*mask that is no polygon"),
        ({"segmentation": [{"size": [40, 30], "counts": [1200]}, None]}, r"Object 0 .*size \[40, 30\], expected \[30"),
        ({"segmentation": [[[1, 1, 9, 1, 9, 9]], None]}, "Object 1 .*without a mask"),
    ],
)  # fmt: skip
def test_what_is_refused(objects, message):
    with pytest.raises(ValueError, match=f"{message}") as raised:
        read(row(**objects), with_masks="segmentation" in objects)
    assert "row 5 of the split train" in str(raised.value) or "Object" not in message
    with pytest.raises(ValueError, match="image in row 5 of the split train has no objects"):
        read(row() | {"objects": None})


# --- parquet and the Hub


def dataset_of(category=None, start=0, boxes=((4, 3, 10, 8), (0, 0, 20, 20)), values=(0, 1), ids=False, count=4):
    category = ClassLabel(names=["cat", "dog"]) if category is None else category
    columns = {
        "image": ImageFeature(),
        "objects": {"bbox": List(List(Value("float32"), 4)), "category": List(category)},
    }
    objects = {"bbox": [list(box) for box in boxes], "category": list(values)}
    rows = [{"image": encoded(), "objects": objects, "image_id": start + number} for number in range(count)]
    if ids:
        columns["image_id"] = Value("int64")
    return Dataset.from_list([{name: row[name] for name in columns} for row in rows], features=Features(columns))


def write(folder, test=None, **options):
    folder.mkdir()
    dataset_of(start=100, **options).to_parquet(folder / "train-0.parquet")
    (test or dataset_of(start=200, count=2, **options)).to_parquet(folder / "test-0.parquet")
    return str(folder)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("ids", [False, True])
def test_parquet(tmp_path, ids, streaming):
    data = load_data(write(tmp_path / "set", ids=ids), DETECTION, streaming=streaming)
    assert data.class_names == ["cat", "dog"]
    assert data.category_ids is None
    assert isinstance(data.test, IterableDataset if streaming else Dataset)
    reader = ObjectReader(2)
    rows = list(reader.undecoded(data.test))
    objects = [reader.read(row, f"row {number}")[1] for number, row in enumerate(rows)]
    own = [200, 201] if ids else ["row 0", "row 1"] if streaming else [0, 1]
    assert [each.image_id for each in objects] == own
    assert objects[0].boxes.tolist() == [[4, 3, 14, 11], [0, 0, 20, 20]]


@pytest.mark.parametrize(
    ("category", "values", "names"),
    [
        (Value("int64"), (0, 1), ["a", "b"]),
        (Value("string"), ("b", "a"), ["b", "a"]),
        (None, (0, 1), ["a", "b"]),
    ],
    ids=["numbers", "names", "others"],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_classes_by_given_names(tmp_path, category, values, names, streaming):
    source = write(tmp_path / "set", category=category, values=values)
    data = load_data(source, DETECTION, class_names=names, streaming=streaming)
    assert data.class_names == names
    assert [row["objects"]["category"] for row in data.test] == [[0, 1], [0, 1]]
    if category is not None:
        with pytest.raises(ValueError, match="classes of the column objects .* must be a ClassLabel, .*class_names"):
            load_data(source, DETECTION, streaming=streaming)


def test_a_list_of_structs(tmp_path):
    fields = {"bbox": List(Value("float32"), 4), "category": Value("string"), "id": Value("int64")}
    features = Features({"image": ImageFeature(), "objects": List(fields)})
    items = [{"bbox": [1, 2, 3, 4], "category": "b", "id": 7}, {"bbox": [90, 2, 3, 4], "category": "a", "id": 8}]
    dataset = Dataset.from_list([{"image": encoded(), "objects": items}], features=features)
    (tmp_path / "set").mkdir()
    dataset.to_parquet(tmp_path / "set" / "test-0.parquet")
    options = {"train_split": None, "class_names": ["a", "b"], "skip_corrupt": True}
    data = load_data(str(tmp_path / "set"), DETECTION, **options)
    assert data.test[0]["objects"] == [{"bbox": [1, 2, 3, 4], "category": 1, "id": 7}]


def test_faults_are_found_before_training(tmp_path, said):
    boxes = [(4, 3, 10, 8), (90, 3, 10, 8), (1, 1, 0, 4), (1, 1, 0.5, 4), (-2, 0, 9, 9)]
    source = write(tmp_path / "set", boxes=boxes, values=(0,) * 5)
    with pytest.raises(ValueError, match=r"(?s)4 x box outside of its picture: image in row 0, object 1: .*; \.\.\."):
        load_data(source, DETECTION)
    data = load_data(source, DETECTION, skip_corrupt=True)
    assert [len(row["objects"]["bbox"]) for row in data.train] == [2] * 4
    assert data.train.features["objects"]["category"] == List(ClassLabel(names=["cat", "dog"]))
    assert "4 x box that is empty" in said.text
    assert "has 4 objects with a side of less than a pixel" in said.text
    assert "The split train of" in said.text and "has 4 boxes that reach out" in said.text


def test_class_ids_without_a_name(tmp_path):
    source = write(tmp_path / "set", category=Value("int64"), values=(0, 2))
    with pytest.raises(ValueError, match=r"4 x class id without a name: image in row 0, object 1: 2 of 2 classes"):
        load_data(source, DETECTION, class_names=["a", "b"])


def test_masks_are_needed_for_instances(tmp_path):
    with pytest.raises(ValueError, match="8 x object without a mask"):
        load_data(write(tmp_path / "set"), INSTANCES)


@pytest.mark.parametrize("objects", ["empty", "null"])
def test_a_part_without_objects_is_not_tested_on(tmp_path, objects):
    """As where a competition hides them."""
    hidden = dataset_of(boxes=(), values=())
    if objects == "null":
        hidden = Dataset.from_list([dict(row, objects=None) for row in hidden], features=hidden.features)
    source = write(tmp_path / "set", test=hidden)
    dataset_of(count=3).to_parquet(tmp_path / "set" / "validation-0.parquet")
    assert len(load_data(source, DETECTION).test) == 3
    with pytest.raises(ValueError, match="The split test of .* has no objects in row 0"):
        load_data(source, DETECTION, eval_split="test")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"bbox": List(List(Value("float32"), 4))}, "must hold objects, dicts of lists"),
        ({"category": List(ClassLabel(names=["a"]))}, "must hold objects, dicts of lists"),
        (ClassLabel(names=["a"]), "must hold objects, dicts of lists"),
    ],
    ids=["no classes", "no boxes", "classes alone"],
)
def test_columns_of_something_else(tmp_path, monkeypatch, features, message):
    value = {"bbox": [[1, 1, 2, 2]], "category": [0]}
    value = {field: value[field] for field in features} if isinstance(features, dict) else 0
    features = Features({"image": ImageFeature(), "objects": features})
    dataset = Dataset.from_list([{"image": encoded(), "objects": value}], features=features)
    monkeypatch.setattr(loading.datasets, "load_dataset", lambda *args, **options: DatasetDict(test=dataset))
    with pytest.raises(ValueError, match=f"The column objects of 'a/b' {message}"):
        load_data("a/b", DETECTION, train_split=None)


@pytest.mark.parametrize("task", [DETECTION, INSTANCES])
def test_shapes(monkeypatch, task):
    monkeypatch.setitem(loading.TRAIN_SCENES, "num_scenes", 3)
    monkeypatch.setitem(loading.TEST_SCENES, "num_scenes", 2)
    data = load_data("shapes", task)
    assert data.class_names == list(SCENE_NAMES)
    assert data.test["image_id"][:] == [0, 1]
    reader = ObjectReader(len(SCENE_NAMES), with_masks=task == INSTANCES)
    objects = reader.read(data.train[0], "row 0")[1]
    if task == INSTANCES:
        rows, columns = objects.masks.any(2), objects.masks.any(1)
        assert [int(row.nonzero()[0]) for row in rows] == objects.boxes[:, 1].int().tolist()
        assert [int(column.nonzero()[-1]) + 1 for column in columns] == objects.boxes[:, 2].int().tolist()
