# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""GPViT's variants: what each part computes, and that the models around them are as the others are."""

import copy

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoBackbone, AutoConfig

from families import GPVIT, awake
from gpvit_variants import COARSE, LAYER_TYPES, MIXED, PLAIN, VARIANTS
from hf_gpvit.ablations import GPViTAblationConfig, build_model, variants
from hf_gpvit.ablations.modeling_gpvit_ablation import (
    GPViTConvolutionLayer,
    GPViTFullAttention,
    GPViTShiftedWindowAttention,
    GPViTWindowAttention,
)
from hf_gpvit.models import shortcuts
from model_outputs import assert_same


@pytest.fixture(params=VARIANTS)
def variant(request):
    return VARIANTS[request.param]


def stirred(model):
    """The model in eval mode with no weight at zero."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return awake(model)


def attention(attention_class, window_size=7):
    """Attention with biases far from zero."""
    module = attention_class(MIXED.config(window_size=window_size))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


def twin(attention_class, module, window_size=7):
    """Attention of another class with the same weights, where it has such."""
    made = attention_class(MIXED.config(window_size=window_size)).eval()
    assert not made.load_state_dict(module.state_dict(), strict=False).missing_keys
    return made


# --- identities


@torch.no_grad()
def test_the_defaults_are_gpvit():
    config, same = GPVIT.config(), MIXED.config_class(**GPVIT.small)
    assert same.layer_types == ["lepe_attention", "group_propagation", "group_propagation", "lepe_attention"]
    for kind in ("model_class", "backbone_class", "classifier_class", "segmentor_class"):
        model = awake(getattr(GPVIT, kind)(config))
        found = getattr(MIXED, kind)(same).eval()
        found.load_state_dict(model.state_dict())
        pixel_values = torch.randn(1, 3, 57, 90)
        assert_same(found(pixel_values), model(pixel_values), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_window_as_large_as_the_grid_is_full_attention():
    module, tokens = attention(GPViTWindowAttention, window_size=8), torch.randn(2, 8, 8, 24)
    full = twin(GPViTFullAttention, module, window_size=8)
    assert not torch.allclose(module(tokens), full(tokens), atol=1e-3)
    module.relative_positions.zero_()
    torch.testing.assert_close(module(tokens), full(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(14, 21), (9, 16), (3, 5)])
@torch.no_grad()
def test_windows_that_shift_by_nothing_are_windows(size):
    module, tokens = attention(GPViTShiftedWindowAttention), torch.randn(2, *size, 24)
    windows = twin(GPViTWindowAttention, module)
    assert module.shift == 3
    assert not torch.allclose(module(tokens), windows(tokens), atol=1e-3)
    module.shift = 0
    torch.testing.assert_close(module(tokens), windows(tokens), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_mixer_of_zeros_is_no_propagation():
    mixed = stirred(GPVIT.model_class(GPVIT.config()))
    for name, parameter in mixed.named_parameters():
        if ".mixer." in name and ".fc2." in name:
            parameter.zero_()
    unmixed = MIXED.model_class(MIXED.config_class(**GPVIT.small, group_propagation_type="none")).eval()
    assert all(".mixer." in name for name in unmixed.load_state_dict(mixed.state_dict(), strict=False).unexpected_keys)
    pixel_values = torch.randn(1, 3, 40, 56)
    assert_same(unmixed(pixel_values), mixed(pixel_values), atol=1e-5, rtol=1e-5)


# --- each part, by what it is said to be


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("size", [(14, 21), (9, 16), (5, 7)])
@torch.no_grad()
def test_who_sees_whom(shift, size):
    """Scores between all tokens of the padded map, one by one, with what is hidden or less by 100."""
    module = attention(GPViTShiftedWindowAttention if shift else GPViTWindowAttention).double()
    tokens = torch.randn(1, *size, 24, dtype=torch.float64)
    height, width = (-(-side // 7) * 7 for side in size)
    padded = torch.zeros(1, height, width, 24, dtype=torch.float64)
    padded[:, : size[0], : size[1]] = tokens
    places = [(y, x) for y in range(height) for x in range(width)]
    moved = [((y - shift) % height, (x - shift) % width) for y, x in places]
    wrapped = [(y < shift, x < shift) for y, x in places]
    bias = torch.full((4, len(places), len(places)), -torch.inf, dtype=torch.float64)
    for query, (y, x) in enumerate(moved):
        for key, (v, u) in enumerate(moved):
            if (y // 7, x // 7) == (v // 7, u // 7):
                hidden = -100 * (wrapped[query] != wrapped[key])
                bias[:, query, key] = module.relative_positions[y - v + 6, x - u + 6] + hidden
    query, key, value = module.qkv(padded.flatten(1, 2)).unflatten(-1, (3, 4, 6)).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-1, -2) / 6**0.5 + bias).softmax(-1)
    expected = module.projection((weights @ value).transpose(1, 2).flatten(2)).unflatten(1, (height, width))
    torch.testing.assert_close(module(tokens), expected[:, : size[0], : size[1]])


@pytest.mark.parametrize("attention_class", [GPViTWindowAttention, GPViTShiftedWindowAttention, GPViTFullAttention])
@torch.no_grad()
def test_attention_of_one_picture_is_that_of_a_batch(attention_class, monkeypatch):
    """By batched products, by SDPA and as it is written."""
    module, tokens = attention(attention_class), torch.randn(3, 9, 16, 24)
    expected = torch.cat([module(picture[None]) for picture in tokens])
    for implementation in ("sdpa", "eager"):
        module.attention.config._attn_implementation = implementation
        for enabled in (True, False):
            monkeypatch.setattr(shortcuts, "ENABLED", enabled)
            torch.testing.assert_close(module(tokens), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_convolutions_begin_as_nothing():
    model, tokens = MIXED.model_class(MIXED.config()), torch.randn(2, 15, 24)
    (layer,) = [layer for layer in model.layers if isinstance(layer, GPViTConvolutionLayer)]
    assert torch.equal(layer(tokens, (3, 5)), tokens)
    nn.init.ones_(layer.second_norm.weight)
    assert not torch.allclose(layer(tokens, (3, 5)), tokens, atol=0.1)


def test_biases_and_tokens_are_initialised():
    for family, names in ((MIXED, ["relative_positions"]), (PLAIN, ["class_token", "position_embeddings"])):
        model = family.model_class(family.config(hidden_size=240))
        found = {name: value for name, value in model.named_parameters() if name.rpartition(".")[2] in names}
        assert len(found) >= 2
        for name, value in found.items():
            assert 0.1 < value.std() < 0.3, name
            assert name in model.no_weight_decay()


# --- models


@pytest.mark.parametrize("size", [(57, 90), (8, 8), (1, 130), (40, 40)])
@torch.no_grad()
def test_any_size_and_both_heads(variant, size):
    pixel_values = torch.randn(2, 3, *size)
    rows, columns = (-(-side // variant.small.get("patch_size", 8)) for side in size)
    scale = variant.small.get("decoder_input_scale", 1)
    trunk, backbone, classifier, *segmentors = variant.models()
    assert trunk.token_grid(*size) == (rows, columns)
    assert trunk(pixel_values).pooler_output.shape == (2, 24)
    assert classifier(pixel_values).logits.shape == (2, 5)
    assert {maps.shape for maps in backbone(pixel_values).feature_maps} == {(2, 24, rows, columns)}
    for segmentor in segmentors:
        assert segmentor(pixel_values).logits.shape == (2, 5, scale * rows, scale * columns)


def test_every_weight_learns(variant):
    for kind, labels in (("classifier_class", (2,)), ("segmentor_class", (2, 57, 90))):
        model = stirred(getattr(variant, kind)(variant.config())).train()
        model(torch.randn(2, 3, 57, 90), labels=torch.randint(0, 5, labels)).loss.backward()
        assert not [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]


@torch.no_grad()
def test_what_is_recorded():
    model = stirred(MIXED.model_class(MIXED.config()))
    outputs = model(torch.randn(2, 3, 64, 80), output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 1 + len(LAYER_TYPES)
    # stripes of both directions, windows twice, all tokens
    lengths = [(2 * 5, 16), (2 * 4, 20), (2 * 12, 9), (2 * 12, 9), (2, 80)]
    assert [(len(weights), weights.shape[-1]) for weights in outputs.attentions] == lengths
    assert all(torch.allclose(weights.sum(-1), torch.ones(())) for weights in outputs.attentions)
    (maps,) = model.group_maps(torch.randn(2, 3, 64, 80))
    assert maps.shape == (2, 6, 8, 10)


@torch.no_grad()
def test_saved_loaded_copied_and_fused(variant, tmp_path):
    pixel_values = torch.randn(1, 3, 57, 90)
    for index, model in enumerate(variant.models()):
        stirred(model).save_pretrained(tmp_path / str(index))
        loaded = type(model).from_pretrained(tmp_path / str(index))
        expected = model(pixel_values)
        assert type(AutoConfig.from_pretrained(tmp_path / str(index))) is GPViTAblationConfig
        assert_same(loaded(pixel_values), expected, atol=1e-6, rtol=1e-5)
        assert_same(copy.deepcopy(model)(pixel_values), expected, atol=1e-6, rtol=1e-5)
        assert_same(model.fuse_for_inference()(pixel_values), expected, atol=1e-4, rtol=1e-4)
    assert type(AutoBackbone.from_config(variant.config())) is variant.backbone_class


def test_gradient_checkpointing_changes_nothing(variant):
    model = stirred(variant.classifier_class(variant.config())).train()
    pixel_values, gradients = torch.randn(2, 3, 40, 56), []
    for enabled in (False, True):
        if enabled:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(pixel_values, labels=torch.tensor([1, 2])).loss.backward()
        gradients.append([value.grad.clone() for value in model.parameters()])
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def test_bfloat16(variant):
    model = stirred(variant.classifier_class(variant.config())).bfloat16()
    assert model(torch.randn(1, 3, 57, 90)).logits.isfinite().all()


# --- configs and keys


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer_types": ["full_attention"]}, r"layer_types must be one of .* for each of the 6 layers"),
        ({"layer_types": ["linear_attention"] * 6}, "layer_types must be one of"),
        ({"num_group_tokens": [4, 4]}, r"num_group_tokens must be one positive number for each of the 1 GP Blocks"),
        ({"window_size": 0}, "window_size must be at least 1, got 0"),
        ({"patch_size": 7}, "patch_size must be at least 2, and even .* got 7"),
        ({"stem_type": "stone"}, "stem_type"),
        ({"use_class_token": True}, "use_class_token must be false unless"),
        ({"group_propagation_depth": 0}, "group_propagation_depth must be at least 1"),
        ({"decoder_input_scale": 0}, "decoder_input_scale must be at least 1"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be at most 1000"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_invalid_configs(fields, message):
    with pytest.raises((StrictDataclassError, ValueError), match=message):
        MIXED.config(**fields)


def test_group_layers_follow_from_layer_types():
    config = MIXED.config(group_layer_indices=[0])
    assert list(config.group_layer_indices) == [5]
    assert list(PLAIN.config(num_group_tokens=[4]).num_group_tokens) == []
    again = GPViTAblationConfig.from_dict(COARSE.config().to_dict())
    assert again.to_dict() == COARSE.config().to_dict()


def test_keys_of_the_main_models_are_main_models():
    plain = {"l1-lepe-gp", "l1-propagation-mixer", "l1-groups-16-32-32-64", "gpvit-nano-lepe-gp"}
    assert plain <= set(variants())
    for key in plain:
        with torch.device("meta"):
            assert type(build_model(key)) is GPVIT.classifier_class


def test_unknown_keys():
    with pytest.raises(ValueError, match="Unknown variant 'l1-windows-none'; did you mean l1-window-none"):
        build_model("l1-windows-none")
    with pytest.raises(ValueError, match="GPViTAblationConfig has no 'windows'"):
        build_model("l1-window-none", windows=3)
