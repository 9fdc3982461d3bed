# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Figures against torchmetrics and by hand; how the metric is fed, merged and loaded."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy
from transformers import Trainer, TrainingArguments

from hf_gpvit.metrics import TopKAccuracy


SCORES = np.array(
    [
        [6.0, 5, 4, 3, 2, 1],  # 0 is first
        [6.0, 5, 4, 3, 2, 1],  # 4 is fifth
        [6.0, 5, 4, 3, 2, 1],  # 5 is sixth
        [1.0, 2, 3, 4, 5, 6],  # 5 is first
    ],
    np.float32,
)
LABELS = [0, 4, 5, 5]
FIGURES = {"accuracy": 2 / 4, "top5_accuracy": 3 / 4}


def random_case(num_labels, count=60, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_labels, count)
    scores = generator.normal(size=(count, num_labels)).astype(np.float32)
    scores[np.arange(count), labels] += 1
    return scores, labels


# --- what is computed


def test_by_hand():
    figures = TopKAccuracy().compute(predictions=SCORES, references=LABELS)
    assert figures == FIGURES
    assert list(figures) == ["accuracy", "top5_accuracy"]
    assert all(type(value) is float for value in figures.values())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_labels", [5, 6, 100])
def test_equals_torchmetrics(num_labels, seed):
    scores, labels = map(torch.from_numpy, random_case(num_labels, seed=seed))
    metric = TopKAccuracy(num_labels=num_labels)
    for rows in (slice(0, 32), slice(32, 60)):
        metric.add_batch(predictions=scores[rows], references=labels[rows])
    figures = metric.compute()
    for name, top in (("accuracy", 1), ("top5_accuracy", 5)):
        expected = MulticlassAccuracy(num_labels, top_k=top, average="micro")(scores, labels).item()
        assert figures[name] == pytest.approx(expected)


@pytest.mark.parametrize("num_labels", [2, 4])
def test_fewer_than_five_classes_have_no_top5(num_labels):
    scores, labels = random_case(num_labels)
    expected = {"accuracy": (scores.argmax(1) == labels).mean()}
    assert TopKAccuracy().compute(predictions=scores, references=labels) == expected


def test_of_equal_scores_the_lower_id_is_higher():
    """As for argmax: a model that says the same of all classes is right for class 0 only."""
    figures = TopKAccuracy().compute(predictions=np.zeros((4, 6)), references=[0, 0, 4, 5])
    assert figures == {"accuracy": 2 / 4, "top5_accuracy": 3 / 4}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(value):
    """Models that diverged know nothing, and of equal infinities none is the higher."""
    scores = np.zeros((2, 6))
    scores[1, 3] = value
    metric = TopKAccuracy()
    with pytest.raises(ValueError, match="those of sample 1 are not finite"):
        metric.add_batch(predictions=scores, references=[0, 3])
    assert metric.state.tolist() == [0, 0, 0]


def test_classes_that_cannot_be():
    scores = np.full((1, 6), -math.inf)
    scores[0, 3] = -5.0
    assert TopKAccuracy().compute(predictions=scores, references=[3])["accuracy"] == 1


@pytest.mark.parametrize("num_labels", [None, 10])
def test_nothing_counted_is_nan(num_labels):
    assert all(map(math.isnan, TopKAccuracy(num_labels=num_labels).compute().values()))


# --- how it is fed


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        (SCORES, np.array(LABELS, np.uint8)),
        (SCORES.tolist(), LABELS),
        (list(SCORES), tuple(LABELS)),
        ([torch.from_numpy(scores) for scores in SCORES], [torch.tensor(label) for label in LABELS]),
        (torch.from_numpy(SCORES).bfloat16(), torch.tensor(LABELS, dtype=torch.int32)),
        (torch.from_numpy(SCORES).requires_grad_(), torch.tensor(LABELS)),
    ],
    ids=["arrays", "lists", "list of arrays", "list of tensors", "half precision", "with gradient"],
)
def test_kinds_of_input(predictions, references):
    assert TopKAccuracy().compute(predictions=predictions, references=references) == FIGURES


def test_one_by_one_and_a_last_batch():
    metric = TopKAccuracy()
    for scores, label in zip(SCORES[:2], LABELS[:2], strict=True):
        metric.add(prediction=scores, reference=label)
    assert metric.compute(predictions=SCORES[2:], references=LABELS[2:]) == FIGURES
    # it starts anew
    assert metric.compute(predictions=SCORES[2:3], references=LABELS[2:3]) == {"accuracy": 0.0, "top5_accuracy": 0.0}


# --- several processes


def test_merging_learns_the_number_of_classes():
    metric, other = TopKAccuracy(), TopKAccuracy()
    other.add_batch(predictions=SCORES[:, :3], references=[0, 0, 0, 2])
    metric.merge(other)
    assert metric.compute() == {"accuracy": 1.0}


# --- what is refused


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (SCORES, [0, 4, 6, 5], "references have the id 6, but num_labels is 6: ids are 0 to 5"),
        (SCORES, [0, 4, -1, 5], "references have the id -1"),
        (SCORES[:3], LABELS, r"predictions \(N, 6\).*got \(3, 6\) and \(4,\)"),
        (SCORES[:, :4], [0, 0, 0, 0], r"predictions \(N, 6\).*got \(4, 4\) and \(4,\)"),
        (SCORES.argmax(1), LABELS, r"got \(4,\) and \(4,\)"),
        (SCORES, SCORES, r"got \(4, 6\) and \(4, 6\)"),
        (SCORES, [0.0, 4.0, 5.0, 5.0], "references must be class ids, which are integers, got torch.float32"),
        (SCORES, None, "belong together"),
        (None, LABELS, "belong together"),
    ],
)
def test_input_that_is_refused(predictions, references, message):
    metric = TopKAccuracy(num_labels=6)
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references)
    assert metric.state.tolist() == [0, 0, 0]


def test_what_does_not_fit_together():
    metric = TopKAccuracy(num_labels=6)
    with pytest.raises(ValueError, match="same num_labels can be merged, got 6 and 7"):
        metric.merge(TopKAccuracy(num_labels=7))
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        metric.state = torch.zeros(2)


# --- with the libraries


@pytest.mark.parametrize("batch_eval_metrics", [False, True])
def test_trainer(family, tmp_path, batch_eval_metrics):
    """As the docstring shows it, at once and batch by batch, the last of which is not full."""
    model = family.classifier_class(family.config()).eval()
    pixel_values, labels = torch.randn(5, 3, 40, 32), torch.tensor([0, 1, 2, 3, 4])
    dataset = [{"pixel_values": image, "labels": label} for image, label in zip(pixel_values, labels, strict=True)]
    metric = TopKAccuracy()

    def at_once(prediction):
        return metric.compute(predictions=prediction.predictions, references=prediction.label_ids)

    def by_batch(batch, compute_result):
        metric.add_batch(predictions=batch.predictions, references=batch.label_ids)
        return metric.compute() if compute_result else {}

    arguments = TrainingArguments(
        str(tmp_path),
        per_device_eval_batch_size=2,
        batch_eval_metrics=batch_eval_metrics,
        report_to="none",
        use_cpu=True,
    )
    trainer = Trainer(
        model, arguments, eval_dataset=dataset, compute_metrics=by_batch if batch_eval_metrics else at_once
    )
    with torch.inference_mode():
        expected = (model(pixel_values).logits.argmax(1) == labels).float().mean().item()
    for _ in range(2):
        figures = trainer.evaluate()
        assert figures["eval_accuracy"] == pytest.approx(expected)
        assert figures["eval_top5_accuracy"] == 1
