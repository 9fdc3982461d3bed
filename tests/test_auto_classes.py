# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of the Auto classes, and of folders that go through save_pretrained and from_pretrained."""

import subprocess
import sys

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoBackbone,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
)
from transformers.models.auto import modeling_auto

from hf_gpvit.registration import register_auto_classes


AUTO_CLASSES = {
    AutoModel: "model_class",
    AutoBackbone: "backbone_class",
    AutoModelForImageClassification: "classifier_class",
    AutoModelForSemanticSegmentation: "segmentor_class",
}

LOAD_IN_FRESH_PROCESS = """
import sys

import hf_gpvit
import torch
import transformers

folder = sys.argv[1]
pixel_values = torch.load(f"{folder}/pixel_values.pt")
loaded = {}
for name in ("AutoModel", "AutoModelForImageClassification", "AutoModelForSemanticSegmentation"):
    config = transformers.AutoConfig.from_pretrained(f"{folder}/{name}")
    model = getattr(transformers, name).from_pretrained(f"{folder}/{name}")
    with torch.no_grad():
        loaded[name] = (type(config).__name__, type(model).__name__, model(pixel_values)[0])
torch.save(loaded, f"{folder}/loaded.pt")
"""


def test_importing_registers_config_and_models(family):
    assert type(AutoConfig.for_model(family.name)) is family.config_class
    for auto_class, kind in AUTO_CLASSES.items():
        assert type(auto_class.from_config(family.config())) is getattr(family, kind)


def test_importing_registers_image_processor(family, tmp_path):
    family.config().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"do_center_crop": true}')
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(processor).__name__ == "ViTImageProcessor"
    assert processor.do_center_crop


def test_registering_again_changes_nothing():
    before = registered()
    register_auto_classes()
    assert registered() == before


def registered():
    classes = [list(CONFIG_MAPPING.keys())]
    classes += [dict(auto_class._model_mapping._extra_content) for auto_class in AUTO_CLASSES]
    names = [dict(value) for name, value in vars(modeling_auto).items() if name.endswith("MAPPING_NAMES")]
    return classes + names


def test_saved_folders_load_in_fresh_process(family, tmp_path):
    pixel_values = torch.randn(2, 3, 37, 50)
    torch.save(pixel_values, tmp_path / "pixel_values.pt")
    expected = {}
    for auto_class in (AutoModel, AutoModelForImageClassification, AutoModelForSemanticSegmentation):
        model = getattr(family, AUTO_CLASSES[auto_class])(family.config()).eval()
        model.save_pretrained(tmp_path / auto_class.__name__)
        assert (tmp_path / auto_class.__name__ / "model.safetensors").is_file()
        with torch.no_grad():
            output = model(pixel_values)[0]
        expected[auto_class.__name__] = (family.config_class.__name__, type(model).__name__, output)

    subprocess.run([sys.executable, "-c", LOAD_IN_FRESH_PROCESS, tmp_path], check=True)

    loaded = torch.load(tmp_path / "loaded.pt")
    assert loaded.keys() == expected.keys()
    for name, (config_class, model_class, output) in expected.items():
        assert loaded[name][:2] == (config_class, model_class)
        assert torch.equal(loaded[name][2], output), name


def test_backbone_loads_with_other_out_features(family, tmp_path):
    backbone = family.backbone_class(family.config()).eval()
    backbone.save_pretrained(tmp_path)
    stages = [backbone.config.out_features[index] for index in (0, 2)]
    loaded = family.backbone_class.from_pretrained(tmp_path, out_features=stages)
    assert loaded.config.out_features == stages
    assert loaded.channels == [backbone.channels[index] for index in (0, 2)]

    pixel_values = torch.randn(1, 3, 37, 50)
    with torch.no_grad():
        expected = backbone(pixel_values).feature_maps
        feature_maps = loaded(pixel_values).feature_maps
    assert len(feature_maps) == 2
    assert torch.equal(feature_maps[0], expected[0])
    assert torch.equal(feature_maps[1], expected[2])


def test_backbone_loads_from_classifier(family, tmp_path):
    classifier = family.classifier_class(family.config())
    classifier.save_pretrained(tmp_path)
    stages = classifier.config.out_features[1:3]
    backbone = family.backbone_class.from_pretrained(tmp_path, out_features=stages)
    assert len(backbone(torch.randn(1, 3, 37, 50)).feature_maps) == 2
    assert_same_trunk(backbone, classifier)


@pytest.mark.parametrize("decode_head_type", ["segformer", "upernet"])
def test_segmentor_loads_from_classifier(family, decode_head_type, tmp_path):
    classifier = family.classifier_class(family.config())
    classifier.save_pretrained(tmp_path)
    segmentor, info = family.segmentor_class.from_pretrained(
        tmp_path, decode_head_type=decode_head_type, output_loading_info=True
    )
    assert_same_trunk(segmentor, classifier)

    new_modules = ["decode_head", "auxiliary_head", "feature_norms"]
    modules = [getattr(segmentor, name, None) for name in new_modules]
    assert (modules[1] is not None) == (decode_head_type == "upernet")
    assert set(info["missing_keys"]) == {
        f"{name}.{key}"
        for name, module in zip(new_modules, modules, strict=True)
        if module is not None
        for key in module.state_dict()
    }
    pooler_and_classifier = (f"{segmentor.base_model_prefix}.pooler.", "classifier.")
    assert set(info["unexpected_keys"]) == {
        key for key in classifier.state_dict() if key.startswith(pooler_and_classifier)
    }
    assert not info["mismatched_keys"]


def assert_same_trunk(model, classifier):
    trunk, expected = model.base_model.state_dict(), classifier.base_model.state_dict()
    assert trunk
    assert all(torch.equal(value, expected[name]) for name, value in trunk.items())


def test_config_keeps_default_out_features(family, tmp_path):
    config = family.config()
    assert len(config.out_features) == 4
    assert reloaded(config, tmp_path).out_features == config.out_features


def test_config_keeps_explicit_out_features(family, tmp_path):
    loaded = reloaded(family.config(out_features=["stem", "stage2"]), tmp_path)
    assert loaded.out_features == ["stem", "stage2"]
    assert loaded.out_indices == [0, 2]


def test_config_keeps_explicit_out_indices(family, tmp_path):
    loaded = reloaded(family.config(out_indices=[1, 3]), tmp_path)
    assert loaded.out_features == ["stage1", "stage3"]
    assert loaded.out_indices == [1, 3]


def test_config_keeps_none_as_last_stage(family, tmp_path):
    config = family.config(out_features=None)
    assert config.out_features == config.stage_names[-1:]
    assert reloaded(config, tmp_path).out_features == config.stage_names[-1:]


def test_config_keeps_label_maps(family, tmp_path):
    id2label = {0: "cat", 1: "dog", 2: "sparrow"}
    loaded = reloaded(family.config_class(id2label=id2label, label2id={"cat": 0, "dog": 1, "sparrow": 2}), tmp_path)
    assert loaded.num_labels == 3
    assert loaded.id2label == id2label
    assert loaded.label2id == {"cat": 0, "dog": 1, "sparrow": 2}


def test_id2label_alone_fills_label2id(family):
    config = family.config_class(id2label={0: "cat", 1: "dog"})
    assert config.num_labels == 2
    assert config.label2id == {"cat": 0, "dog": 1}


def test_new_id2label_replaces_saved_label2id(family, tmp_path):
    family.config_class(id2label={0: "cat", 1: "dog"}).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, id2label={0: "oak", 1: "elm", 2: "fir"})
    assert config.num_labels == 3
    assert config.label2id == {"oak": 0, "elm": 1, "fir": 2}


def reloaded(config, folder):
    config.save_pretrained(folder)
    return AutoConfig.from_pretrained(folder)
