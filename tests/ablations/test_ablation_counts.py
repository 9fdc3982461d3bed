# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds of every variant of a paper's table, to the unit.

What they are compared with was worked out by arithmetic alone.
"""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSemanticSegmentation

from hf_gpvit.ablations import build_model, variants
from hf_gpvit.ablations.variants import variant
from hf_gpvit.costs import backbone_parameters, count_plain_macs


COUNTS = json.loads((Path(__file__).parents[1] / "fixtures/ablation_counts.json").read_text(encoding="utf-8"))
CLASSIFIERS = COUNTS["gpvit"] | COUNTS["hrvit"]
BUILT = [key for key in CLASSIFIERS if key in variants()]
# Rows that between them have every part; all together take long.
QUICK = [
    "vit-d216-p16",
    "vit-d216-p16-plain-deit",
    "vit-d216-p16-segmentation-features-x2",
    "l1-window-shift",
    "l1-window-global-without-closing-dwconv",
    "l1-lepe-conv",
    "l1-lepe-gp",
    "l1-propagation-none",
    "l1-propagation-self-attention-depth1",
]
# Of a segmentor with so many classes.
SEGMENTORS = ("segformer150", "segformer19")


def segmentor(key, head):
    config = variant(key).config(num_labels=int(head.removeprefix("segformer")))
    return AutoModelForSemanticSegmentation.from_config(config)


def macs(model, side):
    with torch.device("meta"):
        return count_plain_macs(model, side, side)


def test_every_variant_of_gpvit_is_there():
    assert set(COUNTS["gpvit"]) <= set(variants())


def all_but_quick_are_slow(keys):
    return [key if key in QUICK else pytest.param(key, marks=pytest.mark.slow) for key in keys]


@pytest.mark.parametrize("key", BUILT)
def test_parameters(key):
    counts = CLASSIFIERS[key]
    with torch.device("meta"):
        assert build_model(key).num_parameters() == counts["params_classifier1000"]
        assert backbone_parameters(variant(key).config()) == counts["params_backbone"]


@pytest.mark.parametrize("key", all_but_quick_are_slow(BUILT))
def test_parameters_of_others(key):
    counts = CLASSIFIERS[key]
    with torch.device("meta"):
        for head in SEGMENTORS:
            if f"params_{head}" in counts:
                assert segmentor(key, head).num_parameters() == counts[f"params_{head}"]
        if "params_classifier1000_mean_pooling" in counts:
            model = build_model(key, pooling_type="mean")
            assert model.num_parameters() == counts["params_classifier1000_mean_pooling"]


@pytest.mark.parametrize("key", all_but_quick_are_slow(BUILT))
def test_multiply_adds_of_classifiers(key):
    with torch.device("meta"):
        model = build_model(key)
    assert macs(model, 224) == CLASSIFIERS[key]["macs_classifier_224"]


@pytest.mark.slow
@pytest.mark.parametrize("key", BUILT)
def test_multiply_adds_of_others(key):
    counts = CLASSIFIERS[key]
    for head in SEGMENTORS:
        if f"macs_{head}_512" in counts:
            with torch.device("meta"):
                model = segmentor(key, head)
            assert macs(model, 512) == counts[f"macs_{head}_512"]
    if "macs_classifier_224_mean_pooling" in counts:
        with torch.device("meta"):
            model = build_model(key, pooling_type="mean")
        assert macs(model, 224) == counts["macs_classifier_224_mean_pooling"]


def test_counts_don_t_depend_on_the_device():
    model = build_model("gpvit-nano-window-shift", image_size=64)
    found = count_plain_macs(model, 64, 64)
    assert macs(model.to("meta"), 64) == found
