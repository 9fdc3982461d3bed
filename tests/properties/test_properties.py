# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for every model, image size, type and memory format, checked on cases that hypothesis draws."""

import re

import pytest
import torch
from hypothesis import example, given, seed, settings
from hypothesis import strategies as st

from cases import Case, cases
from hf_gpvit.data import image_processor_for
from model_outputs import tensors


# Largest difference between two ways of computing the same, in units of the largest value. Norms of nearly constant
# tokens amplify rounding: in bfloat16 to half of a logit where folded BatchNorms round the weights once more.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 1.0}
SMALL, ANY = st.integers(1, 40), st.integers(1, 300)
SIDES = st.one_of(SMALL, st.integers(1, 9).map(lambda number: 32 * number), ANY)
MOSTLY_SMALL_SIDES = st.one_of(SMALL, SMALL, SMALL, SMALL, ANY)
RECORDED = {
    "gpvit": ("hidden_states", "attentions", "group_attentions", "ungroup_attentions"),
    "hrvit": ("hidden_states", "attentions"),
}


def ceil_div(number, divisor):
    return -(-number // divisor)


def stripe_shapes(batch, heads, grid, stripe):
    """Shapes of attention weights in horizontal and in vertical stripes."""
    rows, columns = grid
    return (
        (batch * ceil_div(rows, stripe), heads, stripe * columns, stripe * columns),
        (batch * ceil_div(columns, stripe), heads, stripe * rows, stripe * rows),
    )


def gpvit_shapes(case, config):
    batch, channels, groups = case.batch_size, config.hidden_size, config.num_group_tokens
    grid = ceil_div(case.height, 8), ceil_div(case.width, 8)
    length = grid[0] * grid[1]
    horizontal, vertical = stripe_shapes(batch, config.num_attention_heads // 2, grid, config.stripe_width)
    group_heads = config.num_group_attention_heads
    return {
        "last_hidden_state": [(batch, length, channels)],
        "pooler_output": [(batch, channels)],
        "feature_maps": [(batch, channels, *grid)] * 4,
        "dense_logits": [(batch, 5, *grid)],
        "hidden_states": [(batch, length, channels)] * (config.num_hidden_layers + 1),
        "attentions": [vertical, horizontal] * (config.num_hidden_layers - len(groups)),
        "group_attentions": [(batch, group_heads, number, length) for number in groups],
        "ungroup_attentions": [(batch, group_heads, length, number) for number in groups],
    }


def hrvit_shapes(case, config):
    batch, channels = case.batch_size, config.hidden_sizes
    grids = [(ceil_div(case.height, stride), ceil_div(case.width, stride)) for stride in (4, 8, 16, 32)]
    maps = [(batch, width, *grid) for width, grid in zip(channels, grids, strict=True)]
    heads = [size // 2 // min(config.attention_head_dim, size // 2) for size in channels]
    of_branches = [stripe_shapes(batch, *branch) for branch in zip(heads, grids, config.stripe_widths, strict=True)]
    return {
        "last_hidden_state": maps[-1:],
        "pooler_output": [(batch, channels[-1])],
        "feature_maps": maps,
        "dense_logits": [(batch, 5, *grids[0])],
        "hidden_states": maps,
        "attentions": [
            shape
            for module in config.num_blocks
            for depth, stripes in zip(module, of_branches, strict=False)
            for _ in range(depth)
            for shape in stripes
        ],
    }


def documented_shapes(case, config):
    """Name -> shape of every output of the class, and of all that can be recorded."""
    shapes = (gpvit_shapes if case.family.name == "gpvit" else hrvit_shapes)(case, config)
    shapes["logits"] = shapes.pop("dense_logits") if case.is_segmentor else [(case.batch_size, 5)]
    outputs = {"model": ("last_hidden_state", "pooler_output"), "backbone": ("feature_maps",)}
    names = outputs.get(case.kind, ("logits",))
    flat = {name: dict(enumerate(shapes[name])) for name in (*names, *RECORDED[case.family.name])}
    return {f"{name}.{index}": shape for name, indexed in flat.items() for index, shape in indexed.items()}


def assert_close(actual, expected, case):
    """Every one of the `expected` tensors is among the `actual` ones, but for rounding."""
    for name, value in expected.items():
        difference = (actual[name] - value).abs().max()
        assert difference <= TOLERANCE[case.dtype] * value.abs().max(), (name, difference, value.abs().max())


@torch.no_grad()
def check_inference(case: Case):
    model, pixel_values = case.model(), case.pixel_values()
    before = pixel_values.clone()
    outputs = model(pixel_values)
    expected = tensors(outputs)
    assert all(value.isfinite().all() and value.dtype == case.dtype for value in expected.values())
    check_repeated_call(case, model, expected)
    check_images_alone(case, model, expected)
    check_fused(case, model, expected)
    check_recorded(case, model, expected)
    if case.is_segmentor:
        check_post_processing(case, model, outputs)
    assert torch.equal(pixel_values, before)


def check_repeated_call(case, model, expected):
    """Not a bit depends on chance or on the memory format."""
    actual = tensors(model(case.relaid(case.pixel_values())))
    assert actual.keys() == expected.keys()
    assert not [name for name, value in expected.items() if not torch.equal(actual[name], value)]


def check_images_alone(case, model, expected):
    for index in range(case.batch_size if case.batch_size > 1 else 0):
        alone = tensors(model(case.pixel_values()[index : index + 1]))
        assert_close(alone, {name: value[index : index + 1] for name, value in expected.items()}, case)


def check_fused(case, model, expected):
    assert_close(tensors(model.fuse_for_inference()(case.pixel_values())), expected, case)


def check_recorded(case, model, expected):
    """With eager attention, which returns its weights, outputs are the same; all have their documented shapes."""
    model.set_attn_implementation("eager")
    flags = {f"output_{name}": True for name in RECORDED[case.family.name]}
    actual = tensors(model(case.pixel_values(), **flags))
    assert_close(actual, expected, case)
    shapes = documented_shapes(case, model.config)
    assert {name: tuple(value.shape) for name, value in actual.items()} == shapes
    assert {name: tuple(value.shape) for name, value in expected.items()}.items() <= shapes.items()
    assert all(value.isfinite().all() for value in actual.values())
    for name, weights in actual.items():
        if "attentions" in name:
            assert (weights.double().sum(-1) - 1).abs().max() <= 32 * torch.finfo(case.dtype).eps, name


def check_post_processing(case, model, outputs):
    if case.num_channels != 3:  # what isn't RGB has no image processor
        return
    size = (case.height, case.width)
    maps = image_processor_for(model).post_process_semantic_segmentation(
        outputs, target_sizes=[size] * case.batch_size
    )
    assert [tuple(ids.shape) for ids in maps] == [size] * case.batch_size
    assert all(ids.min() >= 0 and ids.max() < 5 for ids in maps)


def has_one_value_per_channel(case):
    """Whether a BatchNorm would see one: in the coarsest map of one image, or in the pooled pixel of UPerNet."""
    coarsest = 8 if case.family.name == "gpvit" else 32
    return case.batch_size == 1 and (case.kind == "upernet" or max(case.height, case.width) <= coarsest)


def check_training(case: Case):
    model = case.model().train()
    if has_one_value_per_channel(case):
        message = f"one value per channel: batch size 1 at {case.height}x{case.width} leaves only one"
        with pytest.raises(ValueError, match=re.escape(message)):
            loss(case, model, case.pixel_values())
        return
    expected = gradients(case, model, case.pixel_values())
    assert not [name for name, gradient in expected.items() if gradient is None or not gradient.isfinite().all()]
    actual = gradients(case, model, case.relaid(case.pixel_values()))
    assert not [name for name, gradient in expected.items() if not torch.equal(actual[name], gradient)]


def loss(case, model, pixel_values):
    """The model's own loss, or one of all that a trunk or backbone returns."""
    torch.manual_seed(case.seed)  # of dropout and stochastic depth
    if case.kind == "classifier" or case.is_segmentor:
        return model(pixel_values, labels=case.labels()).loss
    outputs = tensors(model(pixel_values, output_hidden_states=True))
    return sum(value.float().square().mean() for value in outputs.values())


def gradients(case, model, pixel_values):
    model.zero_grad()
    total = loss(case, model, pixel_values)
    assert total.isfinite()
    total.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@settings(max_examples=15)
@given(cases(MOSTLY_SMALL_SIDES))
def test_inference(case):
    check_inference(case)


@settings(max_examples=10)
@given(cases(MOSTLY_SMALL_SIDES))
@example(Case("gpvit-l1", kind="segformer", batch_size=1, height=8, width=8))
@example(Case("gpvit-l1", kind="segformer", batch_size=1, height=8, width=9))
@example(Case("hrvit-b1", kind="segformer", batch_size=1, height=32, width=32))
@example(Case("hrvit-b1", kind="segformer", batch_size=1, height=33, width=32))
@example(Case("gpvit-l3", kind="upernet", batch_size=1, height=40, width=40))
@example(Case("hrvit-nano", kind="upernet", batch_size=1, height=40, width=40))
def test_training(case):
    check_training(case)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@seed(2212)
@settings(max_examples=700)
@given(cases(SIDES))
def test_inference_of_many(case):
    check_inference(case)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@seed(2111)
@settings(max_examples=350)
@given(cases(SIDES))
def test_training_of_many(case):
    check_training(case)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@seed(6795)
@settings(max_examples=40)
@given(cases(st.integers(1, 64), is_reduced=False))
def test_presets_as_they_are(case):
    check_inference(case)
    check_training(case)
