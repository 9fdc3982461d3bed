# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""torch.compile of forward and backward passes, of every class and for several sizes.

Compiled inference is tested with the models.
"""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from families import awake
from model_outputs import tensors


# A first size; then last stripes filled or not in both directions, twice.
SIZES = [(40, 40), (57, 50), (64, 96), (72, 41), (88, 88), (80, 112), (104, 64)]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def score(model, pixel_values, labels=None):
    """One number to which all outputs add, the loss included."""
    outputs = model(pixel_values) if labels is None else model(pixel_values, labels=labels)
    return sum(value.square().mean() for value in tensors(outputs).values())


def gradients(model):
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def assert_trains_alike(family, index, backend, sizes):
    """Gradients and BatchNorm's statistics of the compiled model are those of the model; graphs don't follow sizes."""
    model = family.models(decoder_dropout_rate=0.0, **family.shallow)[index].train()
    reference = copy.deepcopy(model)
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for size in sizes:
        pixel_values, labels = torch.randn(2, 3, *size), None
        if index >= 2:
            labels = torch.tensor([1, 3]) if index == 2 else torch.randint(5, (2, *size))
        for each in (compiled, reference):
            score(each, pixel_values, labels).backward()
        actual, expected = gradients(model), gradients(reference)
        assert actual.keys() == expected.keys()
        largest = max(gradient.abs().max() for gradient in expected.values())
        for name, gradient in expected.items():
            assert (actual[name] - gradient).abs().max() <= 1e-4 * largest, (size, name)
        for name, value in reference.named_buffers():
            torch.testing.assert_close(model.get_buffer(name), value, atol=1e-4, rtol=1e-4)
    # AOTAutograd looks at strides, which dynamo alone does not: filled stripes have others
    assert counter.frame_count <= 5


@pytest.mark.slow
@pytest.mark.parametrize("index", range(5), ids=["model", "backbone", "classifier", "segformer", "upernet"])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_every_class_trains_at_seven_sizes(family, index, backend):
    assert_trains_alike(family, index, backend, SIZES)


@pytest.mark.slow
def test_a_classifier_trains_at_two_sizes(family):
    assert_trains_alike(family, 2, "aot_eager", SIZES[:2])


@pytest.mark.slow
@torch.no_grad()
def test_batches_of_any_size_share_a_graph(family):
    model = awake(family.segmentor_class(family.config(**family.shallow)))
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter, dynamic=True)
    for batch in (2, 3, 5):
        pixel_values = torch.randn(batch, 3, 40, 56)
        torch.testing.assert_close(compiled(pixel_values).logits, model(pixel_values).logits, atol=1e-5, rtol=1e-5)
    assert counter.frame_count <= 2
