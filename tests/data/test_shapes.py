# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The drawn scenes: what they hold, and that outlines rather than colours tell what is what."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Sequence, Value
from datasets import Image as ImageFeature
from torch import nn
from torch.nn import functional as F

from hf_gpvit import GPViTConfig, GPViTForSemanticSegmentation
from hf_gpvit.data import shapes
from hf_gpvit.data.objects import ObjectReader
from hf_gpvit.data.shapes import CLASS_NAMES, SCENE_NAMES, load_shapes
from hf_gpvit.models.modeling_gpvit import GPViTGroupLayer, GPViTLocalLayer


UNDECODED = ImageFeature(decode=False)


def encoded(dataset):
    """Everything in the dataset, with pictures as bytes."""
    return dataset.cast_column("image", UNDECODED).cast_column("annotation", UNDECODED)[:]


def stacked(dataset, column):
    return np.stack([np.asarray(picture) for picture in dataset[column]])


def box_around(inside):
    """x, y, width and height of the pixels inside, or nothing where there are none."""
    rows, columns = np.nonzero(inside)
    return [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1] if len(rows) else []


def around_all(boxes):
    left, top = np.min(boxes, axis=0)[:2]
    right, bottom = np.max([[x + width, y + height] for x, y, width, height in boxes], axis=0)
    return [left, top, right - left, bottom - top]


def mean_iou(predictions, truths):
    """Over the classes, all of which must occur."""
    matrix = np.bincount(len(CLASS_NAMES) * truths.ravel() + predictions.ravel(), minlength=len(CLASS_NAMES) ** 2)
    matrix = matrix.reshape(2 * [len(CLASS_NAMES)])
    intersection = matrix.diagonal()
    assert matrix.sum(1).all()
    return (intersection / (matrix.sum(0) + matrix.sum(1) - intersection)).mean()


@pytest.fixture(scope="module")
def scenes():
    return load_shapes(250)


@pytest.fixture(scope="module")
def placed():
    """Scenes with the pixels inside each object's whole outline, from the back to the front."""
    outlines, place = [], shapes._place

    def record(*args):
        outlines.append(place(*args))
        return outlines[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_place", record)
        dataset = load_shapes(250)
    counts = [len(objects["category"]) for objects in dataset["objects"]]
    assert sum(counts) == len(outlines)
    starts = np.cumsum([0, *counts])
    return dataset, [outlines[start : start + count] for start, count in zip(starts, counts, strict=False)]


# --- the same scenes again


def test_same_seed_same_bytes():
    assert encoded(load_shapes(12, seed=3)) == encoded(load_shapes(12, seed=3))


@pytest.mark.parametrize(("seed", "image_size"), [(0, 128), (5, 64)])
def test_more_scenes_begin_with_the_fewer(seed, image_size):
    more = load_shapes(12, seed, image_size)
    assert encoded(more.select(range(5))) == encoded(load_shapes(5, seed, image_size))


def test_no_scene_comes_twice():
    """Neither in one seed nor in two, though seeds and scenes are both counted from 0."""
    pictures = [row["bytes"] for seed in range(4) for row in encoded(load_shapes(25, seed))["image"]]
    assert len(set(pictures)) == 100


def test_no_network_and_no_files(tmp_path):
    """A fresh home stays empty, and no connection is tried."""
    (tmp_path / "tmp").mkdir()
    program = """
import socket
def connect(*args):
    raise AssertionError(f"connects to {args[1:]}")
socket.socket.connect = socket.socket.connect_ex = connect
from hf_gpvit.data.shapes import load_shapes
dataset = load_shapes(3)
assert dataset.cache_files == [] and dataset[0]["image"].size == (128, 128)
"""
    own = {
        "HOME": tmp_path,
        "HF_HOME": tmp_path / "hf",
        "XDG_CACHE_HOME": tmp_path / "xdg",
        "TMPDIR": tmp_path / "tmp",
    }
    drop = ("HF_HUB_OFFLINE", "HF_DATASETS_CACHE", "HF_HUB_CACHE")
    environment = {key: value for key, value in os.environ.items() if key not in drop}
    environment |= {key: str(value) for key, value in own.items()} | {"PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# --- what a scene holds


def test_columns(scenes):
    assert scenes.features == {
        "image": ImageFeature(),
        "annotation": ImageFeature(),
        "label": ClassLabel(names=list(SCENE_NAMES)),
        "objects": {
            "bbox": Sequence(Sequence(Value("float32"), length=4)),
            "category": Sequence(ClassLabel(names=list(SCENE_NAMES))),
            "segmentation": Sequence(Value("string")),
        },
    }
    assert ("ground", *SCENE_NAMES) == CLASS_NAMES
    assert len(set(CLASS_NAMES)) == 6


@pytest.mark.parametrize(("arguments", "side"), [({}, 128), ({"image_size": 64}, 64), ({"image_size": 200}, 200)])
def test_sizes(arguments, side):
    dataset = load_shapes(10, **arguments)
    assert len(dataset) == 10
    for row in dataset:
        assert (row["image"].mode, row["annotation"].mode) == ("RGB", "L")
        assert row["image"].size == row["annotation"].size == (side, side)
        classes = {0, *(category + 1 for category in row["objects"]["category"])}
        assert set(np.unique(row["annotation"]).tolist()) == classes
        for x, y, width, height in row["objects"]["bbox"]:
            assert 0 <= x < x + width <= side and 0 <= y < y + height <= side


def test_scenes_scale_with_their_size():
    """Objects take about the same part of a picture at any size."""
    parts = [(stacked(load_shapes(60, image_size=side), "annotation") > 0).mean() for side in (64, 128)]
    assert parts[0] == pytest.approx(parts[1], abs=0.08)
    assert 0.15 < parts[1] < 0.6


def test_label_is_the_class_of_most_objects(scenes):
    for row in scenes:
        counts = np.bincount(row["objects"]["category"], minlength=len(SCENE_NAMES))
        assert counts[row["label"]] > counts.sum() / 2
    counts = [len(objects["category"]) for objects in scenes["objects"]]
    assert set(counts) == {2, 3}
    assert any(len(set(objects["category"])) == 2 for objects in scenes["objects"])


def test_every_class_occurs(scenes):
    """As a scene, as the odd object of a scene, and in pixels."""
    labels = np.bincount(scenes["label"], minlength=5)
    assert labels.min() >= 0.5 * labels.mean()
    odd = {category for row in scenes for category in row["objects"]["category"] if category != row["label"]}
    assert odd == set(range(5))
    pixels = np.bincount(stacked(scenes, "annotation").ravel())
    assert len(pixels) == 6
    assert pixels.min() > 0.02 * pixels.sum()
    assert pixels[0] > 0.4 * pixels.sum()


def test_boxes_enclose_the_annotation(scenes):
    """The boxes of a class together are the extent of its pixels; alone in its class, the box is the object's."""
    for row in scenes:
        annotation = np.asarray(row["annotation"])
        categories, boxes = np.array(row["objects"]["category"]), np.array(row["objects"]["bbox"])
        for category in set(categories.tolist()):
            assert around_all(boxes[categories == category]) == box_around(annotation == category + 1)


def test_boxes_and_annotation_show_what_is_visible(placed):
    for row, outlines in zip(*placed, strict=True):
        owners = np.zeros((128, 128), int)
        for number, inside in enumerate(outlines, start=1):
            owners[inside] = number
        visible = [box_around(owners == number) for number in range(1, len(outlines) + 1)]
        assert row["objects"]["bbox"] == visible
        _, objects = ObjectReader(len(SCENE_NAMES), with_masks=True).read(row, "row 0")
        np.testing.assert_array_equal(objects.masks, [owners == number for number in range(1, len(outlines) + 1)])
        classes = np.array([0, *(category + 1 for category in row["objects"]["category"])])
        np.testing.assert_array_equal(row["annotation"], classes[owners])


def test_objects_are_large_and_mostly_visible(placed):
    """At least 24 pixels across where the picture's edge does not cut them; nearly all are 60 % visible or more."""
    sides, visible = [], []
    for _, outlines in zip(*placed, strict=True):
        for number, inside in enumerate(outlines):
            x, y, *side = box_around(inside)
            if x > 0 and y > 0 and x + side[0] < 128 and y + side[1] < 128:
                sides.append(side)
            hidden = np.any([np.zeros_like(inside), *outlines[number + 1 :]], axis=0)
            visible.append(1 - hidden[inside].mean())
    assert len(sides) > 100
    assert np.min(sides) >= 24
    assert np.max(sides) < 0.9 * 128
    visible = np.array(visible)
    assert (visible >= 0.6).mean() > 0.98
    assert (visible > 0.4).all()
    # else there would be nothing to learn about what hides what
    assert 0.2 < (visible < 1).mean() < 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_scenes": 0}, "num_scenes must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"image_size": 63}, "image_size must be at least 64, got 63"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_shapes(**{"num_scenes": 1} | arguments)


# --- what it takes to learn them


def test_colours_do_not_tell_the_classes(scenes):
    """The best guess from a pixel's own colour, learned on 150 scenes, is better than nothing and far from good."""
    bins = stacked(scenes, "image").astype(int) // 16 @ [256, 16, 1]
    truths = stacked(scenes, "annotation").astype(int)
    counts = np.ones((len(CLASS_NAMES), 16**3))
    np.add.at(counts, (truths[:150].ravel(), bins[:150].ravel()), 1)
    likelihoods = counts / counts.sum(axis=1, keepdims=True)
    assert 0.3 < mean_iou(likelihoods.argmax(0)[bins[150:]], truths[150:]) < 0.45


class NoAttention(nn.Module):
    """In place of LePE attention: the residual around it becomes the identity."""

    def forward(self, hidden_states, output_attentions=False):
        return torch.zeros_like(hidden_states)


def without_attention(model):
    """The same model in which tokens are mixed by convolutions alone."""
    for layer in model.gpvit.layers:
        if isinstance(layer, GPViTLocalLayer):
            layer.attention = NoAttention()
        else:
            assert isinstance(layer, GPViTGroupLayer)
            layer.forward = lambda hidden_states, *args, **kwargs: hidden_states
    return model


def pixel_values_and_labels(dataset):
    pixel_values = torch.from_numpy(stacked(dataset, "image")).permute(0, 3, 1, 2) / 127.5 - 1
    return pixel_values, torch.from_numpy(stacked(dataset, "annotation")).long()


def trained(model, pixel_values, labels, epochs, batch_size=16):
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    steps = len(labels) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=epochs * steps, pct_start=0.1)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels))[: steps * batch_size].split(batch_size):
            model(pixel_values[batch], labels=labels[batch]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return model.eval()


@torch.inference_mode()
def predicted(model, pixel_values):
    logits = torch.cat([model(batch).logits for batch in pixel_values.split(25)])
    resized = (F.interpolate(batch, size=128, mode="bilinear") for batch in logits.split(25))
    return torch.cat([batch.argmax(1) for batch in resized])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_attention_is_needed():
    """With the same budget, gpvit-nano learns the scenes clearly better than without attention and GP Blocks."""
    train_set, test_set = (pixel_values_and_labels(load_shapes(count, seed)) for count, seed in ((2000, 0), (300, 1)))
    config = GPViTConfig.from_preset("gpvit-nano", num_labels=len(CLASS_NAMES))
    scores = {}
    for name, change in (("intact", lambda model: model), ("ablated", without_attention)):
        torch.manual_seed(0)
        model = trained(change(GPViTForSemanticSegmentation(config)), *train_set, epochs=6)
        scores[name] = mean_iou(predicted(model, test_set[0]).numpy(), test_set[1].numpy())
        print(name, scores[name], flush=True)
    assert scores["intact"] - scores["ablated"] >= 0.05, scores
    assert scores["intact"] > 0.7, scores
