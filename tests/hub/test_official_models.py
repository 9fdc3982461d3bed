# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Every official model, from its .pth to the Hub's folder and on to somebody who has transformers alone."""

import importlib
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForImageClassification, AutoModelForSemanticSegmentation

import hf_gpvit_cli
from elsewhere import without
from hf_gpvit.conversion import convert_checkpoint
from hf_gpvit.hub import save_for_hub
from official import LOGITS, REFERENCES, arrays, image, needs_references


pytestmark = [pytest.mark.slow, needs_references]

# Loads a folder without the package and torchvision, as remote code.
LOAD_ELSEWHERE = (
    without("hf_gpvit", "torchvision")
    + """
import torch
import transformers

auto_class = getattr(transformers, sys.argv[1])
model = auto_class.from_pretrained("hub", trust_remote_code=True)
assert "hf_gpvit" not in sys.modules
with torch.inference_mode():
    torch.save(model(torch.load("pixel_values.pt")).logits, "logits.pt")
"""
)

HEADS = [None, "segformer", "upernet"]
OFFICIAL = [
    *((f"gpvit_l{number}", head, 150) for number in (1, 2, 3, 4) for head in HEADS),
    *((f"hrvit_b{number}", head, 150) for number in (1, 2, 3) for head in HEADS),
    ("hrvit_b3", "segformer", 19),  # has wider stripes
    ("hrvit_b3", "upernet", 19),
]
# Of the official code, for the inputs below.
KNOWN = {
    ("gpvit_l1", None): ("gpvit/gpvit_l1_cls.npz", "logits_224"),
    ("gpvit_l1", "segformer"): ("gpvit/gpvit_l1_segformer.npz", "decode_logits_128"),
    ("gpvit_l1", "upernet"): ("gpvit/gpvit_l1_upernet.npz", "decode_logits_128"),
    ("hrvit_b1", None): ("hrvit/hrvit_b1_cls.npz", "rand.logits_224x224"),
    ("hrvit_b1", "segformer"): ("hrvit/hrvit_b1_segformer.npz", "128x128.logits150"),
    ("hrvit_b1", "upernet"): ("hrvit/hrvit_b1_upernet.npz", "128x128.logits150"),
}


@pytest.mark.parametrize(("variant", "head", "num_labels"), OFFICIAL)
def test_from_pth_to_remote_code(variant, head, num_labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(REFERENCES)
    official = importlib.import_module("weights").checkpoint(variant, head, num_labels)
    torch.save(official, "official.pth")
    hf_gpvit_cli.main(["convert", "official.pth", "converted"])
    auto_class = AutoModelForImageClassification if head is None else AutoModelForSemanticSegmentation
    save_for_hub(auto_class.from_pretrained("converted"), "hub")

    pixel_values = image(2, 224, 224) if head is None else image(1, 128, 128)
    torch.save(pixel_values, "pixel_values.pt")
    subprocess.run([sys.executable, "-c", LOAD_ELSEWHERE, auto_class.__name__], check=True)
    logits = torch.load("logits.pt")
    with torch.inference_mode():
        direct = convert_checkpoint(official)(pixel_values).logits
    torch.testing.assert_close(logits, direct, **LOGITS)
    if (variant, head) in KNOWN:
        name, key = KNOWN[variant, head]
        torch.testing.assert_close(logits, arrays(name)[key], **LOGITS)
