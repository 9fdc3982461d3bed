# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""`torch.jit.trace`, and the ONNX exporter that is built on it: equal results at the traced size, for any batch."""

import io

import pytest
import torch

from model_outputs import assert_same, tensors
from small_detectors import ALL_KINDS, SHALLOW, assert_alike, small_model


pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]
# Mask R-CNN without its masks is a part of it.
each_kind = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind == "boxes" else []) for kind in ALL_KINDS]
)
SIZES = [(57, 90), pytest.param((64, 96), marks=pytest.mark.slow)]  # padded and whole stripes


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_every_class_traces(family, size):
    for model in family.models(**family.shallow):
        traced = torch.jit.trace(model, (torch.randn(2, 3, *size),), strict=False)
        for batch in (2, 1, 3):
            pixel_values = torch.randn(batch, 3, *size)
            assert_same(traced(pixel_values), model(pixel_values), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_traces_with_gradients(family, implementation):
    """Traced while gradients are wanted; the trace can be differentiated."""
    for model in family.models(**family.shallow):
        model.set_attn_implementation(implementation)
        for size in [(57, 90), (64, 96), (1, 1)]:
            pixel_values = torch.randn(1, 3, *size)
            outputs = torch.jit.trace(model, (pixel_values,), strict=False)(pixel_values)
            expected = model(pixel_values)
            assert_same(outputs, expected, atol=1e-5, rtol=1e-5)
            weights = [weight for weight in model.parameters() if weight.requires_grad]
            found, exact = (
                torch.autograd.grad(sum(map(torch.sum, tensors(each).values())), weights, allow_unused=True)
                for each in (outputs, expected)
            )
            largest = max(gradient.abs().max() for gradient in exact if gradient is not None)
            for mine, gradient in zip(found, exact, strict=True):
                assert (mine is None) == (gradient is None)
                assert mine is None or (mine - gradient).abs().max() <= 1e-4 * largest


@torch.no_grad()
def test_traced_in_half_precision(family, tmp_path):
    """A trace that is saved and loaded, of a map whose convolutions would give one column."""
    model = family.models(**family.shallow)[2].to(torch.bfloat16)
    pixel_values = torch.randn(1, 3, 33, 3, dtype=torch.bfloat16)
    torch.jit.trace(model, (pixel_values,), strict=False).save(tmp_path / "model.pt")
    loaded = torch.jit.load(tmp_path / "model.pt")
    assert_same(loaded(pixel_values), model(pixel_values), atol=0.02, rtol=0.02)


@torch.no_grad()
def test_exporter_that_traces(family):
    """Not UPerNet: that exporter can't pool to sizes that don't divide the map."""
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pixel_values = torch.randn(1, 3, 57, 90)
    for model in family.models(**family.shallow)[:-1]:
        file = io.BytesIO()
        torch.onnx.export(model, (pixel_values,), file, dynamo=False, opset_version=18)
        session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
        outputs = session.run(None, {session.get_inputs()[0].name: pixel_values.numpy()})
        expected = list(tensors(model(pixel_values)).values())
        assert len(outputs) == len(expected)
        for mine, exact in zip(outputs, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(mine), exact, atol=1e-4, rtol=1e-4)


@each_kind
@torch.no_grad()
def test_detectors_trace(kind):
    """Of a detector, whose non-maximum suppression goes image by image, for one batch size."""
    model = small_model(kind, **SHALLOW)
    traced = torch.jit.trace(model, (torch.randn(2, 3, 57, 90),), strict=False)
    for batch in (2, 1, 3) if kind == "backbone" else (2, 2):
        pixel_values = torch.randn(batch, 3, 57, 90)
        assert_alike(traced(pixel_values), model(pixel_values))


@each_kind
@torch.no_grad()
def test_detectors_by_the_exporter_that_traces(kind):
    """With the non-maximum suppression, and for other sizes with as many stripes."""
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    file, model = io.BytesIO(), small_model(kind, **SHALLOW)
    options = {"input_names": ["pixel_values"], "dynamic_axes": {"pixel_values": {2: "height", 3: "width"}}}
    torch.onnx.export(model, (torch.randn(1, 3, 57, 90),), file, dynamo=False, opset_version=18, **options)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for size in ((57, 90), (64, 96)):
        pixel_values = torch.randn(1, 3, *size)
        outputs = session.run(None, {"pixel_values": pixel_values.numpy()})
        expected = model(pixel_values)
        outputs = list(map(torch.from_numpy, outputs))
        found = {"feature_maps": tuple(outputs)} if kind == "backbone" else dict(zip(expected, outputs, strict=True))
        assert_alike(found, expected)
