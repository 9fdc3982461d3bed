# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' Trainer on both tasks: evaluation, the scale of the loss, what a checkpoint holds.

That accumulated gradients equal those of the whole batch is tested with the training of the models.
"""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForImageClassification, AutoModelForSemanticSegmentation, Trainer, TrainingArguments

from families import awake


def models(family):
    return family.models(decoder_dropout_rate=0.0, **family.shallow)[2:]


def samples(family, model, count=5):
    """Pictures with labels; the masks have more and more pixels without one."""
    found = []
    for index in range(count):
        label = torch.tensor(index % 5)
        if not isinstance(model, family.classifier_class):
            label = torch.randint(5, (40, 40))
            label[: 6 * index] = 255
        found.append({"pixel_values": torch.randn(3, 40, 40), "labels": label})
    return found


def batch(samples):
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def arguments(folder, **options):
    defaults = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
    return TrainingArguments(folder, **defaults | options)


def right(prediction):
    """Numbers of labelled and of rightly predicted labels, from logits at the size of the head."""
    logits, labels = torch.from_numpy(prediction.predictions), torch.from_numpy(prediction.label_ids)
    if labels.ndim == 3:
        logits = F.interpolate(logits, size=labels.shape[1:], mode="bilinear")
    is_labelled = labels != 255
    return {"labelled": is_labelled.sum().item(), "right": (logits.argmax(1) == labels)[is_labelled].sum().item()}


def test_evaluate_and_predict(family, tmp_path):
    for model in models(family):
        data = samples(family, model)
        trainer = Trainer(
            model, arguments(tmp_path, per_device_eval_batch_size=2), eval_dataset=data, compute_metrics=right
        )
        metrics = trainer.evaluate()
        chunks = [data[start : start + 2] for start in range(0, 5, 2)]
        with torch.no_grad():
            outputs = [model(**batch(chunk)) for chunk in chunks]
        losses = [output.loss.item() for output, chunk in zip(outputs, chunks, strict=True) for _ in chunk]
        assert metrics["eval_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        logits = torch.cat([output.logits for output in outputs])
        predictions, labels, _ = trainer.predict(data)
        torch.testing.assert_close(torch.from_numpy(predictions), logits, atol=1e-4, rtol=1e-4)
        assert labels.shape == batch(data)["labels"].shape
        assert metrics["eval_labelled"] == (batch(data)["labels"] != 255).sum()
        assert 0 <= metrics["eval_right"] <= metrics["eval_labelled"]


def plain_loss(model, inputs):
    return model(**inputs).loss


def smoothed_loss(model, inputs):
    return F.cross_entropy(model(inputs["pixel_values"]).logits, inputs["labels"], label_smoothing=0.1)


def mean_gradient(model, batches, loss):
    """The mean of the gradients of the batches, each for itself."""
    model = copy.deepcopy(model)
    for inputs in batches:
        (loss(model, inputs) / len(batches)).backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


class Gradients(Trainer):
    """A Trainer of frozen BatchNorm that keeps the gradients of its first step."""

    def create_optimizer(self, *args, **kwargs):
        self.model.train = lambda mode=True: self.model
        optimizer = super().create_optimizer(*args, **kwargs)
        optimizer.register_step_pre_hook(self.keep)
        return optimizer

    def keep(self, *_):
        self.found = torch.cat([weight.grad.flatten() for weight in self.model.parameters()])


@pytest.mark.parametrize(
    "smoothing", [pytest.param(0.0, id="plain"), pytest.param(0.1, id="smoothed", marks=pytest.mark.slow)]
)
def test_every_small_batch_counts_the_same(family, smoothing, tmp_path):
    """Whatever the number of its labelled pixels: the gradient is the mean of those of the small batches.

    Trainer smooths labels itself, for classifiers only.
    """
    for model in models(family)[: 1 if smoothing else 3]:
        data = samples(family, model, 4)
        options = arguments(
            tmp_path,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            max_steps=1,
            max_grad_norm=0.0,
            label_smoothing_factor=smoothing,
            train_sampling_strategy="sequential",
        )
        trainer = Gradients(copy.deepcopy(model), options, train_dataset=data)
        trainer.train()
        small = [batch(data[:2]), batch(data[2:])]
        expected = mean_gradient(model, small, smoothed_loss if smoothing else plain_loss)
        torch.testing.assert_close(trainer.found, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-3)


def test_number_of_items_changes_no_loss(family):
    """Trainer would count ignored pixels too; the losses are means over what is labelled."""
    for model in models(family):
        inputs = batch(samples(family, model, 2))
        with torch.no_grad():
            assert model(**inputs, num_items_in_batch=torch.tensor(7)).loss == model(**inputs).loss


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_checkpoints_of_trainer(family, task, tmp_path):
    """A checkpoint loads as the trained model, and training goes on from it; checkpointing and bfloat16 included."""
    index, auto = {
        "classification": (0, AutoModelForImageClassification),
        "segmentation": (1, AutoModelForSemanticSegmentation),
    }[task]
    model = awake(models(family)[index])
    data = samples(family, model, 4)
    options = {
        "per_device_train_batch_size": 2,
        "save_strategy": "steps",
        "save_steps": 1,
        "learning_rate": 1e-3,
        "gradient_checkpointing": True,
        "bf16": True,
    }
    initial = copy.deepcopy(model)
    Trainer(model, arguments(tmp_path, max_steps=2, **options), train_dataset=data).train()
    loaded = auto.from_pretrained(tmp_path / "checkpoint-2")
    assert type(loaded) is type(model)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())
    resumed = Trainer(initial, arguments(tmp_path, max_steps=2, **options), train_dataset=data)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    pairs = zip(resumed.model.state_dict().values(), model.state_dict().values(), strict=True)
    assert all(torch.allclose(mine, yours, atol=1e-6) for mine, yours in pairs)
