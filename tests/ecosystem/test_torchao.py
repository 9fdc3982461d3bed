# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
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


def assert_near(outputs, expected):
    """Different, but by a tenth at most (in the mean of squares): these models are small, with large weights."""
    for key, value in tensors(expected).items():
        error = (tensors(outputs)[key] - value).norm()
        assert 0 < error < 0.1 * value.norm(), key


@pytest.mark.skipif(
    Version(version("torchao")) < Version("0.18"),
    reason="before torchao 0.18, layers of 16 inputs at most, which these models have, keep their weights",
)
@torch.no_grad()
def test_activations_of_every_class(family):
    pixel_values = torch.randn(PIXELS)
    for model in family.models(**family.shallow):
        expected, linears = model(pixel_values), [m for m in model.modules() if isinstance(m, nn.Linear)]
        for candidate in (copy.deepcopy(model), model.fuse_for_inference()):
            quantization.quantize_(candidate, quantization.Int8DynamicActivationInt8WeightConfig())
            assert len(quantized_linears(candidate)) == len(linears)
            assert_near(candidate(pixel_values), expected)


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
        assert_near(outputs, model(pixel_values))
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
        quantization.quantize_(model, kind())
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert_same(compiled(pixel_values), model(pixel_values), atol=1e-4, rtol=1e-4)
