# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What is HRViT's own: stripes with keys as values, its two shortcuts, fusion, heads."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from families import HRVIT, awake
from hf_gpvit import (
    HRViTBackbone,
    HRViTConfig,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTModel,
)
from hf_gpvit.models.configuration_hrvit import shortcut_factor
from hf_gpvit.models.layers import DropPath
from hf_gpvit.models.modeling_hrvit import (
    HRViTAttention,
    HRViTFusion,
    HRViTMixCFN,
    HRViTShortcut,
    HRViTStripeAttention,
)


GRIDS = [(6, 8), (5, 7), (1, 1), (1, 6), (9, 2)]


def config(**overrides):
    built = HRVIT.config(**overrides)
    built._attn_implementation = "sdpa"
    return built


def naive_stripe(query, value, num_heads):
    """Attention of one stripe (B, h, w, C) whose keys are its values, written out."""
    heads = [states.flatten(1, 2).unflatten(-1, (num_heads, -1)).transpose(1, 2) for states in (query, value)]
    weights = (heads[0] @ heads[1].transpose(-1, -2) / heads[0].shape[-1] ** 0.5).softmax(-1)
    return (weights @ heads[1]).transpose(1, 2).reshape(query.shape)


def naive_stripes(query, value, width, num_heads, vertical):
    """The last stripe is narrower where the width does not divide the map."""
    axis = 2 if vertical else 1
    stripes = zip(query.split(width, dim=axis), value.split(width, dim=axis), strict=True)
    return torch.cat([naive_stripe(*stripe, num_heads) for stripe in stripes], dim=axis)


def convolved(convolution, states):
    return convolution(states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@pytest.mark.parametrize("stripe_width", [1, 2, 3, 7])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("vertical", [True, False])
@torch.no_grad()
def test_stripes_as_written_out(grid, vertical, stripe_width):
    module = HRViTStripeAttention(config(stripe_widths=[1, 2, stripe_width, 1]), branch=2, vertical=vertical)
    query, value = torch.randn(2, 2, *grid, 8)
    expected = naive_stripes(query, value, stripe_width, 2, vertical)
    output, _ = module(query, value)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
@torch.no_grad()
def test_attention_as_written_out(grid):
    """Horizontal stripes for the first half; the convolution sees the whole map; Hardswish before and after."""
    module = HRViTAttention(config(), branch=1)
    states = torch.randn(2, *grid, 16)
    query, value = module.query_value(F.layer_norm(states, (16,), eps=1e-5)).split(16, dim=-1)
    horizontal = naive_stripes(query[..., :8], value[..., :8], 2, 2, vertical=False)
    vertical = naive_stripes(query[..., 8:], value[..., 8:], 2, 2, vertical=True)
    output = torch.cat([horizontal, vertical], dim=-1)
    output = output + convolved(module.convolution, value * F.relu6(value + 3) / 6)
    expected = module.projection(output * F.relu6(output + 3) / 6)
    torch.testing.assert_close(module(states), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_heads_are_no_wider_than_half_of_the_channels():
    model = HRViTModel(HRViTConfig.from_preset("hrvit-b1", num_blocks=[[1], [1, 1], [1, 1, 1], [1, 1, 1, 1]]))
    attentions = [branch.blocks[0].attention for branch in model.layers[-1].branches]
    assert [attention.horizontal.head_dim for attention in attentions] == [16, 32, 32, 32]
    assert [attention.vertical.num_heads for attention in attentions] == [1, 1, 2, 4]


@pytest.mark.parametrize(
    ("channels", "factor"),
    [(32, 8), (48, 8), (64, 8), (96, 8), (128, 16), (240, 16), (256, 16), (384, 16), (512, 32)],
)
@torch.no_grad()
def test_shortcut_is_a_kronecker_product_with_an_activation(channels, factor):
    assert shortcut_factor(channels) == factor
    module = HRViTShortcut(config(hidden_sizes=[8, 16, channels, 24], attention_head_dim=512), branch=2)
    states = torch.randn(2, 3, 4, channels)
    inner = states @ torch.kron(torch.eye(channels // factor), module.right.weight).T
    inner = F.gelu(inner + module.right.bias.repeat(channels // factor))
    expected = inner @ torch.kron(module.left.weight, torch.eye(factor)).T
    expected = expected + module.left.bias.repeat_interleave(factor)
    torch.testing.assert_close(module(states), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_mixed_scale_network_as_written_out():
    module = HRViTMixCFN(config(), branch=1)
    states = torch.randn(2, 5, 6, 16)
    hidden = module.fc1(F.layer_norm(states, (16,), eps=1e-5))
    small, large = convolved(module.convolution3, hidden[..., :12]), convolved(module.convolution5, hidden[..., 12:])
    expected = module.fc2(F.gelu(torch.cat([small, large], dim=-1)))
    torch.testing.assert_close(module(states), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 16), (5, 7), (9, 1), (3, 12)])
@torch.no_grad()
def test_fusion_as_written_out(size):
    """Every output has the grid of its stride, whatever the size: upsampled maps are cut at the bottom and right."""
    channels = [8, 16, 16]
    fusion = HRViTFusion(config(), channels, [*channels, 24]).eval()
    for module in fusion.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
    grids = [tuple(-(-side // 2**index) for side in size) for index in range(4)]
    maps = tuple(torch.randn(2, *grid, width) for grid, width in zip(grids, channels, strict=False))
    for target, fused in enumerate(fusion(maps)):
        expected = maps[target] if target < 3 else 0
        for source, states in enumerate(maps):
            if source == target:
                continue
            path = fusion.paths[target][str(source)]
            if source < target:
                stride = 2 ** (target - source)
                convolution = path.depthwise.convolution
                assert convolution.kernel_size == (stride + 1, stride + 1)
                sent = F.conv2d(
                    states.permute(0, 3, 1, 2), convolution.weight, None, stride, stride // 2, groups=states.shape[-1]
                )
                sent = path.pointwise(path.depthwise.batch_norm(sent)).permute(0, 2, 3, 1)
            else:
                sent = convolved(path.pointwise, states)
                sent = sent.repeat_interleave(2 ** (source - target), 1).repeat_interleave(2 ** (source - target), 2)
                sent = sent[:, : grids[target][0], : grids[target][1]]
            expected = expected + sent
        assert fused.shape[1:3] == grids[target]
        torch.testing.assert_close(fused, F.gelu(expected), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_new_block_is_its_shortcuts():
    """The attention's BatchNorm starts at zero."""
    block = HRViTModel(HRVIT.config()).eval().layers[0].branches[0].blocks[0]
    states = torch.randn(2, 5, 6, 8)
    expected = states + block.shortcut(states)
    torch.testing.assert_close(block(states), expected + block.mlp(expected))


@torch.no_grad()
def test_drop_path_takes_the_right_branches(monkeypatch):
    """Attention and diversity-enhanced shortcut are dropped together, then the feed-forward network."""
    block = awake(HRViTModel(HRVIT.config())).layers[0].branches[0].blocks[0]
    dropped = []
    monkeypatch.setattr(DropPath, "forward", lambda self, states: dropped.append(states) or torch.zeros_like(states))
    states = torch.randn(2, 5, 6, 8)
    assert torch.equal(block(states), states)
    attention = convolved(block.batch_norm, block.attention(states))
    torch.testing.assert_close(dropped[0], attention + block.shortcut(states))
    torch.testing.assert_close(dropped[1], block.mlp(states))


@torch.no_grad()
def test_hidden_states_and_attentions():
    model = awake(HRViTModel(HRVIT.config()))
    pixel_values = torch.randn(2, 3, 40, 50)  # grids of 10 x 13, 5 x 7, 3 x 4 and 2 x 2
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        outputs = model(pixel_values, output_hidden_states=True, output_attentions=True, output_stem_states=True)
        shapes = [(2, 8, 10, 13), (2, 16, 5, 7), (2, 16, 3, 4), (2, 24, 2, 2)]
        assert [tuple(state.shape) for state in outputs.hidden_states] == shapes
        assert torch.equal(outputs.last_hidden_state, outputs.hidden_states[-1])
        torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean((2, 3)))
        assert tuple(outputs.stem_states[0].shape) == (2, 12, 10, 13)
        first = [(2 * 10, 1, 13, 13), (2 * 13, 1, 10, 10)]
        second = [(2 * 3, 2, 14, 14), (2 * 4, 2, 10, 10)]
        assert [tuple(weights.shape) for weights in outputs.attentions[:6]] == first + first + second
        assert len(outputs.attentions) == 2 * sum(map(sum, model.config.num_blocks))
        for weights in outputs.attentions:
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        # the row that pads the last stripe of two rows gets no weight
        assert (outputs.attentions[4][2, :, :, 7:] == 0).all()
    assert HRViTModel(HRVIT.config(), add_pooling_layer=False)(pixel_values).pooler_output is None


@torch.no_grad()
def test_heads_and_backbone_hand_on_what_the_trunk_records():
    for model in HRVIT.models()[1:]:
        outputs = model(torch.randn(1, 3, 40, 40), output_attentions=True)
        assert len(outputs.attentions) == 22
        assert "hidden_states" not in outputs
        assert len(model(torch.randn(1, 3, 40, 40), output_hidden_states=True).hidden_states) == 4


@torch.no_grad()
def test_backbone_stages_are_the_stem_and_the_branches():
    backbone = HRViTBackbone(HRVIT.config(out_features=["stem", "stage1", "stage4"])).eval()
    assert backbone.channels == [12, 8, 24]
    pixel_values = torch.randn(1, 3, 40, 50)
    outputs = backbone(pixel_values, output_hidden_states=True)
    assert [tuple(maps.shape) for maps in outputs.feature_maps] == [(1, 12, 10, 13), (1, 8, 10, 13), (1, 24, 2, 2)]
    assert torch.equal(outputs.feature_maps[0], backbone.hrvit.embeddings(pixel_values))
    assert torch.equal(outputs.feature_maps[2], outputs.hidden_states[3])
    backbone.out_features = ["stage2"]
    assert torch.equal(backbone(pixel_values).feature_maps[0], outputs.hidden_states[1])


@torch.no_grad()
def test_a_segmentor_keeps_the_stages_it_was_built_with():
    model = HRViTForSemanticSegmentation(HRVIT.config(out_features=["stem", "stage2"])).eval()
    pixel_values = torch.randn(1, 3, 40, 44)
    expected = model(pixel_values).logits
    assert tuple(expected.shape) == (1, 5, 10, 11)
    model.config.out_features = ["stage4"]
    assert torch.equal(model(pixel_values).logits, expected)


def test_upernet_auxiliary_head_reads_the_third_map_and_only_for_the_loss():
    model = HRViTForSemanticSegmentation(HRVIT.config(decode_head_type="upernet"))
    assert model.auxiliary_head.in_index == 2
    calls = []
    model.auxiliary_head.register_forward_hook(lambda *args: calls.append(1))
    pixel_values = torch.randn(2, 3, 40, 40)
    model(pixel_values)
    assert not calls
    model(pixel_values, labels=torch.randint(5, (2, 40, 40))).loss.backward()
    assert calls
    assert all(parameter.grad is not None for parameter in model.auxiliary_head.parameters())


def test_dropout_before_the_classifiers():
    pixel_values = torch.randn(2, 3, 40, 40)
    classifier = HRViTForImageClassification(HRVIT.config(classifier_dropout_rate=0.9))
    segmentors = [
        HRViTForSemanticSegmentation(HRVIT.config(decode_head_type=head, decoder_dropout_rate=0.9))
        for head in ("segformer", "upernet")
    ]
    for model in (classifier, *segmentors):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
        assert not torch.equal(model(pixel_values).logits, model(pixel_values).logits)
        model.eval()
        assert torch.equal(model(pixel_values).logits, model(pixel_values).logits)


def test_nano_models_have_less_than_a_million_parameters():
    for cls in (HRViTModel, HRViTForImageClassification, HRViTForSemanticSegmentation):
        for head in ("segformer", "upernet"):
            nano = HRViTConfig.from_preset("hrvit-nano", num_labels=150, decode_head_type=head)
            with torch.device("meta"):
                assert cls(nano).num_parameters() < 1_000_000


@pytest.mark.parametrize(
    ("preset", "head", "width"),
    [
        ("hrvit-b1", "segformer", 256),
        ("hrvit-b2", "segformer", 256),
        ("hrvit-b3", "segformer", 768),
        ("hrvit-b3", "upernet", 512),
        ("hrvit-nano", "upernet", 64),
    ],
)
def test_head_widths(preset, head, width):
    """They depend on the head: a saved SegFormer b3 becomes an UPerNet of width 512."""
    with torch.device("meta"):
        model = HRViTForSemanticSegmentation(HRViTConfig.from_preset(preset, decode_head_type=head))
    assert model.decode_head.classifier.in_channels == width
