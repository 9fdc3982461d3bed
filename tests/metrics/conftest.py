# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
import sys
from functools import partial

import evaluate
import pytest


@pytest.fixture
def load_by_path(tmp_path, monkeypatch):
    """`evaluate.load` with a cache of its own; it copies the file there and imports the copy."""
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        monkeypatch.delitem(sys.modules, name)
    return partial(evaluate.load, cache_dir=str(tmp_path))
