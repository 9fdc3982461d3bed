# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What is computed by other kernels on CPUs, or in place in inference, gives the same numbers."""

import pytest
import torch
from transformers.activations import GELUActivation

from families import awake
from hf_gpvit.models import layers
from hf_gpvit.models.layers import PointwiseLinear, activate
from model_outputs import assert_same


def segmentor(family):
    return awake(family.segmentor_class(family.config()))


@pytest.mark.parametrize("size", [(64, 96), (57, 90)])  # whole and padded stripes
def test_short_attention_equals_sdpa(family, size, monkeypatch):
    model, pixel_values = segmentor(family), torch.randn(2, 3, *size)
    labels = torch.randint(0, 5, (2, *size))

    def computed():
        model.zero_grad()
        outputs = model(pixel_values, labels=labels)
        outputs.loss.backward()
        return outputs.logits, [parameter.grad.clone() for parameter in model.parameters()]

    short = computed()
    monkeypatch.setattr(layers, "_MAX_SHORT_WEIGHTS", 0)
    torch.testing.assert_close(short, computed(), rtol=1e-4, atol=1e-5)


def test_inference_equals_forward_with_gradients(family):
    model, pixel_values = segmentor(family), torch.randn(2, 3, 57, 90)
    expected = model(pixel_values)
    with torch.inference_mode():
        assert_same(model(pixel_values), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert_same(model(pixel_values), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_activation_overwrites_what_nobody_sees():
    linear, activation, tokens = PointwiseLinear(8, 8), GELUActivation(), torch.randn(2, 80, 8)
    hidden_states = linear(tokens)
    expected = activation(hidden_states)
    assert activate(activation, hidden_states, linear).data_ptr() == hidden_states.data_ptr()
    torch.testing.assert_close(hidden_states, expected)


@pytest.mark.parametrize("index", [0, 1])
@torch.no_grad()
def test_hooks_keep_what_they_see(index):
    linear, activation, tokens = PointwiseLinear(8, 8), GELUActivation(), torch.randn(2, 80, 8)
    seen = []
    [linear, activation][index].register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    hidden_states = linear(tokens)
    before = hidden_states.clone()
    activate(activation, hidden_states, linear)
    torch.testing.assert_close(seen[0][1 - index], before)
    assert len(seen) == 1


def test_gradients_see_what_went_into_the_activation():
    linear, activation, tokens = PointwiseLinear(8, 8), GELUActivation(), torch.randn(2, 80, 8)
    hidden_states = linear(tokens)
    activate(activation, hidden_states, linear).sum().backward()
    expected = linear.weight.grad.clone()
    linear.zero_grad()
    activation(linear(tokens)).sum().backward()
    torch.testing.assert_close(expected, linear.weight.grad)
