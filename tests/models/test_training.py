# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Losses, gradients and statistics of every family in train mode."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import Trainer, TrainingArguments

from small_detectors import ALL_KINDS, random_labels, small_model


def trainable_models(family, **overrides):
    """(model, labels) of both heads and all problem types that need no more than a batch of images."""
    config = family.config(**overrides)
    pixels = torch.randint(5, (2, 40, 40))
    pixels[0, :8] = 255
    return [
        (family.classifier_class(config).train(), torch.tensor([1, 3])),
        (family.segmentor_class(config).train(), pixels),
        (family.segmentor_class(family.config(**{"decode_head_type": "upernet"} | overrides)).train(), pixels),
    ]


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_every_parameter_gets_a_gradient(family):
    for model, labels in trainable_models(family):
        model(torch.randn(2, 3, 40, 40), labels=labels).loss.backward()
        assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_implementations_have_equal_gradients(family):
    pixel_values = torch.randn(2, 3, 33, 47)
    for model, _ in trainable_models(family, decoder_dropout_rate=0.0):
        found = []
        for implementation in ("eager", "sdpa"):
            clone = copy.deepcopy(model)
            clone.set_attn_implementation(implementation)
            clone(pixel_values).logits.square().sum().backward()
            found.append(
                {name: parameter.grad for name, parameter in clone.named_parameters() if parameter.grad is not None}
            )
        largest = max(gradient.abs().max() for gradient in found[0].values())
        for name, gradient in found[0].items():
            assert (gradient - found[1][name]).abs().max() <= 1e-5 * largest, name


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_changes_neither_gradients_nor_statistics(family, use_reentrant):
    pixel_values = torch.randn(2, 3, 40, 40)
    for model, labels in trainable_models(family, drop_path_rate=0.2):
        checkpointed = copy.deepcopy(model)
        checkpointed.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        checkpointed.enable_input_require_grads()
        for each in (model, checkpointed):
            torch.manual_seed(1)
            each(pixel_values, labels=labels).loss.backward()
        expected, actual = gradients(model), gradients(checkpointed)
        largest = max(gradient.abs().max() for gradient in expected.values())
        for name in expected:
            assert (actual[name] - expected[name]).abs().max() <= 1e-6 * largest, name
        for name, value in model.named_buffers():
            assert torch.equal(value, checkpointed.get_buffer(name)), name


def test_checkpointing_recomputes(family):
    """It is switched on in fact: layers run again in the backward pass."""
    model = family.model_class(family.config()).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    calls = []
    linear = next(module for name, module in model.named_modules() if isinstance(module, nn.Linear))
    linear.register_forward_hook(lambda *args: calls.append(1))
    output = model(torch.randn(2, 3, 40, 40)).last_hidden_state
    before = len(calls)
    output.sum().backward()
    assert len(calls) > before


def test_batch_norm_follows_its_batches(family):
    model = family.classifier_class(family.config()).train()
    batch_norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    seen = []
    batch_norm.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    model(torch.randn(2, 3, 40, 40))
    mean, variance = seen[0].mean((0, 2, 3)), seen[0].var((0, 2, 3))
    torch.testing.assert_close(batch_norm.running_mean, 0.1 * mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(batch_norm.running_var, 0.9 + 0.1 * variance, atol=1e-6, rtol=1e-5)
    assert batch_norm.num_batches_tracked == 1


def test_segmentation_loss(family):
    """Cross-entropy at label size over labelled pixels; the auxiliary head's with weight 0.4."""
    for head in ("segformer", "upernet"):
        model = family.segmentor_class(family.config(decode_head_type=head)).eval()
        pixel_values, labels = torch.randn(2, 3, 40, 44), torch.randint(5, (2, 40, 44))
        labels[:, 10:20] = 255
        logits = []
        for module in (model.decode_head, model.auxiliary_head):
            if module is not None:
                module.register_forward_hook(lambda module, args, output, logits=logits: logits.append(output))
        outputs = model(pixel_values, labels=labels)
        terms = [
            F.cross_entropy(F.interpolate(scores, size=(40, 44), mode="bilinear"), labels, ignore_index=255)
            for scores in logits
        ]
        expected = terms[0] + (0.4 * terms[1] if head == "upernet" else 0)
        torch.testing.assert_close(outputs.loss, expected)


def test_a_batch_without_labelled_pixels_has_no_loss_and_no_nan(family):
    model = family.segmentor_class(family.config())
    loss = model(torch.randn(2, 3, 40, 40), labels=torch.full((2, 40, 40), 255)).loss
    loss.backward()
    assert loss == 0
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "labels", "expected"),
    [
        (None, 5, torch.tensor([1, 4]), lambda logits, labels: F.cross_entropy(logits, labels)),
        (None, 5, torch.eye(5)[:2], F.binary_cross_entropy_with_logits),
        (None, 1, torch.tensor([0.5, 2.0]), lambda logits, labels: F.mse_loss(logits[:, 0], labels)),
        ("multi_label_classification", 5, torch.eye(5)[:2], F.binary_cross_entropy_with_logits),
    ],
)
def test_classification_losses(family, problem_type, num_labels, labels, expected):
    config = family.config(problem_type=problem_type, num_labels=num_labels)
    outputs = family.classifier_class(config).eval()(torch.randn(2, 3, 40, 40), labels=labels)
    torch.testing.assert_close(outputs.loss, expected(outputs.logits, labels))


@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
def test_accumulated_gradients_equal_those_of_the_whole_batch(family, kind, tmp_path):
    """Trainer divides by the accumulation steps only for models that declare `accepts_loss_kwargs = False`."""
    cls = family.classifier_class if kind == "classifier" else family.segmentor_class
    model = cls(family.config(decoder_dropout_rate=0.0)).eval()
    labels = [torch.tensor(index % 5) if kind == "classifier" else torch.randint(5, (40, 40)) for index in range(4)]
    data = [{"pixel_values": torch.randn(3, 40, 40), "labels": label} for label in labels]

    def step(batch_size):
        clone = copy.deepcopy(model)
        clone.train = lambda mode=True: clone  # BatchNorm would see other batches
        arguments = TrainingArguments(
            tmp_path,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=4 // batch_size,
            max_steps=1,
            learning_rate=1.0,
            optim="sgd",
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        Trainer(clone, arguments, train_dataset=data).train()
        pairs = zip(clone.parameters(), model.parameters(), strict=True)
        return torch.cat([(after - before).detach().flatten() for after, before in pairs])

    whole, accumulated = step(4), step(1)
    assert whole.abs().max() > 0
    torch.testing.assert_close(accumulated, whole, atol=1e-5 * whole.abs().max().item(), rtol=1e-3)


def adapter_loss(kind, model):
    """A loss of random pictures, the same every time."""
    torch.manual_seed(1)
    pixel_values, labels = torch.randn(2, 3, 70, 96), random_labels((70, 96), 2, 1)
    if kind == "backbone":
        return sum(feature_map.square().mean() for feature_map in model(pixel_values).feature_maps)
    return model(pixel_values, labels=labels).loss


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_checkpointing_of_adapter_and_detectors(kind, use_reentrant):
    model = small_model(kind, drop_path_rate=0.2).train()
    checkpointed = copy.deepcopy(model)
    checkpointed.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    checkpointed.enable_input_require_grads()
    for each in (model, checkpointed):
        adapter_loss(kind, each).backward()
    expected, actual = gradients(model), gradients(checkpointed)
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name in expected:
        assert (actual[name] - expected[name]).abs().max() <= 1e-5 * largest, name
    for name, value in model.named_buffers():
        assert torch.equal(value, checkpointed.get_buffer(name)), name


@pytest.mark.parametrize("kind", ["backbone", "masks"])
def test_checkpointing_recomputes_injectors_and_extractors(kind):
    model = small_model(kind).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    attentions = [module for module in model.modules() if type(module).__name__ == "GPViTDeformableAttention"]
    calls = []
    for attention in attentions:
        attention.value.register_forward_hook(lambda *args: calls.append(1))
    loss = adapter_loss(kind, model)
    assert len(calls) == len(attentions)
    loss.backward()
    assert len(calls) == 2 * len(attentions)
