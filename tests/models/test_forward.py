# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What every model of every family does with an image, in eval mode."""

import copy
import pickle

import pytest
import torch
from torch import nn

from model_outputs import assert_same, tensors


SIZES = [(1, 1), (2, 9), (7, 350), (28, 28), (32, 32), (33, 47), (40, 40), (57, 24), (64, 72), (100, 90)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@torch.no_grad()
def test_any_size_and_every_image_for_itself(family, size):
    pixel_values = torch.randn(3, 3, *size)
    for model in family.models():
        together = tensors(model(pixel_values))
        for index in range(3):
            alone = tensors(model(pixel_values[index : index + 1]))
            for key, value in together.items():
                assert torch.isfinite(value).all()
                torch.testing.assert_close(value[index : index + 1], alone[key], atol=3e-5, rtol=1e-4)


@torch.no_grad()
def test_attention_implementations_agree(family):
    for model in family.models():
        for size in ((40, 40), (33, 47)):
            pixel_values = torch.randn(2, 3, *size)
            model.set_attn_implementation("eager")
            expected = model(pixel_values)
            model.set_attn_implementation("sdpa")
            assert_same(model(pixel_values), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_memory_format_of_the_input_changes_nothing(family):
    pixel_values = torch.randn(2, 3, 33, 47)
    for model in family.models():
        channels_last = pixel_values.to(memory_format=torch.channels_last)
        assert_same(model(channels_last), model(pixel_values), atol=0, rtol=0)


@torch.no_grad()
def test_tuple_output_holds_the_same(family):
    pixel_values = torch.randn(1, 3, 40, 40)
    for model in family.models():
        outputs = model(pixel_values, output_hidden_states=True)
        as_tuple = model(pixel_values, output_hidden_states=True, return_dict=False)
        flat = [tensor for value in as_tuple for tensor in (value if isinstance(value, tuple) else (value,))]
        assert all(torch.equal(a, b) for a, b in zip(flat, tensors(outputs).values(), strict=True))


@torch.no_grad()
def test_bfloat16(family):
    """Weights and activations in bfloat16, and float32 weights under autocast; inputs stay float32."""
    torch.manual_seed(0)
    model = family.classifier_class(family.config_class.from_preset(f"{family.name}-nano", num_labels=10)).eval()
    pixel_values = torch.randn(2, 3, 128, 128)
    expected = model(pixel_values).logits
    with torch.autocast("cpu", torch.bfloat16):
        autocast = model(pixel_values).logits.float()
    pure = copy.deepcopy(model).to(torch.bfloat16)(pixel_values).logits
    assert pure.dtype == torch.bfloat16
    assert (pure.float() - expected).abs().max() <= 0.05 * expected.std()
    assert (autocast - expected).abs().max() <= 0.03 * expected.std()


@pytest.mark.parametrize("head", ["segformer", "upernet"])
@torch.no_grad()
def test_bfloat16_segmentors_are_as_good_as_their_rounded_weights_allow(family, head):
    """Rounding nothing but the weights moves dense logits by up to 0.05 of their deviation: that is the yardstick."""
    config = family.config_class.from_preset(f"{family.name}-nano", num_labels=11, decode_head_type=head)
    model = family.segmentor_class(config).eval()
    pixel_values = torch.randn(1, 3, 128, 160)
    expected = model(pixel_values).logits

    def error(logits):
        return (logits.float() - expected).abs().max() / expected.std()

    rounded = copy.deepcopy(model).to(torch.bfloat16)
    yardstick = error(copy.deepcopy(rounded).float()(pixel_values).logits)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = error(model(pixel_values).logits)
    assert yardstick < 0.05
    assert autocast <= 2 * yardstick
    assert error(rounded(pixel_values).logits) <= 2.5 * yardstick


@torch.no_grad()
def test_saved_and_loaded_in_bfloat16(family, tmp_path):
    for model in family.models():
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
        for module in loaded.modules():
            expected = torch.float32 if isinstance(module, nn.BatchNorm2d) else torch.bfloat16
            tensors_of_module = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            assert {tensor.dtype for tensor in tensors_of_module if tensor.is_floating_point()} <= {expected}
        outputs = tensors(loaded(torch.randn(1, 3, 40, 40)))
        assert all(torch.isfinite(value).all() and value.dtype == torch.bfloat16 for value in outputs.values())


def test_no_tensor_hides_outside_parameters_and_buffers(family):
    for model in family.models():
        model(torch.randn(1, 3, 33, 47))
        for module in model.modules():
            plain = {key for key, value in vars(module).items() if isinstance(value, torch.Tensor)}
            assert not plain, f"{type(module).__name__} keeps {plain}"


@torch.no_grad()
def test_forward_leaves_the_state_alone(family):
    for model in family.models():
        before = {name: value.clone() for name, value in model.state_dict().items()}
        model(torch.randn(1, 3, 40, 40))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_use_no_layout_that_only_copies_can_give(family):
    """The trunk's convolutions find channels last in memory, all of them or a part: none needs another layout."""
    strides = []

    def record(module, args):
        strides.append(args[0].stride(1) == 1)

    model = family.model_class(family.config()).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(record)
    model(torch.randn(2, 3, 40, 40))
    assert strides
    assert all(strides)


@torch.no_grad()
def test_pickled_and_copied_models_are_the_same(family):
    pixel_values = torch.randn(1, 3, 40, 40)
    for model in family.models():
        expected = model(pixel_values, output_hidden_states=True)
        for clone in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert_same(clone(pixel_values, output_hidden_states=True), expected, atol=0, rtol=0)


def test_hooks_of_users_survive_pickling(family):
    model = family.model_class(family.config())
    for module in model.modules():
        module.register_forward_hook(print)
    clone = pickle.loads(pickle.dumps(model))
    assert all(print in module._forward_hooks.values() for module in clone.modules())


@torch.no_grad()
def test_float64_stays_float64(family):
    """Nothing inside falls back to float32: the implementations agree to float64's precision."""
    pixel_values = torch.randn(1, 3, 33, 47, dtype=torch.float64)
    for model in family.models():
        model.double().set_attn_implementation("eager")
        expected = model(pixel_values)
        model.set_attn_implementation("sdpa")
        assert_same(model(pixel_values), expected, atol=1e-12, rtol=1e-12)
