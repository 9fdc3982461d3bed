# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A missing module is named, with the extra that brings it."""

import importlib
import json
import sys

import pytest

from hf_gpvit.extras import import_extra


def test_module_and_submodule():
    assert import_extra("json") is json
    assert import_extra("json.decoder") is json.decoder


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.part"])
def test_missing_package(name):
    with pytest.raises(ImportError, match=r'needs no_such_package, .*pip install "hf-gpvit\[train\]"') as caught:
        import_extra(name)
    assert caught.match(r'in a clone of the repository pip install -e "\.\[train\]"')
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_another_extra():
    with pytest.raises(ImportError, match=r'pip install "hf-gpvit\[hub\]"'):
        import_extra("no_such_package", extra="hub")


@pytest.mark.parametrize(
    ("package", "module"),
    [
        ("datasets", "hf_gpvit.data.shapes"),
        ("datasets", "hf_gpvit.data.folders"),
        ("datasets", "hf_gpvit.training.evaluation"),
    ],
)
def test_modules_that_need_an_extra(monkeypatch, package, module):
    importlib.import_module(module)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ImportError, match=rf'needs {package}, .*: pip install "hf-gpvit\[train\]"'):
        importlib.import_module(module)


def test_metrics_need_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(ImportError, match=r'needs evaluate, .*: pip install "hf-gpvit\[train\]"'):
        from hf_gpvit.metrics import MeanIoU  # noqa: F401
