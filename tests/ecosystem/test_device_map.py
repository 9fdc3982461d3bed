# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""device_map="auto" with as much memory as one allows: the rest of the weights stays in the file.

Offloading by accelerate's own functions is tested with adapters and hooks.
"""

import pytest
import torch

from model_outputs import assert_same
from small_detectors import small_model


pytest.importorskip("accelerate")

FLAGS = {"output_hidden_states": True, "output_attentions": True}


@pytest.mark.parametrize("part", [pytest.param(0.0, marks=pytest.mark.slow), 0.8])
@torch.no_grad()
def test_memory_for_a_part_of_the_weights(family, part, tmp_path):
    pixel_values = torch.randn(2, 3, 33, 47)
    for model in family.models(**family.shallow):
        model.save_pretrained(tmp_path / "model")
        size = sum(value.nbytes for value in model.state_dict().values())
        loaded = type(model).from_pretrained(
            tmp_path / "model",
            device_map="auto",
            max_memory={"cpu": int(part * size)},
            offload_folder=tmp_path / "weights",
        )
        devices = {weight.device.type for weight in loaded.parameters()}
        assert devices == ({"cpu", "meta"} if part else {"meta"})
        # twice: what was fetched is given back
        for _ in range(2):
            assert_same(loaded(pixel_values, **FLAGS), model(pixel_values, **FLAGS), atol=1e-5, rtol=1e-5)
        assert {weight.device.type for weight in loaded.parameters()} == devices


@pytest.mark.slow
@torch.no_grad()
def test_memory_for_all(family, tmp_path):
    pixel_values = torch.randn(2, 3, 33, 47)
    for model in family.models(**family.shallow):
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path, device_map="auto", max_memory={"cpu": "1GB"})
        assert {weight.device.type for weight in loaded.parameters()} == {"cpu"}
        assert_same(loaded(pixel_values), model(pixel_values), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_an_offloaded_model_is_saved_whole(family, tmp_path):
    model = family.models(**family.shallow)[3]
    model.save_pretrained(tmp_path / "model")
    loaded = type(model).from_pretrained(
        tmp_path / "model", device_map="auto", max_memory={"cpu": 0}, offload_folder=tmp_path / "weights"
    )
    loaded.save_pretrained(tmp_path / "again")
    again, expected = type(model).from_pretrained(tmp_path / "again").state_dict(), model.state_dict()
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], value) for name, value in expected.items())


@pytest.mark.slow
@torch.no_grad()
def test_trunk_and_backbone_offloaded_by_accelerate(family, tmp_path):
    import accelerate

    pixel_values = torch.randn(2, 3, 33, 47)
    for place in ("cpu", "disk"):
        for model in family.models(**family.shallow)[:2]:
            expected = model(pixel_values, **FLAGS)
            if place == "cpu":
                accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
            else:
                folder = tmp_path / type(model).__name__
                accelerate.disk_offload(model, folder, execution_device=torch.device("cpu"))
            assert {weight.device.type for weight in model.parameters()} == {"meta"}
            assert_same(model(pixel_values, **FLAGS), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("part", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
@pytest.mark.parametrize("kind", ["backbone", pytest.param("retinanet", marks=pytest.mark.slow), "masks"])
@torch.no_grad()
def test_detectors_in_parts(kind, part, tmp_path):
    pixel_values, model = torch.randn(2, 3, 33, 47), small_model(kind)
    model.save_pretrained(tmp_path / "model")
    size = sum(value.nbytes for value in model.state_dict().values())
    memory = {"device_map": "auto", "max_memory": {"cpu": int(part * size)}, "offload_folder": tmp_path / "weights"}
    loaded = type(model).from_pretrained(tmp_path / "model", **memory)
    assert {weight.device.type for weight in loaded.parameters()} == ({"cpu", "meta"} if part else {"meta"})
    for _ in range(2):
        assert_same(loaded(pixel_values, **FLAGS), model(pixel_values, **FLAGS), atol=1e-4, rtol=1e-4)
