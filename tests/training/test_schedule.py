# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The learning rate at the steps that matter, against figures worked out by hand."""

import pytest

from hf_gpvit.training.schedule import learning_rate_factor


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
