# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What tests of training start from."""

import datasets
import pytest
import torch

import short_runs
from colored_photos import COLORS
from families import FAMILIES


fresh_accelerator = short_runs.fresh_accelerator
photos = short_runs.photos


@pytest.fixture
def classification(photos, models, tmp_path):
    """A short run."""
    return short_runs.short_run(
        models / "gpvit", photos, tmp_path / "run", max_steps=6, eval_steps=3, logging_steps=2, learning_rate=3e-3
    )


@pytest.fixture(params=["object-detection mask_rcnn", "object-detection retinanet", "instance-segmentation mask_rcnn"])
def detection(request, photos, models, tmp_path):
    """A short run of each kind of detectors."""
    task, detector_type = request.param.split()
    return short_runs.short_detection_run(
        task, models / "gpvit", photos, tmp_path / "run", detector_type=detector_type
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with a tiny classifier of each family."""
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        torch.manual_seed(0)
        family.classifier_class(family.config(initializer_range=0.02)).save_pretrained(root / family.name)
    return root


@pytest.fixture(scope="session")
def parquet(photos, tmp_path_factory):
    """The classification photos as a folder of parquet files, four of them to train on."""
    root = tmp_path_factory.mktemp("parquet")
    files = sorted((photos / "classification/train").rglob("*.png"))
    columns = {"image": [str(file) for file in files], "label": [file.parent.name for file in files]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(COLORS))})
    samples = datasets.Dataset.from_dict(columns, features=features)
    samples.to_parquet(root / "test-00000-of-00001.parquet")
    for index in range(4):
        samples.shard(4, index).to_parquet(root / f"train-{index:05d}-of-00004.parquet")
    return root
