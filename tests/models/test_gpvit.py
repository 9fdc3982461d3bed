# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What is GPViT's own: stripes, GP Blocks, what it returns on request."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from families import GPVIT
from hf_gpvit import GPViTBackbone, GPViTForSemanticSegmentation, GPViTModel
from hf_gpvit.models.layers import DropPath
from hf_gpvit.models.modeling_gpvit import GPViTStripeAttention


def naive_stripe(module, query, key, value):
    """LePE attention of one stripe (B, h, w, C), written out."""
    batch, height, width, channels = query.shape
    heads = [
        states.flatten(1, 2).unflatten(-1, (module.num_heads, -1)).transpose(1, 2) for states in (query, key, value)
    ]
    weights = (heads[0] @ heads[1].transpose(-1, -2) / heads[0].shape[-1] ** 0.5).softmax(-1)
    output = (weights @ heads[2]).transpose(1, 2).reshape(batch, height, width, channels)
    convolution = module.position_encoding
    positions = F.conv2d(
        value.permute(0, 3, 1, 2), convolution.weight, convolution.bias, padding=1, groups=convolution.groups
    )
    return output + positions.permute(0, 2, 3, 1)


@pytest.mark.parametrize("stripe_width", [2, 4])
@pytest.mark.parametrize("grid", [(6, 8), (5, 7), (1, 1), (1, 6), (9, 2)])
@pytest.mark.parametrize("vertical", [True, False])
@torch.no_grad()
def test_stripes_as_written_out(grid, vertical, stripe_width):
    """The last stripe is narrower where the width does not divide the grid: nothing sees padding."""
    config = GPVIT.config(stripe_width=stripe_width)
    config._attn_implementation = "sdpa"
    module = GPViTStripeAttention(config, vertical)
    query, key, value = torch.randn(3, 2, *grid, config.hidden_size // 2)
    axis = 2 if vertical else 1
    stripes = [states.split(stripe_width, dim=axis) for states in (query, key, value)]
    expected = torch.cat([naive_stripe(module, *stripe) for stripe in zip(*stripes, strict=True)], dim=axis)
    output, _ = module(query, key, value)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_hidden_states_and_attentions():
    model = GPViTModel(GPVIT.config()).eval()
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        outputs = model(
            torch.randn(2, 3, 40, 50),  # a grid of 5 x 7 tokens
            output_hidden_states=True,
            output_attentions=True,
            output_group_attentions=True,
            output_ungroup_attentions=True,
        )
        assert [tuple(state.shape) for state in outputs.hidden_states] == [(2, 35, 24)] * 5
        torch.testing.assert_close(model.norm(outputs.hidden_states[-1]), outputs.last_hidden_state)
        vertical, horizontal = (2 * 4, 2, 10, 10), (2 * 3, 2, 14, 14)
        assert [tuple(weights.shape) for weights in outputs.attentions] == [vertical, horizontal] * 2
        assert [tuple(weights.shape) for weights in outputs.group_attentions] == [(2, 2, 6, 35), (2, 2, 5, 35)]
        assert [tuple(weights.shape) for weights in outputs.ungroup_attentions] == [(2, 2, 35, 6), (2, 2, 35, 5)]
        for weights in outputs.attentions + outputs.group_attentions + outputs.ungroup_attentions:
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        # the token that pads the last stripe of two columns gets no weight
        assert (outputs.attentions[0][3, :, :, 1::2] == 0).all()
        assert model(torch.randn(1, 3, 40, 50)).attentions is None


@torch.no_grad()
def test_attentions_of_heads_and_backbone():
    flags = {"output_attentions": True, "output_group_attentions": True, "output_ungroup_attentions": True}
    for model in GPVIT.models()[1:]:
        outputs = model(torch.randn(1, 3, 40, 40), **flags)
        assert [len(outputs[key]) for key in ("attentions", "group_attentions", "ungroup_attentions")] == [4, 2, 2]
        assert "hidden_states" not in outputs


@torch.no_grad()
def test_group_maps():
    for model in GPVIT.models():
        pixel_values = torch.randn(2, 3, 40, 50)
        maps = model.group_maps(pixel_values)
        assert model.token_grid(40, 50) == (5, 7)
        assert [tuple(group_map.shape) for group_map in maps] == [(2, 6, 5, 7), (2, 5, 5, 7)]
        weights = model.base_model(pixel_values, output_group_attentions=True).group_attentions
        torch.testing.assert_close(maps[1].flatten(2), weights[1].mean(1))


def test_group_layers_end_in_relu():
    model = GPViTModel(GPVIT.config()).eval()
    outputs = model(torch.randn(1, 3, 40, 40), output_hidden_states=True)
    assert (outputs.hidden_states[2] >= 0).all()
    assert (outputs.hidden_states[1] < 0).any()


@torch.no_grad()
def test_drop_path_takes_the_right_branches(monkeypatch):
    """With all branches dropped, what remains is exactly what the official layers leave outside drop path."""
    model = GPViTModel(GPVIT.config()).eval()
    monkeypatch.setattr(DropPath, "forward", lambda self, hidden_states: torch.zeros_like(hidden_states))
    grid, tokens, groups = (5, 5), torch.randn(2, 25, 24), torch.randn(2, 6, 24)

    local = model.layers[0]
    as_map = tokens.transpose(1, 2).unflatten(-1, grid)
    torch.testing.assert_close(local(tokens, grid), local.convolution(as_map).flatten(2).transpose(1, 2))

    propagation = model.layers[1].propagation
    torch.testing.assert_close(propagation.mixer(groups), groups)
    expected = propagation.projection(torch.cat([tokens, torch.zeros_like(tokens)], dim=-1))
    torch.testing.assert_close(propagation(tokens), expected)


def test_drop_path_drops_samples_and_keeps_the_mean():
    drop_path = DropPath(0.25).train()
    output = drop_path(torch.ones(4000, 3, 2))
    per_sample = output[:, 0, 0]
    assert torch.equal(output, per_sample[:, None, None].expand_as(output))
    torch.testing.assert_close(per_sample.unique(), torch.tensor([0, 1 / 0.75]))
    assert per_sample.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop_path.eval()(torch.ones(4, 1)), torch.ones(4, 1))


def test_drop_path_rates_grow_linearly():
    model = GPViTModel(GPVIT.config(drop_path_rate=0.3))
    rates = [
        layer.drop_path.rate if hasattr(layer, "drop_path") else layer.propagation.drop_path.rate
        for layer in model.layers
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert model.layers[2].propagation.mixer.drop_path.rate == pytest.approx(0.2)


def test_both_poolings():
    config = GPVIT.config(pooling_type="mean")
    outputs = GPViTModel(config).eval()(torch.randn(2, 3, 40, 40))
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean(1))
    assert GPViTModel(config, add_pooling_layer=False)(torch.randn(1, 3, 40, 40)).pooler_output is None


def test_only_inner_stages_have_norms_of_their_own():
    backbone = GPViTBackbone(GPVIT.config(out_features=["stem", "stage2", "stage4"]))
    assert list(backbone.feature_norms) == ["stem", "stage2"]
    assert backbone.channels == [24, 24, 24]
    outputs = backbone(torch.randn(1, 3, 40, 50), output_hidden_states=True)
    assert [tuple(feature_map.shape) for feature_map in outputs.feature_maps] == [(1, 24, 5, 7)] * 3
    norm = backbone.feature_norms["stage2"]
    expected = norm(outputs.hidden_states[2]).transpose(1, 2).unflatten(-1, (5, 7))
    torch.testing.assert_close(outputs.feature_maps[1], expected)
    backbone.out_features = ["stage2", "stage4"]
    assert len(backbone(torch.randn(1, 3, 40, 40)).feature_maps) == 2
    backbone.out_features = ["stage1"]
    with pytest.raises(ValueError, match=r"out_features .*\['stage1'\].*norms for \['stem', 'stage2'\]"):
        backbone(torch.randn(1, 3, 40, 40))


def test_a_segmentor_keeps_the_stages_it_was_built_with():
    model = GPViTForSemanticSegmentation(GPVIT.config()).eval()
    pixel_values = torch.randn(1, 3, 40, 40)
    expected = model(pixel_values).logits
    model.config.out_features = ["stage1"]
    assert torch.equal(model(pixel_values).logits, expected)


def test_group_maps_want_eval_mode():
    with pytest.raises(ValueError, match="eval mode.*training=True"):
        GPViTModel(GPVIT.config()).train().group_maps(torch.randn(1, 3, 40, 40))


def test_upernet_auxiliary_head_reads_the_last_map_and_only_for_the_loss():
    model = GPViTForSemanticSegmentation(GPVIT.config(decode_head_type="upernet"))
    assert model.auxiliary_head.in_index == 3
    calls = []
    model.auxiliary_head.register_forward_hook(lambda *args: calls.append(1))
    pixel_values = torch.randn(2, 3, 40, 40)
    model(pixel_values)
    assert not calls
    loss = model(pixel_values, labels=torch.randint(5, (2, 40, 40))).loss
    assert calls
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.auxiliary_head.parameters())


def test_dropout_before_the_pixel_classifiers():
    for head in ("segformer", "upernet"):
        config = GPVIT.config(decode_head_type=head, decoder_dropout_rate=0.9)
        model = GPViTForSemanticSegmentation(config)
        pixel_values = torch.randn(2, 3, 40, 40)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
        assert not torch.equal(model(pixel_values).logits, model(pixel_values).logits)
        model.eval()
        assert torch.equal(model(pixel_values).logits, model(pixel_values).logits)
