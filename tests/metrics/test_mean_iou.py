# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Figures against torchmetrics and by hand; how the metric is fed, merged and loaded."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from transformers import Trainer, TrainingArguments

from hf_gpvit.metrics import MeanIoU


MAPS = {
    "predictions": [np.array([[0, 0, 1], [2, 1, 1]]), np.array([[0], [2]])],
    "references": [np.array([[0, 1, 1], [2, 2, 255]]), np.array([[0], [0]])],
}
FIGURES = {
    "mean_iou": (2 / 4 + 1 / 3 + 1 / 3) / 3,
    "mean_accuracy": (2 / 3 + 1 / 2 + 1 / 2) / 3,
    "overall_accuracy": 4 / 7,
    "iou/0": 2 / 4,
    "iou/1": 1 / 3,
    "iou/2": 1 / 3,
}


def random_maps(num_labels, shape=(3, 16, 24), seed=0, ignored=0.1):
    """Predictions that are often right, and references."""
    generator = np.random.default_rng(seed)
    references = generator.integers(0, num_labels, shape)
    predictions = np.where(generator.random(shape) < 0.5, references, generator.integers(0, num_labels, shape))
    references[generator.random(shape) < ignored] = 255
    return predictions, references


def equal(figures, expected):
    assert figures.keys() == expected.keys()
    assert figures == pytest.approx(expected, nan_ok=True, abs=1e-6)


# --- what is computed


def test_by_hand():
    metric = MeanIoU(num_labels=3)
    metric.add_batch(**MAPS)
    assert metric.state.tolist() == [[2, 0, 1], [1, 1, 0], [0, 1, 1]]  # rows are references
    figures = metric.compute()
    equal(figures, FIGURES)
    assert list(figures) == list(FIGURES)
    assert all(type(value) is float for value in figures.values())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("num_labels", "ignore_index"), [(2, 255), (7, 255), (150, 255), (7, 0), (7, -1)])
def test_equals_torchmetrics(num_labels, ignore_index, seed):
    """In batches; classes that occur nowhere are among it, and one that is ignored though it is a class."""
    predictions, references = random_maps(num_labels, shape=(3, 40, 48), seed=seed)
    if num_labels == 7:
        predictions[predictions == 3], references[references == 3] = 2, 4
    if ignore_index != 255:
        references[references == 255] = 1
    metric = MeanIoU(num_labels=num_labels, ignore_index=ignore_index)
    for prediction, reference in zip(predictions, references, strict=True):
        metric.add_batch(predictions=prediction[None], references=reference[None])
    figures = metric.compute()

    options = {"num_classes": num_labels, "ignore_index": ignore_index}
    pair = torch.from_numpy(predictions), torch.from_numpy(references)
    per_class = MulticlassJaccardIndex(**options, average="none")(*pair).tolist()
    absent = {3, ignore_index} if num_labels == 7 else set()
    for index, value in enumerate(per_class):
        iou = figures[f"iou/{index}"]
        assert math.isnan(iou) if index in absent else iou == pytest.approx(value, abs=1e-6)
    assert figures["mean_iou"] == pytest.approx(MulticlassJaccardIndex(**options)(*pair).item(), abs=1e-6)
    overall = MulticlassAccuracy(**options, average="micro")(*pair).item()
    assert figures["overall_accuracy"] == pytest.approx(overall, abs=1e-6)
    if ignore_index != 0:  # torchmetrics has a recall of 0 for the ignored class
        mean_accuracy = MulticlassAccuracy(**options, average="macro")(*pair).item()
        assert figures["mean_accuracy"] == pytest.approx(mean_accuracy, abs=1e-6)


def test_what_is_not_there_is_nan_and_left_out_of_means():
    """Class 1 is only predicted, 2 only there, 3 neither."""
    figures = MeanIoU(num_labels=4).compute(predictions=[[0, 0, 1, 0]], references=[[0, 0, 0, 2]])
    expected = {"mean_iou": 2 / 4 / 3, "mean_accuracy": (2 / 3 + 0) / 2, "overall_accuracy": 2 / 4}
    equal(figures, expected | {"iou/0": 2 / 4, "iou/1": 0.0, "iou/2": 0.0, "iou/3": math.nan})


@pytest.mark.filterwarnings("error")
def test_nothing_counted_is_nan():
    assert all(map(math.isnan, MeanIoU(num_labels=2).compute().values()))
    ignored = MeanIoU(num_labels=2).compute(predictions=[[0, 1]], references=[[255, 255]])
    assert len(ignored) == 5 and all(map(math.isnan, ignored.values()))


def test_predictions_are_free_where_the_reference_is_ignored():
    equal(
        MeanIoU(num_labels=2).compute(predictions=[[0, 1, 99, -3]], references=[[0, 1, 255, 255]]),
        {"mean_iou": 1.0, "mean_accuracy": 1.0, "overall_accuracy": 1.0, "iou/0": 1.0, "iou/1": 1.0},
    )


def test_names():
    """Of a config, as JSON has them; one for each class even if two are called the same."""
    names = {"0": "wall", "1": "crane", "2": "crane"}
    keys = list(MeanIoU(id2label=names).compute(**MAPS))
    assert keys[3:] == ["iou/wall", "iou/crane (1)", "iou/crane (2)"]
    assert list(MeanIoU(num_labels=3, id2label={1: "tree"}).compute(**MAPS))[3:] == ["iou/0", "iou/tree", "iou/2"]


# --- how it is fed


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint16, np.uint64])
@pytest.mark.parametrize("kind", ["array", "tensor", "lists", "maps", "one by one"])
def test_kinds_of_input(kind, dtype):
    """250 classes, whose pairs do not fit into the types of the maps."""
    predictions, references = (values.astype(dtype) for values in random_maps(250))
    expected = MeanIoU(num_labels=250)
    expected.add(prediction=predictions.astype(int).ravel(), reference=references.astype(int).ravel())
    metric = MeanIoU(num_labels=250)
    if kind == "array":
        metric.add_batch(predictions=predictions, references=references)
    elif kind == "tensor":
        metric.add_batch(predictions=torch.from_numpy(predictions), references=torch.from_numpy(references))
    elif kind == "lists":
        metric.add_batch(predictions=predictions.tolist(), references=references.tolist())
    elif kind == "maps":
        metric.add_batch(predictions=[*map(torch.from_numpy, predictions)], references=list(references))
    else:
        for prediction, reference in zip(predictions, references, strict=True):
            metric.add(prediction=prediction, reference=reference)
    assert torch.equal(metric.state, expected.state)
    assert metric.state.sum() == (references != 255).sum()


def test_compute_takes_the_last_batch_and_starts_anew():
    metric = MeanIoU(num_labels=3)
    metric.add(prediction=MAPS["predictions"][0], reference=MAPS["references"][0])
    last = {name: maps[1:] for name, maps in MAPS.items()}
    equal(metric.compute(**last), FIGURES)
    equal(metric.compute(**MAPS), FIGURES)


def test_settings_of_compute():
    """As evaluate's own metrics take them; they hold from then on."""
    metric = MeanIoU()
    figures = metric.compute(**MAPS, num_labels=4, ignore_index=255, id2label={0: "a", 1: "b", 2: "c", 3: "d"})
    assert list(figures.values())[:-1] == pytest.approx(list(FIGURES.values()))
    assert list(metric.compute(**MAPS))[3:] == ["iou/a", "iou/b", "iou/c", "iou/d"]
    references = [np.where(reference == 255, 2, reference) for reference in MAPS["references"]]
    figures = metric.compute(predictions=MAPS["predictions"], references=references, ignore_index=2)
    assert figures["overall_accuracy"] == pytest.approx(3 / 5)


# --- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_labels": 2, "id2label": {0: "a", 2: "b"}}, r"id2label has the ids \[2\], but num_labels is 2"),
        ({"num_labels": 2, "num_process": 2, "process_id": 1}, "num_process must be 1, got 2"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MeanIoU(**settings)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([[0, 1]], [[0, 3]], r"references have the id 3, but num_labels is 3: ids are 0 to 2.*ignore_index \(255\)"),
        ([[0, 1]], [[0, -1]], "references have the id -1, but num_labels is 3"),
        ([[0, 3]], [[0, 1]], "predictions have the id 3, but num_labels is 3"),
        ([[-1, 1]], [[0, 1]], "predictions have the id -1"),
        ([[0, 1]], [[0, 1, 2]], r"same shape, got \(2,\) and \(3,\)"),
        (np.zeros((2, 4, 4), int), np.zeros((2, 4, 5), int), r"got \(2, 4, 4\) and \(2, 4, 5\)"),
        ([[0, 1], [1, 1]], [[0, 1]], "equally many, got 2 predictions and 1 references"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4).long(), "predictions must be class ids.*float32.*argmax"),
        ([[0, 1]], None, "belong together"),
        (None, [[0, 1]], "belong together"),
    ],
)
def test_input_that_is_refused(predictions, references, message):
    metric = MeanIoU(num_labels=3)
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references)
    assert metric.state.sum() == 0


def test_number_of_classes_is_needed():
    with pytest.raises(ValueError, match="num_labels is needed"):
        MeanIoU().compute(**MAPS)


def test_what_does_not_fit_together():
    metric = MeanIoU(num_labels=3)
    metric.add_batch(**MAPS)
    with pytest.raises(ValueError, match=r"can't become 4 and 255 before compute\(\)"):
        metric.compute(num_labels=4)
    with pytest.raises(ValueError, match="can't become 3 and 0"):
        metric.compute(ignore_index=0)
    with pytest.raises(ValueError, match="same num_labels can be merged, got 3 and 4"):
        metric.merge(MeanIoU(num_labels=4))
    with pytest.raises(ValueError, match="same ignore_index can be merged, got 255 and 0"):
        metric.merge(MeanIoU(num_labels=3, ignore_index=0))
    with pytest.raises(ValueError, match=r"shape \(3, 3\), got \(2, 2\)"):
        metric.state = torch.zeros(2, 2)
    equal(metric.compute(), FIGURES)


# --- with the libraries


def test_trainer(family, tmp_path):
    """As the docstring shows it: batch by batch, the last one not full."""
    model = family.segmentor_class(family.config()).eval()
    pixel_values = torch.randn(5, 3, 40, 32)
    labels = torch.randint(0, model.config.num_labels, (5, 40, 32))
    labels[:, :3] = 255
    dataset = [{"pixel_values": image, "labels": ids} for image, ids in zip(pixel_values, labels, strict=True)]
    metric = MeanIoU(id2label=model.config.id2label)

    def predicted_ids(logits, labels):
        return F.interpolate(logits, labels.shape[-2:], mode="bilinear").argmax(1)

    def compute_metrics(batch, compute_result):
        metric.add_batch(predictions=batch.predictions, references=batch.label_ids)
        return metric.compute() if compute_result else {}

    arguments = TrainingArguments(
        str(tmp_path), per_device_eval_batch_size=2, batch_eval_metrics=True, report_to="none", use_cpu=True
    )
    trainer = Trainer(
        model,
        arguments,
        eval_dataset=dataset,
        compute_metrics=compute_metrics,
        preprocess_logits_for_metrics=predicted_ids,
    )
    with torch.inference_mode():
        predictions = predicted_ids(model(pixel_values).logits, labels)
    expected = metric.compute(predictions=predictions, references=labels)
    for _ in range(2):
        figures = trainer.evaluate()
        equal({name: figures[f"eval_{name}"] for name in expected}, expected)
