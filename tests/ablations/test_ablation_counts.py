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
from hf_gpvit.costs import backbone_parameters, count_attention_macs, count_plain_macs


FAMILIES = json.loads((Path(__file__).parents[1] / "fixtures/ablation_counts.json").read_text(encoding="utf-8"))
COUNTS = {key: counts for family in FAMILIES.values() for key, counts in family.items()}
# Rows that between them have most parts; all together take minutes.
QUICK = [
    "vit-d216-p16",
    "vit-d216-p16-plain-deit",
    "l1-window-shift",
    "l1-lepe-conv",
    "l1-propagation-self-attention-depth1",
    "b1-all-off-sparse-no-lepe",
]


def built(key, name):
    """The model on meta that a figure is of, such as "params_segformer19", and the side of its picture."""
    if "segformer" in name:
        num_labels = int(name.split("_")[1].removeprefix("segformer"))
        return AutoModelForSemanticSegmentation.from_config(variant(key).config(num_labels=num_labels)), 512
    return build_model(key, **{"pooling_type": "mean"} if name.endswith("mean_pooling") else {}), 224


def figure(key, name):
    with torch.device("meta"):
        if name == "params_backbone":
            return backbone_parameters(variant(key).config())
        if name == "attention_products_512":
            model, side = built(key, "macs_segformer19_512")
            return count_attention_macs(model, side, side)
        model, side = built(key, name)
        return model.num_parameters() if name.startswith("params") else count_plain_macs(model, side, side)


def test_every_row_is_there():
    assert set(COUNTS) <= set(variants())


@pytest.mark.parametrize("key", [key if key in QUICK else pytest.param(key, marks=pytest.mark.slow) for key in COUNTS])
def test_counts(key):
    assert {name: figure(key, name) for name in COUNTS[key]} == COUNTS[key]


def test_counts_don_t_depend_on_the_device():
    model = build_model("gpvit-nano-window-shift", image_size=64)
    found = count_plain_macs(model, 64, 64)
    with torch.device("meta"):
        assert count_plain_macs(model.to("meta"), 64, 64) == found


def test_products_of_attention_are_counted_on_meta():
    with pytest.raises(ValueError, match="must be on the device meta.*it is on cpu"):
        count_attention_macs(build_model("gpvit-nano-lepe-none", image_size=64), 64, 64)
