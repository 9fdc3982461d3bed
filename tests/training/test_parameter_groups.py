# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter groups are those of the official recipes.

The stored table follows from the names of the official entries. Where official configs exempt norms and biases by kind
(classifiers, and the trunk of GPViT with SegFormer), biases of depthwise convolutions decay in GPViT's, since its
optimizer's constructor looks for these first; where they exempt by name, it is what contains "norm". Positions and
group tokens never decay. Names in the table are ours, # is any number.
"""

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from hf_gpvit.tasks.recipe import recipe_fields
from hf_gpvit.training import build_model
from hf_gpvit.training.parameter_groups import parameter_groups
from official import FIXTURES


TABLE = json.loads((FIXTURES / "parameter_groups.json").read_text())
CONFIGS = Path(__file__).parents[2] / "configs"
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
    recipe = f"ade20k/{entry.replace(' ', '-')}.yaml" if " " in entry else f"imagenet1k/{entry}.yaml"
    groups = parameter_groups(build(entry), 1e-3, 0.05, recipe_fields(CONFIGS / recipe)["no_decay"])
    assert patterns(groups, decays=True) == TABLE[entry]["decay"]
    assert patterns(groups, decays=False) == TABLE[entry]["no decay"]


def decaying(model: torch.nn.Module, rule: str) -> set[str]:
    groups = parameter_groups(model, 1e-3, 0.05, rule)
    return {name for group in groups if group["weight_decay"] > 0 for name in group["param_names"]}


def test_two_biases_of_each_local_layer_decay():
    """GPViT has no other depthwise convolutions with biases."""
    model = build("gpvit-l1")
    dense, rest = (decaying(model, rule) for rule in ("norms_and_dense_biases", "norms_and_biases"))
    assert rest < dense and len(dense - rest) == 16
    assert all(name.endswith("position_encoding.bias") for name in dense - rest)


def test_heads_decay_whole_where_only_trunks_are_exempt():
    model = build("gpvit-l1 segformer")
    by_name, by_kind = (decaying(model, rule) for rule in ("layer_norms", "trunk_norms_and_dense_biases"))
    assert by_kind < by_name and len(by_name - by_kind) == 93
    assert {name for name, _ in model.named_parameters() if name.startswith("decode_head.")} < by_kind


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
