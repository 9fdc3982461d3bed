# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of detectors and of their backbone load with and without the package."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoModelForInstanceSegmentation
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from elsewhere import without
from hf_gpvit import (
    GPViTAdapterBackbone,
    GPViTAdapterConfig,
    GPViTDetectionConfig,
    GPViTDetectionImageProcessor,
    GPViTForInstanceSegmentation,
    GPViTForObjectDetection,
)
from hf_gpvit.hub import model_card, save_for_hub
from hf_gpvit.hub.checks import check_hub_folder
from hf_gpvit.models import detection_regions
from small_detectors import small_model


ADAPTER_CODE = {
    "compat.py",
    "configuration_base.py",
    "configuration_gpvit.py",
    "configuration_gpvit_adapter.py",
    "decode_head.py",
    "fusing.py",
    "inputs.py",
    "layers.py",
    "modeling_base.py",
    "modeling_gpvit.py",
    "modeling_gpvit_adapter.py",
    "shortcuts.py",
}
DETECTOR_CODE = ADAPTER_CODE | {
    "configuration_gpvit_detection.py",
    "detection_boxes.py",
    "detection_heads.py",
    "detection_losses.py",
    "detection_masks.py",
    "detection_regions.py",
    "image_processing_gpvit_detection.py",
    "modeling_gpvit_detection.py",
}

LOAD_ELSEWHERE = (
    without("hf_gpvit")
    + """
import re

import huggingface_hub
import torch
import transformers
from PIL import Image

huggingface_hub.HfApi.repo_exists = lambda *args, **kwargs: True  # AutoBackbone loads from the Hub only
pixel_values = torch.load("pixel_values.pt")
names = {
    "adapter": "AutoBackbone",
    "boxes": "AutoModelForObjectDetection",
    "masks": "AutoModelForInstanceSegmentation",
}
found = {}
for folder, name in names.items():
    model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        found[folder] = (type(model).__name__, list(model(pixel_values).to_tuple()))
    model.save_pretrained(f"{folder}/again")
    getattr(transformers, name).from_pretrained(f"{folder}/again", trust_remote_code=True)
cards = {}
for folder in names:
    namespace = cards[folder] = {}
    with open(f"{folder}/README.md", encoding="utf-8") as card:
        blocks = re.findall(r"```python\\n(.*?)```", card.read(), flags=re.DOTALL)
    for block in blocks:
        exec(block.replace("you/", "").replace("threshold=0.5", "threshold=0.1"), namespace)
found["maps"] = [tuple(feature_map.shape) for feature_map in cards["adapter"]["feature_maps"]]
for folder in ("boxes", "masks"):
    numbers = [len(cards[folder]["detections"]), len(cards[folder]["found"].get("scores", []))]
    found[f"{folder} in card"] = (numbers, cards[folder]["drawn"].size)
picture = Image.open("photo.jpg")
for folder, task in (("boxes", "object-detection"), ("masks", "image-segmentation")):
    processor = transformers.AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    assert processor.size == {"shortest_edge": 64, "longest_edge": 96}, processor
    processor.save_pretrained(f"{folder}/again")
    again = transformers.AutoImageProcessor.from_pretrained(f"{folder}/again", trust_remote_code=True)
    assert again.to_json_string() == processor.to_json_string()
    detect = transformers.pipeline(task, model=folder, trust_remote_code=True)
    found[task] = (type(detect.model).__name__, detect(picture, threshold=0.1))
torch.save(found, "found.pt")
"""
)


PROCESSOR = GPViTDetectionImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    config = GPViTDetectionConfig.from_preset(
        "gpvit-nano", num_labels=3, rpn_post_nms_top_n=20, num_detections=10, score_threshold=0.0
    )
    return {
        "adapter": GPViTAdapterBackbone(GPViTAdapterConfig.from_preset("gpvit-nano")).eval(),
        "boxes": GPViTForObjectDetection(config).eval(),
        "masks": GPViTForInstanceSegmentation(config).eval(),
    }


@pytest.fixture(scope="module")
def root(models, tmp_path_factory):
    root = tmp_path_factory.mktemp("detectors")
    for name, model in models.items():
        save_for_hub(model, root / name, PROCESSOR, model_name=f"you/{name}")
        check_hub_folder(root / name)
    return root


def test_files(root):
    processor = {"detection_boxes.py", "detection_masks.py", "image_processing_gpvit_detection.py"}
    for name, code in {"adapter": ADAPTER_CODE | processor, "boxes": DETECTOR_CODE, "masks": DETECTOR_CODE}.items():
        assert {path.name for path in (root / name).glob("*.py")} == code, name


def test_auto_map(root):
    configs = {name: json.loads((root / name / "config.json").read_text()) for name in ("adapter", "boxes", "masks")}
    assert configs["adapter"]["auto_map"] == {
        "AutoConfig": "configuration_gpvit_adapter.GPViTAdapterConfig",
        "AutoBackbone": "modeling_gpvit_adapter.GPViTAdapterBackbone",
    }
    expected = {
        "AutoConfig": "configuration_gpvit_detection.GPViTDetectionConfig",
        "AutoModelForObjectDetection": "modeling_gpvit_detection.GPViTForObjectDetection",
        "AutoModelForInstanceSegmentation": "modeling_gpvit_detection.GPViTForInstanceSegmentation",
        "AutoModelForImageSegmentation": "modeling_gpvit_detection.GPViTForInstanceSegmentation",
    }
    assert configs["boxes"]["auto_map"] == configs["masks"]["auto_map"] == expected
    assert configs["boxes"]["architectures"] == ["GPViTForObjectDetection"]
    processor = json.loads((root / "masks/preprocessor_config.json").read_text())
    name = "image_processing_gpvit_detection.GPViTDetectionImageProcessor"
    assert processor["auto_map"] == {"AutoImageProcessor": {"torchvision": name}}


@pytest.mark.slow
def test_loads_without_package(models, root, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    pixel_values = torch.randn(2, 3, 64, 75)
    torch.save(pixel_values, root / "pixel_values.pt")
    Image.fromarray(np.random.RandomState(0).randint(256, size=(50, 70, 3), dtype=np.uint8)).save(root / "photo.jpg")
    subprocess.run([sys.executable, "-c", LOAD_ELSEWHERE], check=True, cwd=root, stdin=subprocess.DEVNULL)
    found = torch.load(root / "found.pt", weights_only=False)
    for name, model in models.items():
        with torch.no_grad():
            expected = list(model(pixel_values).to_tuple())
        assert found[name][0] == type(model).__name__
        torch.testing.assert_close(found[name][1], expected, rtol=1e-5, atol=1e-6)
    classes = [found[task][0] for task in ("object-detection", "image-segmentation")]
    assert classes == ["GPViTForObjectDetection", "GPViTForInstanceSegmentation"]
    assert all(len(found[task][1]) > 0 for task in ("object-detection", "image-segmentation"))
    assert found["maps"] == [(1, 64, rows, rows * 3 // 2) for rows in (16, 8, 4, 2)]
    for name in ("boxes", "masks"):
        (shown, listed), size = found[f"{name} in card"]
        assert size == (70, 50)
        assert shown > 0
        assert listed in (shown, 0)


def test_package_and_remote_code_in_one_process(models, root, tmp_path, monkeypatch):
    """Each defines the same operator; twice as remote code, too, since each folder on the Hub is a module."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    pixel_values = torch.randn(1, 3, 64, 64)
    reference = "modeling_gpvit_detection.GPViTForInstanceSegmentation"
    remote = [get_class_from_dynamic_module(reference, str(root / name)) for name in ("boxes", "masks")]
    assert len({GPViTForInstanceSegmentation, *remote}) == 3
    with torch.no_grad():
        expected = models["masks"](pixel_values)
        for model_class in remote:
            found = model_class.from_pretrained(root / "masks").eval()(pixel_values)
            torch.testing.assert_close(found.to_tuple(), expected.to_tuple())
    # what imports the package finds its own, trusted or not
    loaded = AutoModelForInstanceSegmentation.from_pretrained(root / "masks", trust_remote_code=True)
    assert type(loaded) is GPViTForInstanceSegmentation

    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 9, 10]]])
    arguments = (
        boxes,
        torch.tensor([[0.5, 0.6, 0.7, 0.9]]),
        torch.tensor([[0, 0, 0, 1]]),
        torch.ones(1, 4).bool(),
        0.5,
    )
    kept = detection_regions.keep_apart(*arguments)
    assert kept.tolist() == [[False, True, True, True]]
    for module in (detection_regions, *(sys.modules[cls.__module__] for cls in remote)):
        compiled = torch.compile(
            lambda *args, module=module: module.keep_apart(*args), backend="eager", fullgraph=True
        )
        assert torch.equal(compiled(*arguments), kept)


# ---- cards


FIGURES = {
    "retinanet": {"map": 0.25, "map_50": 0.5, "map_small": None, "map/cell": 0.25},
    "boxes": {"map": 0.25, "map_50": 0.5, "map_small": None, "map/cell": 0.25},
    "masks": {"segm_map": 0.125, "bbox_map": 0.25, "bbox_map_small": None, "segm_map/cell": 0.125},
}
COUNTED = {"retinanet": "", "boxes": ", with 50 regions", "masks": ", with 50 regions and 100 masks"}


@pytest.mark.parametrize("kind", FIGURES)
def test_card(kind):
    model = small_model(kind, num_labels=3)
    card = str(model_card(model, PROCESSOR, model_name="you/cells", metrics=FIGURES[kind], dataset="you/blood"))
    data = yaml.safe_load(card.split("---\n")[1])
    pipeline = "image-segmentation" if kind == "masks" else "object-detection"
    assert (data["pipeline_tag"], data["tags"]) == (pipeline, ["gpvit", "arxiv:2212.06795"])
    [result] = data["model-index"][0]["results"]
    assert result["task"] == {"type": pipeline}
    shown = {figure["type"]: figure["value"] for figure in result["metrics"]}
    assert shown == {name: value for name, value in FIGURES[kind].items() if value is not None and "/" not in name}
    assert ("RetinaNet" in card, "without its masks" in card) == (kind == "retinanet", kind == "boxes")
    assert f"Of one image of 64x96 pixels{COUNTED[kind]}:\n" in card
    assert f"| {model.num_parameters():,} | " in card
    assert "torch, torchvision and transformers and nothing else" in card
    assert re.findall(r"^## (.*)", card, flags=re.MULTILINE)[:2] == ["Use", "Limits"]
    assert "\n\n\n" not in card


def test_figures_of_other_tasks_are_refused():
    with pytest.raises(ValueError, match=r"those of the model's task \(map, map_50, .*got segm_map"):
        model_card(
            small_model("boxes"), PROCESSOR, model_name="you/cells", metrics=FIGURES["masks"], dataset="you/blood"
        )


@pytest.mark.parametrize("name", ["image_processing_gpvit_detection.py", "modeling_gpvit_detection.py"])
def test_folders_that_lack_code_are_not_pushed(name, tmp_path):
    folder = save_for_hub(small_model("boxes"), tmp_path / "model", PROCESSOR)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"it lacks {name}"):
        check_hub_folder(folder)
