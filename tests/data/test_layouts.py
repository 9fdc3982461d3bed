# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What lies in a folder is used, refused, or counted and named."""

import unicodedata
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from hf_gpvit.data import folders, loading
from hf_gpvit.data.folders import load_folder
from hf_gpvit.data.layouts import find_layout
from hf_gpvit.data.loading import load_data


CLASSIFICATION, SEGMENTATION = "image-classification", "semantic-segmentation"
SIZE = (12, 8)


def picture(path, mode="RGB", size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size)
    if mode != "RGB":
        image.putpixel((0, 0), 1)
    image.save(path)


def class_folders(root, counts, suffix=".png"):
    for name, count in counts.items():
        for index in range(count):
            picture(root / name / f"{index}{suffix}")


def files_of(dataset):
    return {Path(row["path"]) for row in dataset.cast_column("image", datasets.Image(decode=False))["image"]}


@pytest.fixture
def warnings(monkeypatch):
    said = []
    for module in (folders, loading):
        monkeypatch.setattr(module.logger, "warning", said.append)
    return said


# --- pictures deeper, of other endings, under the same names


def test_pictures_deeper_in_a_class_count(tmp_path, warnings):
    class_folders(tmp_path, {"cat": 3, "dog": 3})
    class_folders(tmp_path / "cat", {"evening": 2, "evening/rain": 2})
    dataset, names = load_folder(tmp_path)
    assert names == ["cat", "dog"]
    assert sorted(dataset["train"]["label"][:] + dataset["test"]["label"][:]) == [0] * 7 + [1] * 3
    [warning] = warnings
    assert "4 pictures deeper in the folder of cat count as it: cat/evening/0.png" in warning


def test_a_folder_in_each_class(tmp_path):
    """As Tiny ImageNet has it."""
    class_folders(tmp_path, {"n1/images": 5, "n2/images": 5}, suffix=".JPEG")
    dataset, names = load_folder(tmp_path)
    assert names == ["n1", "n2"] and sum(map(len, dataset.values())) == 10


def test_pairs_deeper(tmp_path):
    for part in ("", "run2/", "run2/more/"):
        for index in range(2):
            picture(tmp_path / f"images/{part}{index}.jpg")
            picture(tmp_path / f"masks/{part}{index}.png", "L")
    dataset, _ = load_folder(tmp_path)
    assert sum(map(len, dataset.values())) == 6
    for row in (
        dataset["train"]
        .cast_column("image", datasets.Image(decode=False))
        .cast_column("annotation", datasets.Image(decode=False))
    ):
        image, mask = Path(row["image"]["path"]), Path(row["annotation"]["path"])
        assert image.relative_to(tmp_path / "images").with_suffix("") == mask.relative_to(
            tmp_path / "masks"
        ).with_suffix("")


def test_all_endings_of_pictures(tmp_path):
    """Those that `predict` finds."""
    for index, suffix in enumerate((".jpe", ".JFIF", ".ppm", ".tga", ".jp2", ".png")):
        picture(tmp_path / ("cat", "dog")[index % 2] / f"{index}{suffix}")
    assert sum(map(len, load_folder(tmp_path)[0].values())) == 6


def test_what_is_not_used_is_counted_and_named(tmp_path, warnings):
    class_folders(tmp_path / "train", {"cat": 5, "dog": 5})
    class_folders(tmp_path, {"val/cat": 1, "val/dog": 1, "unsorted": 2})
    picture(tmp_path / "train" / "loose.png")
    (tmp_path / "train" / "cat" / "phone.heic").write_bytes(b"")
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"")
    (tmp_path / "train" / "Thumbs.db").write_bytes(b"")
    dataset, _ = load_folder(tmp_path)
    assert (len(dataset["train"]), len(dataset["test"])) == (10, 2)
    [warning] = warnings
    assert warning.endswith(
        "has files that are not used: 3 pictures (train/loose.png, unsorted/0.png, unsorted/1.png), "
        "1 other file (train/cat/phone.heic)."
    )


@pytest.mark.parametrize("task", [CLASSIFICATION, SEGMENTATION])
def test_composed_and_decomposed_names(tmp_path, task):
    """Of a Mac and of others: they look the same, and belong together."""
    for form in ("NFC", "NFD"):
        for index in range(4):
            name = unicodedata.normalize(form, "café")
            if task == CLASSIFICATION:
                split = "train" if form == "NFC" else "test"
                picture(tmp_path / split / (name, "the")[index % 2] / f"{index}.png")
            elif form == "NFC":
                picture(tmp_path / "images" / name / f"{name}{index}.jpg")
            else:
                picture(tmp_path / "masks" / name / f"{name}{index}.png", "L")
    dataset, names = load_folder(tmp_path, task)
    assert sum(map(len, dataset.values())) == (8 if task == CLASSIFICATION else 4)
    assert task == SEGMENTATION or names == ["café", "the"]


def test_two_class_folders_that_look_the_same(tmp_path):
    for form in ("NFC", "NFD"):
        picture(tmp_path / unicodedata.normalize(form, "café") / "1.png")
    with pytest.raises(
        ValueError, match="Two folders in .* look the same, café: their accents are written in two ways"
    ):
        load_folder(tmp_path)


def test_a_class_folder_whose_name_is_no_text(tmp_path):
    for name in (b"caf\xe9", b"the"):
        picture(Path(str(tmp_path), name.decode(errors="surrogateescape")) / "1.png")
    with pytest.raises(ValueError, match=r"names that are no Unicode text: caf\\udce9"):
        load_folder(tmp_path)


# --- splits under other names


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("test", ["dev", "Eval", "holdout", "VAL", "testing"])
def test_names_of_splits(tmp_path, train, test):
    class_folders(tmp_path / train, {"cat": 3, "dog": 3})
    class_folders(tmp_path / test, {"cat": 1, "dog": 2})
    dataset, _ = load_folder(tmp_path)
    assert (len(dataset["train"]), len(dataset["test"])) == (6, 3)
    assert all(test in file.parts for file in files_of(dataset["test"]))


def test_two_folders_to_train_on(tmp_path):
    class_folders(tmp_path, {"train/cat": 3, "train/dog": 3, "training/cat": 1})
    with pytest.raises(ValueError, match="several folders to train on: train, training"):
        load_folder(tmp_path)


# --- images and masks under other names


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("JPEGImages", "SegmentationClass"),
        ("image", "mask"),
        ("img", "labels"),
        ("Images", "Masks"),
        ("imgs", "label"),
    ],
)
@pytest.mark.parametrize("split", ["", "train/"])
def test_names_of_images_and_masks(tmp_path, images, masks, split):
    for index in range(4):
        picture(tmp_path / f"{split}{images}/{index}.jpg")
        picture(tmp_path / f"{split}{masks}/{index}.png", "L")
    (tmp_path / split / "Annotations").mkdir()
    (tmp_path / split / "Annotations" / "1.xml").write_text("<boxes>")
    dataset, names = load_folder(tmp_path)
    assert set(dataset["train"].features) == {"image", "annotation"} and len(names) == 2
    with pytest.raises(ValueError, match="the layout of semantic-segmentation, but task"):
        load_folder(tmp_path, CLASSIFICATION)


@pytest.mark.parametrize("test", ["val", "Test"])
def test_splits_inside_images_and_masks(tmp_path, test):
    for split, count in (("train", 3), (test, 2)):
        for index in range(count):
            picture(tmp_path / f"images/{split}/{index}.jpg")
            picture(tmp_path / f"annotations/{split}/{index}.png", "L")
    dataset, _ = load_folder(tmp_path)
    assert (len(dataset["train"]), len(dataset["test"])) == (3, 2)
    (tmp_path / "annotations" / test).rename(tmp_path / "annotations" / "other")
    with pytest.raises(ValueError, match=r"images is divided into splits, and \S+annotations isn't"):
        load_folder(tmp_path)


def test_two_folders_of_masks(tmp_path):
    for folder in ("images", "masks", "labels"):
        picture(tmp_path / folder / "1.png", "RGB" if folder == "images" else "L")
    with pytest.raises(
        ValueError, match=r"several folders of images or masks: images, labels, masks\.(?s:.*)Expected"
    ):
        load_folder(tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_masks_are_no_class(tmp_path, mode):
    """Whatever the two folders are called."""
    for index in range(4):
        picture(tmp_path / f"photos/{index}.jpg")
        picture(tmp_path / f"mattes/{index}.png", mode)
    with pytest.raises(ValueError, match="mattes and photos in .* look like pictures and their masks(?s:.*)Expected"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [("train", "train_masks", "_mask"), ("train_images", "train_labels", ""), ("train", "trainannot", "")],
)
def test_masks_of_several_splits_are_no_classes(tmp_path, images, masks, ending):
    for split in ("train", "val"):
        for index in range(9, 12):
            picture(tmp_path / images.replace("train", split) / f"{index}.jpg")
            picture(tmp_path / masks.replace("train", split) / f"{index}{ending}.png", "L")
    with pytest.raises(ValueError, match="look like pictures and their masks"):
        load_folder(tmp_path)


def test_coloured_masks_are_no_class(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    for index in range(3):
        picture(tmp_path / f"masks/{index}.png", size=(20, 20))
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(colours).save(tmp_path / f"photos/{index}.png")
    with pytest.raises(ValueError, match="masks and photos in .* look like pictures and their masks"):
        load_folder(tmp_path)


@pytest.mark.parametrize("ending", ["_mask", "-GT", "_mask_1"])
def test_masks_beside_pictures_are_no_pictures(tmp_path, ending):
    for name in ("benign", "malignant"):
        for index in range(2):
            picture(tmp_path / name / f"{index}.png")
            picture(tmp_path / name / f"{index}{ending}.png", "L")
    with pytest.raises(ValueError, match=f"masks beside their pictures: benign/0{ending}.png, benign/1{ending}.png"):
        load_folder(tmp_path)


def test_grey_and_coloured_pictures_are_classes(tmp_path):
    """Unless they have the same names and sizes."""
    for index in range(4):
        picture(tmp_path / f"colour/{index}.png")
        picture(tmp_path / f"grey/{index}.png", "L", (9, 9))
    assert load_folder(tmp_path)[1] == ["colour", "grey"]


@pytest.mark.parametrize("names", [("image", "video"), ("mask", "no_mask"), ("label", "unread")])
def test_classes_called_so(tmp_path, names):
    class_folders(tmp_path, dict.fromkeys(names, 3))
    assert find_layout(tmp_path).task == CLASSIFICATION
    assert load_folder(tmp_path)[1] == list(names)


def test_a_part_of_a_folder_is_told_from_all_of_it(tmp_path, warnings):
    """A fifth of one that isn't divided is tested on, as after training on the rest."""
    class_folders(tmp_path / "all", {"cat": 5, "dog": 5})
    assert len(load_data(str(tmp_path / "all"), CLASSIFICATION, train_split=None).test) == 2
    [warning] = warnings
    assert "has no test part: 2 of 10 pictures are used" in warning
    assert len(load_data(str(tmp_path / "all"), CLASSIFICATION, train_split=None, eval_split="train+test").test) == 10
    for split in ("train", "test"):
        class_folders(tmp_path / "divided" / split, {"cat": 2, "dog": 2})
    load_data(str(tmp_path / "divided"), CLASSIFICATION, train_split=None)
    load_data("shapes", CLASSIFICATION, train_split=None)
    assert warnings == [warning]


def test_linked_folders_that_are_not_used_are_named(tmp_path, warnings):
    """Those of classes are followed, and those within them not."""
    class_folders(tmp_path / "elsewhere", {"cat": 3, "more": 2})
    class_folders(tmp_path / "data", {"dog": 3})
    (tmp_path / "data/cat").symlink_to(tmp_path / "elsewhere/cat")
    (tmp_path / "data/dog/more").symlink_to(tmp_path / "elsewhere/more")
    dataset, names = load_folder(tmp_path / "data")
    assert names == ["cat", "dog"]
    assert len(dataset["train"]) + len(dataset["test"]) == 6
    assert len(warnings) == 1
    assert warnings[0].endswith("has files that are not used: 1 linked folder (dog/more).")


# --- splits of parquet files


def parquet(root, splits, task=CLASSIFICATION):
    root.mkdir(parents=True, exist_ok=True)
    if task == CLASSIFICATION:
        column, feature = "label", datasets.ClassLabel(names=["a", "b"])
    else:
        column, feature = "annotation", datasets.Image()
    features = datasets.Features({"image": datasets.Image(), column: feature})
    for split, targets in splits.items():
        rows = {"image": [Image.new("RGB", SIZE) for _ in targets], column: targets}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(root / f"{split}-00000-of-00001.parquet")
    return str(root)


@pytest.mark.parametrize("hidden", [-1, None])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_split_without_labels_is_passed_over(tmp_path, warnings, hidden, streaming):
    source = parquet(tmp_path / "set", {"train": [0, 1] * 4, "validation": [0, 1], "test": [hidden] * 3})
    data = load_data(source, CLASSIFICATION, streaming=streaming)
    assert data.test_source["split"] == "validation"
    assert any("split test of" in warning and "no labels" in warning for warning in warnings)
    with pytest.raises(ValueError, match="split test of .* has no label in row 0"):
        load_data(source, CLASSIFICATION, eval_split="test", streaming=streaming)


def test_some_labels_missing(tmp_path):
    """Nobody hides those, so it's an error, before any training."""
    source = parquet(tmp_path / "set", {"train": [0, 1] * 4, "validation": [0, 1], "test": [0, 1, -1]})
    with pytest.raises(ValueError, match="split test of .* has no label in row 2: give another split"):
        load_data(source, CLASSIFICATION)


def test_no_labelled_split_at_all(tmp_path):
    source = parquet(tmp_path / "set", {"train": [0, 1] * 4, "test": [-1, -1]})
    with pytest.raises(ValueError, match="None of the splits test of .* has labels: give eval_split"):
        load_data(source, CLASSIFICATION)


def test_pictures_without_annotation_are_found_before(tmp_path):
    mask = Image.fromarray(np.zeros(SIZE[::-1], np.uint8))
    source = parquet(tmp_path / "set", {"train": [mask, None], "test": [mask]}, SEGMENTATION)
    with pytest.raises(ValueError, match="split train of .* has no annotation in row 1"):
        load_data(source, SEGMENTATION, class_names=["a", "b"])


def test_splits_that_are_not_used_are_named(tmp_path, warnings):
    source = parquet(tmp_path / "set", {"train": [0, 1], "validation": [0, 1, 1], "test": [0, 1]})
    load_data(source, CLASSIFICATION)
    assert warnings == [f"These splits of {source!r} are not used: validation (3 rows)."]
    warnings.clear()
    load_data(source, CLASSIFICATION, train_split="train+validation[:50%]")
    load_data(source, CLASSIFICATION, train_split=None)
    assert not warnings


def test_files_beside_parquet_are_named(tmp_path, warnings):
    source = parquet(tmp_path / "set", {"train": [0, 1], "test": [0, 1], "more": [0, 1]})
    class_folders(tmp_path / "set", {"cat": 2})
    load_data(source, CLASSIFICATION)
    [warning] = warnings
    assert "not used: 2 pictures (cat/0.png, cat/1.png), 1 other file (more-00000-of-00001.parquet)." in warning


def test_names_in_another_order_are_not_taken_for_the_ids(tmp_path):
    """The names of a ClassLabel, shuffled, would call cats dogs."""
    source = parquet(tmp_path / "set", {"train": [0, 1], "test": [0, 1]})
    assert load_data(source, CLASSIFICATION, class_names=["first", "second"]).class_names == ["first", "second"]
    with pytest.raises(ValueError, match="class_names has the classes of .* in another order; they are a, b"):
        load_data(source, CLASSIFICATION, class_names=["b", "a"])
