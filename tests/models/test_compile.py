# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""torch.compile without graph breaks, and without a recompilation for every new size."""

import pickle
from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from model_outputs import assert_same
from small_detectors import ALL_KINDS, SHALLOW, assert_alike, random_labels, small_model


def each_class(*default):
    """Every class of a family, by its place in `family.models()`; those not named are slow."""
    names = ("model", "backbone", "classifier", "segformer", "upernet")
    marks = [[] if name in default else [pytest.mark.slow] for name in names]
    return pytest.mark.parametrize(
        "index", [pytest.param(index, id=name, marks=marks[index]) for index, name in enumerate(names)]
    )


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def assert_sizes_recompile(model, sizes, most, compare):
    """The first graph is static, the next ones are dynamic: in one side, then in both, unless both change at once."""
    counter = CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for size in sizes:
        pixel_values = torch.randn(2, 3, *size)
        compare(compiled(pixel_values), model(pixel_values))
    assert counter.frame_count <= 1 + most


assert_close = partial(assert_same, atol=1e-5, rtol=1e-5)


# the others are parts of it, or compile alike, and other tests compile classifiers
@each_class("upernet")
@torch.no_grad()
def test_every_class_compiles_and_other_sizes_recompile_once(family, index):
    """Odd and even token grids, padded and whole stems.

    Grids of one token or one stripe are left out: PyTorch compiles sizes of 0 and 1 apart from all others.
    """
    sizes = ((40, 40), (57, 50), (48, 40), (64, 96), (100, 90), (72, 41))
    assert_sizes_recompile(family.models(**family.shallow)[index], sizes, 1, assert_close)


@pytest.mark.slow
@torch.no_grad()
def test_sides_that_change_in_turn_recompile_deep_models_twice(family):
    sizes = ((40, 40), (48, 40), (57, 50), (64, 96), (100, 90), (72, 41))
    assert_sizes_recompile(family.models()[3], sizes, 2, assert_close)


@each_class("upernet")
@torch.no_grad()
def test_recorded_outputs_compile_at_the_first_call(family, index):
    flags = {"output_hidden_states": True, "output_attentions": True}
    pixel_values = torch.randn(2, 3, 33, 47)
    model = family.models(**family.shallow)[index]
    for each in (model, pickle.loads(pickle.dumps(model))):
        compiled = torch.compile(each, fullgraph=True, backend="eager")
        assert_close(compiled(pixel_values, **flags), each(pixel_values, **flags))


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


# fifty seconds, most of them in the C++ compiler
@vectorized
@pytest.mark.slow
@torch.no_grad()
def test_inductor(family):
    model = family.classifier_class(family.config(**family.shallow)).eval()
    pixel_values = torch.randn(2, 3, 33, 47)
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(pixel_values).logits, model(pixel_values).logits, atol=1e-4, rtol=1e-4)


@vectorized
@each_class()
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
def test_detectors_compile_and_other_sizes_recompile_once(kind):
    """Sizes of which no level is a single row or column."""
    sizes = ((136, 136), (150, 200), (140, 136), (200, 129), (256, 192))
    assert_sizes_recompile(small_model(kind, **SHALLOW), sizes, 1, assert_alike)


@pytest.mark.slow
@torch.no_grad()
def test_sides_that_change_in_turn_recompile_detectors_twice():
    sizes = ((136, 136), (140, 136), (150, 200))
    assert_sizes_recompile(small_model("masks", **SHALLOW), sizes, 2, assert_alike)


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
