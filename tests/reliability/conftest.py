# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from datasets import config

import short_runs
from families import FAMILIES, awake
from hf_gpvit.data import image_processor_for


fresh_accelerator = short_runs.fresh_accelerator
photos = short_runs.photos


@pytest.fixture(autouse=True)
def _caches_stay_here(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Folders with a tiny classifier of each family, with two classes, image processor and figures."""
    root = tmp_path_factory.mktemp("saved")
    for family in FAMILIES:
        torch.manual_seed(0)
        names = {"num_labels": 2, "id2label": {0: "blue", 1: "red"}}
        model = awake(family.classifier_class(family.config(**names, initializer_range=0.02)))
        for part in (model, image_processor_for(model, 32)):
            part.save_pretrained(root / family.name)
        (root / family.name / "metrics.json").write_text('{"accuracy": 0.5, "dataset": "photos"}')
    return root


@pytest.fixture
def recipe(photos, saved, tmp_path):
    """A short run."""
    return short_runs.short_run(saved / "gpvit", photos, tmp_path / "run", max_steps=4, eval_steps=2, logging_steps=1)
