# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""HRNet with transformer blocks: stem, fusion, and the blocks of CSWin and MiT."""

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn

from families import trained
from hf_gpvit import HRViTConfig
from hf_gpvit.ablations.configuration_hrnet_vit import HRNetViTConfig
from hf_gpvit.ablations.modeling_hrnet_vit import (
    ConvolutionReduction,
    CSWinAttention,
    HRNetViTEmbeddings,
    HRNetViTFusion,
    HRNetViTModel,
    MiTAttention,
    PoolingReduction,
)
from hf_gpvit.models.modeling_hrvit import HRViTAttention
from hrvit_variants import HRNET


def convolved(convolution, states):
    return convolution(states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_stem_is_two_convolutions_and_bottlenecks():
    embeddings = trained(HRNetViTEmbeddings(HRNetViTConfig())).eval()
    assert embeddings(torch.zeros(1, 3, 45, 61)).shape == (1, 256, 12, 16)
    first, *others = embeddings.stem[2:]
    assert len(others) == 3
    assert first.reduction.convolution.weight.shape == (64, 64, 1, 1)
    assert not any(list(bottleneck.shortcut.parameters()) for bottleneck in others)


@torch.no_grad()
def test_fusion_as_written_out():
    """Convolutions of stride 2 one after the other, or a pointwise one and nearest neighbours; then ReLU."""
    channels = [8, 12]
    fusion = trained(HRNetViTFusion(HRNET.config(), channels, [*channels, 16])).eval()
    maps = torch.randn(2, 5, 7, 8), torch.randn(2, 3, 4, 12)
    finer, coarser = (states.permute(0, 3, 1, 2) for states in maps)

    def sent(block, states, stride=1):
        weight = block.convolution.weight
        assert block.convolution.bias is None
        return block.batch_norm(F.conv2d(states, weight, stride=stride, padding=weight.shape[-1] // 2))

    up = sent(fusion.paths[0]["1"].pointwise, coarser).repeat_interleave(2, 2).repeat_interleave(2, 3)
    first, second = fusion.paths[2]["0"].convolutions
    assert first.convolution.weight.shape == (8, 8, 3, 3)
    down = sent(second, sent(first, finer, 2).relu(), 2)
    expected = [
        finer + up[:, :, :5, :7],
        coarser + sent(fusion.paths[1]["0"].convolutions[0], finer, 2),
        down + sent(fusion.paths[2]["1"].convolutions[0], coarser, 2),
    ]
    for found, written in zip(fusion(maps), expected, strict=True):
        close(found.permute(0, 3, 1, 2), written.relu())


@pytest.mark.parametrize("grid", [(6, 8), (5, 7), (1, 1)])
@torch.no_grad()
def test_cross_shaped_attention_is_hrvits_without_its_inventions(grid):
    config = HRNET.config(hidden_sizes=[8, 16, 16, 24])
    attention, reference = CSWinAttention(config, 1), HRViTAttention(HRViTConfig(**reference_fields(config)), 1)
    nn.init.zeros_(reference.convolution.weight)
    nn.init.zeros_(reference.convolution.bias)
    reference.norm, reference.projection = nn.Identity(), nn.Identity()
    attention.projection = nn.Identity()
    query, value = (states.chunk(2) for states in (reference.query_value.weight, reference.query_value.bias))
    attention.qkv.weight.copy_(torch.cat([query[0], query[1], query[1]]))
    attention.qkv.bias.copy_(torch.cat([value[0], value[1], value[1]]))
    states = torch.randn(2, *grid, 16)
    values = attention.qkv(states).chunk(3, dim=-1)[-1]
    expected = attention(states) - convolved(attention.position_encoding, values)
    close(reference(states), F.hardswish(expected))


def reference_fields(config):
    names = ("hidden_sizes", "stripe_widths", "mlp_ratios", "attention_head_dim", "initializer_range", "num_blocks")
    return {name: getattr(config, name) for name in names}


@pytest.mark.parametrize("kind", ["pooling", "depthwise", "full"])
@pytest.mark.parametrize("grid", [(6, 9), (5, 7), (1, 1), (3, 12)])
@torch.no_grad()
def test_reduced_attention_as_written_out(grid, kind):
    """Keys and values come from a smaller map, of which the last cells may be less than whole."""
    config = HRNET.config(attention_type="reduced", reduction_type=kind)
    attention = MiTAttention(config, branch=0)
    states = torch.randn(2, *grid, 8)
    reduced = attention.reduction(states)
    assert reduced.shape == (2, -(-grid[0] // 3), -(-grid[1] // 3), 8)
    heads = [
        tokens.flatten(1, 2).unflatten(-1, (4, 2)).transpose(1, 2)
        for tokens in (attention.query(states), *attention.key_value(reduced).chunk(2, dim=-1))
    ]
    weights = (heads[0] @ heads[1].transpose(-1, -2) / 2**0.5).softmax(-1)
    output = (weights @ heads[2]).transpose(1, 2).flatten(2).unflatten(1, grid)
    close(attention(states), attention.projection(output))


@torch.no_grad()
def test_convolutions_reduce_as_a_mean_does_where_they_are_one():
    states = torch.randn(2, 6, 9, 8)
    pooled = PoolingReduction(HRNET.config(), 8, 3)(states)
    close(pooled[:, 0, 0], states[:, :3, :3].mean(dim=(1, 2)))
    for kind in ("depthwise", "full"):
        reduction = ConvolutionReduction(HRNET.config(reduction_type=kind), 8, 3)
        nn.init.zeros_(reduction.convolution.weight)
        nn.init.zeros_(reduction.convolution.bias)
        weight = reduction.convolution.weight
        for channel in range(8):
            weight[channel, channel if kind == "full" else 0] = 1 / 9
        close(reduction(states), F.layer_norm(pooled, (8,)))


@torch.no_grad()
def test_a_reduction_by_one_is_none():
    for kind in ("pooling", "depthwise", "full"):
        attention = MiTAttention(HRNET.config(reduction_type=kind), branch=3)
        assert isinstance(attention.reduction, nn.Identity)


def test_sizes_of_the_presets():
    """One module of two branches, four of three, three of four: four blocks in each branch."""
    with torch.device("meta"):
        for name, width in {"hrnet18": 18, "hrnet32": 32, "hrnet40": 40}.items():
            model = HRNetViTModel(HRNetViTConfig.from_preset(name))
            branches = [layer.branches for layer in model.layers]
            assert list(map(len, branches)) == [2, 3, 3, 3, 3, 4, 4, 4]
            assert {len(branch.blocks) for layer in branches for branch in layer} == {4}
            assert [branch.norm.normalized_shape[0] for branch in branches[-1]] == [width * 2**i for i in range(4)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_sizes": [17, 36, 72, 144]}, "hidden_sizes"),
        ({"attention_head_dim": 8}, "attention_head_dim"),
        ({"reduction_ratios": [4, 2, 1]}, "reduction_ratios"),
        ({"reduction_ratios": [8, 4, 2, 0]}, "reduction_ratios"),
        ({"num_stem_bottlenecks": 0}, "num_stem_bottlenecks"),
        ({"stem_hidden_sizes": [64, 250]}, "stem_hidden_sizes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_fields_are_checked(fields, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        HRNetViTConfig(**fields)
