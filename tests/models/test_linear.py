# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""PointwiseLinear is a linear layer, however it is computed."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hf_gpvit.models.layers import PointwiseLinear


def computed(linear, hidden_states, function):
    """Output and gradients for input, weight and bias."""
    inputs = [hidden_states.detach().requires_grad_(), *linear.parameters()]
    output = function(inputs[0])
    return [output, *torch.autograd.grad((output * torch.linspace(-1, 1, output.shape[-1])).sum(), inputs)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 7), (64, 7), (2, 50, 7), (2, 9, 11, 7), (0, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_linear(shape, bias, dtype):
    linear = PointwiseLinear(7, 5, bias=bias).to(dtype)
    hidden_states = torch.randn(shape, dtype=dtype)
    expected = computed(linear, hidden_states, lambda states: F.linear(states, linear.weight, linear.bias))
    torch.testing.assert_close(computed(linear, hidden_states, linear), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "mutate", [lambda x: x.transpose(0, 1), lambda x: x[:, ::2], lambda x: x.expand(3, 40, 30, 7)]
)
def test_any_strides(mutate):
    linear = PointwiseLinear(7, 5)
    hidden_states = mutate(torch.randn(40, 30, 7))
    output = linear(hidden_states)
    torch.testing.assert_close(output, F.linear(hidden_states, linear.weight, linear.bias), rtol=1e-5, atol=1e-5)
    assert output.is_contiguous()


def test_autocast_and_half_precision():
    linear, hidden_states = PointwiseLinear(7, 5), torch.randn(2, 50, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = linear(hidden_states)
    assert output.dtype == torch.bfloat16
    half = copy.deepcopy(linear).bfloat16()(hidden_states.bfloat16())
    torch.testing.assert_close(output, half, rtol=0.02, atol=0.02)
    with pytest.raises(RuntimeError, match="dtype"):
        linear(hidden_states.bfloat16())


def test_weights_of_other_types_stay_with_linear():
    class Scaled(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function is F.linear:
                states, weight, bias = args
                return F.linear(states, 2 * weight.as_subclass(torch.Tensor), bias)
            return super().__torch_function__(function, types, args, kwargs or {})

    linear, hidden_states = PointwiseLinear(7, 5), torch.randn(2, 50, 7)
    expected = F.linear(hidden_states, 2 * linear.weight, linear.bias)
    linear.weight = nn.Parameter(linear.weight.detach().as_subclass(Scaled))
    torch.testing.assert_close(linear(hidden_states), expected)
