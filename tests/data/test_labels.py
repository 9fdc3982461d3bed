# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of the label sets: sizes, well known entries, colours and errors."""

import pytest

from hf_gpvit.data.labels import LABEL_SETS, load_label_set


SEGMENTATION_SETS = ("ade20k", "camvid", "cityscapes")
SETS_WITH_PALETTE = (*SEGMENTATION_SETS, "coco")


@pytest.mark.parametrize(
    ("name", "num_classes"), [("ade20k", 150), ("camvid", 11), ("cityscapes", 19), ("coco", 80), ("imagenet-1k", 1000)]
)
def test_number_of_classes(name, num_classes):
    assert len(load_label_set(name)) == num_classes


@pytest.mark.parametrize("name", LABEL_SETS)
def test_names_are_unique_and_trimmed(name):
    label_set = load_label_set(name)
    assert label_set.name == name
    assert len(set(label_set.names)) == len(label_set)
    assert all(label and label == label.strip() for label in label_set.names)


@pytest.mark.parametrize("name", LABEL_SETS)
def test_id2label_and_label2id_are_inverse(name):
    label_set = load_label_set(name)
    assert list(label_set.id2label) == list(range(len(label_set)))
    assert {index: label for label, index in label_set.label2id.items()} == label_set.id2label


@pytest.mark.parametrize(
    ("name", "index", "label"),
    [
        ("ade20k", 0, "wall"),
        ("ade20k", 7, "bed"),
        ("ade20k", 12, "person"),
        ("ade20k", 89, "television receiver"),
        ("ade20k", 130, "screen"),
        ("ade20k", 141, "crt screen"),
        ("ade20k", 149, "flag"),
        ("camvid", 0, "sky"),
        ("camvid", 4, "pavement"),
        ("camvid", 10, "bicyclist"),
        ("cityscapes", 0, "road"),
        ("cityscapes", 13, "car"),
        ("cityscapes", 18, "bicycle"),
        ("coco", 0, "person"),
        ("coco", 11, "stop sign"),  # the 13th of COCO's 91 ids, of which mmdetection leaves out those never used
        ("coco", 56, "chair"),
        ("coco", 79, "toothbrush"),
        ("imagenet-1k", 207, "golden retriever"),
        ("imagenet-1k", 281, "tabby"),
    ],
)
def test_well_known_classes(name, index, label):
    label_set = load_label_set(name)
    assert label_set.id2label[index] == label
    assert label_set.label2id[label] == index


@pytest.mark.parametrize("name", SETS_WITH_PALETTE)
def test_palette_has_one_rgb_colour_per_class(name):
    label_set = load_label_set(name)
    assert len(label_set.palette) == len(label_set)
    for color in label_set.palette:
        assert len(color) == 3
        assert all(isinstance(channel, int) and 0 <= channel <= 255 for channel in color)


@pytest.mark.parametrize(
    ("name", "label", "color"),
    [
        ("ade20k", "wall", (120, 120, 120)),
        ("ade20k", "tree", (4, 200, 3)),
        ("ade20k", "flag", (92, 0, 255)),
        ("camvid", "pavement", (60, 40, 222)),
        ("camvid", "bicyclist", (0, 128, 192)),
        ("cityscapes", "road", (128, 64, 128)),
        ("cityscapes", "bicycle", (119, 11, 32)),
    ],
)
def test_well_known_colours(name, label, color):
    label_set = load_label_set(name)
    assert label_set.palette[label_set.label2id[label]] == color


def test_colours_are_unique_but_for_one_pair_of_ade20k():
    shared = {}
    for name in SETS_WITH_PALETTE:
        label_set = load_label_set(name)
        shared[name] = [
            label
            for label, color in zip(label_set.names, label_set.palette, strict=True)
            if label_set.palette.count(color) > 1
        ]
    assert shared == {"ade20k": ["road", "skyscraper"], "camvid": [], "cityscapes": [], "coco": []}


def test_classification_set_has_no_palette():
    assert load_label_set("imagenet-1k").palette == ()


@pytest.mark.parametrize("name", LABEL_SETS)
def test_ignore_index_is_no_class(name):
    label_set = load_label_set(name)
    assert label_set.ignore_index not in label_set.id2label


@pytest.mark.parametrize("name", SEGMENTATION_SETS)
def test_segmentation_sets_ignore_255(name):
    assert load_label_set(name).ignore_index == 255


def test_unknown_name_is_reported_with_the_valid_ones():
    with pytest.raises(ValueError, match="'pascal'") as error:
        load_label_set("pascal")
    assert all(name in str(error.value) for name in LABEL_SETS)
