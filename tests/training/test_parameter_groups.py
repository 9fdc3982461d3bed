# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter groups are those of the official recipes.

The stored table follows from the names of the official entries: segmentors exempt what contains "norm", "pos_embed"
or "group_token", classifiers exempt the latter two, all norms and all biases. Names in it are ours, # is any number.
"""

import json
import re

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from hf_gpvit.training import build_model
from hf_gpvit.training.parameter_groups import parameter_groups
from official import FIXTURES


TABLE = json.loads((FIXTURES / "parameter_groups.json").read_text())
TASKS = {None: "image-classification", "segformer": "semantic-segmentation", "upernet": "semantic-segmentation"}


def build(entry: str) -> torch.nn.Module:
    preset, _, head = entry.partition(" ")
    fields = {"decode_head_type": head} if head else {}
    with torch.device("meta"):
        return build_model(preset, TASKS[head or None], ["a", "b", "c"], **fields)


def patterns(groups: list[dict], decays: bool) -> list[str]:
    names = [name for group in groups if (group["weight_decay"] > 0) == decays for name in group["param_names"]]
    return sorted({re.sub(r"\d+", "#", name) for name in names})


@pytest.mark.parametrize("entry", TABLE)
def test_what_decays_is_what_decays_officially(entry):
    model = build(entry)
    rule = "layer_norms" if " " in entry else "norms_and_biases"
    groups = parameter_groups(model, 1e-3, 0.05, rule)
    assert patterns(groups, decays=True) == TABLE[entry]["decay"]
    assert patterns(groups, decays=False) == TABLE[entry]["no decay"]


def test_every_parameter_is_in_one_group():
    model = build("hrvit-b1 upernet")
    parameters = [
        parameter for group in parameter_groups(model, 1e-3, 0.05, "layer_norms") for parameter in group["params"]
    ]
    assert len(parameters) == len(set(map(id, parameters))) == len(list(model.parameters()))


def test_frozen_parameters_are_left_out():
    model = build("gpvit-l1")
    model.gpvit.requires_grad_(False)
    groups = parameter_groups(model, 1e-3, 0.05, "norms_and_biases")
    assert [group["param_names"] for group in groups] == [["classifier.bias"], ["classifier.weight"]]


def test_models_that_say_nothing():
    config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    groups = parameter_groups(ViTForImageClassification(config), 1e-3, 0.05, "layer_norms")
    names = {group["name"]: group["param_names"] for group in groups}
    assert names["head, decay"] == ["classifier.weight", "classifier.bias"]
    assert "vit.embeddings.position_embeddings" in names["trunk, no decay"]
    assert "vit.embeddings.cls_token" in names["trunk, decay"]


def test_the_head_learns_faster():
    groups = parameter_groups(build("hrvit-b1 upernet"), 1e-3, 0.05, "layer_norms", head_learning_rate_factor=10)
    rates = {name: group["lr"] for group in groups for name in group["param_names"]}
    assert rates["decode_head.classifier.weight"] == rates["auxiliary_head.classifier.bias"] == pytest.approx(1e-2)
    assert rates["hrvit.embeddings.stem.0.convolution.weight"] == pytest.approx(1e-3)
