# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What tests of training start from."""

import pytest
import torch

import short_runs
from families import FAMILIES


fresh_accelerator = short_runs.fresh_accelerator
photos = short_runs.photos


@pytest.fixture
def classification(photos, models, tmp_path):
    """A short run."""
    return short_runs.short_run(
        models / "gpvit", photos, tmp_path / "run", max_steps=6, eval_steps=3, logging_steps=2, learning_rate=3e-3
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with a tiny classifier of each family."""
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        torch.manual_seed(0)
        family.classifier_class(family.config(initializer_range=0.02)).save_pretrained(root / family.name)
    return root
