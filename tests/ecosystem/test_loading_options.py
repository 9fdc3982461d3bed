# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Models without memory of their own, and in the precision of their files."""

import pytest
import torch
from transformers import AutoConfig

from model_outputs import assert_same


PIXELS = (1, 3, 33, 47)


@pytest.mark.parametrize("assign", [True, pytest.param(False, marks=pytest.mark.slow)])
@torch.no_grad()
def test_built_on_meta_and_filled(family, assign):
    pixel_values = torch.randn(PIXELS)
    for model in family.models(**family.shallow):
        with torch.device("meta"):
            empty = type(model)(model.config)
        assert {tensor.device.type for tensor in (*empty.parameters(), *empty.buffers())} == {"meta"}
        if not assign:
            empty = empty.to_empty(device="cpu")
        empty.load_state_dict(model.state_dict(), assign=assign)
        assert_same(empty.eval()(pixel_values), model(pixel_values), atol=0, rtol=0)


@pytest.mark.slow
@torch.no_grad()
def test_shapes_without_values(family):
    """A forward pass on meta tells the shapes of the outputs."""
    for model in family.models():
        expected = model(torch.randn(PIXELS))
        outputs = model.to("meta")(torch.randn(PIXELS, device="meta"))
        for key, value in expected.items():
            pairs = zip(value, outputs[key], strict=True) if isinstance(value, tuple) else [(value, outputs[key])]
            assert all(mine.shape == other.shape and other.device.type == "meta" for mine, other in pairs)


@pytest.mark.slow
@torch.no_grad()
def test_precision_of_the_file(family, tmp_path):
    pixel_values = torch.randn(PIXELS)
    for dtype in (torch.bfloat16, torch.float32):
        for model in family.models(**family.shallow):
            model.save_pretrained(tmp_path / "float32")
            model = type(model).from_pretrained(tmp_path / "float32", dtype=dtype)
            model.save_pretrained(tmp_path / "model")
            assert AutoConfig.from_pretrained(tmp_path / "model").dtype == dtype
            for options in ({"dtype": "auto"}, {}, {"low_cpu_mem_usage": True}):
                loaded = type(model).from_pretrained(tmp_path / "model", **options)
                dtypes = {name: value.dtype for name, value in loaded.state_dict().items()}
                assert dtypes == {name: value.dtype for name, value in model.state_dict().items()}
                assert_same(loaded(pixel_values), model(pixel_values), atol=0, rtol=0)


@pytest.mark.slow
def test_trains_after_inference(family):
    """Nothing that was made in inference mode stays."""
    for model in family.models(**family.shallow):
        with torch.inference_mode():
            model(torch.randn(2, 3, 40, 40), output_hidden_states=True)
        outputs = model.train()(torch.randn(2, 3, 40, 40), return_dict=False)
        flat = [tensor for value in outputs for tensor in (value if isinstance(value, tuple) else (value,))]
        sum(tensor.square().mean() for tensor in flat).backward()
        assert any(weight.grad is not None for weight in model.parameters())
