# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""No layer is passed over: adapters, quantised and offloaded weights, hooks and parametrisations count.

Some layers are called by their weights (the SegFormer head multiplies two, MixCFN joins two convolutions, linear
layers run as convolutions), so that what is around them could be left out in silence.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from model_outputs import assert_same


NORMS = (nn.LayerNorm, nn.BatchNorm2d)
PIXELS = (2, 3, 40, 56)


def models_with_heads(family, **overrides):
    """Classifier and segmentors with the SegFormer and the UPerNet head, of which every weight counts."""
    models = family.models(**overrides)[2:]
    for model in models:
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.2)
    return models


def inputs(model, family):
    """Pixels and labels; with labels the auxiliary head runs too."""
    shape = (2,) if isinstance(model, family.classifier_class) else (2, *PIXELS[2:])
    return {"pixel_values": torch.randn(PIXELS), "labels": torch.randint(0, 5, shape)}


def layers(model, kinds):
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def lora(model, names, **options):
    """`model` with adapters on the modules of these names; they change its outputs from the start."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=list(names), init_lora_weights=False, **options)
    torch.manual_seed(0)
    return peft.get_peft_model(copy.deepcopy(model), config).eval()


def with_adapters_as_hooks(model, adapted):
    """`model`, whose layers get what the adapters of `adapted` add from hooks: PEFT merges no grouped convolutions."""
    model = copy.deepcopy(model)

    def adding(adapter):
        scaling, down, up = (part["default"] for part in (adapter.scaling, adapter.lora_A, adapter.lora_B))
        return lambda layer, args, output: output + scaling * up(down(args[0]))

    for name, module in adapted.get_base_model().named_modules():
        if hasattr(module, "base_layer"):
            model.get_submodule(name).register_forward_hook(adding(module))
    return model


def assert_adapters_count(adapted, model, reference, batch):
    """They change the outputs of `model`, to those of `reference`, and each gets a gradient."""
    outputs = adapted(**batch)
    with torch.no_grad():
        assert not torch.allclose(model(**batch).logits, outputs.logits, atol=1e-4)
        assert_same(reference(**batch), outputs, atol=1e-4, rtol=1e-4)
    outputs.loss.backward()
    trainable = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    assert [name for name, weight in trainable.items() if weight.grad is None or not weight.grad.any()] == []
    adapted.zero_grad()


def assert_step_changes_only_adapters(model, batch):
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1.0)
    model.train()(**batch).loss.backward()
    optimizer.step()
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)


@pytest.mark.parametrize("use_dora", [False, True], ids=["lora", "dora"])
def test_adapters_on_every_linear(family, use_dora):
    for model in models_with_heads(family, **family.shallow):
        names, batch = layers(model, nn.Linear), inputs(model, family)
        adapted = lora(model, names, use_dora=use_dora)
        assert sum(hasattr(module, "base_layer") for module in adapted.modules()) == len(names)
        assert_adapters_count(adapted, model, copy.deepcopy(adapted).merge_and_unload(), batch)
        if not use_dora:
            assert_step_changes_only_adapters(adapted, batch)


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd")
def test_adapters_on_every_convolution(family):
    for model in models_with_heads(family, **family.shallow):
        names, batch = layers(model, nn.Conv2d), inputs(model, family)
        ranks = {name: 2 * module.groups for name, module in names.items()}
        adapted = lora(model, names, rank_pattern={f"^{name}": rank for name, rank in ranks.items()})
        assert sum(hasattr(module, "base_layer") for module in adapted.modules()) == len(names)
        assert_adapters_count(adapted, model, with_adapters_as_hooks(model, adapted), batch)
        assert_step_changes_only_adapters(adapted, batch)


def test_adapters_beside_a_new_head(family):
    for model in models_with_heads(family, **family.shallow):
        heads = {"classifier", "decode_head", "auxiliary_head"} & {name for name, _ in model.named_children()}
        linears = [name for name in layers(model, nn.Linear) if name.startswith(model.base_model_prefix)]
        adapted, batch = lora(model, linears, modules_to_save=list(heads)), inputs(model, family)
        outputs = adapted(**batch)
        outputs.loss.backward()
        trainable = {name for name, weight in adapted.named_parameters() if weight.grad is not None}
        assert all("lora_" in name or "modules_to_save" in name for name in trainable)
        assert any("modules_to_save" in name for name in trainable)
        with torch.no_grad():
            assert_same(copy.deepcopy(adapted).merge_and_unload()(**batch), outputs, atol=1e-4, rtol=1e-4)
            fused = copy.deepcopy(adapted).merge_and_unload().fuse_for_inference()
            assert_same(fused(**batch), outputs, atol=1e-4, rtol=1e-4)
        with pytest.raises(ValueError, match="adapter"):
            adapted.fuse_for_inference()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd")
@torch.no_grad()
def test_adapter_on_each_layer_alone(family):
    """One adapter among plain layers, where others of the same product are as they were."""
    for model in models_with_heads(family, **family.shallow):
        batch = inputs(model, family)
        before = model(**batch)
        for name, layer in layers(model, (nn.Linear, nn.Conv2d)).items():
            adapted = lora(model, [name], rank_pattern={f"^{name}": 2 * getattr(layer, "groups", 1)})
            outputs = adapted(**batch)
            assert different(outputs, before), name
            assert_same(outputs, with_adapters_as_hooks(model, adapted)(**batch), atol=1e-4, rtol=1e-4)


def different(outputs, expected):
    """Whether logits or loss differ; the auxiliary head shows in the loss alone."""
    return not (torch.equal(outputs.logits, expected.logits) and torch.equal(outputs.loss, expected.loss))


@torch.no_grad()
def test_int8_weights(family):
    quantization = pytest.importorskip("torchao.quantization")
    for model in models_with_heads(family):
        batch = inputs(model, family)
        expected, linears = model(**batch).logits, layers(model, nn.Linear)
        for candidate in (copy.deepcopy(model), model.fuse_for_inference()):
            quantization.quantize_(candidate, quantization.Int8WeightOnlyConfig())
            quantized = layers(candidate, nn.Linear)
            assert quantized.keys() == linears.keys()
            assert all(type(linear.weight) is not nn.Parameter for linear in quantized.values())
            error = candidate(**batch).logits - expected
            assert 0 < error.abs().max() < 0.1 * expected.abs().max()
        quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
        with pytest.raises(ValueError, match="quantised"):
            model.fuse_for_inference()


@pytest.mark.parametrize("place", ["cpu", "disk"])
@torch.no_grad()
def test_offloaded_weights(family, place, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    for index, model in enumerate(models_with_heads(family)):
        batch = inputs(model, family)
        expected = model(**batch, output_attentions=True)
        if place == "cpu":
            accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
        else:
            accelerate.disk_offload(model, tmp_path / str(index), execution_device=torch.device("cpu"))
        assert {weight.device.type for weight in model.parameters()} == {"meta"}
        assert_same(model(**batch, output_attentions=True), expected, atol=1e-5, rtol=1e-5)
        with pytest.raises(ValueError, match="forward|hooks|offloaded"):
            model.fuse_for_inference()


@torch.no_grad()
def test_loading_into_offloaded_parts(family, tmp_path):
    pytest.importorskip("accelerate")
    for model in models_with_heads(family):
        model.save_pretrained(tmp_path / "model")
        children = [name for name, _ in model.named_children()]
        device_map = dict.fromkeys(children, "disk") | {children[0]: "cpu"}
        loaded = (
            type(model)
            .from_pretrained(tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "weights")
            .eval()
        )
        assert any(weight.device.type == "meta" for weight in loaded.parameters())
        batch = inputs(model, family)
        assert_same(loaded(**batch), model(**batch), atol=1e-5, rtol=1e-5)


class Calls:
    """How often every module runs, counted by hooks on the modules of `names`."""

    def __init__(self, model, names, pre):
        self.counts = dict.fromkeys(names, 0)
        modules = dict(model.named_modules())
        register = nn.Module.register_forward_pre_hook if pre else nn.Module.register_forward_hook
        self.handles = [register(modules[name], self.hook(name)) for name in names]

    def hook(self, name):
        def count(*args):
            self.counts[name] += 1

        return count

    def __enter__(self):
        return self.counts

    def __exit__(self, *exception):
        for handle in self.handles:
            handle.remove()


@pytest.mark.parametrize("pre", [False, True], ids=["hook", "pre-hook"])
@torch.no_grad()
def test_hooks_fire_as_often_on_one_module_as_on_all(family, pre):
    for model in models_with_heads(family, **family.shallow):
        batch = inputs(model, family)
        expected = model(**batch)
        names = [name for name, _ in model.named_modules()]
        with Calls(model, names, pre) as together:
            assert_same(model(**batch), expected, atol=1e-5, rtol=1e-5)
        for name, module in model.named_modules():
            assert together[name] == 1 or not isinstance(module, (nn.Linear, nn.Conv2d, *NORMS)), name
            with Calls(model, [name], pre) as alone:
                model(**batch)
            assert alone == {name: together[name]}


@torch.no_grad()
def test_hooks_that_change_something_do(family):
    for model in models_with_heads(family, **family.shallow):
        batch = inputs(model, family)
        expected = model(**batch)
        for name, module in layers(model, (nn.Linear, nn.Conv2d, *NORMS)).items():
            with module.register_forward_hook(lambda module, args, output: with_noise(output)):
                assert different(model(**batch), expected), name
            with module.register_forward_pre_hook(lambda module, args: with_noise(*args)):
                assert different(model(**batch), expected), name
        assert not different(model(**batch), expected)


@torch.no_grad()
def test_accelerate_hooks_that_change_something_do(family):
    hooks = pytest.importorskip("accelerate.hooks")

    class Noise(hooks.ModelHook):
        def post_forward(self, module, output):
            return with_noise(output)

    for model in models_with_heads(family, **family.shallow):
        batch = inputs(model, family)
        expected = model(**batch)
        for name, module in layers(model, (nn.Linear, nn.Conv2d)).items():
            hooks.add_hook_to_module(module, Noise())
            assert different(model(**batch), expected), name
            hooks.remove_hook_from_module(module)


def with_noise(value):
    return value + 10 * torch.randn_like(value)


@pytest.mark.parametrize("kinds", [nn.Linear, nn.Conv2d], ids=["linear", "convolution"])
@torch.no_grad()
def test_weight_norm(family, kinds):
    """Its scale is what counts: doubled, it is a layer with doubled weights."""
    for model in models_with_heads(family, **family.shallow):
        batch = inputs(model, family)
        expected = model(**batch)
        for name, layer in layers(model, kinds).items():
            weight = layer.weight.clone()
            parametrizations.weight_norm(layer)
            torch.testing.assert_close(model(**batch).loss, expected.loss, msg=name)
            layer.parametrizations.weight.original0.mul_(2)
            scaled = model(**batch)
            nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            layer.weight.copy_(2 * weight)
            assert_same(scaled, model(**batch), atol=1e-5, rtol=1e-5)
            layer.weight.copy_(weight)


@torch.no_grad()
def test_spectral_norm(family):
    for model in models_with_heads(family, **family.shallow):
        normed, expected = copy.deepcopy(model), copy.deepcopy(model)
        for name in layers(model, (nn.Linear, nn.Conv2d)):
            layer = parametrizations.spectral_norm(normed.get_submodule(name)).eval()
            expected.get_submodule(name).weight.copy_(layer.weight)
        batch = inputs(model, family)
        assert_same(normed(**batch), expected(**batch), atol=1e-5, rtol=1e-5)
        assert different(normed(**batch), model(**batch))
        with pytest.raises(ValueError, match="parametrised"):
            normed.fuse_for_inference()
