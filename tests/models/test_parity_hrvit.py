# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""HRViT against the numbers of the official code."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hf_gpvit import HRViTConfig, HRViTForImageClassification, HRViTForSemanticSegmentation, HRViTModel
from hf_gpvit.conversion import convert_checkpoint
from hf_gpvit.models.layers import DropPath
from official import FEATURES, LOGITS, arrays, fixture, hrvit_checkpoint, image, needs_references, piecewise_image


# Parameters of the backbone, the 1000-way classifier, and with SegFormer and UPerNet (auxiliary head included), for
# 150 and for 19 classes.
PARAMETERS = {
    "hrvit-b1": (7_758_008, 19_685_152, 8_183_118, 35_952_100, 8_149_451, 35_851_230),
    "hrvit-b2": (20_310_944, 32_486_408, 20_809_782, 49_696_972, 20_776_115, 49_596_102),
    "hrvit-b3": (25_507_960, 37_870_304, 28_724_494, 55_815_588, 28_623_755, 55_714_718),
}
IMAGES = {"rand": image, "kron": piecewise_image}


def size_of(text):
    height, width = text.split("x")
    return int(height), int(width)


@pytest.fixture(scope="module")
def classifier():
    return convert_checkpoint(hrvit_checkpoint("hrvit_b1"))


@pytest.fixture(scope="module", params=["segformer", "upernet"])
def segmentor(request):
    return convert_checkpoint(hrvit_checkpoint("hrvit_b1", request.param))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_classifier(classifier, implementation):
    classifier.set_attn_implementation(implementation)
    for key, expected in arrays("hrvit/hrvit_b1_logits.npz").items():
        kind, size = key.split(".logits_")
        logits = classifier(IMAGES[kind](len(expected), *size_of(size))).logits
        torch.testing.assert_close(logits, expected, **LOGITS)
    classifier.set_attn_implementation("sdpa")


def assert_features(feature_maps, expected, prefix=""):
    """The maps are those of the figures, thinned or whole, and so are the statistics of their channels."""
    for index, feature_map in enumerate(feature_maps):
        start = f"{prefix}feat{index}"
        found = {key.removeprefix(start): value for key, value in expected.items() if key.startswith(start)}
        assert found
        for key, value in found.items():
            if key == ".shape":
                assert list(feature_map.shape) == value.tolist()
                continue
            kind, *steps = key.removeprefix(".").split("_")
            if key == ".chan_mean":
                actual = feature_map.mean((0, 2, 3))
            elif key == ".chan_std":
                actual = feature_map.std((0, 2, 3), correction=0)
            else:
                channels, rows, columns = map(int, steps or (1, 1, 1))
                actual = feature_map[:, ::channels, ::rows, ::columns]
            name = start + key
            torch.testing.assert_close(actual, value, **FEATURES, msg=lambda text, name=name: f"{name}: {text}")


@torch.no_grad()
def test_features_of_a_size_that_32_does_not_divide(classifier):
    outputs = classifier.hrvit(image(1, 222, 253), output_hidden_states=True)
    assert_features(outputs.hidden_states, arrays("hrvit/hrvit_b1_features.npz"))


@torch.no_grad()
def test_segmentor(segmentor):
    expected = arrays("hrvit/hrvit_b1_segmentation.npz")
    head = segmentor.config.decode_head_type
    for kind, size, step in (("rand", (128, 128), 5), ("kron", (160, 224), 10)):
        logits = segmentor(IMAGES[kind](1, *size)).logits[:, ::step]
        torch.testing.assert_close(logits, expected[f"{head}_{kind}_{size[0]}x{size[1]}"], **LOGITS)


@pytest.mark.parametrize(
    "size", [(28, 28), (200, 232), (100, 90), (1, 1), (7, 350)], ids=lambda size: "x".join(map(str, size))
)
@torch.no_grad()
def test_sizes_that_the_official_code_refuses(classifier, size):
    """They work, and every image is for itself."""
    pixel_values = piecewise_image(2, *size)
    together = classifier(pixel_values, output_hidden_states=True)
    grids = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in (4, 8, 16, 32)]
    assert [state.shape[2:] for state in together.hidden_states] == grids
    for index in range(2):
        alone = classifier(pixel_values[index : index + 1]).logits
        assert torch.isfinite(alone).all()
        torch.testing.assert_close(together.logits[index : index + 1], alone, **LOGITS)


def our_names(model):
    """Official name -> our name, found by the values, which differ from entry to entry."""

    def signature(value):
        return tuple(value.shape), value.detach().double().sum().item()

    by_value = {signature(value): name for name, value in model.state_dict().items() if value.is_floating_point()}
    checkpoint = hrvit_checkpoint("hrvit_b1")
    return {name: by_value[signature(value)] for name, value in checkpoint.items() if value.is_floating_point()}


@pytest.mark.parametrize("file", ["hrvit_b1_train.npz", pytest.param("hrvit_b1_train_64.npz", marks=needs_references)])
def test_training_step(file):
    """Batch statistics, gradients and running statistics; the figures hold without drop path and dropout.

    In float64: in float32 a ReLU that flips moves a gradient by as much as the figures' own rounding does.
    """
    expected = arrays(f"hrvit/{file}")
    model = convert_checkpoint(hrvit_checkpoint("hrvit_b1"))
    names = our_names(model)
    for module in model.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0
    model.classifier.dropout.p = 0.0
    outputs = model.double().train()(image(4, 64, 64).double(), labels=expected["target"])
    torch.testing.assert_close(outputs.logits.float(), expected["logits"], **LOGITS)
    torch.testing.assert_close(outputs.loss.float(), expected["loss"][0], atol=1e-6, rtol=1e-6)
    outputs.loss.backward()

    parameters = dict(model.named_parameters())
    official = [name for name in names if names[name] in parameters]
    assert len(official) == len(parameters) == len(expected["grad_norms"])
    largest = expected["grad_norms"].max().item()
    for name, norm in zip(official, expected["grad_norms"].tolist(), strict=True):
        # those near zero are sums that cancel: biases before a BatchNorm
        assert parameters[names[name]].grad.norm().item() == pytest.approx(norm, rel=5e-3, abs=1e-5 * largest), name
    for key, value in expected.items():
        kind, _, name = key.partition(".")
        if kind == "grad":
            largest = value.abs().max().item()
            torch.testing.assert_close(parameters[names[name]].grad.float(), value, atol=5e-3 * largest, rtol=0)
        if kind == "buf":
            torch.testing.assert_close(model.get_buffer(names[name]).float(), value, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("preset", PARAMETERS)
def test_parameter_counts(preset):
    def config(num_labels, **kwargs):
        return HRViTConfig.from_preset(preset, num_labels=num_labels, **kwargs)

    with torch.device("meta"):
        models = [HRViTModel(config(1)), HRViTForImageClassification(config(1000))]
        for num_labels in (150, 19):
            models.append(HRViTForSemanticSegmentation(config(num_labels)))
            models.append(HRViTForSemanticSegmentation(config(num_labels, decode_head_type="upernet")))
    assert tuple(model.num_parameters() for model in models) == PARAMETERS[preset]


@pytest.mark.parametrize("key", ["b1@0.1", "b2@0.2", "b3@0.3", "b1@0.15"])
def test_drop_path_rates(key):
    variant, rate = key.split("@")
    expected = json.loads(fixture("hrvit/hrvit_drop_path_rates.json").read_text())[key]
    with torch.device("meta"):
        model = HRViTModel(HRViTConfig.from_preset(f"hrvit-{variant}", drop_path_rate=float(rate)))
    rates = [
        [[block.drop_path.rate for block in branch.blocks] for branch in layer.branches] for layer in model.layers
    ]
    for layer, (module, branches) in zip(rates, expected.items(), strict=True):
        for branch, values in zip(layer, branches, strict=True):
            assert branch == pytest.approx(values, abs=1e-6), module


def test_initialisation():
    """Linears truncated normal, convolutions as PyTorch does, norms 1/0 except the attention's BatchNorm."""
    model = HRViTForImageClassification(HRViTConfig.from_preset("hrvit-b1", num_labels=1000))
    zero_norms = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            count = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(0.02, rel=8 / count**0.5 + 0.03), name
            assert module.weight.abs().max() <= 2.0, name
            assert (module.bias == 0).all(), name
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            assert module.weight.abs().max() <= bound, name
            assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=8 / module.weight.numel() ** 0.5), (
                name
            )
            assert module.bias is None or 0 < module.bias.abs().max() <= bound, name
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            starts_at_zero = "blocks" in name and name.endswith("batch_norm")
            assert (module.weight == (0 if starts_at_zero else 1)).all(), name
            assert (module.bias == 0).all(), name
            assert module.eps == 1e-5, name
            zero_norms += starts_at_zero
        if isinstance(module, nn.BatchNorm2d):
            assert module.momentum == 0.1
            assert (module.running_mean == 0).all(), name
            assert (module.running_var == 1).all(), name
    assert zero_norms == sum(map(sum, model.config.num_blocks))


@needs_references
@torch.no_grad()
def test_every_feature(classifier):
    expected = arrays("hrvit/hrvit_b1_feats.npz")
    for prefix in {key.split(".")[0] for key in expected}:
        kind = "kron" if prefix.startswith("kron") else "rand"
        size = prefix.removeprefix("kron_").removesuffix("_b2")
        pixel_values = IMAGES[kind](2 if prefix.endswith("_b2") else 1, *size_of(size))
        outputs = classifier.hrvit(pixel_values, output_hidden_states=True)
        assert_features(outputs.hidden_states, expected, f"{prefix}.")


def recorded_by_hooks(modules, run):
    """Name -> output of each of `modules` while `run` runs."""
    inner = {}
    handles = [
        module.register_forward_hook(lambda module, args, output, name=name: inner.update({name: output}))
        for name, module in modules.items()
    ]
    run()
    for handle in handles:
        handle.remove()
    return inner


@needs_references
@torch.no_grad()
def test_every_tensor_of_the_classification_head(classifier):
    expected = {
        key.removeprefix("head."): value
        for key, value in arrays("hrvit/hrvit_b1_cls.npz").items()
        if key.startswith("head.")
    }
    head = classifier.classifier
    modules = {"incre0": head.bottlenecks[0], "final_layer": head.projection}
    modules |= {f"widened{index}": module for index, module in enumerate(head.bottlenecks)}
    modules |= {f"down{index}": module for index, module in enumerate(head.downsamplings)}
    inner = recorded_by_hooks(modules, lambda: classifier(piecewise_image(1, 224, 224)))
    inner |= {f"sum{index}": inner[f"widened{index}"] + inner[f"down{index - 1}"] for index in (1, 2, 3)}
    inner["pooled"] = inner["final_layer"].mean((2, 3))
    for key, value in expected.items():
        name, _, steps = key.partition(".sub_")
        actual = inner[name]
        if steps:
            channels, rows, columns = map(int, steps.split("_"))
            actual = actual[:, ::channels, ::rows, ::columns]
        torch.testing.assert_close(actual, value, **FEATURES, msg=lambda text, key=key: f"{key}: {text}")


@needs_references
@torch.no_grad()
def test_every_inner_tensor(classifier):
    expected = arrays("hrvit/hrvit_b1_inter_64.npz")
    inner = inner_tensors(classifier, expected.pop("input"))
    torch.testing.assert_close(inner.pop("logits"), expected.pop("logits"), **LOGITS)
    for name, value in expected.items():
        actual = inner[name]
        if actual.ndim == 4 and actual.shape != value.shape and value.ndim < 4:
            actual = actual.permute(0, 2, 3, 1)  # the official code holds these tokens as (B, N, C) or (B * N, C)
        actual = actual.reshape(value.shape)
        torch.testing.assert_close(actual, value, **FEATURES, msg=lambda text, name=name: f"{name}: {text}")


def inner_tensors(classifier, pixel_values):
    """Official name -> tensor; maps as (B, C, h, w)."""
    trunk = classifier.hrvit
    modules = {
        "stem.conv1": trunk.embeddings.stem[0].convolution,
        "stem.bn1": trunk.embeddings.stem[0].batch_norm,
        "stem": trunk.embeddings,
        "logits": classifier,
    }
    for index, layer in enumerate(trunk.layers):
        modules[f"features.{2 * index}.fusion"] = layer.fusion
        start = f"features.{2 * index + 1}"
        for branch, module in enumerate(layer.branches):
            modules[f"{start}.stage.out{branch}"] = module.norm
            modules[f"{start}.patch_embed.{branch}.proj.0"] = module.patch_embedding.pointwise
            modules[f"{start}.patch_embed.{branch}.proj.1"] = module.patch_embedding.depthwise
            modules[f"{start}.patch_embed.{branch}"] = module.patch_embedding
            for depth, block in enumerate(module.blocks):
                parts = {
                    "attn_norm": block.attention.norm,
                    "attn.to_qkv": block.attention.query_value,
                    "attn.parallel_conv": block.attention.convolution,
                    "attn.to_out.0": block.attention.projection,
                    "attn.attn_bn": block.batch_norm,
                    "attn": block.batch_norm,
                    "des.proj_right": block.shortcut.right,
                    "des": block.shortcut,
                    "ffn_norm": block.mlp.norm,
                    "ffn.fc1": block.mlp.fc1,
                    "ffn.conv.conv_3": block.mlp.convolution3,
                    "ffn.conv.conv_5": block.mlp.convolution5,
                    "ffn": block.mlp,
                }
                name = f"{start}.branches.{branch}.{depth}"
                modules |= {f"{name}.{part}": module for part, module in parts.items()} | {name: block}
    found = recorded_by_hooks(modules, lambda: classifier(pixel_values))
    inner = {"logits": found.pop("logits").logits}
    for name, output in found.items():
        if name.endswith(".fusion"):
            inner |= {f"{name}.out{index}": fused.permute(0, 3, 1, 2) for index, fused in enumerate(output)}
        elif isinstance(modules[name], nn.Conv2d | nn.BatchNorm2d) or name == "stem" or output.ndim != 4:
            inner[f"{name}.out0"] = output
        else:
            inner[name if ".stage." in name else f"{name}.out0"] = output.permute(0, 3, 1, 2)
    for name in [name for name in inner if name.endswith("conv_3.out0")]:
        both = [inner[name], inner[name.replace("conv_3", "conv_5")]]
        inner[name.replace(".conv_3", "")] = torch.cat(both, dim=1)
    return inner


@needs_references
@pytest.mark.parametrize("num_labels", [150, 19])
@pytest.mark.parametrize("head", ["segformer", "upernet"])
@torch.no_grad()
def test_segmentor_logits_in_full(head, num_labels):
    expected = arrays(f"hrvit/hrvit_b1_{head}.npz")
    model = convert_checkpoint(hrvit_checkpoint("hrvit_b1", head, num_labels))
    logits = model(image(1, 128, 128)).logits
    torch.testing.assert_close(logits, expected[f"128x128.logits{num_labels}"], **LOGITS)
    name = f"128x128.logits{num_labels}.resized_to_input.sub_1_8_8"
    if name in expected:
        resized = F.interpolate(logits, size=(128, 128), mode="bilinear", align_corners=False)
        torch.testing.assert_close(resized[:, :, ::8, ::8], expected[name], **LOGITS)
    name, step = (
        (f"kron_160x224.logits{num_labels}.sub_3_1_1", 3) if num_labels == 150 else ("kron_160x224.logits19", 1)
    )
    torch.testing.assert_close(model(piecewise_image(1, 160, 224)).logits[:, ::step], expected[name], **LOGITS)


@needs_references
@pytest.mark.slow
@pytest.mark.parametrize("head", [None, "segformer", "upernet"])
@pytest.mark.parametrize("variant", ["b2", "b3"])
@torch.no_grad()
def test_larger_variants_convert(variant, head):
    model = convert_checkpoint(hrvit_checkpoint(f"hrvit_{variant}", head))
    assert torch.isfinite(model(image(1, 64, 64)).logits).all()
