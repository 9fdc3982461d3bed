# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Figures against a computation by hand, and against what pipelines say picture by picture."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import SegformerImageProcessor, ViTImageProcessor, pipeline

from hf_gpvit.data import image_processor_for
from hf_gpvit.training import evaluate_model


NAMES = ("sky", "road", "car", "tree")
SIZES = [(40, 40), (57, 33), (24, 80), (9, 7)]
MODES = ("RGB", "L", "RGBA", "P")


def noise(width, height, mode="RGB", seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


class Reader(nn.Module):
    """Reads the class off the red channel of the picture: predictions are what a test writes into it."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(
            num_labels=len(NAMES), id2label=dict(enumerate(NAMES)), semantic_loss_ignore_index=255
        )
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def scores(self, pixel_values):
        assert not self.training
        return F.one_hot(pixel_values[:, 0].long(), self.config.num_labels).movedim(-1, 1).float()


class ReaderForSemanticSegmentation(Reader):
    def forward(self, pixel_values):
        return SimpleNamespace(logits=self.scores(pixel_values))


class ReaderForImageClassification(Reader):
    def forward(self, pixel_values):
        return SimpleNamespace(logits=self.scores(pixel_values).mean((2, 3)))


def plain(processor_class):
    return processor_class(do_resize=False, do_rescale=False, do_normalize=False)


def red(values):
    values = np.array(values, np.uint8)
    return Image.fromarray(np.stack([values, 0 * values, 0 * values], axis=-1))


def segmentation_by_hand(*pairs):
    """Figures for pairs of predicted and true ids, through a dataset and the model that reads the former."""
    columns = {"image": [red(predicted) for predicted, _ in pairs]}
    columns["annotation"] = [Image.fromarray(np.array(truth, np.uint8)) for _, truth in pairs]
    model = ReaderForSemanticSegmentation().train()
    return evaluate_model(model, plain(SegformerImageProcessor), Dataset.from_dict(columns))


def test_accuracy_by_hand():
    """Over batches, the last of which is not full; each picture counts the same whatever its class."""
    predictions = [index % 3 for index in range(70)]
    labels = [0 if index < 45 else 3 for index in range(70)]
    columns = {"image": [red(np.full((4, 4), value)) for value in predictions], "label": labels}
    dataset = Dataset.from_dict(columns)
    metrics = evaluate_model(ReaderForImageClassification().train(), plain(ViTImageProcessor), dataset)
    assert metrics == {"accuracy": pytest.approx(15 / 70)}


def test_mean_iou_by_hand():
    """Intersections and unions are summed over pictures of different sizes before they are divided."""
    metrics = segmentation_by_hand(
        # predicted and true ids
        ([[0, 0, 1], [2, 1, 1]], [[0, 1, 1], [2, 2, 1]]),
        ([[0], [3], [3], [0]], [[0], [0], [3], [3]]),
    )
    expected = {"iou/sky": 2 / 5, "iou/road": 2 / 4, "iou/car": 1 / 2, "iou/tree": 1 / 3}
    assert metrics == pytest.approx({"mean_iou": sum(expected.values()) / 4} | expected)
    assert list(metrics) == ["mean_iou", *expected]


def test_ignored_pixels_do_not_count():
    """Neither as wrong nor as right, whatever is predicted there."""
    metrics = segmentation_by_hand(([[0, 0, 1, 2, 3]], [[0, 255, 1, 255, 0]]))
    assert metrics["iou/sky"] == pytest.approx(1 / 2)
    assert metrics["iou/road"] == 1
    assert metrics["iou/tree"] == 0
    assert math.isnan(metrics["iou/car"])
    assert metrics["mean_iou"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_reduced_annotations():
    """Where the image processor says so, id 0 is no class and the others start at 1."""
    dataset = Dataset.from_dict(
        {"image": [red([[0, 1, 3, 2, 2]])], "annotation": [Image.fromarray(np.array([[1, 2, 3, 0, 255]], np.uint8))]}
    )
    processor = plain(SegformerImageProcessor)
    processor.do_reduce_labels = True
    metrics = evaluate_model(ReaderForSemanticSegmentation(), processor, dataset)
    assert metrics["iou/sky"] == metrics["iou/road"] == 1
    assert metrics["iou/car"] == metrics["iou/tree"] == 0


def test_absent_classes_are_left_out_of_the_mean():
    """A class that is only predicted, or only there, is zero and counts."""
    metrics = segmentation_by_hand(([[0, 0, 0, 1]], [[0, 0, 0, 0]]), ([[0, 0]], [[2, 0]]))
    assert metrics["iou/sky"] == pytest.approx(4 / 6)
    assert metrics["iou/road"] == metrics["iou/car"] == 0
    assert math.isnan(metrics["iou/tree"])
    assert metrics["mean_iou"] == pytest.approx(4 / 6 / 3)


def test_perfect_and_useless():
    ids = [[0, 1], [2, 3]]
    assert set(segmentation_by_hand((ids, ids)).values()) == {1}
    assert set(segmentation_by_hand((ids, [[1, 2], [3, 0]])).values()) == {0}


# --- as pipelines see it


def test_accuracy_is_the_pipelines(family):
    model = family.classifier_class(family.config()).eval()
    processor = image_processor_for(model, 40)
    images = [noise(*SIZES[index % 4], MODES[index % 3], seed=index) for index in range(40)]
    predict = pipeline("image-classification", model=model, image_processor=processor)
    predictions = [model.config.label2id[answer[0]["label"]] for answer in predict([i.convert("RGB") for i in images])]
    # right for 13 of 40
    labels = [
        prediction if index % 3 == 0 and index < 39 else (prediction + 1) % 5
        for index, prediction in enumerate(predictions)
    ]
    dataset = Dataset.from_dict({"name": ["a"] * 40, "image": images, "label": labels})
    assert evaluate_model(model.train(), processor, dataset) == {"accuracy": pytest.approx(13 / 40)}


def segmented_by_pipeline(model, processor, image):
    """(H, W) class ids, by the pipeline's masks."""
    predict = pipeline("image-segmentation", model=model, image_processor=processor)
    ids = np.full((image.height, image.width), 255, np.uint8)
    for segment in predict(image.convert("RGB")):
        ids[np.asarray(segment["mask"]) > 0] = model.config.label2id[segment["label"]]
    return ids


@pytest.mark.parametrize("head", ["segformer", "upernet"])
def test_iou_is_the_pipelines(family, head):
    """Pictures of any size and mode, predictions at the annotations' size."""
    model = family.segmentor_class(family.config(decode_head_type=head)).eval()
    processor = image_processor_for(model, 32)
    images = [noise(*size, mode, seed) for seed, (size, mode) in enumerate(zip(SIZES, MODES, strict=True))]
    predictions = [segmented_by_pipeline(model, processor, image) for image in images]
    generator = np.random.default_rng(0)
    annotations = [
        np.where(generator.random(ids.shape) < 0.5, ids, generator.integers(0, 4, ids.shape)) for ids in predictions
    ]
    for annotation in annotations:
        annotation[0, 0] = 255
    everything = [np.concatenate([ids.ravel() for ids in maps]) for maps in (predictions, annotations)]
    predicted, true = (ids[everything[1] != 255] for ids in everything)
    expected = {}
    for index, name in model.config.id2label.items():
        union = ((predicted == index) | (true == index)).sum()
        expected[f"iou/{name}"] = ((predicted == index) & (true == index)).sum() / union if union else math.nan
    expected["mean_iou"] = np.nanmean(list(expected.values()))
    pictures = [Image.fromarray(annotation.astype(np.uint8)) for annotation in annotations]
    metrics = evaluate_model(model.train(), processor, Dataset.from_dict({"image": images, "annotation": pictures}))
    assert metrics == pytest.approx(expected, nan_ok=True)
    assert 0 < metrics["mean_iou"] < 1


@pytest.mark.parametrize("column", ["label", "annotation"])
def test_model_is_left_in_eval_mode_and_as_it_was(family, column):
    kind = {"label": family.classifier_class, "annotation": family.segmentor_class}[column]
    model = kind(family.config()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    truth = {"label": [1, 2], "annotation": [Image.new("L", (40, 40), index) for index in range(2)]}[column]
    dataset = Dataset.from_dict({"image": [noise(40, 40), noise(40, 40, seed=1)], column: truth})
    processor = image_processor_for(model, 40)
    metrics = evaluate_model(model, processor, dataset)
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert evaluate_model(model, processor, dataset) == pytest.approx(metrics, nan_ok=True)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("column", ["label", "annotation"])
def test_half_precision(family, column, tmp_path):
    kind = {"label": family.classifier_class, "annotation": family.segmentor_class}[column]
    kind(family.config()).save_pretrained(tmp_path)
    model = kind.from_pretrained(tmp_path, dtype=torch.bfloat16)
    truth = {"label": [1], "annotation": [Image.new("L", (40, 40), 1)]}[column]
    dataset = Dataset.from_dict({"image": [noise(40, 40)], column: truth})
    first = next(iter(evaluate_model(model, image_processor_for(model, 40), dataset).values()))
    assert 0 <= first <= 1
