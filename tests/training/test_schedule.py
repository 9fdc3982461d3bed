# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The learning rate at the steps that matter, against figures worked out by hand."""

import pytest
import torch

from hf_gpvit.training import DetectionRecipe
from hf_gpvit.training.schedule import build_scheduler, learning_rate_factor


# step 0, inside the warm-up, its end, the middle, the last step
COSINE = {0: 1e-3, 50: 0.5005 * 0.993906, 100: 0.975773, 500: 0.505, 999: 0.0100024}
POLY = {0: 1e-6, 50: 0.95 * 0.5000005, 100: 0.9, 500: 0.5, 999: 0.001}


@pytest.mark.parametrize("step", COSINE)
def test_cosine_as_for_imagenet(step):
    factor = learning_rate_factor(step, 1000, "cosine", warmup_steps=100, warmup_start=1e-3, minimum=0.01)
    assert factor == pytest.approx(COSINE[step], rel=1e-4)


@pytest.mark.parametrize("step", POLY)
def test_poly_as_for_segmentation(step):
    factor = learning_rate_factor(step, 1000, "poly", warmup_steps=100, warmup_start=1e-6)
    assert factor == pytest.approx(POLY[step], rel=1e-4)


def test_without_warm_up_it_starts_at_the_peak():
    assert learning_rate_factor(0, 10, "cosine") == 1
    assert learning_rate_factor(10, 10, "cosine", minimum=0.25) == 0.25


# warm-up over 500 of 1000 steps an epoch, then a tenth after 8 epochs and again after 11
STEP = {0: 1e-3, 250: 0.5005, 500: 1, 7999: 1, 8000: 0.1, 10999: 0.1, 11000: 0.01, 11999: 0.01}


@pytest.mark.parametrize("step", STEP)
def test_steps_as_for_detection(step):
    options = {"warmup_steps": 500, "warmup_start": 1e-3, "milestones": [8000, 11000]}
    assert learning_rate_factor(step, 12000, "step", **options) == pytest.approx(STEP[step])
    assert learning_rate_factor(11500, 12000, "step", **options, minimum=0.05) == 0.05


@pytest.mark.parametrize(
    "fields", [{"milestone_epochs": [0.5, 2]}, {"milestone_steps": [2, 8]}], ids=lambda fields: [*fields][0]
)
def test_milestones_are_epochs_or_steps(fields):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    recipe = DetectionRecipe(schedule="step", **fields)
    scheduler = build_scheduler(optimizer, recipe, num_steps=12, steps_per_epoch=4)
    rates = []
    for _ in range(12):
        rates += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1] * 2 + [0.1] * 6 + [0.01] * 4)
