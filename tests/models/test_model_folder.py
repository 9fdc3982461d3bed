# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The model code is what the Hub copies beside weights: a flat folder on torch and transformers alone."""

import ast
import sys
from pathlib import Path

import pytest

import hf_gpvit


FILES = sorted(Path(hf_gpvit.__file__).parent.joinpath("models").glob("*.py"))
ALLOWED = {"torch", "transformers", "huggingface_hub"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports(path):
    names = {file.stem for file in FILES}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= ALLOWED
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module.split(".")[0] in ALLOWED
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1
            assert node.module in names
