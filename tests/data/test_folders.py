# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0

import json
import re
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, load_dataset
from datasets import Image as ImageFeature
from PIL import ExifTags, Image

from hf_gpvit.data import folders
from hf_gpvit.data.folders import load_folder


CLASSIFICATION, SEGMENTATION = "image-classification", "semantic-segmentation"
SIZE = (12, 8)


def picture(path, color=(200, 100, 50), size=SIZE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def mask(path, ids=(0, 1), mode="L", size=SIZE):
    """A mask whose rows take turns in `ids`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.uint16 if mode == "I;16" else np.uint8
    rows = np.resize(np.array(ids, dtype), size[1])
    image = Image.fromarray(np.repeat(rows[:, None], size[0], axis=1))
    if mode == "P":
        image.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    image.save(path)
    assert Image.open(path).mode == mode


def class_folders(root, counts, suffix=".png"):
    for name, count in counts.items():
        for index in range(count):
            picture(root / name / f"{index}{suffix}", color=(index, 0, 0))


def pairs(root, stems, ids=(0, 1), **options):
    for stem in stems:
        picture(root / "images" / f"{stem}.jpg")
        mask(root / "masks" / f"{stem}.png", ids, **options)


def stems(dataset, column="image"):
    return [Path(row["path"]).stem for row in dataset.cast_column(column, UNDECODED)[column]]


UNDECODED = ImageFeature(decode=False)


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(folders.logger, "warning", said.append)
    return said


# --- classification


@pytest.mark.parametrize("task", [None, CLASSIFICATION])
@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_class_folders_with_splits(tmp_path, task, test):
    class_folders(tmp_path / "train", {"dog": 3, "cat": 2}, suffix=".JPG")
    class_folders(tmp_path / test, {"dog": 1})
    dataset, names = load_folder(tmp_path, task)
    assert names == ["cat", "dog"]
    assert {split: part["label"][:] for split, part in dataset.items()} == {"train": [0, 0, 1, 1, 1], "test": [1]}
    for part in dataset.values():
        assert part.features == {"image": ImageFeature(), "label": ClassLabel(names=names)}
        assert part[0]["image"].size == SIZE


def test_same_as_imagefolder(tmp_path, monkeypatch):
    class_folders(tmp_path / "train", {"b": 3, "a": 2})
    class_folders(tmp_path / "test", {"b": 1, "a": 1})
    dataset, _ = load_folder(str(tmp_path))
    expected = load_dataset("imagefolder", data_dir=str(tmp_path), cache_dir=str(tmp_path / ".cache"))
    for split, part in dataset.items():
        assert part.features == expected[split].features
        assert part.cast_column("image", UNDECODED)[:] == expected[split].cast_column("image", UNDECODED)[:]


def test_stratified_split(tmp_path):
    class_folders(tmp_path, {"a": 20, "b": 10, "c": 5})
    dataset, names = load_folder(tmp_path)
    assert names == ["a", "b", "c"]
    assert np.bincount(dataset["train"]["label"]).tolist() == [16, 8, 4]
    assert np.bincount(dataset["test"]["label"]).tolist() == [4, 2, 1]
    again, _ = load_folder(tmp_path)
    for split in ("train", "test"):
        assert stems(again[split]) == stems(dataset[split])
        assert again[split]["label"][:] == dataset[split]["label"][:]


@pytest.mark.parametrize(
    ("counts", "num_train", "num_test"),
    [({"a": 1, "b": 1}, 1, 1), ({"a": 2, "b": 2, "c": 2}, 3, 3), ({"a": 9, "b": 1}, 8, 2), ({"a": 2, "b": 1}, 2, 1)],
)
def test_split_of_few_pictures(tmp_path, counts, num_train, num_test):
    class_folders(tmp_path, counts)
    dataset, _ = load_folder(tmp_path)
    assert (len(dataset["train"]), len(dataset["test"])) == (num_train, num_test)


def test_names_that_mean_something_elsewhere(tmp_path):
    """A class "train", files called test, brackets in the path, and what a Mac leaves behind."""
    root = tmp_path / "my [1] photos"
    class_folders(root, {"train": 5, "bus": 5})
    picture(root / "bus" / "test_1.png")
    (root / "bus" / "._0.png").write_bytes(b"resource fork")
    (root / "bus" / "notes.txt").write_text("not a picture")
    (root / "__MACOSX").mkdir()
    dataset, names = load_folder(root)
    assert names == ["bus", "train"]
    assert sum(map(len, dataset.values())) == 11


def test_pictures_are_decoded_on_access(tmp_path, monkeypatch):
    """Also after the working folder has changed."""
    class_folders(tmp_path, {"a": 5, "b": 5})
    monkeypatch.chdir(tmp_path)
    dataset, _ = load_folder(".")
    monkeypatch.chdir("/")
    for file in tmp_path.glob("*/*.png"):
        picture(file, size=(3, 3))
    assert all(row["image"].size == (3, 3) for part in dataset.values() for row in part)


# --- segmentation


@pytest.mark.parametrize("task", [None, SEGMENTATION])
@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_masks_with_splits(tmp_path, task, test):
    pairs(tmp_path / "train", ["b", "a", "c"], ids=(0, 1, 255))
    pairs(tmp_path / test, ["d"], ids=(2,))
    dataset, names = load_folder(tmp_path, task)
    assert names == ["class_0", "class_1", "class_2"]
    assert stems(dataset["train"]) == stems(dataset["train"], "annotation") == ["a", "b", "c"]
    assert stems(dataset["test"]) == ["d"]
    for part in dataset.values():
        assert part.features == {"image": ImageFeature(), "annotation": ImageFeature()}
        assert part[0]["image"].size == part[0]["annotation"].size == SIZE
    assert np.unique(dataset["train"][0]["annotation"]).tolist() == [0, 1, 255]


def test_test_wins_over_validation(tmp_path, warnings):
    pairs(tmp_path / "train", ["a"])
    pairs(tmp_path / "val", ["b"])
    pairs(tmp_path / "test", ["c"])
    dataset, _ = load_folder(tmp_path)
    assert stems(dataset["test"]) == ["c"]
    assert "files that are not used: 2 pictures (val/images/b.jpg, val/masks/b.png)." in warnings[0]


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_mask_modes_keep_their_ids(tmp_path, mode):
    pairs(tmp_path, ["a", "b", "c"], ids=(0, 7, 2), mode=mode)
    _, names = load_folder(tmp_path, class_names=[f"class {index}" for index in range(8)])
    dataset, _ = load_folder(tmp_path, default_class_names=names)
    assert len(names) == 8
    for part in dataset.values():
        assert np.unique(part[0]["annotation"]).tolist() == [0, 2, 7]


def test_annotations_folder_and_split(tmp_path):
    pairs(tmp_path, "abcdefghij")
    (tmp_path / "masks").rename(tmp_path / "annotations")
    dataset, _ = load_folder(tmp_path)
    assert (len(dataset["train"]), len(dataset["test"])) == (8, 2)
    assert sorted(stems(dataset["train"]) + stems(dataset["test"])) == list("abcdefghij")
    for part in dataset.values():
        assert stems(part) == stems(part, "annotation")
    again, _ = load_folder(tmp_path)
    assert stems(again["test"]) == stems(dataset["test"])


@pytest.mark.parametrize(
    "record", [["sky", "road", "car"], {"1": "road", "0": "sky", "2": "car"}, {"road": 1, "car": 2, "sky": 0}]
)
@pytest.mark.parametrize("split", ["", "train"])
def test_classes_json(tmp_path, record, split):
    pairs(tmp_path / split, "ab")
    (tmp_path / "classes.json").write_text(json.dumps(record))
    _, names = load_folder(tmp_path)
    assert names == ["sky", "road", "car"]


def test_turned_photo(tmp_path):
    """Sizes are compared as `datasets` decodes them: upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for stem in "ab":
        picture(tmp_path / "images" / f"{stem}.jpg", exif=exif)
        mask(tmp_path / "masks" / f"{stem}.png", size=SIZE[::-1])
    dataset, _ = load_folder(tmp_path)
    assert dataset["train"][0]["image"].size == dataset["train"][0]["annotation"].size == SIZE[::-1]


# --- errors


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)


def one_class(root):
    class_folders(root, {"cat": 4})


def one_class_with_splits(root):
    class_folders(root / "train", {"cat": 4})
    class_folders(root / "test", {"cat": 4})


def empty_class(root):
    class_folders(root, {"cat": 4})
    for name in ("1.heic", "2.heic"):
        write(root / "dog" / name, b"")


def pictures_only(root):
    class_folders(root, {"": 4})


def unlabelled_splits(root):
    class_folders(root, {"train": 4, "test": 2})


def no_train(root):
    class_folders(root / "test", {"cat": 4, "dog": 2})


def one_level_too_deep(root):
    class_folders(root / "photos", {"cat": 4, "dog": 2})
    class_folders(root / "more", {"cat": 4, "dog": 2})


def empty_test(root):
    class_folders(root / "train", {"cat": 4, "dog": 2})
    (root / "test").mkdir()


def unknown_class_in_test(root):
    class_folders(root / "train", {"cat": 4, "dog": 2})
    class_folders(root / "test", {"cat": 4, "cow": 2})


def images_without_masks(root):
    pairs(root, "abc")
    (root / "masks").rename(root / "drawings")


def masks_missing_in_test(root):
    pairs(root / "train", "abc")
    class_folders(root / "test", {"images": 2})


def lone_images(root):
    pairs(root, "abc")
    for stem in "defg":
        picture(root / "images" / f"{stem}.png")


def lone_masks(root):
    pairs(root, "abc")
    mask(root / "masks" / "d.png")


def no_pairs(root):
    (root / "images").mkdir()
    (root / "masks").mkdir()


LAYOUTS = {
    one_class: r"only one class folder, 'cat'.*data: 1 folder \(cat\).*cat: 4 pictures \(0.png, 1.png, 2",
    one_class_with_splits: r"train has only one class folder, 'cat'.*2 folders \(test, train\)",
    empty_class: r"No pictures in \S+dog\..*dog: 2 other files \(1.heic, 2.heic\)",
    pictures_only: r"no folders inside.*data: 4 pictures \(0.png",
    unlabelled_splits: r"train has no class folder.*2 folders \(test, train\).*train: 4 pictures",
    no_train: r"no folder train/.*1 folder \(test\).*test: 2 folders \(cat, dog\)",
    one_level_too_deep: r"No pictures in \S+more, \S+photos.*photos: 2 folders \(cat, dog\)",
    empty_test: r"No pictures in \S+test\..*test: nothing",
    unknown_class_in_test: r"test has classes that \S+train has not: cow",
    images_without_masks: r"has images/ but no folder of masks, such as masks/.*drawings: 3 pictures",
    masks_missing_in_test: r"test has images/ but no folder of masks",
    lone_images: r"Images without a mask .*: d.png, e.png, f.png, \.\.\. \(7 images, 3 masks\)",
    lone_masks: r"Masks without an image .*: d.png \(3 images, 4 masks\)",
    no_pairs: r"No pictures in \S+images",
}


@pytest.mark.parametrize(("draw", "message"), LAYOUTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_wrong_layout(tmp_path, draw, message):
    """The error says what is wrong, what was found, and what was expected, both layouts drawn."""
    root = tmp_path / "data"
    root.mkdir()
    draw(root)
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        load_folder(root)
    assert re.search(
        r"(?s)Found\n.*data: .*Expected\nimage classification: +semantic segmentation:.*cat/.*masks/.*classes\.json",
        str(caught.value),
    )


def test_missing_path(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)nowhere does not exist; expected a folder such as.*cat/.*masks/"):
        load_folder(tmp_path / "nowhere")


def test_path_is_a_file(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"(?s)a\.png is a file; expected a folder such as.*cat/.*masks/"):
        load_folder(tmp_path / "a.png")


def test_unknown_task(tmp_path):
    with pytest.raises(
        ValueError,
        match="one of image-classification, semantic-segmentation, object-detection, .* or None, got 'detection'",
    ):
        load_folder(tmp_path, "detection")


def test_layout_of_another_task(tmp_path):
    class_folders(tmp_path / "classes", {"a": 2, "b": 2})
    pairs(tmp_path / "pairs", "ab")
    with pytest.raises(ValueError, match="(?s)layout of image-classification, but task is 'semantic-seg.*Expected"):
        load_folder(tmp_path / "classes", SEGMENTATION)
    with pytest.raises(ValueError, match="(?s)layout of semantic-segmentation, but task is 'image-class.*Expected"):
        load_folder(tmp_path / "pairs", CLASSIFICATION)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n cut off"])
@pytest.mark.parametrize("name", ["images/c.jpg", "masks/c.png", "cat/c.png"])
def test_unreadable_picture(tmp_path, name, content):
    if name.startswith("cat"):
        class_folders(tmp_path, {"cat": 2, "dog": 2})
    else:
        pairs(tmp_path, "abcd")
    write(tmp_path / name, content)
    with pytest.raises(ValueError, match=f"Can't read the picture .*{name}: "):
        load_folder(tmp_path)


def test_mask_cut_off(tmp_path):
    pairs(tmp_path, "ab")
    file = tmp_path / "masks" / "b.png"
    file.write_bytes(file.read_bytes()[:45])
    with pytest.raises(ValueError, match=r"Can't read the picture .*b\.png: "):
        load_folder(tmp_path)


def test_mask_of_another_size(tmp_path):
    pairs(tmp_path, "ab")
    mask(tmp_path / "masks" / "b.png", size=(6, 4))
    with pytest.raises(ValueError, match=r"mask .*b\.png has 6x4 pixels, but its image b\.jpg has 12x8"):
        load_folder(tmp_path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1"])
def test_mask_of_several_channels(tmp_path, mode):
    pairs(tmp_path, "ab")
    Image.new(mode, SIZE).save(tmp_path / "masks" / "b.png")
    with pytest.raises(ValueError, match=rf"mask .*b\.png has the mode {mode}; expected class ids in one channel"):
        load_folder(tmp_path)


def test_mask_that_is_no_png(tmp_path):
    pairs(tmp_path, "ab")
    (tmp_path / "masks" / "b.png").unlink()
    picture(tmp_path / "masks" / "b.jpg")
    with pytest.raises(ValueError, match=r"Masks must be PNG .*: b\.jpg"):
        load_folder(tmp_path)


def test_id_outside_classes(tmp_path):
    pairs(tmp_path, "ab")
    mask(tmp_path / "masks" / "b.png", ids=(0, 2, 5, 255))
    write(tmp_path / "classes.json", '["sky", "road"]')
    with pytest.raises(
        ValueError, match=r"b\.png has the class ids 2, 5; of 2 classes they are 0 to 1, and 255 is ignored"
    ):
        load_folder(tmp_path)


def test_id_above_255(tmp_path):
    pairs(tmp_path, "ab", ids=(0, 26001), mode="I;16")
    with pytest.raises(ValueError, match=r"a\.png has the id 26001, but none has 1"):
        load_folder(tmp_path)


def test_foreground_of_255(tmp_path):
    pairs(tmp_path, "ab", ids=(0, 255))
    with pytest.raises(
        ValueError, match=r"fewer than two classes: their ids are \[0\].*foreground of 255 must become 1"
    ):
        load_folder(tmp_path)


def test_two_files_of_one_name(tmp_path):
    pairs(tmp_path, "ab")
    picture(tmp_path / "images" / "b.png")
    with pytest.raises(ValueError, match=r"Two files of the same name in .*images: b\.jpg and b\.png"):
        load_folder(tmp_path)


def test_one_pair(tmp_path):
    pairs(tmp_path, "a")
    with pytest.raises(ValueError, match="only one picture; at least two are needed"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["sky", "road", "sky"]', "more than once: sky"),
        ('{"0": "sky", "1": "sky"}', "more than once: sky"),
        ('{"sky": 0, "sky": 1}', "more than once: sky"),
        ('{"sky": 0, "road": 0}', r"its ids are 0, 0 \(2 in all\)"),
        ('{"1": "sky", "2": "road"}', r"its ids are 1, 2 \(2 in all\)"),
        ('{"0": "sky", "1": "road", "255": "void"}', r"its ids are 0, 1, 255"),
        ('["sky"]', r"its ids are 0 \(1 in all\)"),
        ("[]", r"\(0 in all\)"),
        ('["sky", ""]', "these are no names: "),
        ('["sky", 7]', "these are no names: 7"),
        ('{"classes": ["sky", "road"]}', "can't be read as such"),
        ('["sky", ', "can't be read as such"),
        ("12", "can't be read as such"),
    ],
)
def test_wrong_classes_json(tmp_path, text, message):
    pairs(tmp_path, "ab")
    write(tmp_path / "classes.json", text)
    with pytest.raises(ValueError, match=rf"classes\.json: expected a list of names.*{message}"):
        load_folder(tmp_path)


# --- files that can't be read, by flag


def test_unreadable_pictures_are_left_out_and_counted(tmp_path, warnings):
    class_folders(tmp_path, {"a": 10, "b": 10})
    for index in (2, 5):
        (tmp_path / "a" / f"{index}.png").write_bytes(b"no picture")
    dataset, names = load_folder(tmp_path, skip_corrupt=True)
    assert names == ["a", "b"]
    labels = dataset["train"]["label"][:] + dataset["test"]["label"][:]
    assert (labels.count(0), labels.count(1)) == (8, 10)
    [warning] = warnings
    assert warning.startswith("2 of 20 samples are left out: Can't read the picture")
    assert "2.png" in warning and "5.png" in warning


@pytest.mark.parametrize("broken", ["images/2.jpg", "masks/2.png"])
def test_unreadable_pairs_are_left_out_and_counted(tmp_path, warnings, broken):
    pairs(tmp_path, "0123456789")
    (tmp_path / broken).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=broken):
        load_folder(tmp_path)
    dataset, _ = load_folder(tmp_path, skip_corrupt=True)
    found = [stems(part, column) for part in dataset.values() for column in ("image", "annotation")]
    assert found[0] == found[1] and found[2] == found[3]
    assert sorted(found[0] + found[2]) == list("013456789")
    assert warnings[0].startswith("1 of 10 samples are left out") and broken in warnings[0]


def test_wrong_masks_are_never_left_out(tmp_path):
    pairs(tmp_path, "01")
    mask(tmp_path / "masks" / "1.png", size=(4, 4))
    with pytest.raises(ValueError, match="1.png has 4x4 pixels"):
        load_folder(tmp_path, skip_corrupt=True)


def test_nothing_readable(tmp_path):
    class_folders(tmp_path / "pictures", {"a": 2, "b": 1})
    (tmp_path / "pictures" / "b" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"No picture can be read in .*b\.$"):
        load_folder(tmp_path / "pictures", skip_corrupt=True)
    pairs(tmp_path / "pairs", "0")
    (tmp_path / "pairs" / "masks" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="No sample can be read in .*pairs"):
        load_folder(tmp_path / "pairs", skip_corrupt=True)
