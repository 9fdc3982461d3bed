# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of detectors and of their backbone load with and without the package."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
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
from hf_gpvit.models import detection_regions


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
picture = Image.open("picture.png")
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
    processor = GPViTDetectionImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    for name, model in models.items():
        model.save_pretrained(root / name)
        if name != "adapter":
            processor.save_pretrained(root / name)
    return root


def test_files(root):
    for name, code in {"adapter": ADAPTER_CODE, "boxes": DETECTOR_CODE, "masks": DETECTOR_CODE}.items():
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


def test_loads_without_package(models, root, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    pixel_values = torch.randn(2, 3, 64, 75)
    torch.save(pixel_values, root / "pixel_values.pt")
    Image.fromarray(np.random.RandomState(0).randint(256, size=(50, 70, 3), dtype=np.uint8)).save(root / "picture.png")
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
