# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of other GPViT models as beginnings of pyramids and detectors, and of detectors with other labels."""

import logging
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn

from hf_gpvit import (
    GPViTBackbone,
    GPViTConfig,
    GPViTForImageClassification,
    GPViTForSemanticSegmentation,
)
from hf_gpvit.models.configuration_gpvit_adapter import GPViTAdapterConfig
from hf_gpvit.models.configuration_gpvit_detection import GPViTDetectionConfig
from hf_gpvit.models.detection_heads import RARE
from hf_gpvit.models.modeling_gpvit_adapter import GPViTAdapterBackbone
from hf_gpvit.models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection


NAMES = [f"class {index}" for index in range(80)]
COCO = {"id2label": dict(enumerate(NAMES))}
THREE = {"id2label": {0: "a", 1: "b", 2: "c"}}
TARGETS = {
    "adapter": (GPViTAdapterBackbone, {}),
    "faster_rcnn": (GPViTForObjectDetection, {}),
    "retinanet": (GPViTForObjectDetection, {"detector_type": "retinanet"}),
    "mask_rcnn": (GPViTForInstanceSegmentation, {}),
}
SOURCES = {
    "classifier": lambda: GPViTForImageClassification(GPViTConfig.from_preset("gpvit-nano", num_labels=7)),
    "segmentor": lambda: GPViTForSemanticSegmentation(GPViTConfig.from_preset("gpvit-nano", num_labels=7)),
    "backbone": lambda: GPViTBackbone(GPViTConfig.from_preset("gpvit-nano", out_features=["stage2", "stage6"])),
    "adapter": lambda: GPViTAdapterBackbone(GPViTAdapterConfig.from_preset("gpvit-nano")),
    **{
        name: lambda cls=cls, fields=fields: cls(GPViTDetectionConfig.from_preset("gpvit-nano", **COCO, **fields))
        for name, (cls, fields) in TARGETS.items()
        if name != "adapter"
    },
}
# Which of what a trunk's folder has the pyramid and detectors have no place for.
HEADS = {
    "classifier": ("gpvit.norm.", "gpvit.pooler.", "classifier."),
    "segmentor": ("gpvit.norm.", "feature_norms.", "decode_head."),
    "backbone": ("gpvit.norm.", "feature_norms."),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Makes each folder once: its path and the weights in it."""
    folders = {}

    def make(name):
        if name not in folders:
            model = SOURCES[name]()
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.uniform_(module.running_var, 0.5, 2)
            folder = tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            folders[name] = folder, model.state_dict()
        return folders[name]

    return make


def load(cls, folder, **fields):
    model, info = cls.from_pretrained(folder, output_loading_info=True, **fields)
    return model, {name: set(info[name]) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", HEADS)
def test_a_trunk_in_any_folder_is_found(saved, source, target, caplog):
    folder, weights = saved(source)
    cls, fields = TARGETS[target]
    with caplog.at_level(logging.WARNING):
        model, info = load(cls, folder, **fields)
    # nothing is said but which weights are there, though the folder's model is of another type
    assert {record.name for record in caplog.records} == {"transformers.modeling_utils"}
    prefix = "" if target == "adapter" else "backbone."
    trunk = {name for name in model.state_dict() if name.startswith(f"{prefix}gpvit.")}
    assert info["missing_keys"] == set(model.state_dict()) - trunk
    assert info["unexpected_keys"] == {name for name in weights if name.startswith(HEADS[source])}
    assert not info["mismatched_keys"]
    for name in trunk:
        assert torch.equal(model.state_dict()[name], weights[name.removeprefix(prefix)]), name


def test_what_a_trunk_lacks_is_as_in_the_preset(saved):
    config = GPViTForInstanceSegmentation.from_pretrained(saved("classifier")[0], **THREE).config
    preset = GPViTDetectionConfig.from_preset("gpvit-nano", **THREE)
    kept = {"architectures", "dtype", "transformers_version", "_name_or_path"}
    assert {name: value for name, value in config.to_dict().items() if name not in kept} == {
        name: value for name, value in preset.to_dict().items() if name not in kept
    }
    for name in ("gpvit-l1", "gpvit-l4"):
        file = GPViTConfig.from_preset(name).to_dict()
        config = GPViTDetectionConfig.from_dict(file, detector_type="retinanet")
        assert (config.num_deformable_heads, config.fpn_hidden_size, len(config.anchor_scales)) == (6, 256, 3)
        assert config.drop_path_rate == file["drop_path_rate"]  # as for segmentors


def test_what_no_preset_has_is_chosen(tmp_path):
    """Choices are there before the config is checked: 6 heads don't divide 64 channels."""
    config = GPViTConfig.from_preset("gpvit-nano", num_hidden_layers=4, group_layer_indices=[1], num_group_tokens=[8])
    GPViTForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(StrictDataclassClassValidationError, match="num_deformable_heads must be a divisor of .*got 6"):
        GPViTAdapterBackbone.from_pretrained(tmp_path)
    model = GPViTAdapterBackbone.from_pretrained(tmp_path, num_deformable_heads=2, spatial_prior_hidden_size=8)
    assert model.interactions[0].injector.attention.num_heads == 2
    assert model.config.interaction_indexes == [[0, 0], [1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize("target", ["faster_rcnn", "retinanet", "mask_rcnn"])
def test_a_pyramid_loads_into_detectors(saved, target):
    folder, weights = saved("adapter")
    cls, fields = TARGETS[target]
    model, info = load(cls, folder, **fields)
    own = set(model.state_dict())
    assert info["missing_keys"] == {name for name in own if name.startswith("detector.")}
    finest = ("spatial_prior.projections.stage1.", "pyramid.upsampling.", "pyramid.norms.stage1.")
    unused = {name for name in weights if name.startswith(finest)} if target == "retinanet" else set()
    assert info["unexpected_keys"] == unused
    for name in set(weights) - unused:
        assert torch.equal(model.state_dict()[f"backbone.{name}"], weights[name]), name


@pytest.mark.parametrize("source", ["faster_rcnn", "retinanet", "mask_rcnn"])
def test_a_detector_is_the_folder_of_its_pyramid(saved, source):
    """Stages are those that it has weights for."""
    folder, weights = saved(source)
    model, info = load(GPViTAdapterBackbone, folder)
    assert model.out_features == [f"stage{stage}" for stage in range(2 if source == "retinanet" else 1, 5)]
    assert not info["missing_keys"]
    assert info["unexpected_keys"] == {name for name in weights if name.startswith("detector.")}
    assert all(torch.equal(value, weights[f"backbone.{name}"]) for name, value in model.state_dict().items())


def test_masks_are_left_out_and_begin_anew(saved):
    folder, weights = saved("mask_rcnn")
    masks = {name for name in weights if name.startswith("detector.mask_head.")}
    model, info = load(GPViTForObjectDetection, folder)
    assert (info["missing_keys"], info["unexpected_keys"]) == (set(), masks)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    folder, weights = saved("faster_rcnn")
    model, info = load(GPViTForInstanceSegmentation, folder)
    assert (info["missing_keys"], info["unexpected_keys"]) == (masks, set())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())


@pytest.mark.parametrize("labels", [THREE, {"num_labels": 3}], ids=["id2label", "num_labels"])
@pytest.mark.parametrize(
    ("source", "anew"),
    [
        ("mask_rcnn", ["box_head.classifier", "box_head.deltas", "mask_head.classifier"]),
        ("faster_rcnn", ["box_head.classifier", "box_head.deltas"]),
        ("retinanet", ["head.classifier"]),
    ],
)
def test_other_labels_start_the_rows_of_classes_anew(saved, source, anew, labels):
    folder, weights = saved(source)
    cls, _ = TARGETS[source]
    model, info = load(cls, folder, ignore_mismatched_sizes=True, **labels)
    anew = {f"detector.{name}.{kind}" for name in anew for kind in ("weight", "bias")}
    assert {name for name, *_ in info["mismatched_keys"]} == anew
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model.config.num_labels == 3
    for name, value in model.state_dict().items():
        assert name in anew or torch.equal(value, weights[name]), name
    detector = model.detector
    if source == "retinanet":
        assert (detector.head.classifier.bias == RARE).all()
        assert detector.head.classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)
    else:
        assert detector.box_head.classifier.weight.std().item() == pytest.approx(0.01, rel=0.2)
        assert detector.box_head.deltas.weight.std().item() == pytest.approx(0.001, rel=0.2)
        assert not detector.box_head.classifier.bias.any() and not detector.box_head.deltas.bias.any()


def test_other_labels_as_many_as_before_keep_all(saved):
    folder, weights = saved("retinanet")
    renamed = {index: name.upper() for index, name in enumerate(NAMES)}
    model, info = load(GPViTForObjectDetection, folder, id2label=renamed)
    assert not any(info.values())
    assert model.config.label2id["CLASS 79"] == 79
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_what_is_missing_begins_as_in_a_new_model(saved):
    """Also what isn't drawn at random: directions of heads, scales, statistics of BatchNorm."""
    model, info = load(GPViTForObjectDetection, saved("classifier")[0], detector_type="retinanet", **THREE)
    fresh = GPViTForObjectDetection(model.config).state_dict()
    for name in info["missing_keys"]:
        value, expected = model.state_dict()[name].float(), fresh[name].float()
        if expected.numel() == 1 or expected.std() == 0 or name.endswith("sampling_offsets.bias"):
            assert torch.equal(value, expected), name
        else:
            count = value.numel()
            assert value.std().item() == pytest.approx(expected.std().item(), rel=12 / math.sqrt(count)), name
            assert value.abs().max().item() == pytest.approx(expected.abs().max().item(), rel=0.5), name


def test_what_was_loaded_is_saved_as_a_detector(saved, tmp_path):
    model, _ = load(GPViTForInstanceSegmentation, saved("classifier")[0], **THREE)
    model.save_pretrained(tmp_path)
    again, info = load(GPViTForInstanceSegmentation, tmp_path)
    assert not any(info.values())
    assert again.config.model_type == "gpvit_detection"
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_another_type_of_detector_has_its_own_anchors_and_stages(saved):
    for source, target, stages in (("mask_rcnn", "retinanet", 3), ("retinanet", "mask_rcnn", 4)):
        config = GPViTDetectionConfig.from_pretrained(saved(source)[0], detector_type=target)
        expected = GPViTDetectionConfig.from_preset("gpvit-nano", detector_type=target)
        assert config.anchor_scales == expected.anchor_scales
        assert config.out_features == expected.out_features and len(config.out_features) == stages
    chosen = GPViTDetectionConfig.from_pretrained(
        saved("mask_rcnn")[0], detector_type="retinanet", anchor_scales=[4.0]
    )
    assert chosen.anchor_scales == [4.0]
    with pytest.raises(ValueError, match="detector_type must be 'mask_rcnn' for instance segmentation"):
        GPViTForInstanceSegmentation.from_pretrained(saved("retinanet")[0])
