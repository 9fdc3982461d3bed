# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""torchao's int8 weights and activations: outputs near those of the model, and files that hold them.

Weights alone, on a model in memory, are tested with the adapters.
"""

import copy
from importlib.metadata import version

import pytest
import torch
from packaging.version import Version
from torch import nn
from transformers import TorchAoConfig

from model_outputs import assert_same, tensors


quantization = pytest.importorskip("torchao.quantization")

KINDS = [
    pytest.param(quantization.Int8WeightOnlyConfig, id="weights"),
    pytest.param(quantization.Int8DynamicActivationInt8WeightConfig, id="activations"),
]
PIXELS = (2, 3, 57, 90)


def quantized_linears(model):
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {name for name, linear in linears.items() if type(linear.weight) is not nn.Parameter}


def to_8_bits(tensor):
    """The tensor in steps of 1/127 of the largest value of its last dimension, rounded up or down by chance."""
    step = tensor.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    return (tensor / step + torch.rand_like(tensor)).floor() * step


def rounded(model, kind):
    """A copy whose linear layers see weights and, of that kind, activations of 8 bits, by plain arithmetic."""
    model = copy.deepcopy(model)
    for linear in filter(lambda module: isinstance(module, nn.Linear), model.modules()):
        linear.weight.copy_(to_8_bits(linear.weight))
        if kind is quantization.Int8DynamicActivationInt8WeightConfig:
            linear.register_forward_pre_hook(lambda module, args: to_8_bits(args[0]))
    return model


def errors_of_8_bits(model, kind, pixel_values):
    """How far 8 bits take each output of this model on this machine: the largest norm of four draws."""
    exact = tensors(model(pixel_values))
    draws = [tensors(rounded(model, kind)(pixel_values)) for _ in range(4)]
    errors = {key: max((draw[key] - value).norm() for draw in draws) for key, value in exact.items()}
    assert all(error < exact[key].norm() for key, error in errors.items()), "the model amplifies too much to tell"
    return errors


def assert_near(outputs, expected, errors):
    """As near as 8 bits allow: these models are small, with large weights, and amplify what is rounded."""
    for key, value in tensors(expected).items():
        assert (tensors(outputs)[key] - value).norm() < 2 * errors[key], key


@pytest.mark.skipif(
    Version(version("torchao")) < Version("0.18"),
    reason="before torchao 0.18, layers of 16 inputs at most, which these models have, keep their weights",
)
@torch.no_grad()
def test_activations_of_every_class(family):
    pixel_values = torch.randn(PIXELS)
    for model in family.models(**family.shallow):
        kind = quantization.Int8DynamicActivationInt8WeightConfig
        expected, errors = model(pixel_values), errors_of_8_bits(model, kind, pixel_values)
        linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
        for candidate in (copy.deepcopy(model), model.fuse_for_inference()):
            quantization.quantize_(candidate, kind())
            assert len(quantized_linears(candidate)) == len(linears)
            assert_near(candidate(pixel_values), expected, errors)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_quantized_while_loading_saved_and_loaded_again(family, kind, tmp_path):
    pixel_values = torch.randn(PIXELS)
    for model in family.models(**family.shallow):
        model.save_pretrained(tmp_path / "model")
        loaded = type(model).from_pretrained(tmp_path / "model", quantization_config=TorchAoConfig(kind()))
        assert quantized_linears(loaded)
        outputs = loaded(pixel_values)
        assert_near(outputs, model(pixel_values), errors_of_8_bits(model, kind, pixel_values))
        loaded.save_pretrained(tmp_path / "quantized")
        again = type(model).from_pretrained(tmp_path / "quantized")
        assert quantized_linears(again) == quantized_linears(loaded)
        assert_same(again(pixel_values), outputs, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_quantized_models_compile(family, kind):
    torch._dynamo.reset()
    pixel_values = torch.randn(PIXELS)
    for model in family.models(**family.shallow):
        errors = errors_of_8_bits(model, kind, pixel_values)
        quantization.quantize_(model, kind())
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        if kind is quantization.Int8WeightOnlyConfig:
            assert_same(compiled(pixel_values), model(pixel_values), atol=1e-4, rtol=1e-4)
        else:  # an activation between two steps may be rounded the other way
            assert_near(compiled(pixel_values), model(pixel_values), errors)
