# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Class ids are the same in a mask's file and in the loss, and never invented."""

import json
import struct
import zlib

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from hf_gpvit import GPViTConfig, GPViTForSemanticSegmentation
from hf_gpvit.data import folders, image_processor_for
from hf_gpvit.data.folders import load_folder
from hf_gpvit.data.loading import load_data
from hf_gpvit.data.samples import TrainingSamples
from hf_gpvit.data.transforms import SegmentationTransform
from hf_gpvit.metrics import MeanIoU
from hf_gpvit.tasks.semantic_segmentation import AnnotationReader, SemanticSegmentation


SIZE = (12, 8)
SEGMENTATION = "semantic-segmentation"


def pair(root, stem, ids, dtype=np.uint8):
    """A picture, and a mask whose columns take turns in `ids`."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (200, 100, 50)).save(root / "images" / f"{stem}.jpg")
    Image.fromarray(np.tile(np.resize(np.array(ids, dtype), SIZE[0]), (SIZE[1], 1))).save(
        root / "masks" / f"{stem}.png"
    )


def png_of_few_bits(bits, values):
    """A grey PNG as other programs store it, one row of 8 / `bits` values."""
    packed = sum(value << (8 - bits * (place + 1)) for place, value in enumerate(values))

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, packed]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def rows(annotation):
    size = annotation.size if isinstance(annotation, Image.Image) else SIZE
    return datasets.Dataset.from_dict(
        {"image": [Image.new("RGB", size)], "annotation": [annotation]},
        features=datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()}),
    )


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(folders.logger, "warning", said.append)
    return said


# --- more than 255 classes


def segmentor(num_labels, **fields):
    names = {index: f"class {index}" for index in range(num_labels)}
    return GPViTForSemanticSegmentation(GPViTConfig.from_preset("gpvit-nano", id2label=names, **fields))


@pytest.mark.parametrize(("num_labels", "expected"), [(255, 255), (256, -100), (70000, -100)])
def test_ignored_is_what_is_no_class(num_labels, expected):
    with torch.device("meta"):
        assert segmentor(num_labels).config.semantic_loss_ignore_index == expected
    assert segmentor(3, semantic_loss_ignore_index=0).config.semantic_loss_ignore_index == 0


@pytest.mark.parametrize("ids", [[10, 290, 255, 254, 0], [70000, 65536, 255, 0]])
def test_ids_reach_the_loss_as_they_are(ids):
    """Through reader, resizing, crop and padding; 65535 is what is no class."""
    num_labels = max(ids) + 1
    with torch.device("meta"):
        model = segmentor(num_labels)
    image_processor = image_processor_for(model, 32)
    mask = np.resize(np.repeat(np.array([*ids, 65535]), 4), (32, 32)).astype(
        np.uint16 if num_labels < 65536 else np.int32
    )
    reader = SemanticSegmentation.reader(model.config, image_processor, "train")
    for max_ratio in (1, 0.75):
        transform = SegmentationTransform(
            image_processor, 40, (32, 32), (1, 1), max_ratio, False, 0, model.config.semantic_loss_ignore_index
        )
        labels = TrainingSamples(rows(Image.fromarray(mask)), reader, transform)[0]["labels"]
        assert labels.shape == (40, 40)
        assert labels.unique().tolist() == sorted({*ids, -100})
        assert (labels == -100).sum() == (mask == 65535).sum() + 40 * 40 - 32 * 32


def test_a_run_counts_class_255(tmp_path):
    """What the loss learns is what the metric counts."""
    with torch.device("meta"):
        config = segmentor(300).config
    metric = SemanticSegmentation.metric(config)
    ids = torch.tensor([[255, 299], [-100, 254]])
    metric.count([torch.tensor([[255, 299], [7, 254]])], [ids])
    figures = metric.figures()
    assert figures["iou/class 255"] == figures["iou/class 299"] == figures["mean_iou"] == 1
    assert MeanIoU(num_labels=300).ignore_index == -100 and MeanIoU(num_labels=255).ignore_index == 255


def test_an_ignored_class_255_is_refused():
    with pytest.raises(ValueError, match="semantic_loss_ignore_index is 255.*one of 300 classes.*set it to -100"):
        AnnotationReader(300, ignore_index=255)


@pytest.mark.parametrize("num_labels", [3, 300])
def test_no_class_becomes_what_the_model_ignores(num_labels):
    """A segmentor of 300 classes that learns 3 other ones still ignores -100, of which masks know nothing."""
    void = 255 if num_labels == 3 else 65535
    mask = Image.fromarray(np.array([[0, 2, void]], np.uint16))
    reader = AnnotationReader(num_labels, ignore_index=-7)
    _, ids = reader.read(rows(mask)[0], "row 0")
    assert ids.tolist() == [[0, 2, -7]]


def test_reduced_labels_have_room_for_254_classes(tmp_path):
    assert AnnotationReader(254, reduce_labels=True).void == 255
    for build in (
        lambda: AnnotationReader(255, reduce_labels=True),
        lambda: load_folder(tmp_path, class_names=[str(index) for index in range(255)], reduce_labels=True),
    ):
        pair(tmp_path, "a", [1, 2])
        with pytest.raises(ValueError, match="reduce_labels is for at most 254 classes, got 255"):
            build()


def test_a_folder_of_many_classes(tmp_path):
    for stem in "ab":
        pair(tmp_path, stem, [0, 255, 299, 65535], np.uint16)
    (tmp_path / "classes.json").write_text(json.dumps([f"class {index}" for index in range(300)]))
    dataset, names = load_folder(tmp_path)
    assert len(names) == 300
    assert np.unique(dataset["train"][0]["annotation"]).tolist() == [0, 255, 299, 65535]
    pair(tmp_path, "b", [0, 300], np.uint16)
    with pytest.raises(
        ValueError, match="b.png has the class ids 300; of 300 classes they are 0 to 299, and 65535 is"
    ):
        load_folder(tmp_path)


# --- grey levels


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_refused(tmp_path, bits):
    """Pillow spreads it over 0 to 255, and others don't."""
    content = png_of_few_bits(bits, [0, 3, 1, 2][: 8 // bits])
    for stem in "ab":
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.new("RGB", (8 // bits, 1)).save(tmp_path / "images" / f"{stem}.png")
        (tmp_path / "masks" / f"{stem}.png").write_bytes(content)
    with pytest.raises(
        ValueError, match=f"a.png has the mode L;{bits}; expected class ids in one channel, 8 or 16 bits"
    ):
        load_folder(tmp_path)
    row = {"image": Image.new("RGB", (8 // bits, 1)), "annotation": {"bytes": content, "path": None}}
    with pytest.raises(ValueError, match=f"has the mode L;{bits}"):
        AnnotationReader(4).read(row, "row 0")


def test_jpegs_are_no_masks(tmp_path):
    """Whatever they are called, and wherever they are."""
    for stem in "ab":
        pair(tmp_path, stem, [0, 1])
        Image.new("L", SIZE).save(tmp_path / "masks" / f"{stem}.png", "JPEG")
    message = "has the mode L of a JPEG, which changes ids"
    with pytest.raises(ValueError, match=rf"a\.png {message}"):
        load_folder(tmp_path)
    for annotation in ({"bytes": (tmp_path / "masks/a.png").read_bytes()}, Image.open(tmp_path / "masks/a.png")):
        with pytest.raises(ValueError, match=message):
            AnnotationReader(2).read({"image": Image.new("RGB", SIZE), "annotation": annotation}, "row 0")


@pytest.mark.parametrize(
    ("ids", "file", "found", "missing"),
    [([0, 127, 254], "a", 127, 1), ([0, 1, 2, 254], "a", 254, 3), ([1, 2], "a", 1, 0), ([0, 85, 170], "a", 85, 1)],
)
def test_ids_with_gaps_are_not_guessed(tmp_path, ids, file, found, missing):
    for stem in "abc":
        pair(tmp_path, stem, ids)
    with pytest.raises(
        ValueError, match=rf"(?s){file}.png has the id {found}, but none has {missing}\..*classes.json"
    ):
        load_folder(tmp_path)


def test_gaps_are_those_of_all_splits(tmp_path, warnings):
    pair(tmp_path / "train", "a", [0, 2])
    pair(tmp_path / "test", "b", [1, 255])
    _, names = load_folder(tmp_path)
    assert names == ["class_0", "class_1", "class_2"]
    [warning] = warnings
    assert "doesn't say which classes there are" in warning
    assert [line.split() for line in warning.splitlines()[1:]] == [
        ["id", "pixels", "masks"],
        ["0", "25.00%", "1"],
        ["1", "25.00%", "1"],
        ["2", "25.00%", "1"],
        ["255", "25.00%", "1", "(ignored)"],
    ]


def test_many_ids_without_gaps_are_levels_too(tmp_path):
    """A gradient, or a mask that was resized smoothly."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for stem in "ab":
        Image.new("RGB", (101, 4)).save(tmp_path / "images" / f"{stem}.png")
        Image.fromarray(np.tile(np.arange(101, dtype=np.uint8), (4, 1))).save(tmp_path / "masks" / f"{stem}.png")
    with pytest.raises(
        ValueError, match=r"(?s)101 ids, such as 100 in \S+a.png, are too many.*37 more.*levels of grey"
    ):
        load_folder(tmp_path)
    assert load_folder(tmp_path, class_names=[str(index) for index in range(101)])[1][100] == "100"


# --- names that are given are not guessed


def test_names_of_the_model_before_a_guess(tmp_path, warnings):
    """The folder to evaluate on lacks the last class."""
    for stem in "ab":
        pair(tmp_path, stem, [0, 1])
    data = load_data(str(tmp_path), SEGMENTATION, default_class_names=["sky", "road", "car"])
    assert data.class_names == ["sky", "road", "car"]
    assert not warnings


def test_two_lists_of_names_agree(tmp_path):
    for stem in "ab":
        pair(tmp_path, stem, [0, 1])
    (tmp_path / "classes.json").write_text('["sky", "road"]')
    assert load_data(str(tmp_path), SEGMENTATION, class_names=["a", "b"]).class_names == ["a", "b"]
    with pytest.raises(ValueError, match="class_names has 3 names, but .*classes.json has 2"):
        load_data(str(tmp_path), SEGMENTATION, class_names=["a", "b", "c"])


@pytest.mark.parametrize("names", [None, ["wall", "floor"]])
def test_reduced_labels_of_a_folder(tmp_path, names):
    """0 is no class, and 1 the first."""
    for stem in "ab":
        pair(tmp_path, stem, [0, 1, 2, 255])
    dataset, found = load_folder(tmp_path, class_names=names, reduce_labels=True)
    assert found == (names or ["class_0", "class_1"])
    _, ids = AnnotationReader(2, reduce_labels=True).read(dataset["train"][0], "row 0")
    assert ids.unique().tolist() == [0, 1, 255]
    with pytest.raises(ValueError, match="class ids 2; of 2 classes they are 0 to 1"):
        load_folder(tmp_path, class_names=["wall", "floor"])


def test_class_folders_by_the_names_of_the_model(tmp_path):
    """A folder to evaluate on that lacks a class: the labels are the model's, not the positions of the folders."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(5):
            Image.new("RGB", SIZE, (index, 0, 0)).save(tmp_path / name / f"{index}.png")
    data = load_data(str(tmp_path), "image-classification", default_class_names=["dog", "cow", "cat"])
    assert data.class_names == ["dog", "cow", "cat"]
    assert set(data.test["label"]) == {0, 2}
    data = load_data(str(tmp_path), "image-classification", default_class_names=["dog", "cow"])
    assert data.class_names == ["cat", "dog"]  # which evaluation refuses
