# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Models from presets and from pretrained weights of any task, for the classes at hand."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from families import GPVIT, HRVIT
from hf_gpvit.models.configuration_gpvit_detection import GPViTDetectionConfig
from hf_gpvit.models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection
from hf_gpvit.training import build_model
from hf_gpvit.training.building import check_fields
from small_detectors import KINDS, small_detector


CLASSIFICATION, SEGMENTATION = "image-classification", "semantic-segmentation"
NAMES = ["sky", "road", "car"]


def model_class(family, task):
    return {CLASSIFICATION: family.classifier_class, SEGMENTATION: family.segmentor_class}[task]


def nano(family):
    [name] = [name for name in family.config_class.presets() if name.endswith("nano")]
    return name


def saved(model, folder):
    model.save_pretrained(folder)
    return str(folder)


def shapes(model):
    return {name: value.shape for name, value in model.state_dict().items()}


def assert_names(config, names):
    assert config.num_labels == len(names)
    assert config.id2label == dict(enumerate(names))
    assert config.label2id == {name: index for index, name in enumerate(names)}


def assert_same_trunk(model, pretrained):
    """All of the trunk that both tasks have: the pooler is the classifier's alone."""
    expected = pretrained.base_model.state_dict()
    shared = [name for name in model.base_model.state_dict() if name in expected]
    assert len(shared) > 0.9 * len(expected)
    for name in shared:
        assert torch.equal(model.base_model.state_dict()[name], expected[name]), name


@pytest.mark.parametrize("task", [CLASSIFICATION, SEGMENTATION])
def test_preset(family, task):
    model = build_model(nano(family), task, NAMES)
    assert type(model) is model_class(family, task)
    assert_names(model.config, NAMES)
    preset = family.config_class.from_preset(nano(family), id2label=dict(enumerate(NAMES)))
    ignored = ("architectures", "transformers_version", "torch_dtype", "dtype")
    fields, expected = (
        {key: value for key, value in config.to_dict().items() if key not in ignored}
        for config in (model.config, preset)
    )
    assert fields == expected
    labels = {CLASSIFICATION: torch.tensor([0, 2]), SEGMENTATION: torch.randint(0, 3, (2, 32, 32))}[task]
    assert model(torch.randn(2, 3, 32, 32), labels=labels).loss.isfinite()


@pytest.mark.parametrize("task", [CLASSIFICATION, SEGMENTATION])
def test_image_size_of_a_preset(family, task):
    model = build_model(nano(family), task, NAMES, image_size=48)
    assert model.config.image_size == 48
    expected = model_class(family, task)(family.config_class.from_preset(nano(family), image_size=48, num_labels=3))
    shapes, expected_shapes = (
        {name: value.shape for name, value in m.state_dict().items()} for m in (model, expected)
    )
    assert shapes == expected_shapes


def classifier_weight(model):
    """That of the last linear, which gives the logits."""
    return [module for module in model.classifier.modules() if isinstance(module, nn.Linear)][-1].weight


def test_weights_of_a_preset_are_random(family):
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(build_model(nano(family), CLASSIFICATION, NAMES))
    first, again, other = map(classifier_weight, models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_preset_wins_over_a_folder_of_its_name(family, tmp_path, monkeypatch):
    """Presets come first, so a preset's name means the same wherever one is."""
    monkeypatch.chdir(tmp_path)
    saved(family.classifier_class(family.config()), tmp_path / nano(family))
    expected = family.config_class.from_preset(nano(family)).image_size
    assert build_model(nano(family), CLASSIFICATION, NAMES).config.image_size == expected


@pytest.mark.parametrize("task", [CLASSIFICATION, SEGMENTATION])
@pytest.mark.parametrize("names", [NAMES, list("abcde")], ids=["fewer classes", "as many classes"])
def test_classifier_folder(family, tmp_path, task, names):
    pretrained = family.classifier_class(family.config())
    model = build_model(saved(pretrained, tmp_path), task, names)
    assert type(model) is model_class(family, task)
    assert_names(model.config, names)
    assert_same_trunk(model, pretrained)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    if task == CLASSIFICATION and len(names) == 5:
        assert torch.equal(classifier_weight(model), classifier_weight(pretrained))


@pytest.mark.parametrize("head", ["segformer", "upernet"])
@pytest.mark.parametrize("names", [NAMES, list("abcde")], ids=["fewer classes", "as many classes"])
def test_segmentor_folder(family, tmp_path, head, names):
    """All is kept, but for what has one output per class where their number changes."""
    pretrained = family.segmentor_class(family.config(decode_head_type=head))
    model = build_model(saved(pretrained, tmp_path), SEGMENTATION, names)
    assert_names(model.config, names)
    assert model.config.decode_head_type == head
    expected, state = pretrained.state_dict(), model.state_dict()
    assert state.keys() == expected.keys()
    changed = {name for name in state if state[name].shape != expected[name].shape}
    assert all(torch.equal(state[name], expected[name]) for name in state.keys() - changed)
    assert all(
        state[name].shape[0] == len(names) and name.startswith(("decode_head.", "auxiliary_head.")) for name in changed
    )
    assert bool(changed) == (len(names) != 5)
    assert model(torch.randn(1, 3, 40, 40)).logits.shape[1] == len(names)


def test_segmentor_folder_as_classifier(family, tmp_path):
    pretrained = family.segmentor_class(family.config())
    model = build_model(saved(pretrained, tmp_path), CLASSIFICATION, NAMES)
    assert type(model) is family.classifier_class
    assert_names(model.config, NAMES)
    assert_same_trunk(pretrained, model)


@pytest.mark.parametrize("task", [CLASSIFICATION, SEGMENTATION])
def test_pretrained_models_keep_their_image_size(family, tmp_path, task):
    pretrained = family.classifier_class(family.config())
    model = build_model(saved(pretrained, tmp_path), task, NAMES, image_size=96)
    assert model.config.image_size == pretrained.config.image_size
    assert_same_trunk(model, pretrained)


def test_trunk_that_does_not_fit_its_config(family, tmp_path):
    """Only a head may start anew: other shapes elsewhere mean a damaged folder."""
    folder = saved(family.classifier_class(family.config()), tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    name = next(name for name, value in state.items() if name.startswith(f"{family.name}.") and value.ndim == 2)
    state[name] = state[name].repeat(2, 1)
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"don't fit its own config: \['{name}'\] have other shapes"):
        build_model(folder, CLASSIFICATION, NAMES)


@pytest.mark.parametrize("model", ["gpvit-nanoo", "no/such-model", "./nowhere"])
def test_unknown_model(model):
    with pytest.raises(OSError, match=rf"'{model}' is no preset \(.*gpvit-nano.*\), and not to be loaded: "):
        build_model(model, CLASSIFICATION, NAMES)


def test_folder_without_a_model(tmp_path):
    with pytest.raises((OSError, ValueError), match=tmp_path.name):
        build_model(str(tmp_path), CLASSIFICATION, NAMES)


@pytest.mark.parametrize("task", ["classification", "image-segmentation", None])
def test_unknown_task(family, task):
    with pytest.raises(ValueError, match=f"one of image-classification, .*, got {task!r}"):
        build_model(nano(family), task, NAMES)


# --- detectors

DETECTION, INSTANCES = "object-detection", "instance-segmentation"
DETECTORS = [(DETECTION, "mask_rcnn"), (DETECTION, "retinanet"), (INSTANCES, "mask_rcnn")]


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A folder of a classifier with 5 classes."""
    folder = tmp_path_factory.mktemp("trunk")
    GPVIT.classifier_class(GPVIT.config()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("task", "detector_type"), DETECTORS)
def test_detector_of_a_preset(task, detector_type):
    model = build_model("gpvit-nano", task, NAMES, detector_type=detector_type)
    assert type(model) is (GPViTForInstanceSegmentation if task == INSTANCES else GPViTForObjectDetection)
    assert_names(model.config, NAMES)
    expected = GPViTDetectionConfig.from_preset("gpvit-nano", detector_type=detector_type, num_labels=3)
    assert shapes(model) == shapes(type(model)(expected))
    assert model.config.fpn_hidden_size == expected.fpn_hidden_size


@pytest.mark.parametrize(("task", "detector_type"), DETECTORS)
def test_detector_of_a_classifier(trunk, task, detector_type):
    fields = {"num_deformable_heads": 4, "fpn_hidden_size": 16, "detector_type": detector_type}
    model = build_model(str(trunk), task, NAMES, **fields)
    assert_names(model.config, NAMES)
    assert (model.config.fpn_hidden_size, model.config.detector_type) == (16, detector_type)
    weights = load_file(trunk / "model.safetensors")
    kept = {f"backbone.{name}": value for name, value in weights.items() if f"backbone.{name}" in model.state_dict()}
    assert len(kept) > 0.9 * len(weights)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in kept.items())


@pytest.mark.parametrize("names", [NAMES, list("abcde")], ids=["fewer classes", "as many classes"])
@pytest.mark.parametrize("kind", KINDS)
def test_detector_of_a_detector(tmp_path, kind, names):
    """What has outputs of each class begins anew where there are others, and nothing else."""
    pretrained = small_detector(kind)
    task = INSTANCES if kind == "masks" else DETECTION
    model = build_model(saved(pretrained, tmp_path), task, names)
    assert_names(model.config, names)
    expected, state = pretrained.state_dict(), model.state_dict()
    changed = {name for name in state if state[name].shape != expected[name].shape}
    assert all(torch.equal(state[name], expected[name]) for name in state.keys() - changed)
    assert all(name.startswith("detector.") and ("classifier" in name or "deltas" in name) for name in changed)
    assert bool(changed) == (len(names) != 5)


def test_detector_of_another_kind(tmp_path):
    """Levels of the pyramid that the other kind lacks, and its own heads, begin anew."""
    pretrained = small_detector("retinanet")
    model = build_model(saved(pretrained, tmp_path), INSTANCES, NAMES, detector_type="mask_rcnn")
    state, expected = model.state_dict(), pretrained.state_dict()
    shared = [name for name in expected if name.startswith("backbone.")]
    assert all(torch.equal(state[name], expected[name]) for name in shared)
    assert any("stage1" in name for name in state.keys() - expected.keys())


def test_a_trunk_of_which_a_part_is_missing(trunk, tmp_path):
    """The pyramid begins anew for a classifier, what is the classifier's own must be there."""
    shutil.copytree(trunk, tmp_path, dirs_exist_ok=True)
    state = load_file(tmp_path / "model.safetensors")
    del state["gpvit.layers.0.mlp.fc1.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"not all there: 1 are missing, such as backbone\.gpvit\.layers\.0\.mlp\.fc1"
    ):
        build_model(str(tmp_path), DETECTION, NAMES, num_deformable_heads=4)


def test_a_pyramid_of_which_a_part_is_missing(tmp_path):
    folder = saved(small_detector("boxes"), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["backbone.level_embeddings"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"not all there: 1 are missing, such as backbone\.level_embeddings"):
        build_model(folder, DETECTION, NAMES)


@pytest.mark.parametrize("task", [DETECTION, INSTANCES])
def test_there_is_no_such_detector(task, tmp_path):
    for model in ("hrvit-nano", saved(HRVIT.classifier_class(HRVIT.config()), tmp_path)):
        with pytest.raises(ValueError, match=f"'{model}' can't be for {task}; presets that can are gpvit-l1, .*nano"):
            build_model(model, task, NAMES)


def test_a_detector_is_no_classifier(tmp_path):
    folder = saved(small_detector("boxes"), tmp_path)
    with pytest.raises(ValueError, match="can't be for image-classification; presets that can are gpvit-l1, .*hrvit"):
        build_model(folder, CLASSIFICATION, NAMES)


def test_fields_are_those_of_the_task():
    check_fields("gpvit-nano", DETECTION, ["detector_type", "mlp_ratio"])
    for task, field in ((CLASSIFICATION, "detector_type"), (DETECTION, "detector_typ")):
        with pytest.raises(ValueError, match=f"has no '{field}'"):
            check_fields("gpvit-nano", task, [field])
