# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The GP Block multiplies weights with its few group tokens first, which is the same in fewer multiplications."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from families import GPVIT, awake
from hf_gpvit.models.modeling_gpvit import GPViTGroupAttention, GPViTGroupPropagation


def group_propagation(**overrides):
    """The first GP Block of a tiny model, in float64."""
    model = awake(GPVIT.model_class(GPVIT.config(**overrides))).double()
    return next(module for module in model.modules() if isinstance(module, GPViTGroupPropagation))


def tokens(batch=2, length=60):
    return torch.randn(batch, length, 24, dtype=torch.float64)


def computed(block, hidden_states):
    """Output and gradients for input and parameters."""
    torch.manual_seed(0)
    inputs = [hidden_states.detach().requires_grad_(), *block.parameters()]
    output = block(inputs[0])
    return [output, *torch.autograd.grad((output * torch.linspace(-1, 1, 24)).sum(), inputs)]


def plain(monkeypatch):
    monkeypatch.setattr(GPViTGroupAttention, "may_compose", lambda self, *args: False)


def multiplications(block, hidden_states):
    # torch 2.11 does not count CPUs' flash attention
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        block(hidden_states)
    return flops.get_total_flops() // 2


@pytest.mark.parametrize("train", [False, True], ids=["eval", "drop path"])
@pytest.mark.parametrize("batch", [1, 3])
def test_same_output_and_gradients(batch, train, monkeypatch):
    block, hidden_states = group_propagation(drop_path_rate=0.5).train(train), tokens(batch)
    composed = computed(block, hidden_states)
    plain(monkeypatch)
    torch.testing.assert_close(composed, computed(block, hidden_states), rtol=1e-10, atol=1e-10)


def test_fewer_multiplications(monkeypatch):
    block, hidden_states = group_propagation(), tokens()
    composed = multiplications(block, hidden_states)
    plain(monkeypatch)
    # per token and channel 6 groups * 2 heads instead of 24 channels + 6 groups, twice, and then of 24 * 2 + 6
    saved = 2 * 60 * 24 * (2 * (24 + 6 - 12) + (24 * 2 + 6 - 12))
    # the weights' own: the query's once, keys and values for each image, the two output weights
    spent = 24 * 24 * (6 + 2 * 2 * 6 + 24)
    biases = 24 * (6 + 2 * 6)
    assert multiplications(block, hidden_states) - composed == saved - spent - biases


@pytest.mark.parametrize(
    ("length", "overrides"),
    [
        (10, {}),  # composing weights costs more than so few tokens save
        (60, {"num_group_tokens": [25, 25]}),  # 25 groups * 2 heads are more than 24 channels + 25 groups
        (60, {"attn_implementation": "eager"}),  # which computes as it is written
    ],
)
def test_plain_where_that_is_no_gain(length, overrides, monkeypatch):
    block, hidden_states = group_propagation(**overrides), tokens(length=length)
    chosen = multiplications(block, hidden_states)
    plain(monkeypatch)
    assert multiplications(block, hidden_states) == chosen


@pytest.mark.parametrize(
    "name",
    ["grouping.key", "ungrouping", "ungrouping.query", "ungrouping.value", "ungrouping.projection", "projection"],
)
def test_hooks_fire_once(name):
    block, hidden_states = group_propagation(), tokens()
    expected, calls = block(hidden_states), []
    block.get_submodule(name).register_forward_hook(lambda module, args, output: calls.append(module))
    torch.testing.assert_close(block(hidden_states), expected, rtol=1e-10, atol=1e-10)
    assert len(calls) == 1


def test_half_precision_scores_are_not_rounded_before_the_softmax(monkeypatch):
    block, hidden_states = group_propagation().float(), tokens().float()
    chosen = []
    for context in (torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad()):
        with context:
            chosen.append(multiplications(block, hidden_states))
    half = multiplications(block.bfloat16(), hidden_states.bfloat16())
    plain(monkeypatch)
    most = multiplications(block, hidden_states.bfloat16())
    assert chosen[0] == half == most > chosen[1]


@pytest.mark.parametrize("output", ["group_attentions", "ungroup_attentions"])
@torch.no_grad()
def test_same_output_with_attentions(output):
    model, pixel_values = awake(GPVIT.model_class(GPVIT.config())), torch.randn(2, 3, 64, 96)
    outputs = model(pixel_values, **{f"output_{output}": True})
    assert len(outputs[output]) == 2
    torch.testing.assert_close(outputs.last_hidden_state, model(pixel_values).last_hidden_state, rtol=1e-4, atol=1e-5)
