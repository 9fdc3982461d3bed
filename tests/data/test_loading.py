# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From names of datasets to their parts: columns, splits, class names, and errors before any training."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, IterableDataset, Value, config, load_dataset
from datasets import Image as ImageFeature
from PIL import Image

from hf_gpvit.data import load_label_set, loading
from hf_gpvit.data.loading import load_data, public_name
from hf_gpvit.data.shapes import CLASS_NAMES, SCENE_NAMES
from hf_gpvit.tasks import TASKS


CLASSIFICATION, SEGMENTATION = TASKS["image-classification"], TASKS["semantic-segmentation"]
TARGETS = {CLASSIFICATION: "label", SEGMENTATION: "annotation"}
COUNTS = {"train": 10, "validation": 4, "test": 3}


@pytest.fixture(autouse=True)
def _caches_stay_here(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")


def picture(value, mode="RGB"):
    return Image.fromarray(np.full((6, 8), value, np.uint8)).convert(mode)


def rows(count, start=0):
    """The red of a picture is its number."""
    numbers = range(start, start + count)
    columns = {
        "image": [picture(number) for number in numbers],
        "label": [number % 3 for number in numbers],
        "annotation": [picture(number % 3, "L") for number in numbers],
        "number": list(numbers),
        "word": ["abc"[number % 3] for number in numbers],
    }
    features = Features(
        {
            "image": ImageFeature(),
            "label": ClassLabel(names=["x", "y", "z"]),
            "annotation": ImageFeature(),
            "number": Value("int64"),
            "word": Value("string"),
        }
    )
    return Dataset.from_dict(columns, features=features)


def write(folder, layout, counts=COUNTS):
    start = 0
    for split, count in counts.items():
        part = rows(count, start)
        start += count
        if layout == "subfolders":
            (folder / split).mkdir(parents=True)
            part.to_parquet(folder / split / "0000.parquet")
            continue
        target = folder / "data" if layout == "data" else folder
        target.mkdir(parents=True, exist_ok=True)
        half = count // 2
        part.select(range(half)).to_parquet(target / f"{split}-00000-of-00002.parquet")
        part.select(range(half, count)).to_parquet(target / f"{split}-00001-of-00002.parquet")
    return str(folder)


@pytest.fixture
def parquet(tmp_path):
    return write(tmp_path / "set", "data")


def numbers(dataset):
    return [row["image"].convert("RGB").getpixel((0, 0))[0] for row in dataset]


# --- sources


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("layout", ["flat", "data", "subfolders"])
def test_parquet(tmp_path, layout, task, streaming):
    source = write(tmp_path / "set", layout)
    names = ["p", "q", "r"] if task == SEGMENTATION else None
    data = load_data(source, task, class_names=names, streaming=streaming)
    assert data.class_names == (names or ["x", "y", "z"])
    for part, expected in ((data.train, range(10)), (data.test, range(14, 17))):
        assert isinstance(part, IterableDataset if streaming else Dataset)
        assert list(part.features) == ["image", TARGETS[task]]
        assert numbers(part) == list(expected)
    if task == CLASSIFICATION:
        assert data.train.features["label"] == ClassLabel(names=["x", "y", "z"])
        assert [row["label"] for row in data.train] == [number % 3 for number in range(10)]


@pytest.mark.parametrize(("task", "names"), [(CLASSIFICATION, SCENE_NAMES), (SEGMENTATION, CLASS_NAMES)])
def test_shapes(monkeypatch, task, names):
    monkeypatch.setitem(loading.TRAIN_SCENES, "num_scenes", 5)
    monkeypatch.setitem(loading.TEST_SCENES, "num_scenes", 2)
    data = load_data("shapes", task)
    assert data.class_names == list(names)
    assert (len(data.train), len(data.test)) == (5, 2)
    assert list(data.train.features) == ["image", TARGETS[task]]
    assert numbers(data.train)[:2] != numbers(data.test)


def test_scenes_to_test_are_unseen():
    assert loading.TRAIN_SCENES == {"num_scenes": 4000, "seed": 0}
    assert loading.TEST_SCENES == {"num_scenes": 300, "seed": 1}


def folder_of_pictures(root, task):
    for index in range(10):
        if task == CLASSIFICATION:
            path = root / ("cat", "dog")[index % 2] / f"{index}.png"
        else:
            path = root / "images" / f"{index}.png"
            (root / "masks").mkdir(parents=True, exist_ok=True)
            picture(index % 2, "L").save(root / "masks" / f"{index}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(index).save(path)
    return str(root)


@pytest.mark.parametrize(("task", "names"), [(CLASSIFICATION, ["cat", "dog"]), (SEGMENTATION, ["class_0", "class_1"])])
def test_folders_of_pictures(tmp_path, task, names):
    source = folder_of_pictures(tmp_path / "photos", task)
    data = load_data(source, task)
    assert data.class_names == names
    assert sorted(numbers(data.train) + numbers(data.test)) == list(range(10))
    assert len(load_data(source, task, train_split="train[:3]").train) == 3


def test_names_for_a_folder(tmp_path):
    source = folder_of_pictures(tmp_path / "photos", SEGMENTATION)
    assert load_data(source, SEGMENTATION, class_names=["a", "b", "c"]).class_names == ["a", "b", "c"]
    picture(2, "L").save(tmp_path / "photos" / "masks" / "9.png")
    with pytest.raises(ValueError, match="9.png has the class ids 2; of 2 classes"):
        load_data(source, SEGMENTATION, class_names=["a", "b"])


def test_a_list_of_one_name_is_a_label_set(tmp_path):
    source = folder_of_pictures(tmp_path / "photos", SEGMENTATION)
    assert load_data(source, SEGMENTATION, class_names=["camvid"]).class_names[:2] == ["sky", "building"]
    with pytest.raises(ValueError, match="Unknown label set 'a'; valid names are "):
        load_data(source, SEGMENTATION, class_names=["a"])


def test_corrupt_pictures_of_a_folder_are_left_out_by_flag(tmp_path):
    source = folder_of_pictures(tmp_path / "photos", CLASSIFICATION)
    (tmp_path / "photos" / "cat" / "4.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="Can't read the picture .*4.png"):
        load_data(source, CLASSIFICATION)
    data = load_data(source, CLASSIFICATION, skip_corrupt=True)
    assert sorted(numbers(data.train) + numbers(data.test)) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_hub_names_go_to_datasets(monkeypatch):
    calls = []

    def load(source, name, streaming):
        calls.append((source, name, streaming))
        return {"train": rows(4), "val": rows(2)}

    monkeypatch.setattr(loading.datasets, "load_dataset", load)
    for source in ("somebody/some-set.v1", "cifar10"):
        assert len(load_data(source, CLASSIFICATION, name="small").test) == 2
    load_data("somebody/set", CLASSIFICATION, streaming=True)
    assert calls == [
        ("somebody/some-set.v1", "small", False), ("cifar10", "small", False), ("somebody/set", None, True)
    ]  # fmt: skip


# --- splits


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train[:2]", [0, 1]),
        ("train[80%:]", [8, 9]),
        ("train[-3:]", [7, 8, 9]),
        ("validation+test", list(range(10, 17))),
        ("train[:1] + test[1:]", [0, 15, 16]),
    ],
)
def test_slices(parquet, split, expected):
    assert numbers(load_data(parquet, CLASSIFICATION, train_split=split).train) == expected
    assert numbers(load_data(parquet, CLASSIFICATION, eval_split=split).test) == expected


@pytest.mark.parametrize("error", [RuntimeError("no\n\x1b[2Jscripts"), AttributeError("no"), TypeError("no")])
def test_answers_that_are_none_of_the_hubs(monkeypatch, error):
    """As where a login page is in between, which `datasets` takes for files of the dataset."""

    def load(*args, **options):
        raise error

    monkeypatch.setattr(loading.datasets, "load_dataset", load)
    with pytest.raises(ValueError, match=r"'you/photos' is neither .* loaded from https?://\S+: no") as raised:
        load_data("you/photos", "image-classification")
    assert str(raised.value).isprintable()


def test_labels_that_class_names_lack(tmp_path):
    features = Features({"image": ImageFeature(), "label": Value("string")})
    (tmp_path / "set").mkdir()
    pictures = [picture(0), picture(1)]
    Dataset.from_dict({"image": pictures, "label": ["a", "z"]}, features).to_parquet(
        tmp_path / "set" / "test-0.parquet"
    )
    with pytest.raises(ValueError, match=r"target column of .* has something else than class_names: .* z"):
        load_data(str(tmp_path / "set"), CLASSIFICATION, train_split=None, class_names=["a", "b"])


def test_as_load_dataset_slices(parquet):
    for split in ("train[:33%]", "train[1:4]+validation", "test"):
        expected = load_dataset(parquet, split=split)["number"][:]
        assert numbers(load_data(parquet, CLASSIFICATION, train_split=split).train) == expected


@pytest.mark.parametrize(
    ("splits", "expected"), [(("train", "val", "validation"), "validation"), (("train", "val"), "val")]
)
def test_default_eval_split(monkeypatch, splits, expected):
    parts = {split: rows(3, 10 * index) for index, split in enumerate(splits)}
    monkeypatch.setattr(loading.datasets, "load_dataset", lambda *args, **options: parts)
    assert numbers(load_data("a/b", CLASSIFICATION).test) == numbers(parts[expected])


def test_joined_streams(parquet):
    data = load_data(parquet, CLASSIFICATION, train_split="train+validation", streaming=True)
    assert numbers(data.train) == list(range(14))


@pytest.mark.parametrize("streaming", [False, True])
def test_nothing_to_train_on(tmp_path, streaming):
    """Where only a test is asked for, no split to train on has to be there."""
    source = write(tmp_path / "set", "data", {"test": 4})
    with pytest.raises(ValueError, match="no split 'train'"):
        load_data(source, CLASSIFICATION, streaming=streaming)
    data = load_data(source, CLASSIFICATION, train_split=None, streaming=streaming)
    assert data.train is None
    assert numbers(data.test) == list(range(4))
    assert data.class_names == ["x", "y", "z"]


def test_scenes_to_train_on_are_drawn_only_when_asked_for(monkeypatch):
    drawn = []
    draw = loading.load_shapes

    def count(num_scenes, seed):
        drawn.append(num_scenes)
        return draw(2, seed)

    monkeypatch.setattr(loading, "load_shapes", count)
    assert len(load_data("shapes", CLASSIFICATION, train_split=None).test) == 2
    assert drawn == [300]
    assert len(load_data("shapes", CLASSIFICATION, train_split=None, eval_split="train+test").test) == 4
    assert sorted(drawn) == [300, 300, 4000]


# --- columns and classes


def test_names_where_there_are_none(parquet, tmp_path):
    """What has names keeps them."""
    options = {"default_class_names": ["d", "e", "f"]}
    assert load_data(parquet, SEGMENTATION, **options).class_names == ["d", "e", "f"]
    assert load_data(parquet, SEGMENTATION, class_names=["p", "q"], **options).class_names == ["p", "q"]
    assert load_data(parquet, CLASSIFICATION, **options).class_names == ["x", "y", "z"]
    photos = folder_of_pictures(tmp_path / "photos", SEGMENTATION)
    assert load_data(photos, SEGMENTATION, **options).class_names == ["d", "e", "f"]
    (tmp_path / "photos" / "classes.json").write_text('["p", "q"]')
    assert load_data(photos, SEGMENTATION, **options).class_names == ["p", "q"]


def test_other_columns(parquet):
    data = load_data(parquet, SEGMENTATION, image_column="annotation", target_column="image", class_names="camvid")
    assert data.class_names == list(load_label_set("camvid").names)
    assert [np.asarray(row["annotation"])[0, 0, 0] for row in data.train] == list(range(10))
    assert np.asarray(data.train[4]["image"])[0, 0] == 1


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("column", "names"), [("word", ["c", "a", "b"]), ("label", ["red", "green", "blue"])])
def test_classes_by_given_names(parquet, column, names, streaming):
    options = {"target_column": column, "class_names": names, "streaming": streaming}
    data = load_data(parquet, CLASSIFICATION, **options)
    assert data.class_names == names
    assert data.train.features["label"] == ClassLabel(names=names)
    words = [names[row["label"]] for row in data.train]
    assert words == [("abc" if column == "word" else names)[number % 3] for number in range(10)]


# --- what can't be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_split": "training"}, "no split 'training'.*there are train, validation, test"),
        ({"train_split": "training[:3]"}, "no split .*training"),
        ({"train_split": "train[3"}, r"no split 'train\[3'"),
        ({"train_split": "train[20:]"}, "has no rows"),
        ({"eval_split": "val"}, "no split 'val'"),
        ({"train_split": "train[:3]", "streaming": True}, r"no split 'train\[:3\]' \(a stream can't be sliced"),
        ({"image_column": "picture"}, "no column picture, but image, .*word: give image_column"),
        ({"target_column": "fine_label"}, "no column fine_label"),
        ({"image_column": "word"}, "column word .* must hold pictures"),
        ({"task": SEGMENTATION, "target_column": "label"}, "column label .* must hold pictures"),
        ({"task": SEGMENTATION}, "give class_names, a list .*ade20k"),
        ({"target_column": "word"}, "must be a ClassLabel, got Value.*class_names"),
        ({"target_column": "image"}, "must be a ClassLabel, got Image"),
        ({"class_names": ["a", "b"]}, "class_names has 2 names, but .* has 3 classes"),
        ({"class_names": ["a", "b", "a"]}, "unique names.*'a'"),
        ({"class_names": []}, "at least one"),
        ({"class_names": "pascal"}, "Unknown label set 'pascal'; valid names are ade20k"),
        ({"source": "shapes", "streaming": True}, "streaming is for parquet files and the Hub, but .*'shapes'"),
        ({"source": "shapes", "name": "large"}, "name 'large' is for parquet"),
        ({"source": "./nowhere"}, "nowhere does not exist; expected a folder such as"),
        ({"source": "no-such-set"}, "'no-such-set' is neither 'shapes' nor a folder, nor a dataset"),
    ],
)  # fmt: skip
def test_errors(parquet, options, message):
    options = {"source": parquet, "task": CLASSIFICATION} | options
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_data(options.pop("source"), options.pop("task"), **options)


def test_no_split_to_test_on(tmp_path):
    source = write(tmp_path / "set", "flat", {"train": 4})
    with pytest.raises(ValueError, match=r"none of the splits test, validation, val, but train: give eval_split.*90%"):
        load_data(source, CLASSIFICATION)
    data = load_data(source, CLASSIFICATION, train_split="train[:75%]", eval_split="train[75%:]")
    assert (len(data.train), len(data.test)) == (3, 1)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("shapes", "shapes"),
        ("imagenet-1k", "imagenet-1k"),
        ("somebody/set", "somebody/set"),
        ("data/photos", "photos"),
        ("./data/photos/", "photos"),
        ("data/../data/photos", "photos"),
    ],
)
def test_public_name_is_no_path(source, name, tmp_path, monkeypatch):
    """A folder is one, even where its path looks like a name on the Hub."""
    (tmp_path / "data/photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name(source) == name
    assert public_name(str(tmp_path / "data/photos")) == "photos"
