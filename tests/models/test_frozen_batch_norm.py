# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""`freeze_batch_norm`: statistics, weights and biases of BatchNorm stay, whatever is trained and however."""

import copy

import pytest
import torch
from torch import nn

from hf_gpvit.models.configuration_gpvit_detection import GPViTDetectionConfig
from hf_gpvit.models.modeling_gpvit_detection import GPViTForObjectDetection


def norms(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}


def detector():
    return GPViTForObjectDetection(GPViTDetectionConfig.from_preset("gpvit-nano", num_labels=3))


@pytest.fixture(params=["trunk", "backbone", "classifier", "segmentor", "upernet"])
def model(request, family):
    names = ["trunk", "backbone", "classifier", "segmentor", "upernet"]
    return family.models()[names.index(request.param)]


def test_they_stay_in_eval_mode_and_nothing_else_does(model):
    model.freeze_batch_norm()
    for _ in range(2):
        model.train()
        assert norms(model)
        assert not any(norm.training for norm in norms(model).values())
        assert all(module.training for name, module in model.named_modules() if name not in norms(model))
        model.eval()
    frozen = {f"{name}.{kind}" for name in norms(model) for kind in ("weight", "bias")}
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen


@pytest.mark.parametrize("kind", ["in a module", "copied", "its backbone"])
def test_however_training_begins(kind):
    model = detector()
    model.freeze_batch_norm()
    if kind == "copied":
        model = copy.deepcopy(model)
    trained = {"in a module": nn.Sequential(model), "copied": model, "its backbone": model.backbone}[kind]
    trained.train()
    assert not any(norm.training for norm in norms(trained).values())


def test_a_batch_of_two_is_trained():
    """And one of a single value for each channel, which BatchNorm has no statistics of."""
    torch.manual_seed(0)
    model = detector()
    model.freeze_batch_norm()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    labels = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.5, 0.4]])}
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=1e-3)
    model(torch.randn(2, 3, 64, 64), labels=[labels, labels]).loss.backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert "detector.pyramid.lateral.0.convolution.weight" in changed
    assert not any(name.startswith(tuple(norms(model))) for name in changed)
    model(torch.randn(1, 3, 20, 20), labels=[labels]).loss.backward()


def test_it_is_not_saved(tmp_path):
    model = detector()
    model.freeze_batch_norm()
    model.save_pretrained(tmp_path)
    again = GPViTForObjectDetection.from_pretrained(tmp_path).train()
    assert all(norm.training for norm in norms(again).values())
    assert all(parameter.requires_grad for parameter in again.parameters())
