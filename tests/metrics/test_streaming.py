# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What all metrics do alike: they keep counts and write nothing, add up over processes, and load by their files."""

from functools import partial

import numpy as np
import pytest
import torch

from hf_gpvit.metrics import MeanIoU, TopKAccuracy, accuracy, mean_iou


@pytest.fixture(params=["accuracy", "mean_iou"])
def case(request):
    """How to make a metric, its file, and what it counts."""
    generator = np.random.default_rng(0)
    if request.param == "accuracy":
        batch = generator.normal(size=(60, 10)), generator.integers(0, 10, 60)
        return partial(TopKAccuracy, num_labels=10), accuracy.__file__, batch
    batch = generator.integers(0, 10, (60, 5, 7)), generator.choice([*range(10), 255], (60, 5, 7))
    return partial(MeanIoU, num_labels=10), mean_iou.__file__, batch


def add(metric, batch, rows=slice(None)):
    predictions, references = batch
    metric.add_batch(predictions=predictions[rows], references=references[rows])
    return metric


@pytest.mark.parametrize("by_default", [True, False])
def test_nothing_grows_or_is_written(case, tmp_path, monkeypatch, by_default):
    """Not even the folder in which `evaluate` would keep the data is made."""
    make, _, batch = case
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "missing"))
    metric = make(**({} if by_default else {"cache_dir": str(tmp_path / "other")}))
    attributes, shape = len(vars(metric)), metric.state.shape
    once = add(metric, batch).state
    for _ in range(49):
        add(metric, batch)
    assert torch.equal(metric.state, 50 * once) and once.sum() > 0
    assert metric.state.shape == shape and len(vars(metric)) == attributes
    metric.compute()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("way", ["merge", "state"])
def test_parts_add_up(case, way):
    make, _, batch = case
    whole = add(make(), batch).compute()
    parts = [add(make(), batch, rows) for rows in (slice(0, 0), slice(0, 7), slice(7, 60))]
    before = parts[1].state
    if way == "merge":
        parts[0].merge(parts[1])
        parts[0].merge(parts[2])
    else:
        parts[0].state = sum(part.state for part in parts)
    assert torch.equal(parts[1].state, before)
    assert parts[0].compute() == pytest.approx(whole, nan_ok=True)


def test_state_is_a_copy(case):
    make, _, batch = case
    metric = make()
    state = metric.state
    assert state.dtype == torch.int64
    add(metric, batch)
    assert state.sum() == 0
    metric.state = state
    counted = add(metric, batch).state
    assert state.sum() == 0 and torch.equal(counted, add(make(), batch).state)


def test_loads_by_path(case, load_by_path):
    make, file, batch = case
    metric = load_by_path(file, num_labels=10)
    assert type(metric) is not type(make()) and metric.name == make().name
    assert add(metric, batch).compute() == pytest.approx(add(make(), batch).compute(), nan_ok=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_labels": 0}, "num_labels must be at least 1, got 0"),
        ({"num_process": 2, "process_id": 1}, "num_process must be 1, got 2"),
    ],
)
def test_settings_that_are_refused(case, settings, message):
    with pytest.raises(ValueError, match=message):
        case[0](**settings)
