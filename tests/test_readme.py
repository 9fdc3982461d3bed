# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Every Python block of the README runs, in order and in one namespace, as a reader would paste them."""

import re
from pathlib import Path

import torch
from PIL import Image

from official import checkpoint


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL))


def test_python_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": checkpoint("gpvit/gpvit_l1_statedict.json")}, "gpvit_l1.pth")
    Image.new("RGB", (90, 70), "tan").save("cat.png")
    namespace = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["feature_maps"][1].shape == (1, 64, 8, 8)
    assert len(namespace["classify"]("cat.png")) == 5
    assert type(namespace["model"]).__name__ == "GPViTForSemanticSegmentation"
    assert namespace["outputs"].pred_boxes.shape == (1, 100, 4)


def test_shapes_in_comments():
    """The shapes that comments promise are those that the first blocks give."""
    namespace = {}
    exec(compile(PYTHON[0], "README.md", "exec"), namespace)
    assert namespace["outputs"].last_hidden_state.shape == (1, 25 * 42, 216)
    segmentation = next(block for block in PYTHON if "labels=labels" in block)
    exec(compile(segmentation, "README.md", "exec"), namespace)
    assert namespace["outputs"].logits.shape == (2, 11, 12, 16)


def test_shell_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\S+)", SHELL, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for script in re.findall(r"^python (scripts/\S+)", SHELL, flags=re.MULTILINE):
        assert (ROOT / script).is_file()
