# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of variants carry their code, and other folders none of it."""

import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForSemanticSegmentation

from elsewhere import without
from families import HRVIT, trained
from hf_gpvit import HRViTForSemanticSegmentation
from hrvit_variants import VARIANTS


CODE = {
    "compat.py",
    "configuration_base.py",
    "configuration_hrvit.py",
    "decode_head.py",
    "fusing.py",
    "inputs.py",
    "layers.py",
    "modeling_base.py",
    "modeling_hrvit.py",
    "shortcuts.py",
}
ABLATION_CODE = CODE | {"configuration_hrvit_ablation.py", "modeling_hrvit_ablation.py"}
FILES = {
    "all_off": ABLATION_CODE,
    "cswin": ABLATION_CODE | {"configuration_hrnet_vit.py", "modeling_hrnet_vit.py"},
}

LOAD_ELSEWHERE = (
    without("hf_gpvit")
    + """
from pathlib import Path
import torch
from transformers import AutoModelForSemanticSegmentation

root = Path(sys.argv[1])
pixel_values = torch.load(root / "pixel_values.pt")
logits = {}
for name in sys.argv[2:]:
    model = AutoModelForSemanticSegmentation.from_pretrained(root / name, trust_remote_code=True)
    with torch.no_grad():
        logits[name] = model(pixel_values).logits
    model.save_pretrained(root / name / "again")
torch.save(logits, root / "logits.pt")
"""
)


@pytest.mark.slow
@torch.no_grad()
def test_variants_load_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    pixel_values, expected = torch.randn(1, 3, 37, 50), {}
    torch.save(pixel_values, tmp_path / "pixel_values.pt")
    for name in FILES:
        family = VARIANTS[name]
        model = trained(family.segmentor_class(family.config())).eval()
        model.save_pretrained(tmp_path / name)
        expected[name] = model(pixel_values).logits
    subprocess.run([sys.executable, "-c", LOAD_ELSEWHERE, tmp_path, *FILES], check=True, cwd=tmp_path)
    for name, logits in torch.load(tmp_path / "logits.pt").items():
        torch.testing.assert_close(logits, expected[name], atol=1e-6, rtol=1e-5)
        again = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / name / "again")
        assert type(again) is VARIANTS[name].segmentor_class
        torch.testing.assert_close(again(pixel_values).logits, logits, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_code_of_a_variant_is_saved_with_it(name, tmp_path):
    VARIANTS[name].config().save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES[name] | {"config.json"}
    assert not [path.name for path in tmp_path.glob("*.py") if "\nfrom .." in path.read_text(encoding="utf-8")]


def test_code_of_no_variant_is_saved_with_hrvit(tmp_path):
    HRViTForSemanticSegmentation(HRVIT.config()).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == CODE
