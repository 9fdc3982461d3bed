# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
SHIPPED = ("configs", "hub_cards")


def test_folders_at_the_root_come_along(tmp_path):
    pytest.importorskip("setuptools", minversion="70.1")  # builds wheels by itself
    for folder in ("src", *SHIPPED):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for file in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md"):
        shutil.copy(ROOT / file, tmp_path)
    build = "from setuptools import build_meta; build_meta.build_sdist('dist'); build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)

    files = {path for folder in SHIPPED for path in (ROOT / folder).rglob("*") if path.is_file()}
    names = {path.relative_to(ROOT).as_posix() for path in files}
    [wheel], [sdist] = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in packed if name.startswith(("hf_gpvit/configs", "hf_gpvit/hub_cards"))} == {
        f"hf_gpvit/{name}" for name in names
    }
    assert {"hf_gpvit_cli/__main__.py", "hf_gpvit/commands/train.py"} <= packed
    with tarfile.open(sdist) as archive:
        assert names <= {name.partition("/")[2] for name in archive.getnames()}
