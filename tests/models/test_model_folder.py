# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The model code is what the Hub copies beside weights: a flat folder on torch and transformers alone."""

import ast
import sys
from pathlib import Path

import pytest

import hf_gpvit


FILES = sorted(Path(hf_gpvit.__file__).parent.joinpath("models").glob("*.py"))
# Copied into the same folder; what they import of the folder of models is beside them there.
VARIANTS = [
    path
    for path in sorted(FILES[0].parents[1].joinpath("ablations").glob("*.py"))
    if path.stem.startswith(("configuration_", "modeling_"))
]
ALLOWED = {"torch", "transformers", "huggingface_hub"} | set(sys.stdlib_module_names)
# What a file may import, where it is there.
OPTIONAL = {"detection_regions": {"torchvision"}}


@pytest.mark.parametrize("path", FILES + VARIANTS, ids=lambda path: path.stem)
def test_imports(path):
    names = {1: {file.stem for file in (VARIANTS if path in VARIANTS else FILES)}}
    if path in VARIANTS:
        names[2] = {f"models.{file.stem}" for file in FILES}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.stem in OPTIONAL:
        attempts = [node for node in tree.body if isinstance(node, ast.Try)]
        tree.body = [node for node in tree.body if node not in attempts]
        tried = [node.module for attempt in attempts for node in attempt.body if isinstance(node, ast.ImportFrom)]
        assert {module.split(".")[0] for module in tried} == OPTIONAL[path.stem]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= ALLOWED
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module.split(".")[0] in ALLOWED
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.module in names[node.level]
