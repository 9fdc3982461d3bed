# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The adapter and the heads once more, from their weights, by plain functions and loops over points."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import slow_detection as slow
from families import trained
from hf_gpvit.models.detection_heads import BoxHead, FeaturePyramid, MaskHead, RetinaHead, RPNHead
from hf_gpvit.models.layers import DropPath
from hf_gpvit.models.modeling_gpvit_adapter import GPViTAdapterBackbone
from small_detectors import KINDS, small_config


SIZES = [(64, 96), (50, 70), (31, 9)]
CLOSE = {"rtol": 1e-4, "atol": 2e-4}


class Weights:
    """Functions that take their weights from a module by name."""

    def __init__(self, module):
        self.state = module.state_dict()

    def linear(self, name, values):
        return F.linear(values, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def layer_norm(self, name, values):
        return F.layer_norm(values, values.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], 1e-6)

    def convolve(self, name, values, **kwargs):
        weight = self.state[f"{name}.weight"]
        return F.conv2d(values, weight, self.state.get(f"{name}.bias"), padding=weight.shape[-1] // 2, **kwargs)

    def batch_norm(self, name, values):
        weight, bias, mean, variance = (
            self.state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (values - mean) / (variance + 1e-5).sqrt() * weight + bias

    def normed(self, name, values, **kwargs):
        return self.batch_norm(f"{name}.batch_norm", self.convolve(f"{name}.convolution", values, **kwargs))


def attend(weights, name, queries, features, places, grids):
    """(N, C) queries and features: what queries see of the maps."""
    seen = slow.deformable_attention(
        weights.linear(f"{name}.sampling_offsets", queries).double().numpy(),
        weights.linear(f"{name}.attention_weights", queries).double().numpy(),
        weights.linear(f"{name}.value", features).double().numpy(),
        places,
        grids,
        heads=4,
    )
    return weights.linear(f"{name}.projection", torch.from_numpy(seen).float())


def extract(weights, name, features, tokens, places, grids):
    queries, values = (
        weights.layer_norm(f"{name}.query_norm", features),
        weights.layer_norm(f"{name}.feature_norm", tokens),
    )
    features = features + attend(weights, f"{name}.attention", queries, values, places, grids[:1])
    hidden = weights.linear(f"{name}.mlp.fc1", weights.layer_norm(f"{name}.mlp_norm", features))
    maps = [
        weights.convolve(f"{name}.mlp.convolution", values.T.reshape(1, -1, *grid), groups=hidden.shape[1])
        for values, grid in zip(hidden.split([math.prod(grid) for grid in grids]), grids, strict=True)
    ]
    hidden = torch.cat([values[0].flatten(1).T for values in maps])
    return features + weights.linear(f"{name}.mlp.fc2", F.gelu(hidden))


def backbone_maps(model, pixel_values):
    """The four maps of one image."""
    weights = Weights(model)
    hidden = pixel_values
    for layer, stride in enumerate((2, 1, 1)):
        hidden = weights.normed(f"spatial_prior.stem.{layer}", hidden, stride=stride).relu()
    maps = [F.max_pool2d(hidden, 3, stride=2, padding=1)]
    for stage in ("stage2", "stage3", "stage4"):
        maps.append(weights.normed(f"spatial_prior.downsampling.{stage}", maps[-1], stride=2).relu())
    maps = [
        weights.convolve(f"spatial_prior.projections.stage{index + 1}", values) for index, values in enumerate(maps)
    ]
    grids = [tuple(values.shape[-2:]) for values in maps[1:]]
    sizes = [math.prod(grid) for grid in grids]
    features = torch.cat(
        [values[0].flatten(1).T + row for values, row in zip(maps[1:], model.level_embeddings, strict=True)]
    )
    places = sum(map(slow.cell_centres, grids), [])

    tokens = model.gpvit.embed(pixel_values)[0]
    for index, (first, last) in enumerate(model.config.interaction_indexes):
        name = f"interactions.{index}.injector"
        queries = weights.layer_norm(f"{name}.query_norm", tokens[0])
        values = weights.layer_norm(f"{name}.feature_norm", features)
        injected = attend(weights, f"{name}.attention", queries, values, places[: sizes[0]], grids)
        tokens = tokens + weights.state[f"{name}.layer_scale"] * injected
        for layer in range(first, last + 1):
            tokens = model.gpvit.layers[layer](tokens, grids[0])
        is_last = index == len(model.config.interaction_indexes) - 1
        for extractor in range(3 if is_last else 1):
            name = f"interactions.{index}.extractors.{extractor}"
            features = extract(weights, name, features, tokens[0], places, grids)

    maps[1:] = [values.T.reshape(1, -1, *grid) for values, grid in zip(features.split(sizes), grids, strict=True)]
    upsampling = model.state_dict()["pyramid.upsampling.weight"], model.state_dict()["pyramid.upsampling.bias"]
    height, width = maps[0].shape[-2:]
    maps[0] = maps[0] + F.conv_transpose2d(maps[1], *upsampling, stride=2)[..., :height, :width]
    tokens = tokens[0].T.reshape(1, -1, *grids[0])
    for index in range(4):
        resized = F.interpolate(tokens, size=maps[index].shape[-2:], mode="bilinear", align_corners=False)
        maps[index] = weights.batch_norm(f"pyramid.norms.stage{index + 1}", maps[index] + resized)
    return maps, tokens


@pytest.fixture(scope="module")
def backbone():
    """All weights matter, and heads look a few cells around."""
    torch.manual_seed(0)
    layers = {"num_hidden_layers": 3, "group_layer_indices": [1], "num_group_tokens": [6]}
    model = trained(GPViTAdapterBackbone(small_config(**layers, interaction_indexes=[[0, 1], [2, 2]]))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "sampling_offsets.weight" in name or "attention_weights" in name:
                parameter.normal_(std=0.3)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_adapter(backbone, size):
    pixel_values = torch.randn(2, 3, *size)
    found = backbone(pixel_values).feature_maps
    for image in range(2):
        expected, _ = backbone_maps(backbone, pixel_values[image : image + 1])
        for feature_map, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(feature_map[image], wanted[0], **CLOSE)


@torch.no_grad()
def test_tokens_at_the_size_of_each_map(backbone):
    """Where 32 divides the sides: means of 2x2, and of the middle 2x2 of 4x4."""
    tokens = torch.randn(1, 24, 8, 12)
    zeros = {f"stage{index + 1}": torch.zeros(1, 24, 16 >> index, 24 >> index) for index in range(4)}
    pyramid = backbone.pyramid
    weights = Weights(pyramid)
    found = pyramid(dict(zeros), tokens)
    half = (tokens[..., ::2, ::2] + tokens[..., 1::2, ::2] + tokens[..., ::2, 1::2] + tokens[..., 1::2, 1::2]) / 4
    middle = (
        tokens[..., 1::4, 1::4] + tokens[..., 2::4, 1::4] + tokens[..., 1::4, 2::4] + tokens[..., 2::4, 2::4]
    ) / 4
    for stage, expected in {"stage2": tokens, "stage3": half, "stage4": middle}.items():
        torch.testing.assert_close(found[stage], weights.batch_norm(f"norms.{stage}", expected), **CLOSE)


@torch.no_grad()
def test_three_maps_are_those_of_four(backbone):
    config = small_config(
        "retinanet",
        **{
            name: getattr(backbone.config, name)
            for name in ("num_hidden_layers", "group_layer_indices", "num_group_tokens", "interaction_indexes")
        },
    )
    three = GPViTAdapterBackbone(config).eval()
    missing, unexpected = three.load_state_dict(backbone.state_dict(), strict=False)
    assert not missing
    assert {name.rpartition(".")[0] for name in unexpected} == {
        "pyramid.upsampling",
        "pyramid.norms.stage1",
        "spatial_prior.projections.stage1",
    }
    pixel_values = torch.randn(1, 3, 50, 70)
    for found, expected in zip(three(pixel_values).feature_maps, backbone(pixel_values).feature_maps[1:], strict=True):
        torch.testing.assert_close(found, expected)


# --- heads


@pytest.mark.parametrize("extra", ["subsample", "convolution"])
@torch.no_grad()
def test_feature_pyramid(extra):
    pyramid = trained(FeaturePyramid([6, 6, 6], 8, extra)).eval()
    weights = Weights(pyramid)
    maps = [torch.randn(2, 6, *size) for size in ((9, 12), (5, 6), (3, 3))]
    laterals = [weights.normed(f"lateral.{index}", values) for index, values in enumerate(maps)]
    for finer in (1, 0):
        height, width = laterals[finer].shape[-2:]
        coarse = laterals[finer + 1]
        rows = [row * coarse.shape[-2] // height for row in range(height)]
        columns = [column * coarse.shape[-1] // width for column in range(width)]
        laterals[finer] = laterals[finer] + coarse[..., rows, :][..., columns]
    expected = [weights.normed(f"output.{index}", values) for index, values in enumerate(laterals)]
    if extra == "convolution":
        for index in range(2):
            expected.append(weights.normed(f"extra.{index}", expected[-1], stride=2))
    else:
        expected.append(expected[-1][..., ::2, ::2])
    for found, wanted in zip(pyramid(tuple(maps)), expected, strict=True):
        torch.testing.assert_close(found, wanted, **CLOSE)


def by_place(dense, places):
    """(B, A * v, h, w) -> (B, h * w * A, v): row, column, anchor."""
    batch, channels, height, width = dense.shape
    values = channels // places
    found = torch.zeros(batch, height * width * places, values)
    for row, column, place in np.ndindex(height, width, places):
        part = dense[:, place * values : (place + 1) * values, row, column]
        found[:, (row * width + column) * places + place] = part
    return found


@torch.no_grad()
def test_rpn_head():
    head = RPNHead(8, 3)
    nn.init.normal_(head.objectness.bias)
    weights, values = Weights(head), torch.randn(2, 8, 3, 4)
    hidden = weights.convolve("convolution", values).relu()
    logits, deltas = head(values)
    torch.testing.assert_close(logits, by_place(weights.convolve("objectness", hidden), 3)[..., 0], **CLOSE)
    torch.testing.assert_close(deltas, by_place(weights.convolve("deltas", hidden), 3), **CLOSE)


def stacked(weights, name, hidden):
    for layer in (0, 2, 4, 6):
        hidden = weights.convolve(f"{name}.{layer}", hidden).relu()
    return hidden


@torch.no_grad()
def test_retina_head():
    head = RetinaHead(8, 9, 5)
    weights, values = Weights(head), torch.randn(2, 8, 3, 4)
    classes, boxes = (stacked(weights, f"{name}_convolutions", values) for name in ("class", "box"))
    logits, deltas = head(values)
    torch.testing.assert_close(logits, by_place(weights.convolve("classifier", classes), 9), **CLOSE)
    torch.testing.assert_close(deltas, by_place(weights.convolve("deltas", boxes), 9), **CLOSE)


@torch.no_grad()
def test_box_head():
    head = trained(BoxHead(8, 7, 16, 5)).eval()
    weights, values = Weights(head), torch.randn(3, 8, 7, 7)
    hidden = values
    for layer in range(4):
        hidden = weights.normed(f"convolutions.{layer}", hidden).relu()
    hidden = weights.linear("hidden", hidden.flatten(1)).relu()
    logits, deltas = head(values)
    torch.testing.assert_close(logits, weights.linear("classifier", hidden), **CLOSE)
    torch.testing.assert_close(deltas, weights.linear("deltas", hidden).reshape(3, 5, 4), **CLOSE)


@torch.no_grad()
def test_mask_head():
    head = MaskHead(8, 5)
    weights, values = Weights(head), torch.randn(3, 8, 14, 14)
    hidden = stacked(weights, "convolutions", values)
    hidden = F.conv_transpose2d(hidden, head.upsampling.weight, head.upsampling.bias, stride=2).relu()
    torch.testing.assert_close(head(values), weights.convolve("classifier", hidden), **CLOSE)


# --- beginnings


@pytest.fixture(scope="module", params=KINDS)
def fresh(request):
    """Wide enough to tell deviations; only what this module looks at is drawn."""
    torch.manual_seed(0)
    cls, detector_type = KINDS[request.param]
    config = small_config(
        request.param, fpn_hidden_size=64, box_hidden_size=64, spatial_prior_hidden_size=32, layer_scale_init_value=0.0
    )
    return request.param, cls(config)


HE, XAVIER = "he", "xavier"
# End of a name within the detector -> standard deviation, or the rule for it.
DEVIATIONS = {
    "lateral.0.convolution": XAVIER,
    "output.0.convolution": XAVIER,
    "extra.1.convolution": XAVIER,
    "proposals.head.convolution": 0.01,
    "proposals.head.objectness": 0.01,
    "proposals.head.deltas": 0.01,
    "head.class_convolutions.0": 0.01,
    "head.box_convolutions.6": 0.01,
    "detector.head.classifier": 0.01,
    "detector.head.deltas": 0.01,
    "box_head.convolutions.0.convolution": HE,
    "box_head.hidden": XAVIER,
    "box_head.classifier": 0.01,
    "box_head.deltas": 0.001,
    "mask_head.convolutions.0": HE,
    "mask_head.upsampling": HE,
    "mask_head.classifier": HE,
    "spatial_prior.stem.0.convolution": HE,
    "spatial_prior.downsampling.stage3.convolution": HE,
    "spatial_prior.projections.stage2": HE,
    "extractors.0.mlp.convolution": math.sqrt(2 / 9),
    "extractors.0.mlp.fc1": 0.2,  # the configs' initializer_range
    "attention.value": XAVIER,
    "attention.projection": XAVIER,
}


# What a kind of detector doesn't have.
ABSENT = {
    "retinanet": ("proposals", "box_head", "mask_head"),
    "boxes": ("mask_head", "extra.", "head.class", "head.box_convolutions", "detector.head"),
    "masks": ("extra.", "head.class", "head.box_convolutions", "detector.head"),
}


def deviation(rule, weight):
    outputs, inputs, *kernel = weight.shape
    area = math.prod(kernel)
    rules = {XAVIER: 2 / ((inputs + outputs) * area), HE: 2 / (outputs * area)}
    return math.sqrt(rules[rule]) if rule in rules else rule


def test_beginnings(fresh):
    kind, model = fresh
    seen = set()
    for name, module in model.named_modules():
        end = next((end for end in DEVIATIONS if name.endswith(end)), None)
        if end is None:
            continue
        seen.add(end)
        expected = deviation(DEVIATIONS[end], module.weight)
        assert module.weight.std().item() == pytest.approx(expected, rel=6 / module.weight.numel() ** 0.5), name
        if module.bias is not None and end != "detector.head.classifier":
            assert not module.bias.any(), name
    assert seen == {end for end in DEVIATIONS if not end.startswith(ABSENT[kind])}


def test_beginnings_of_other_kinds(fresh):
    _, model = fresh
    backbone = model.backbone
    assert backbone.level_embeddings.std().item() == pytest.approx(1, rel=0.4)
    for interaction in backbone.interactions:
        assert not interaction.injector.layer_scale.any()
        attention = interaction.injector.attention
        assert not attention.sampling_offsets.weight.any()
        assert not attention.attention_weights.weight.any()
        assert not attention.attention_weights.bias.any()
    upsampling = getattr(backbone.pyramid, "upsampling", None)
    if upsampling is not None:
        assert upsampling.weight.std().item() == pytest.approx(math.sqrt(2 / (4 * 24)), rel=0.1)
        assert not upsampling.bias.any()
    if hasattr(model.detector, "head"):
        assert model.detector.head.classifier.bias.unique().tolist() == pytest.approx([-math.log(99)])


@pytest.mark.parametrize("heads", [4, 6])
def test_first_points(heads):
    """Heads look around the clock, to the side of a square; each point is a cell further, on all levels."""
    backbone = GPViTAdapterBackbone(small_config(num_deformable_heads=heads))
    offsets = backbone.interactions[0].injector.attention.sampling_offsets.bias.reshape(heads, 3, 4, 2)
    for head, level, point in np.ndindex(heads, 3, 4):
        angle = 2 * math.pi * head / heads
        x, y = math.cos(angle), math.sin(angle)
        expected = torch.tensor([x, y]) / max(abs(x), abs(y)) * (point + 1)
        torch.testing.assert_close(offsets[head, level, point], expected, rtol=0, atol=1e-5)


def test_norms_and_stochastic_depth():
    """Both show in no figure above: 1e-6 for the adapter's LayerNorms, and one rate for all extractors."""
    backbone = GPViTAdapterBackbone(small_config(drop_path_rate=0.3))
    assert len(backbone.interactions) == 4
    for interaction in backbone.interactions:
        assert {module.eps for module in interaction.modules() if isinstance(module, nn.LayerNorm)} == {1e-6}
        assert {module.rate for module in interaction.modules() if isinstance(module, DropPath)} == {0.3}
    rates = [module.rate for module in backbone.gpvit.layers.modules() if isinstance(module, DropPath)]
    assert min(rates) == 0 < 0.3 == max(rates)
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(module.eps, module.momentum) for module in norms} == {(1e-5, 0.1)}
