# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds of HRNet with transformer blocks, and of the attention of HRViT's variants."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSemanticSegmentation

from hf_gpvit.ablations import build_model, variants
from hf_gpvit.ablations.modeling_hrnet_vit import HRNetViTForSemanticSegmentation
from hf_gpvit.ablations.variants import variant
from hf_gpvit.models.shortcuts import plain_forwards
from hf_gpvit.registration import MODEL_CLASSES


COUNTS = json.loads((Path(__file__).parents[1] / "fixtures/ablation_counts.json").read_text(encoding="utf-8"))
HRNET = COUNTS["hrnet_vit"]


def macs(model, side):
    """By operation; on meta the products of attention are the only batched ones."""
    with FlopCounterMode(display=False) as flops, torch.no_grad(), plain_forwards():
        model.eval()(torch.zeros(1, 3, side, side, device="meta"))
    return {str(operation): number // 2 for operation, number in flops.get_flop_counts()["Global"].items()}


def test_every_variant_of_hrvit_is_there():
    assert set(HRNET) | set(COUNTS["hrvit"]) <= set(variants())


@pytest.mark.parametrize("key", HRNET)
def test_parameters(key):
    with torch.device("meta"):
        model = build_model(key)
    assert type(model) is HRNetViTForSemanticSegmentation
    assert model.num_parameters() == HRNET[key]["params_segformer19"]


@pytest.mark.slow
@pytest.mark.parametrize("key", [*HRNET, *COUNTS["hrvit"]])
def test_multiply_adds_at_512(key):
    counts = HRNET.get(key) or COUNTS["hrvit"][key]
    config = variant(key).config(num_labels=19)
    with torch.device("meta"):
        found = macs(MODEL_CLASSES[type(config)][AutoModelForSemanticSegmentation](config), 512)
    assert sum(found.values()) == counts["macs_segformer19_512"]
    assert found["aten.bmm"] == counts["attention_products_512"]
