# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What every variant of HRViT, and what it is compared with, does as HRViT does."""

import copy
import pickle

import pytest
import torch
from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
)

from families import trained
from hf_gpvit.models import shortcuts
from hrvit_variants import VARIANTS
from model_outputs import assert_same, tensors


# Those that have all between them; the others take minutes.
QUICK = ("all_off", "cswin", "mit_depthwise")


pytestmark = pytest.mark.parametrize(
    "variant",
    [
        pytest.param(variant, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, variant in VARIANTS.items()
    ],
)

AUTO_CLASSES = (AutoModel, AutoBackbone, AutoModelForImageClassification, *[AutoModelForSemanticSegmentation] * 2)


def models(variant, **overrides):
    return list(map(trained, variant.models(**overrides)))


def labels(model, size=(40, 40)):
    """For those that learn from any."""
    if "ForImageClassification" in type(model).__name__:
        return torch.tensor([1, 3])
    return torch.randint(5, (2, *size)) if "ForSemanticSegmentation" in type(model).__name__ else None


@torch.no_grad()
def test_any_size_and_every_image_for_itself(variant):
    for model in models(variant):
        for size in ((1, 1), (33, 47), (64, 9)):
            pixel_values = torch.randn(2, 3, *size)
            together, alone = tensors(model(pixel_values)), tensors(model(pixel_values[1:]))
            for key, value in together.items():
                assert torch.isfinite(value).all()
                torch.testing.assert_close(value[1:], alone[key], atol=3e-5, rtol=1e-4)


@torch.no_grad()
def test_attention_implementations_and_shortcuts_agree(variant, monkeypatch):
    pixel_values = torch.randn(2, 3, 33, 47)
    for model in models(variant):
        model.set_attn_implementation("sdpa")
        expected = model(pixel_values)
        monkeypatch.setattr(shortcuts, "ENABLED", False)
        assert_same(model(pixel_values), expected, atol=1e-5, rtol=1e-4)
        monkeypatch.setattr(shortcuts, "ENABLED", True)
        model.set_attn_implementation("eager")
        assert_same(model(pixel_values), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_every_attention_is_recorded(variant):
    model = variant.model_class(variant.config()).eval()
    outputs = model(torch.randn(2, 3, 33, 47), output_attentions=True, output_hidden_states=True)
    number = sum(map(sum, model.config.num_blocks))
    is_reduced = getattr(model.config, "attention_type", None) == "reduced"
    assert len(outputs.attentions) == number if is_reduced else 2 * number
    for weights in outputs.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    grids = [(9, 12), (5, 6), (3, 3)]
    channels = zip(model.config.hidden_sizes, grids, strict=True)
    assert [tuple(maps.shape) for maps in outputs.hidden_states] == [(2, width, *grid) for width, grid in channels]


def test_every_parameter_learns_with_and_without_checkpointing(variant):
    pixel_values = torch.randn(2, 3, 40, 40)
    for model in models(variant, drop_path_rate=0.2)[2:]:
        model.train()
        checkpointed, targets = copy.deepcopy(model), labels(model)
        checkpointed.gradient_checkpointing_enable({"use_reentrant": False})
        for each in (model, checkpointed):
            torch.manual_seed(1)
            each(pixel_values, labels=targets).loss.backward()
        largest = max(parameter.grad.abs().max() for parameter in model.parameters())
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            other = checkpointed.get_parameter(name).grad
            assert (parameter.grad - other).abs().max() <= 1e-6 * largest, name


@torch.no_grad()
def test_fused_models_compute_the_same(variant):
    pixel_values = torch.randn(2, 3, 33, 47)
    for model in models(variant):
        fused = model.fuse_for_inference()
        assert_same(fused(pixel_values), model(pixel_values), atol=1e-5, rtol=1e-4)
        assert not any("BatchNorm" in type(module).__name__ for module in fused.modules())


@torch.no_grad()
def test_saved_loaded_and_pickled_models_are_the_same(variant, tmp_path):
    pixel_values = torch.randn(1, 3, 33, 47)
    for index, (auto_class, model) in enumerate(zip(AUTO_CLASSES, models(variant), strict=True)):
        expected = model(pixel_values)
        assert_same(pickle.loads(pickle.dumps(model))(pixel_values), expected, atol=1e-6, rtol=1e-5)
        model.save_pretrained(tmp_path / str(index))
        assert AutoConfig.from_pretrained(tmp_path / str(index)).to_diff_dict() == model.config.to_diff_dict()
        if auto_class is not AutoBackbone:  # which loads from the Hub only
            loaded = auto_class.from_pretrained(tmp_path / str(index))
            assert type(loaded) is type(model)
            assert all(torch.equal(value, loaded.get_parameter(name)) for name, value in model.named_parameters())
            assert_same(loaded(pixel_values), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_half_precision(variant):
    pixel_values = torch.randn(2, 3, 40, 40)
    for model in models(variant):
        outputs = tensors(model.to(torch.bfloat16)(pixel_values))
        assert all(torch.isfinite(value).all() and value.dtype == torch.bfloat16 for value in outputs.values())


def test_what_must_not_be_split_is_named(variant):
    model = variant.model_class(variant.config())
    kinds = {type(module).__name__ for module in model.modules()} & set(model._no_split_modules)
    assert [part for part in ("Embeddings", "Fusion", "Block") if not any(kind.endswith(part) for kind in kinds)] == []
