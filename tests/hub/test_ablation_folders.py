# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of variants load with and without the package, and the code of variants is in no others."""

import json
import subprocess
import sys

import pytest
import torch

from elsewhere import without
from families import GPVIT, awake
from gpvit_variants import VARIANTS
from hf_gpvit.hub import save_for_hub


CODE = {
    "compat.py",
    "configuration_base.py",
    "configuration_gpvit.py",
    "configuration_gpvit_ablation.py",
    "decode_head.py",
    "fusing.py",
    "inputs.py",
    "layers.py",
    "modeling_base.py",
    "modeling_gpvit.py",
    "modeling_gpvit_ablation.py",
    "shortcuts.py",
}
# What is saved of each variant, and what loads it.
KINDS = {
    "mixed": ("classifier_class", "AutoModelForImageClassification"),
    "coarse": ("segmentor_class", "AutoModelForSemanticSegmentation"),
    "plain": ("model_class", "AutoModel"),
}
LOAD_ELSEWHERE = (
    without("hf_gpvit")
    + """
import json

import torch
import transformers

pixel_values = torch.load("pixel_values.pt")
found = {}
for folder, name in json.loads(sys.argv[1]).items():
    model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        found[folder] = (type(model).__name__, model(pixel_values)[0])
    model.save_pretrained(f"{folder}/again")
    getattr(transformers, name).from_pretrained(f"{folder}/again", trust_remote_code=True)
torch.save(found, "found.pt")
"""
)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    return {name: awake(getattr(VARIANTS[name], kind)(VARIANTS[name].config())) for name, (kind, _) in KINDS.items()}


@pytest.fixture(scope="module")
def root(models, tmp_path_factory):
    root = tmp_path_factory.mktemp("variants")
    for name, model in models.items():
        save_for_hub(model, root / name, model_name=f"you/{name}")
    return root


def test_files_and_auto_map(models, root):
    for name in models:
        assert {path.name for path in (root / name).glob("*.py")} == CODE
        config = json.loads((root / name / "config.json").read_text(encoding="utf-8"))
        assert config["auto_map"]["AutoConfig"] == "configuration_gpvit_ablation.GPViTAblationConfig"
        assert config["auto_map"]["AutoModel"] == "modeling_gpvit_ablation.GPViTAblationModel"
        assert "A variant of GPViT" in (root / name / "README.md").read_text(encoding="utf-8")


def test_others_have_no_code_of_variants(tmp_path):
    GPVIT.classifier_class(GPVIT.config()).save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*ablation*"))


def test_loads_without_package(models, root, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    pixel_values = torch.randn(2, 3, 64, 75)
    torch.save(pixel_values, root / "pixel_values.pt")
    names = {name: auto_class for name, (_, auto_class) in KINDS.items()}
    arguments = [sys.executable, "-c", LOAD_ELSEWHERE, json.dumps(names)]
    subprocess.run(arguments, check=True, cwd=root, stdin=subprocess.DEVNULL)
    found = torch.load(root / "found.pt")
    for name, model in models.items():
        with torch.no_grad():
            expected = model(pixel_values)[0]
        assert found[name][0] == type(model).__name__
        torch.testing.assert_close(found[name][1], expected, rtol=1e-5, atol=1e-6)
