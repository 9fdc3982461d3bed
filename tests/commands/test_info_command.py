# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""`hf-gpvit presets` and `hf-gpvit info`."""

import re

import pytest

import hf_gpvit
import hf_gpvit_cli
from hf_gpvit import GPViTDetectionConfig, GPViTDetectionImageProcessor, GPViTForObjectDetection
from hf_gpvit.costs import backbone_parameters
from hf_gpvit.data.image_processors import size_after
from hf_gpvit.saved_models import presets
from hf_gpvit.tasks import image_processor_for
from hf_gpvit_cli.presets import PRESETS


def test_presets_are_listed_with_their_sizes(capsys):
    hf_gpvit_cli.main(["presets"])
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["gpvit-l1"] == ["216", "9,325,544"]
    assert rows["hrvit-b1"] == ["32-64-128-256", "7,758,008"]
    assert [*rows] == [*presets()]


def test_listed_sizes_are_those_of_the_models():
    for preset, config_class in presets().items():
        config = config_class.from_preset(preset)
        widths = getattr(config, "hidden_sizes", None) or [config.hidden_size]
        assert PRESETS[preset] == (list(widths), backbone_parameters(config))


def figures(capsys, *arguments):
    """The figure of each line of `hf-gpvit info`, and its first line."""
    hf_gpvit_cli.main(["info", *map(str, arguments)])
    head, *lines = capsys.readouterr().out.splitlines()
    rows = (re.fullmatch(r"(\S.*?)  +([\d.,]+).*", line) for line in lines)
    return head, {row[1]: float(row[2].replace(",", "")) for row in rows if row}


def test_info_of_a_preset(capsys):
    """Figures of docs/models.md."""
    head, found = figures(capsys, "gpvit-l1")
    assert head == "gpvit-l1: GPViTForImageClassification with 1000 labels"
    assert found["parameters of the backbone"] == 9_325_544
    assert found["parameters of all"] == 9_589_848
    assert found["multiply-adds"] == 5.90
    assert found["multiply-adds, plain order"] == 6.10
    assert found["weights"] == pytest.approx(4 * 9_589_848 / 2**20, rel=0.01)


def test_info_of_a_variant(capsys):
    """Table 6 of GPViT's paper has 5.8."""
    head, found = figures(capsys, "l1-window-none")
    assert head == "l1-window-none: GPViTAblationForImageClassification with 1000 labels"
    assert found["parameters of all"] == 7_464_840
    assert found["multiply-adds, plain order"] == 5.81


def test_info_of_a_segmentor_at_a_size(capsys):
    task = ("--task", "semantic-segmentation")
    head, square = figures(capsys, "hrvit-nano", *task)
    assert head == "hrvit-nano: HRViTForSemanticSegmentation with 150 labels"
    assert square["multiply-adds"] == 1.30
    assert square["multiply-adds, plain order"] == 1.54
    _, wide = figures(capsys, "hrvit-nano", *task, "--image_size", 512, 1024)
    assert wide["activations at their peak"] == pytest.approx(2 * square["activations at their peak"], rel=0.1)
    assert wide["weights"] == square["weights"]


def test_info_of_a_folder(family, tmp_path, capsys):
    family.segmentor_class(family.config(num_labels=7)).save_pretrained(tmp_path / "model")
    head, found = figures(capsys, tmp_path / "model", "--image_size", 64)
    assert head == f"{tmp_path / 'model'}: {family.segmentor_class.__name__} with 7 labels"
    assert found["parameters of all"] == family.segmentor_class(family.config(num_labels=7)).num_parameters()
    assert found["parameters of the backbone"] < found["parameters of all"]


def test_info_of_a_detector(tmp_path, capsys):
    model = GPViTForObjectDetection(GPViTDetectionConfig.from_preset("gpvit-nano", num_labels=7))
    model.save_pretrained(tmp_path / "model")
    head, found = figures(capsys, tmp_path / "model", "--image_size", 64)
    assert head == f"{tmp_path / 'model'}: GPViTForObjectDetection with 7 labels"
    assert found["parameters of all"] == model.num_parameters()
    assert found["parameters of the backbone"] == model.backbone.num_parameters()


def test_info_of_a_detector_with_its_image_processor(tmp_path, capsys):
    """Costs are those of the size that it makes."""
    model = GPViTForObjectDetection(GPViTDetectionConfig.from_preset("gpvit-nano", num_labels=7))
    model.save_pretrained(tmp_path)
    image_processor_for(model, 64).save_pretrained(tmp_path)
    _, found = figures(capsys, tmp_path)
    assert found["multiply-adds"] == figures(capsys, tmp_path, "--image_size", 64, 128)[1]["multiply-adds"]


@pytest.mark.parametrize(
    ("arguments", "name", "kind", "workload"),
    [
        (["object-detection"], "ObjectDetection", "mask_rcnn", ", with 200 regions"),
        (["object-detection", "--detector_type", "retinanet"], "ObjectDetection", "retinanet", ""),
        (["instance-segmentation"], "InstanceSegmentation", "mask_rcnn", ", with 200 regions and 100 masks"),
    ],
)
def test_info_of_presets_of_detectors(arguments, name, kind, workload, capsys):
    hf_gpvit_cli.main(["info", "gpvit-nano", "--task", *arguments, "--image_size", "64", "96"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"gpvit-nano: GPViTFor{name} with 80 labels"
    assert lines[1].split() == ["task", f"{arguments[0]},", kind]
    assert f"one picture of 64x96{workload}:" in lines


def test_sizes_of_detectors():
    """By default those of published costs."""
    assert size_after(GPViTDetectionImageProcessor()) == (800, 1280)
    assert size_after(GPViTDetectionImageProcessor(size={"shortest_edge": 480, "longest_edge": 640})) == (416, 640)


def test_info_of_a_folder_with_other_channels(family, tmp_path, capsys):
    """It costs something, though no picture is read for it."""
    family.classifier_class(family.config(num_channels=5, image_size=(32, 48))).save_pretrained(tmp_path)
    _, found = figures(capsys, tmp_path)
    assert found["multiply-adds"] == figures(capsys, tmp_path, "--image_size", 32, 48)[1]["multiply-adds"]


@pytest.mark.parametrize("kind", ["model_class", "backbone_class"])
def test_info_of_a_folder_without_head(kind, family, tmp_path, capsys):
    model = getattr(family, kind)(family.config(num_labels=7))
    model.save_pretrained(tmp_path)
    head, found = figures(capsys, tmp_path, "--image_size", 64)
    assert head == f"{tmp_path}: {type(model).__name__}"
    assert found["parameters of all"] == model.num_parameters() >= found["parameters of the backbone"]


@pytest.mark.parametrize("name", ["GPViTConfig", "HRViTModel", "ViTModel"])
def test_info_takes_the_models_of_the_config_only(name, tmp_path):
    config = hf_gpvit.GPViTConfig.from_preset("gpvit-nano")
    config.architectures = [name]
    config.save_pretrained(tmp_path)
    with pytest.raises(
        SystemExit, match=rf"must hold a model of this package, but its config.json names \['{name}'\]"
    ):
        hf_gpvit_cli.main(["info", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpvit-l9"], "model must be one of gpvit-l1, .*, hrvit-nano, or the folder .* got 'gpvit-l9'"),
        (["nothing/here", "--task", "image-classification"], "--task is for presets, but nothing/here is none"),
        (["nothing/here", "--detector_type", "retinanet"], "--detector_type is for presets, but nothing/here is none"),
        (
            ["hrvit-b1", "--task", "object-detection"],
            "--task object-detection is for the presets gpvit-l1, .*got hrvit-b1",
        ),
        (["gpvit-nano", "--detector_type", "retinanet"], "GPViTConfig has no 'detector_type'"),
        (
            ["gpvit-nano", "--task", "instance-segmentation", "--detector_type", "retinanet"],
            "detector_type must be 'mask_rcnn' for instance segmentation",
        ),
        (["gpvit-nano", "--image_size", "0"], r"--image_size must be .* got \[0\]"),
        (["gpvit-nano", "--image_size", "3", "4", "5"], r"--image_size must be .* got \[3, 4, 5\]"),
    ],
)
def test_info_on_mistakes(arguments, message):
    with pytest.raises(SystemExit, match=message):
        hf_gpvit_cli.main(["info", *arguments])
