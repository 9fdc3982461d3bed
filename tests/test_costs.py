# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Costs of a model whose figures can be worked out by hand."""

from types import SimpleNamespace

import torch
from torch import nn

from hf_gpvit.costs import count_costs, count_plain_macs
from hf_gpvit.models import shortcuts


class Two(nn.Module):
    """Two 1x1 convolutions; the first one's output is freed once the second one's is there."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, keep):
        super().__init__()
        self.config = SimpleNamespace(num_channels=3)
        self.wide = nn.Conv2d(3, 16, 1, bias=False)
        self.narrow = nn.Conv2d(16, 2, 1, bias=False)
        self.last = nn.Conv2d(2, 14, 1, bias=False)
        self.keep = keep

    def forward(self, pixel_values):
        weight = self.wide.weight.view(16, 3, 1, 1)  # is no activation
        hidden_states = nn.functional.conv2d(pixel_values, weight)
        maps = self.narrow(hidden_states)
        if not self.keep:
            del hidden_states
        return self.last(maps.view(maps.shape))


def test_figures():
    """The peak is where input, first and second output are there; the third makes it higher if the first is kept."""
    weights = 3 * 16 + 16 * 2 + 2 * 14
    for keep, channels in ((False, 3 + 16 + 2), (True, 3 + 16 + 2 + 14)):
        costs = count_costs(Two(keep), 10, 20)
        assert costs.macs == weights * 200
        assert costs.weight_bytes == 4 * weights
        assert costs.activation_bytes == 4 * channels * 200


class Attention(Two):
    def forward(self, pixel_values):
        rows = pixel_values.transpose(1, 2)  # (1, H, 3, W): W is the width of a head
        return nn.functional.scaled_dot_product_attention(rows, rows, rows)


def test_attention_counts():
    """Ten heads with three queries and keys of width 20: scores and sums of values."""
    assert count_costs(Attention(False), 10, 20).macs == 2 * 10 * 3 * 3 * 20


def test_plain_order(family):
    """What shortcuts save comes back, on any device; they are on afterwards."""
    assert count_plain_macs(Two(False), 10, 20) == count_costs(Two(False), 10, 20).macs
    model = family.segmentor_class(family.config())
    plain = count_plain_macs(model, 64, 96)
    assert plain > count_costs(model, 64, 96).macs
    assert count_plain_macs(model.to("meta"), 64, 96) == plain
    assert shortcuts.ENABLED


def test_weights_that_are_shared_count_once():
    model = Two(False)
    model.again = model.wide
    assert count_costs(model, 4, 4).weight_bytes == count_costs(Two(False), 4, 4).weight_bytes


def test_the_pass_is_one_of_inference_and_leaves_the_model_as_it_was(family):
    model = family.classifier_class(family.config()).train()
    first, second = count_costs(model, 40, 64), count_costs(model, 40, 64)
    assert first == second
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
