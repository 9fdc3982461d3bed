# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""torch.export of every class: programs that run, are saved and loaded, for one size or for many.

With dynamic sizes the program notes whether the traced size filled its last stripes. What it computes doesn't depend
on it, so other sizes run with `module(check_guards=False)`.
"""

import pytest
import torch
from torch.export import Dim

from families import GPVIT
from model_outputs import assert_same
from small_detectors import ALL_KINDS, SHALLOW, assert_alike, small_model


each_class = pytest.mark.parametrize(
    "index", range(5), ids=["model", "backbone", "classifier", "segformer", "upernet"]
)
each_way = pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
# Several stripes in every branch of HRViT: a count of one would be fixed in the program.
TRACED = (2, 3, 136, 200)
OTHERS = [(3, 3, 136, 200), (2, 3, 101, 85), (5, 3, 72, 330)]


@torch.no_grad()
def assert_exports(model, dynamic_shapes, strict, sizes, path=None):
    program = torch.export.export(model, (torch.randn(TRACED),), dynamic_shapes=dynamic_shapes, strict=strict)
    if path is not None:
        torch.export.save(program, path)
        program = torch.export.load(path)
    exported = program.module(check_guards=dynamic_shapes is None or not {2, 3} & dynamic_shapes[0].keys())
    for size in [TRACED, *sizes]:
        pixel_values = torch.randn(size)
        outputs = exported(pixel_values)
        assert type(outputs) is type(model(pixel_values))
        assert_same(outputs, model(pixel_values), atol=1e-4, rtol=1e-4)


def dynamic(*axes):
    return (dict.fromkeys(axes, Dim.DYNAMIC),)


@each_class
@each_way
@pytest.mark.slow
def test_one_size(family, index, strict, tmp_path):
    assert_exports(family.models(**family.shallow)[index], None, strict, [], tmp_path / "model.pt2")


@each_class
@pytest.mark.slow
def test_any_batch(family, index):
    assert_exports(family.models(**family.shallow)[index], dynamic(0), False, OTHERS[:1])


@each_class
@each_way
@pytest.mark.slow
def test_any_batch_and_size(family, index, strict, tmp_path):
    model = family.models(**family.shallow)[index]
    assert_exports(model, dynamic(0, 2, 3), strict, OTHERS, tmp_path / "model.pt2")


@each_class
@pytest.mark.slow
def test_deep_models(family, index):
    assert_exports(family.models()[index], dynamic(0, 2, 3), False, OTHERS)


def test_a_saved_program_takes_any_batch(tmp_path):
    model = GPVIT.classifier_class(GPVIT.config(num_hidden_layers=2, group_layer_indices=[1], num_group_tokens=[6]))
    assert_exports(model.eval(), dynamic(0), False, OTHERS[:1], tmp_path / "model.pt2")


# --- the adapter and detectors


def assert_detector_exports(kind, sizes, strict=False, path=None):
    """The first of the sizes is traced; of several, any other that has more than one cell on every level will do."""
    model = small_model(kind, **SHALLOW)
    shapes = dynamic(0, 2, 3) if len(sizes) > 1 else None
    with torch.no_grad():
        program = torch.export.export(model, (torch.randn(sizes[0]),), dynamic_shapes=shapes, strict=strict)
        if path is not None:
            torch.export.save(program, path)
            program = torch.export.load(path)
        exported = program.module(check_guards=shapes is None)
        for size in sizes:
            pixel_values = torch.randn(size)
            outputs = exported(pixel_values)
            assert type(outputs) is type(model(pixel_values))
            assert_alike(outputs, model(pixel_values))


@pytest.mark.parametrize("kind", ["backbone", "masks"])
def test_detectors_of_one_size(kind):
    assert_detector_exports(kind, [(2, 3, 70, 96)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL_KINDS)
@each_way
def test_detectors_of_any_batch_and_size(kind, strict, tmp_path):
    sizes = [(2, 3, 136, 200), (3, 3, 136, 200), (1, 3, 150, 330), (5, 3, 264, 129)]
    assert_detector_exports(kind, sizes, strict, tmp_path / "model.pt2")
