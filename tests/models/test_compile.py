# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""torch.compile without graph breaks, and without a recompilation for every new size."""

import pickle

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from model_outputs import assert_same
from small_detectors import ALL_KINDS, SHALLOW, assert_alike, random_labels, small_model


# The trunk alone is also a part of the others, the heads compile alike, and other tests compile classifiers.
each_class = pytest.mark.parametrize(
    "index",
    [
        pytest.param(0, id="model", marks=pytest.mark.slow),
        pytest.param(1, id="backbone"),
        pytest.param(2, id="classifier", marks=pytest.mark.slow),
        pytest.param(3, id="segformer", marks=pytest.mark.slow),
        pytest.param(4, id="upernet"),
    ],
)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def assert_six_sizes_recompile_twice_at_most(model):
    counter = CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for size in ((40, 40), (48, 40), (57, 50), (64, 96), (100, 90), (72, 41)):
        pixel_values = torch.randn(2, 3, *size)
        assert_same(compiled(pixel_values), model(pixel_values), atol=1e-5, rtol=1e-5)
    assert counter.frame_count <= 3


@each_class
@torch.no_grad()
def test_every_class_compiles_and_six_sizes_recompile_twice_at_most(family, index):
    """Odd and even token grids, padded and whole stems; the first graph is static, the next ones dynamic.

    Grids of one token or one stripe are left out: PyTorch compiles sizes of 0 and 1 apart from all others.
    """
    assert_six_sizes_recompile_twice_at_most(family.models(**family.shallow)[index])


@pytest.mark.slow
@torch.no_grad()
def test_deep_models_recompile_twice_at_most(family):
    assert_six_sizes_recompile_twice_at_most(family.models()[3])


@each_class
@torch.no_grad()
def test_recorded_outputs_compile_at_the_first_call(family, index):
    flags = {"output_hidden_states": True, "output_attentions": True}
    pixel_values = torch.randn(2, 3, 33, 47)
    for model in (family.models()[index], pickle.loads(pickle.dumps(family.models()[index]))):
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        actual = compiled(pixel_values, **flags)
        assert_same(actual, model(pixel_values, **flags), atol=1e-5, rtol=1e-5)


def test_training_compiles(family):
    model = family.segmentor_class(family.config(**family.shallow)).train()
    pixel_values, labels = torch.randn(2, 3, 40, 40), torch.randint(5, (2, 40, 40))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(pixel_values, labels=labels).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_autocast_compiles(family):
    model = family.classifier_class(family.config(**family.shallow)).eval()
    pixel_values = torch.randn(2, 3, 33, 47)
    with torch.autocast("cpu", torch.bfloat16):
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(pixel_values).logits, model(pixel_values).logits)


# without vector instructions it writes C++ that doesn't compile
vectorized = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="inductor needs vector instructions"
)


@vectorized
@torch.no_grad()
def test_inductor(family):
    model = family.classifier_class(family.config(**family.shallow)).eval()
    pixel_values = torch.randn(2, 3, 33, 47)
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(pixel_values).logits, model(pixel_values).logits, atol=1e-4, rtol=1e-4)


@vectorized
@pytest.mark.slow
@each_class
@torch.no_grad()
def test_inductor_on_every_class(family, index):
    model = family.models(**family.shallow)[index]
    compiled = torch.compile(model, fullgraph=True)
    for size in ((40, 40), (57, 50)):
        pixel_values = torch.randn(2, 3, *size)
        assert_same(compiled(pixel_values), model(pixel_values), atol=1e-4, rtol=1e-4)


# --- the adapter and detectors


# the others are parts of it, or compile alike
each_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "masks" else [pytest.mark.slow]) for kind in ALL_KINDS]
)


@each_kind
@torch.no_grad()
def test_detectors_compile_and_other_sizes_recompile_twice_at_most(kind):
    """Sizes of which no level is a single row or column."""
    model, counter = small_model(kind, **SHALLOW), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for size in ((136, 136), (140, 136), (150, 200), (200, 129), (256, 192)):
        pixel_values = torch.randn(2, 3, *size)
        assert_alike(compiled(pixel_values), model(pixel_values))
    assert counter.frame_count <= 3


@torch.no_grad()
def test_recorded_outputs_of_detectors_compile_at_the_first_call():
    flags = {"output_hidden_states": True, "output_attentions": True, "output_group_attentions": True}
    for kind in ("backbone", "retinanet"):
        model, pixel_values = small_model(kind, **SHALLOW), torch.randn(2, 3, 70, 96)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        actual, expected = compiled(pixel_values, **flags), model(pixel_values, **flags)
        for key in ("hidden_states", "attentions", "group_attentions"):
            torch.testing.assert_close(actual[key], expected[key], atol=1e-5, rtol=1e-5)


def test_training_of_the_adapter_compiles():
    model = small_model("backbone", **SHALLOW).train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    sum(feature_map.sum() for feature_map in compiled(torch.randn(2, 3, 70, 96)).feature_maps).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["retinanet", "masks"])
def test_training_of_detectors_compiles_in_parts(kind):
    """How many objects are learned from depends on the images, which breaks the graph."""
    model = small_model(kind, **SHALLOW).train()
    compiled = torch.compile(model, backend="aot_eager")
    compiled(torch.randn(2, 3, 70, 96), labels=random_labels((70, 96), 2, 1)).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@vectorized
@pytest.mark.slow
@each_kind
@torch.no_grad()
def test_inductor_on_detectors(kind):
    model = small_model(kind, **SHALLOW)
    compiled = torch.compile(model, fullgraph=True)
    for size in ((136, 136), (150, 200)):
        pixel_values = torch.randn(2, 3, *size)
        assert_alike(compiled(pixel_values), model(pixel_values))
