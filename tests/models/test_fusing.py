# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""fuse_for_inference: the same outputs from fewer operations, and no way to train or save them by mistake."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from families import GPVIT, HRVIT, trained
from model_outputs import assert_same, tensors
from small_detectors import ALL_KINDS, random_labels, small_model


SIZES = [(40, 40), (33, 47), (9, 70)]


def models(family, **overrides):
    return list(map(trained, family.models(**overrides)))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def largest(outputs):
    return max(value.abs().max().item() for value in tensors(outputs).values())


@torch.no_grad()
def test_outputs_are_the_same(family):
    for model in models(family):
        fused = model.fuse_for_inference()
        assert type(fused) is type(model)
        for size in SIZES:
            pixel_values = torch.randn(2, 3, *size)
            assert_same(fused(pixel_values), model(pixel_values), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_recorded_outputs_are_the_same(family):
    pixel_values = torch.randn(2, 3, 33, 47)
    for model in models(family):
        options = {"output_hidden_states": True, "output_attentions": True}
        expected = model(pixel_values, **options)
        assert expected.attentions
        assert_same(model.fuse_for_inference()(pixel_values, **options), expected, atol=1e-5, rtol=1e-5)


def test_nothing_is_left_to_fold_or_to_compose(family):
    for model in models(family):
        names = [type(module).__name__ for module in model.fuse_for_inference().modules()]
        assert not any("BatchNorm" in name for name in names)
        assert "HRViTMixCFN" not in names
        assert family is not HRVIT or "SegformerHead" not in names


@pytest.mark.parametrize("training", [True, False])
def test_given_model_stays_as_it_is(family, training):
    for model in models(family):
        model.train(training)
        before, modules = state(model), dict(model.named_modules())
        fused = model.fuse_for_inference()
        after = state(model)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert dict(model.named_modules()) == modules
        assert model.training == training
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert not model.is_fused
        assert fused.is_fused
        assert not any(module.training for module in fused.modules())
        assert not any(parameter.requires_grad for parameter in fused.parameters())
        storages = {tensor.data_ptr() for tensor in model.state_dict().values()}
        assert not storages & {tensor.data_ptr() for tensor in fused.state_dict().values()}


@torch.no_grad()
def test_loss_with_labels(family):
    pixel_values = torch.randn(2, 3, 40, 40)
    for model in models(family)[2:]:
        shape = (2,) if isinstance(model, family.classifier_class) else (2, 40, 40)
        labels = torch.randint(0, 5, shape)
        loss = model(pixel_values, labels=labels).loss
        torch.testing.assert_close(model.fuse_for_inference()(pixel_values, labels=labels).loss, loss)


@torch.no_grad()
def test_group_maps():
    pixel_values = torch.randn(1, 3, 40, 40)
    model = trained(GPVIT.models()[0])
    for fused, expected in zip(
        model.fuse_for_inference().group_maps(pixel_values), model.group_maps(pixel_values), strict=True
    ):
        torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_autocast(family):
    pixel_values = torch.randn(2, 3, 40, 40)
    for model in models(family):
        with torch.autocast("cpu", torch.bfloat16):
            outputs, expected = model.fuse_for_inference()(pixel_values), model(pixel_values)
        assert_same(outputs, expected, atol=0.1 * largest(expected), rtol=0, check_dtype=False)


@torch.no_grad()
def test_copies_pickles_and_fused_again(family):
    pixel_values = torch.randn(1, 3, 40, 40)
    for model in models(family):
        fused = model.fuse_for_inference()
        expected = fused(pixel_values, output_attentions=True)
        for same in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused)), fused.fuse_for_inference()):
            assert_same(same(pixel_values, output_attentions=True), expected, atol=0, rtol=0)
            with pytest.raises(RuntimeError, match="fused"):
                same.train()


@torch.no_grad()
def test_other_precisions_and_devices(family):
    pixel_values = torch.randn(1, 3, 40, 40)
    for model in models(family):
        expected = model(pixel_values)
        fused = model.fuse_for_inference()
        double = fused.double()(pixel_values.double())
        assert {value.dtype for value in tensors(double).values()} == {torch.float64}
        assert_same(double, expected, atol=1e-4, rtol=1e-4, check_dtype=False)
        shapes = {key: value.shape for key, value in tensors(fused.to("meta")(pixel_values.to("meta"))).items()}
        assert shapes == {key: value.shape for key, value in tensors(expected).items()}


@torch.no_grad()
def test_bfloat16_before_and_after(family):
    pixel_values = torch.randn(1, 3, 40, 40).bfloat16()
    for model in models(family):
        half = copy.deepcopy(model).bfloat16()
        expected = half(pixel_values)
        for fused in (half.fuse_for_inference(), model.fuse_for_inference().bfloat16()):
            assert {parameter.dtype for parameter in fused.parameters()} == {torch.bfloat16}
            assert_same(fused(pixel_values), expected, atol=0.1 * largest(expected), rtol=0)


@torch.no_grad()
def test_norms_that_stay_in_float32_fold_into_bfloat16(family, tmp_path):
    model = models(family)[2]
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16, torch.float32}
    pixel_values = torch.randn(2, 3, 40, 40)
    fused, expected = loaded.fuse_for_inference()(pixel_values), loaded(pixel_values)
    assert fused.logits.dtype == expected.logits.dtype
    torch.testing.assert_close(fused.logits, expected.logits, rtol=0, atol=0.1 * largest(expected))


@torch.no_grad()
def test_compiles(family):
    torch._dynamo.reset()
    pixel_values = torch.randn(1, 3, 40, 40)
    for model in models(family, **family.shallow)[2:4]:
        fused = model.fuse_for_inference()
        compiled = torch.compile(fused, fullgraph=True, backend="eager")
        assert_same(compiled(pixel_values), fused(pixel_values), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "refused",
    [
        lambda fused: fused.train(),
        lambda fused: fused.train(True),
        lambda fused: nn.Sequential(fused).train(),
        lambda fused: fused.base_model.train(),
        lambda fused: fused.save_pretrained("model"),
        lambda fused: fused.base_model.save_pretrained("model"),
        lambda fused: fused.push_to_hub("you/model"),
        lambda fused: fused.load_state_dict(fused.state_dict()),
        lambda fused: fused.load_state_dict({}, strict=False),
        lambda fused: nn.Sequential(fused).load_state_dict({}, strict=False),
    ],
    ids=["train", "true", "around", "trunk", "save", "save-trunk", "push", "load", "load-part", "load-around"],
)
def test_can_not_be_trained_saved_or_loaded(family, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = family.models()[2]
    fused = model.fuse_for_inference()
    assert fused.eval() is fused
    assert fused.train(False) is fused
    with pytest.raises(RuntimeError, match="fused for inference and can't"):
        refused(fused)
    assert not list(tmp_path.iterdir())
    assert not any(module.training for module in fused.modules())
    model.train()
    model.load_state_dict(model.state_dict())


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def other_forward(module):
    module.forward = module.forward


def quantised(module):
    kind = type("QuantisedTensor", (torch.Tensor,), {})
    module.weight = nn.Parameter(module.weight.detach().as_subclass(kind))


def foreign_layer(module):
    module.__class__ = type("ForeignConv2d", (nn.Conv2d,), {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda layer: layer.register_forward_pre_hook(lambda module, args: None), "has hooks"),
        (lambda layer: layer.register_full_backward_hook(lambda module, inputs, outputs: None), "has hooks"),
        (lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", Doubled()), "parametrised"),
        (lambda layer: layer.to("meta"), "quantised or offloaded"),
        (lambda layer: setattr(layer, "base_layer", nn.Identity()), "has an adapter"),
        (quantised, "quantised or offloaded"),
        (other_forward, "has hooks or another forward"),
        (foreign_layer, "ForeignConv2d"),
    ],
    ids=["pre-hook", "backward-hook", "parametrisation", "meta", "adapter", "quantised", "forward", "class"],
)
def test_refuses_what_computes_with_more_than_its_weights(family, change, reason):
    model = family.models()[2]
    change(next(module for module in model.modules() if isinstance(module, nn.Conv2d)))
    with pytest.raises(ValueError, match=f"fused for inference.*{reason}"):
        model.fuse_for_inference()


def test_refuses_hooks_anywhere(family):
    model = family.models()[2]
    for name, module in model.named_modules():
        handle = module.register_forward_hook(lambda module, args, output: None)
        with pytest.raises(ValueError, match=f"{name or 'the model'} has hooks"):
            model.fuse_for_inference()
        handle.remove()
    assert model.fuse_for_inference().is_fused


@pytest.mark.parametrize(
    "norm",
    [lambda channels: nn.GroupNorm(1, channels), lambda channels: nn.BatchNorm2d(channels, track_running_stats=False)],
    ids=["group", "own statistics"],
)
@torch.no_grad()
def test_other_norms_stay(family, norm):
    pixel_values = torch.randn(2, 3, 40, 40)
    for model in models(family, **family.shallow)[2:]:
        for module in model.modules():
            if isinstance(getattr(module, "batch_norm", None), _BatchNorm):
                module.batch_norm = norm(module.batch_norm.num_features)
                nn.init.normal_(module.batch_norm.bias)
        model.eval()
        assert_same(model.fuse_for_inference()(pixel_values), model(pixel_values), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ALL_KINDS)
@torch.no_grad()
def test_adapter_and_detectors(kind):
    """Norms of sums have no layer to go into: those of the pyramid stay."""
    model = trained(small_model(kind))
    fused = model.fuse_for_inference()
    normed = [name for name, module in fused.named_modules() if isinstance(module, _BatchNorm)]
    assert normed
    assert all("pyramid.norms.stage" in name for name in normed)
    flags = {"output_hidden_states": True, "output_attentions": True, "output_group_attentions": True}
    labels = {} if kind == "backbone" else {"labels": random_labels((33, 70), 2, 0)}
    for size in SIZES:
        pixel_values = torch.randn(2, 3, *size)
        assert_same(fused(pixel_values, **flags), model(pixel_values, **flags), atol=1e-3, rtol=1e-3)
    if labels:
        torch.manual_seed(0)
        expected = model(torch.ones(2, 3, 33, 70), **labels).loss
        torch.manual_seed(0)
        torch.testing.assert_close(fused(torch.ones(2, 3, 33, 70), **labels).loss, expected)
    for refused in (fused.train, fused.gpvit.train if kind == "backbone" else fused.backbone.train):
        with pytest.raises(RuntimeError, match="fused for inference and can't"):
            refused()
