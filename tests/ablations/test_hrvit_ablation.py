# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""HRViT without each of its ideas: what takes their places, and that the rest is HRViT."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from torch import nn

from families import HRVIT, trained
from hf_gpvit.ablations.configuration_hrvit_ablation import HRViTAblationConfig
from hf_gpvit.ablations.modeling_hrvit_ablation import (
    HRViTAblationModel,
    HRViTFullPatchEmbedding,
    HRViTMLP,
    HRViTNeighborFusion,
)
from hf_gpvit.models.modeling_hrvit import HRViTFusion, HRViTMixCFN, HRViTPatchEmbedding
from hrvit_variants import HRVIT_ABLATION, LEPE


def trunk(**fields):
    """A tiny trunk in eval mode with no weight at 0 or 1 that training would move."""
    return trained(HRViTAblationModel(HRVIT_ABLATION.config(**fields))).eval()


def maps(model, size=(45, 61)):
    pixel_values = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(pixel_values, output_hidden_states=True).hidden_states


def blocks(model):
    return [block for layer in model.layers for branch in layer.branches for block in branch.blocks]


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_nothing_taken_out_is_hrvit():
    """With the names of its weights, so that those of one load into the other."""
    for head in ("segformer", "upernet"):
        expected = trained(HRVIT.segmentor_class(HRVIT.config(decode_head_type=head))).eval()
        model = HRVIT_ABLATION.segmentor_class(HRVIT_ABLATION.config(decode_head_type=head)).eval()
        model.load_state_dict(expected.state_dict())
        pixel_values = torch.randn(2, 3, 45, 61)
        with torch.no_grad():
            close(model(pixel_values).logits, expected(pixel_values).logits, 0)


@torch.no_grad()
def test_keys_that_are_copies_of_the_values_are_shared_ones():
    shared, unshared = trunk(), trunk(share_key_value=False)
    state = shared.state_dict()
    for name in [name for name in state if "query_value" in name]:
        query, value = state.pop(name).chunk(2)
        state[name.replace("query_value", "query_key_value")] = torch.cat([query, value, value])
    unshared.load_state_dict(state)
    close(maps(unshared), maps(shared))


@torch.no_grad()
def test_keys_have_a_projection_of_their_own():
    model = trunk(share_key_value=False)
    before = maps(model)
    for block in blocks(model):
        query, key, value = block.attention.query_key_value.weight.chunk(3)
        key.mul_(-1)
    assert not torch.allclose(maps(model)[0], before[0], atol=1e-3)


@torch.no_grad()
def test_sparse_fusion_is_dense_fusion_with_silent_far_paths():
    dense, sparse = trunk(), trunk(fusion_paths="neighbors")
    for layer in dense.layers:
        for target, paths in enumerate(layer.fusion.paths):
            for source, path in paths.items():
                if abs(int(source) - target) > 1:
                    nn.init.zeros_(path.pointwise.batch_norm.weight)
                    nn.init.zeros_(path.pointwise.batch_norm.bias)
    assert not sparse.load_state_dict(dense.state_dict(), strict=False).missing_keys
    close(maps(sparse), maps(dense))


def test_a_new_branch_is_born_of_the_one_before_it():
    fusion = HRViTNeighborFusion(HRVIT_ABLATION.config(), [8, 16, 16], [8, 16, 16, 24])
    assert [list(paths) for paths in fusion.paths] == [["1"], ["0", "2"], ["1"], ["2"]]
    fusion = HRViTFusion(HRVIT_ABLATION.config(), [8, 16, 16], [8, 16, 16, 24])
    assert [list(paths) for paths in fusion.paths] == [["1", "2"], ["0", "2"], ["0", "1"], ["0", "1", "2"]]


@torch.no_grad()
def test_one_convolution_can_embed_as_two_do():
    separable = HRViTPatchEmbedding(HRVIT_ABLATION.config(), 6, 8)
    full = HRViTFullPatchEmbedding(HRVIT_ABLATION.config(), 6, 8)
    nn.init.zeros_(separable.pointwise.bias)  # of which the zeros around a map have nothing
    full.convolution.weight.copy_(separable.depthwise.weight * separable.pointwise.weight)
    full.convolution.bias.copy_(separable.depthwise.bias)
    states = torch.randn(2, 5, 7, 6)
    close(full(states), separable(states))


@torch.no_grad()
def test_an_mlp_is_mixcfn_whose_convolutions_pass_on_what_they_get():
    mixed, plain = HRViTMixCFN(HRVIT_ABLATION.config(), 1), HRViTMLP(HRVIT_ABLATION.config(), 1)
    for convolution in mixed.convolutions():
        nn.init.dirac_(convolution.weight, groups=convolution.groups)
        nn.init.zeros_(convolution.bias)
    plain.load_state_dict({name: value for name, value in mixed.state_dict().items() if "convolution" not in name})
    states = torch.randn(2, 5, 7, 16)
    close(plain(states), mixed(states))


@torch.no_grad()
def test_what_is_taken_out_adds_nothing():
    """Without the parallel path and without the shortcut: HRViT with their last weights at zero."""
    full = trunk()
    for block in blocks(full):
        nn.init.zeros_(block.attention.convolution.weight)
        nn.init.zeros_(block.attention.convolution.bias)
    without = trunk(use_parallel_convolution=False)
    assert not without.load_state_dict(full.state_dict(), strict=False).missing_keys
    close(maps(without), maps(full))
    for block in blocks(full):
        nn.init.zeros_(block.shortcut.left.weight)
        nn.init.zeros_(block.shortcut.left.bias)
    without = trunk(use_parallel_convolution=False, use_diversity_shortcut=False)
    assert not without.load_state_dict(full.state_dict(), strict=False).missing_keys
    close(maps(without), maps(full))


@torch.no_grad()
def test_hardswish_passes_on_what_is_above_three():
    """So with large values attention without its nonlinearity, or LePE, is attention with it."""
    states = torch.randn(2, 9, 7, 16)
    full = trunk()
    for fields in ({"use_attention_nonlinearity": False}, LEPE):
        plain = trunk(**fields)
        attention, other = blocks(full)[2].attention, blocks(plain)[2].attention
        channels = attention.projection.in_features
        attention.query_value.bias[channels:] = 20
        nn.init.constant_(attention.convolution.weight, 0.01)
        other.load_state_dict(attention.state_dict())
        close(other(states), attention(states))
        attention.query_value.bias[channels:] = 0
        other.query_value.bias[channels:] = 0
        assert not torch.allclose(other(states), attention(states), atol=1e-2)


def test_without_its_batch_norm_attention_starts_as_any_residual_path():
    with_norm, without = trunk(), HRViTAblationModel(HRVIT_ABLATION.config(use_attention_nonlinearity=False))
    assert all(isinstance(block.batch_norm, nn.BatchNorm2d) for block in blocks(with_norm))
    assert not any(isinstance(block.batch_norm, nn.BatchNorm2d) for block in blocks(without))
    assert all(block.attention.projection.weight.any() for block in blocks(without))


def test_a_shortcut_that_is_not_there_asks_for_no_factor():
    with pytest.raises(StrictDataclassClassValidationError, match="power of two"):
        HRViTAblationConfig(hidden_sizes=[18, 36, 72, 144], attention_head_dim=9)
    config = HRViTAblationConfig(hidden_sizes=[18, 36, 72, 144], attention_head_dim=9, use_diversity_shortcut=False)
    with torch.device("meta"):
        assert HRViTAblationModel(config).num_parameters()
    with pytest.raises(StrictDataclassClassValidationError, match="hidden_sizes"):
        HRViTAblationConfig(hidden_sizes=[1, 64, 128, 256], use_diversity_shortcut=False)


@pytest.mark.parametrize(
    ("field", "value"), [("feed_forward_type", "conv"), ("fusion_paths", "none"), ("share_key_value", "no")]
)
def test_fields_are_checked(field, value):
    with pytest.raises(StrictDataclassFieldValidationError, match=field):
        HRViTAblationConfig(**{field: value})
