# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""GPViT against the numbers of the official code."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from hf_gpvit import GPViTBackbone, GPViTConfig, GPViTForImageClassification, GPViTForSemanticSegmentation, GPViTModel
from hf_gpvit.conversion import convert_checkpoint
from official import FEATURES, LOGITS, arrays, checkpoint, fixture, image, needs_references


# Parameters of the backbone, with pooling, with a 1000-way classifier.
PARAMETERS = {
    "gpvit-l1": (9_325_544, 9_372_848, 9_589_848),
    "gpvit-l2": (23_691_532, 23_813_680, 24_162_680),
    "gpvit-l3": (36_221_056, 36_221_056, 36_654_056),
    "gpvit-l4": (74_859_456, 74_859_456, 75_484_456),
}


@pytest.fixture(scope="module")
def classifier():
    return convert_checkpoint(checkpoint("gpvit/gpvit_l1_statedict.json"))


@pytest.fixture(scope="module", params=["segformer", "upernet"])
def segmentor(request):
    return convert_checkpoint(checkpoint(f"gpvit/gpvit_l1_{request.param}_statedict.json"))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize(("size", "key"), [((224, 224), "224"), ((256, 320), "256x320")])
@torch.no_grad()
def test_classifier(classifier, size, key, implementation):
    expected = arrays("gpvit/gpvit_l1_cls.npz")
    classifier.set_attn_implementation(implementation)
    outputs = classifier.gpvit(image(2, *size))
    torch.testing.assert_close(outputs.pooler_output, expected[f"neck_{key}"], **FEATURES)
    torch.testing.assert_close(outputs.last_hidden_state.mean(1), expected[f"featmean_{key}"], **FEATURES)
    torch.testing.assert_close(classifier(image(2, *size)).logits, expected[f"logits_{key}"], **LOGITS)
    classifier.set_attn_implementation("sdpa")


@pytest.mark.parametrize("size", [(16, 16), (222, 250), (250, 250), (313, 121)])
@torch.no_grad()
def test_sizes_that_the_stem_pads(classifier, size):
    expected = arrays("gpvit/gpvit_l1_cls_padded_sizes.npz")[f"logits_{size[0]}x{size[1]}"]
    torch.testing.assert_close(classifier(image(1, *size)).logits, expected, **LOGITS)


@torch.no_grad()
def test_segmentor(segmentor):
    expected = arrays("gpvit/gpvit_l1_segmentation.npz")
    head = segmentor.config.decode_head_type
    for size in ((128, 128), (128, 192)):
        logits = segmentor(image(1, *size)).logits[:, ::10]
        torch.testing.assert_close(logits, expected[f"{head}_{size[0]}x{size[1]}"], **LOGITS)
    if segmentor.auxiliary_head is not None:
        outputs = segmentor.gpvit(image(1, 128, 128), output_hidden_states=True)
        auxiliary = segmentor.auxiliary_head(segmentor.feature_norms(outputs, segmentor.stages, (16, 16)))
        torch.testing.assert_close(auxiliary[:, ::10], expected["upernet_auxiliary_128x128"], **LOGITS)


def test_gradients(classifier):
    """The figures' loss weighs the logits at random; they hold for eval mode."""
    expected = json.loads(fixture("gpvit/gpvit_l1_grads.json").read_text())
    logits = classifier(image(2, 64, 96)).logits
    weights = torch.from_numpy(np.random.RandomState(1).randn(2, 1000).astype(np.float32))
    loss = (logits * weights).sum()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-4)
    classifier.zero_grad()
    loss.backward()
    official_names = _official_names(classifier)
    for name, parameter in classifier.named_parameters():
        norm = expected["grad_l2"][official_names[name]]
        # a key bias has no gradient but rounding, since it shifts all scores of a query alike
        assert parameter.grad.norm().item() == pytest.approx(norm, rel=5e-4, abs=2e-3), name
    classifier.zero_grad()


def _official_names(model):
    """Our name -> official name, found by the values, which differ from entry to entry."""

    def signature(value):
        return tuple(value.shape), value.detach().double().sum().item()

    by_value = {signature(value): name for name, value in checkpoint("gpvit/gpvit_l1_statedict.json").items()}
    return {name: by_value[signature(value)] for name, value in model.named_parameters()}


def test_initialisation():
    """Means and deviations as after the official initialisation, entry by entry."""
    statistics = json.loads(fixture("gpvit/gpvit_l1_init_stats.json").read_text())
    fresh = GPViTForImageClassification(GPViTConfig.from_preset("gpvit-l1", num_labels=1000))
    official_names = _official_names(convert_checkpoint(checkpoint("gpvit/gpvit_l1_statedict.json")))
    for name, parameter in fresh.named_parameters():
        shape, mean, std, largest = statistics[official_names[name]]
        count = parameter.numel()
        assert list(parameter.shape) == shape, name
        assert parameter.std().item() == pytest.approx(std, rel=8 / count**0.5, abs=1e-8), name
        assert parameter.mean().item() == pytest.approx(mean, abs=8 * std / count**0.5 + 1e-8), name
        # bounded distributions are told from normal ones by their largest value
        assert parameter.abs().max().item() == pytest.approx(largest, rel=0.35, abs=1e-8), name


@pytest.mark.parametrize("head", ["segformer", "upernet"])
def test_initialisation_of_decode_heads(head):
    """Kaiming-normal by fan-out for convolutions, normal(0.01) for the pixel classifiers, zero biases."""
    model = GPViTForSemanticSegmentation(GPViTConfig.from_preset("gpvit-nano", decode_head_type=head, num_labels=40))
    heads = nn.ModuleList([model.decode_head] + ([model.auxiliary_head] if head == "upernet" else []))
    convolutions = {name: module for name, module in heads.named_modules() if isinstance(module, nn.Conv2d)}
    assert len(convolutions) == (6 if head == "segformer" else 15)
    for name, module in convolutions.items():
        fan_out = module.weight.shape[0] * module.weight[0, 0].numel()
        std = 0.01 if name.endswith("classifier") else (2 / fan_out) ** 0.5
        assert module.weight.std().item() == pytest.approx(std, rel=8 / module.weight.numel() ** 0.5), name
        assert module.bias is None or (module.bias == 0).all(), name


@pytest.mark.parametrize("preset", PARAMETERS)
def test_parameter_counts(preset):
    config = GPViTConfig.from_preset(preset, num_labels=1000)
    with torch.device("meta"):
        models = (GPViTModel(config, add_pooling_layer=False), GPViTModel(config), GPViTForImageClassification(config))
    assert tuple(model.num_parameters() for model in models) == PARAMETERS[preset]


def test_norms_have_the_official_epsilons():
    """A wrong one hides below the tolerances, since the reference tokens are large."""
    model = GPViTForSemanticSegmentation(GPViTConfig.from_preset("gpvit-l1"))
    eps = {name: module.eps for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
    eps |= {
        name: module.eps
        for name, module in GPViTModel(model.config).named_modules()
        if isinstance(module, nn.LayerNorm) and name.startswith("pooler")
    }
    for name, value in eps.items():
        assert value == (1e-5 if ".propagation." in name or name.startswith("pooler") else 1e-6), name
    batch_norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(module.eps, module.momentum) for module in batch_norms} == {(1e-5, 0.1)}


@needs_references
@torch.no_grad()
def test_every_stage_feature():
    """The four maps that the official segmentors take, in full."""
    segmentor = convert_checkpoint(checkpoint("gpvit/gpvit_l1_segformer_statedict.json"))
    backbone = GPViTBackbone(segmentor.config).eval()
    backbone.load_state_dict(segmentor.state_dict(), strict=False)
    for size, files in {
        (224, 224): ("gpvit_l1_feats224.npz", "gpvit_l1_feats224_l11.npz"),
        (128, 192): ("gpvit_l1_feats128x192.npz",),
    }.items():
        expected = {key: value for file in files for key, value in arrays(f"gpvit/{file}").items()}
        suffix = "224" if size == (224, 224) else "128x192"
        feature_maps = backbone(image(1, *size)).feature_maps
        for layer, feature_map in zip((2, 5, 8, 11), feature_maps, strict=True):
            torch.testing.assert_close(feature_map, expected[f"feat{layer}_{suffix}"], **FEATURES)


@needs_references
@torch.no_grad()
def test_every_inner_tensor(classifier):
    expected = arrays("gpvit/gpvit_l1_inter64.npz")
    inner = {}

    def record(name, index=None):
        def hook(module, args, output):
            inner[name] = output if index is None else output[index]

        return hook

    trunk = classifier.gpvit
    local, group = trunk.layers[0], trunk.layers[1]
    modules = {
        "layer0_qkv": local.attention.qkv,
        "layer0_attns0": (local.attention.vertical, 0),
        "layer0_attns1": (local.attention.horizontal, 0),
        "layer0_proj": local.attention.projection,
        "layer1_group": (group.propagation.grouping, 0),
        "layer1_mixer": group.propagation.mixer,
        "layer1_ungroup_attn": (group.propagation.ungrouping, 0),
        "layer1_ungroup_catproj": group.propagation.projection,
        "layer1_ungroup_out": group.propagation,
        "final_norm": trunk.norm,
        "neck": trunk.pooler,
        "logits": classifier.classifier,
        "patch_embed_pos": trunk.embeddings,
    } | {f"layer{index}": layer for index, layer in enumerate(trunk.layers)}
    handles = []
    for name, target in modules.items():
        module, index = target if isinstance(target, tuple) else (target, None)
        handles.append(module.register_forward_hook(record(name, index)))
    classifier(image(1, 64, 64))
    for handle in handles:
        handle.remove()
    for name in modules:
        actual = inner[name].reshape(expected[name].shape)
        torch.testing.assert_close(actual, expected[name], **FEATURES, msg=lambda text, name=name: f"{name}: {text}")


@needs_references
@torch.no_grad()
def test_segmentor_logits_at_image_size(segmentor):
    """Official inference resizes the logits bilinearly to the network's input."""
    expected = arrays(f"gpvit/gpvit_l1_{segmentor.config.decode_head_type}.npz")
    logits = segmentor(image(1, 128, 128)).logits
    torch.testing.assert_close(logits, expected["decode_logits_128"], **LOGITS)
    resized = nn.functional.interpolate(logits, size=(128, 128), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized[:, ::50], expected["encode_decode_128_ch0_50_100"], **LOGITS)


@needs_references
@pytest.mark.slow
@pytest.mark.parametrize("head", ["", "_segformer", "_upernet"])
@pytest.mark.parametrize("variant", ["l2", "l3", "l4"])
@torch.no_grad()
def test_larger_variants_convert(variant, head):
    model = convert_checkpoint(checkpoint(f"gpvit/gpvit_{variant}{head}_statedict.json"))
    assert torch.isfinite(model(image(1, 64, 64)).logits).all()
