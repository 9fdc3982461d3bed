# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""bfloat16 and float16: BatchNorm stays in float32, and CPUs never get a convolution that their library fails at."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForSemanticSegmentation

from families import awake
from hf_gpvit.models.compat import StridedConv2d
from model_outputs import tensors
from small_detectors import ALL_KINDS, random_labels, small_model


HALVES = (torch.bfloat16, torch.float16)
# Kernel, stride and padding of both families and, in the last row, of what else may come: width alone, dilated.
CONVOLUTIONS = [
    *(((kernel, stride), {"padding": kernel // 2}) for kernel, stride in [(3, 2), (7, 2), (5, 4), (9, 8)]),
    ((4, 4), {}),
    ((2, 2), {}),
    ((3, (1, 2)), {"padding": 1}),
    ((3, (2, 1)), {"padding": 1}),
    ((3, 2), {"padding": 2, "dilation": 2}),
]


class Convolutions(TorchDispatchMode):
    """Collects the columns that strided convolutions in half precision give, forwards and backwards."""

    def __init__(self):
        super().__init__()
        self.columns = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **kwargs or {})
        name = func.overloadpacket.__name__
        if name in ("convolution", "convolution_backward"):
            maps, stride = (outputs, args[3]) if name == "convolution" else (args[0], args[4])
            if maps.dtype in HALVES and max(stride) > 1:
                self.columns.append(maps.shape[-1])
        return outputs


def in_half_precision(model, kind):
    """How a model computes in half precision: the arguments of autocast or None, and the model."""
    return (torch.bfloat16, model) if kind == "autocast" else (None, model.to(kind))


@pytest.mark.parametrize("kind", ["autocast", *HALVES], ids=str)
def test_no_strided_convolution_gives_one_column(family, kind):
    """Whatever the size of the image: at all small ones, forwards, and backwards at some."""
    dtype, model = in_half_precision(awake(family.classifier_class(family.config(**family.shallow))), kind)
    sizes = [*itertools.product((1, 33), range(1, 34)), (30, 91), (64, 65)]
    collected = Convolutions()
    with collected, torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        for number, (height, width) in enumerate(sizes):
            pixel_values = torch.randn(1, 3, height, width)
            with torch.set_grad_enabled(number % 10 == 0):
                logits = model(pixel_values).logits
            if logits.requires_grad:
                logits.sum().backward()
    assert len(collected.columns) > 2 * len(sizes)
    assert min(collected.columns) > 1


@pytest.mark.parametrize(("arguments", "options"), CONVOLUTIONS)
@pytest.mark.parametrize("groups", [1, 8])
def test_narrow_maps_are_what_they_are_in_float64(arguments, options, groups):
    """And so are their gradients. float32 and float64 are not padded."""
    convolution = StridedConv2d(8, 8, *arguments, groups=groups, **options)
    plain = nn.Conv2d(8, 8, *arguments, groups=groups, **options).double()
    plain.load_state_dict(convolution.state_dict())
    for width in range(1, 20):
        feature_map = torch.randn(2, 8, 40, width, dtype=torch.float64, requires_grad=True)
        try:
            expected = plain(feature_map)
        except RuntimeError:  # too narrow for the kernel
            continue
        gradients = torch.autograd.grad(expected.square().sum(), (feature_map, *plain.parameters()))
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.04)):
            cast = copy.deepcopy(convolution).to(dtype)
            with Convolutions() as collected:
                actual = cast(feature_map.to(dtype))
                found = torch.autograd.grad(actual.square().sum(), (feature_map, *cast.parameters()))
            assert actual.shape == expected.shape
            assert not collected.columns or min(collected.columns) > 1
            for mine, exact in zip((actual, *found), (expected, *gradients), strict=True):
                limit = tolerance * exact.abs().max().item()
                torch.testing.assert_close(mine.double(), exact, rtol=0, atol=limit)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_maps_that_give_no_column_are_refused(dtype):
    for arguments, width in (((8, 8, 4, 4), 2), ((8, 8, 9, 2), 1)):
        with pytest.raises(RuntimeError):
            StridedConv2d(*arguments).to(dtype)(torch.randn(1, 8, 40, width, dtype=dtype))


@pytest.mark.parametrize("options", [{"padding": "valid"}, {"padding": 1, "padding_mode": "circular"}])
def test_what_is_padded_must_be_known(options):
    with pytest.raises(ValueError, match="StridedConv2d wants"):
        StridedConv2d(3, 8, 3, 2, **options)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@torch.no_grad()
def test_compiled_and_exported_for_any_width(dtype):
    convolution, collected = StridedConv2d(3, 8, 7, 2, padding=3).to(dtype), Convolutions()

    def backend(graph, inputs):
        def run(*inputs):
            with collected:
                return graph(*inputs)

        return run

    torch._dynamo.reset()
    compiled = torch.compile(convolution, fullgraph=True, dynamic=True, backend=backend)
    dynamic = {"feature_map": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    program = torch.export.export(convolution, (torch.randn(1, 3, 40, 30, dtype=dtype),), dynamic_shapes=dynamic)
    exported = program.module(check_guards=False)
    widths = (30, 9, 3, 2, 1)
    for width in widths:
        feature_map = torch.randn(1, 3, 40, width, dtype=dtype)
        expected = convolution(feature_map)
        torch.testing.assert_close(compiled(feature_map), expected, rtol=0, atol=0)
        with collected:
            torch.testing.assert_close(exported(feature_map), expected, rtol=0, atol=0)
    assert len(collected.columns) == 2 * len(widths)
    assert min(collected.columns) > 1


def fill_freed_memory():
    """What is given back to the allocator holds NaN, so that a result that depends on it shows."""
    freed = [torch.full((2**power,), float("nan")) for power in range(4, 21) for _ in range(4)]
    del freed


@pytest.mark.parametrize("kind", ["autocast", torch.bfloat16], ids=str)
@torch.no_grad()
def test_results_depend_on_the_input_alone(family, kind):
    """On processors with AMX, oneDNN has read memory that nobody wrote: NaN, or another result at each call."""
    dtype, model = in_half_precision(awake(family.classifier_class(family.config(**family.shallow))), kind)
    widths = torch.randint(1, 24, (16,)).tolist()
    for height, width in [(30, 91), *zip(itertools.cycle((33, 40, 70)), widths, strict=False)]:
        pixel_values, results = torch.randn(1, 3, height, width), []
        for _ in range(3):
            fill_freed_memory()
            with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
                results.append(model(pixel_values).logits)
        assert all(result.isfinite().all() for result in results), (height, width)
        assert all(torch.equal(result, results[0]) for result in results), (height, width)


def batch_norm_dtypes(model):
    """Types of all that belongs to a BatchNorm, but for the number of batches."""
    return {
        value.dtype for name, value in model.state_dict().items() if "batch_norm" in name and value.is_floating_point()
    }


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64], ids=str)
@torch.no_grad()
def test_batch_norm_keeps_float32_at_least(family, dtype, tmp_path):
    """Built, built from a config, or loaded: in half precision it is float32, in float64 all is."""
    pixel_values = torch.randn(2, 3, 40, 40)
    for model in family.models(**family.shallow):
        model.save_pretrained(tmp_path / "model")
        config = copy.deepcopy(model.config)
        candidates = [
            type(model)._from_config(config, dtype=dtype),
            type(model).from_pretrained(tmp_path / "model", dtype=dtype),
            type(model)._from_config(config).to(dtype) if dtype == torch.float64 else None,
        ]
        for candidate in filter(None, candidates):
            assert batch_norm_dtypes(candidate) == {dtype if dtype == torch.float64 else torch.float32}
            assert {weight.dtype for name, weight in candidate.named_parameters() if "batch_norm" not in name} == {
                dtype
            }
            assert candidate.state_dict().keys() == model.state_dict().keys()
            outputs = tensors(candidate.eval()(pixel_values))
            assert all(value.isfinite().all() for value in outputs.values())
            assert dtype != torch.float64 or all(value.dtype == dtype for value in outputs.values())


@torch.no_grad()
def test_auto_classes_keep_it_too(family):
    config = family.config(decode_head_type="upernet", **family.shallow)
    model = AutoModelForSemanticSegmentation.from_config(config, dtype=torch.bfloat16)
    assert batch_norm_dtypes(model) == {torch.float32}


# --- the adapter and detectors


def norm_dtypes(model):
    return {module.running_var.dtype for module in model.modules() if isinstance(module, nn.BatchNorm2d)}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_norms_of_detectors_keep_float32(kind, dtype, tmp_path):
    """Those of the pyramid too, which have names of their own."""
    model = small_model(kind)
    model.save_pretrained(tmp_path)
    config = copy.deepcopy(model.config)
    for each in (type(model)._from_config(config, dtype=dtype), type(model).from_pretrained(tmp_path, dtype=dtype)):
        assert norm_dtypes(each) == {torch.float32}
        assert each.dtype == dtype
        others = {name: weight for name, weight in each.named_parameters() if "norm" not in name}
        assert {weight.dtype for weight in others.values()} == {dtype}


class Sampled(TorchDispatchMode):
    """Collects the types of what is sampled at places between pixels."""

    def __init__(self):
        super().__init__()
        self.dtypes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("grid_sampler_2d", "roi_align"):
            self.dtypes += [args[0].dtype, args[1].dtype]
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("how", ["autocast", *HALVES], ids=str)
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_detectors_sample_and_lose_in_float32(kind, how):
    """Maps and losses are close to those in float32; which boxes there are depends on every rounding."""
    every = {"rpn_batch_size_per_image": 10**4, "rpn_positive_fraction": 1.0, "box_batch_size_per_image": 10**4}
    model = small_model(kind, **every if kind != "backbone" else {})
    backbone = model if kind == "backbone" else model.backbone
    pixel_values = torch.randn(2, 3, 70, 96)
    labels = {} if kind == "backbone" else {"labels": random_labels((70, 96), 2, 1)}
    with torch.no_grad():
        expected, exact = model(pixel_values, **labels), backbone(pixel_values).feature_maps
    dtype, half = in_half_precision(copy.deepcopy(model), how)
    with Sampled() as sampled, torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        outputs = half(pixel_values, **labels)
        maps = (half if kind == "backbone" else half.backbone)(pixel_values).feature_maps
    assert len(sampled.dtypes) > 20
    assert set(sampled.dtypes) == {torch.float32}
    for mine, other in zip(maps, exact, strict=True):
        assert (mine.float() - other).norm() < 0.03 * other.norm()
    if kind != "backbone":
        sum(outputs.loss_dict.values()).backward()
        assert all(weight.grad.isfinite().all() for weight in half.parameters())
        assert {value.dtype for name, value in tensors(outputs).items() if "loss" not in name} == {
            torch.float32,
            torch.int64,
        }
        for name, loss in expected.loss_dict.items():
            assert outputs.loss_dict[name].dtype == torch.float32
            torch.testing.assert_close(outputs.loss_dict[name], loss, rtol=0.1, atol=0.02)
