# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The notebooks run as they stand, and what is committed of their outputs is fit to be read."""

import base64
import re
from pathlib import Path

import nbformat
import pytest

from run_notebooks import METADATA, run_notebook


ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# the figures of each, and the printed results of its models with what they must exceed; guessing gives 0.2 at most
FIGURES = {"use": 4, "fine_tune": 4, "look_inside": 7, "detect": 4}
RESULTS = {
    "use": {r"mean IoU (\S+), accuracy": 0.5, r"accuracy (\S+) ": 0.5},
    "fine_tune": {r"mean IoU of the pretraining (\S+)": 0.4, r"pretrained +accuracy.*step (\S+)": 0.5},
    "detect": {r"mAP at IoU 0.5 after the last step (\S+)": 0.25, r"through windows (\d+)": 8},
    "look_inside": {r"gpvit-nano: mean IoU (\S+)": 0.4, r"hrvit-nano: mean IoU (\S+)": 0.4},
}
MAX_BYTES = 300_000
JPEG_SIGNATURE = b"\xff\xd8\xff"
NOISE = ("Traceback", "Warning", "WARNING", "it/s]", "step/s]")
LOCAL_PATH = re.compile(
    r"(?<![\w.])/(?:home|Users|root|tmp|var|work|opt|usr)/|[A-Z]:\\|site-packages|hf-gpvit-\w{8}\b"
)
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def printed(notebook):
    return "".join(output.text for output in outputs(notebook) if output.output_type == "stream")


def figures(notebook):
    encoded = [output.data["image/jpeg"] for output in outputs(notebook) if "image/jpeg" in output.get("data", {})]
    return [base64.b64decode(figure) for figure in encoded]


def check_outputs(notebook, name):
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    assert [output.text for output in outputs(notebook) if output.get("name") == "stderr"] == []
    pictures = figures(notebook)
    assert len(pictures) == FIGURES[name]
    assert all(picture.startswith(JPEG_SIGNATURE) for picture in pictures)
    for pattern, bound in RESULTS[name].items():
        assert float(re.search(pattern, printed(notebook))[1]) > bound, pattern


def test_all_notebooks_have_expectations():
    assert {path.stem for path in NOTEBOOKS} == set(FIGURES) == set(RESULTS)


@each_notebook
def test_committed_notebook_is_valid_and_executed(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    assert [cell.execution_count for cell in code_cells(notebook)] == [*range(1, len(code_cells(notebook)) + 1)]
    check_outputs(notebook, path.stem)


@each_notebook
def test_committed_notebook_is_small_and_clean(path):
    notebook = read(path)
    assert path.stat().st_size < MAX_BYTES
    assert all(cell.metadata == {} for cell in notebook.cells)  # timings, scroll positions, ...
    texts = [cell.source for cell in notebook.cells] + [printed(notebook)]
    texts += [str(output.data.get("text/plain")) for output in outputs(notebook) if "data" in output]
    for text in texts:
        assert not LOCAL_PATH.search(text), text
    assert not any(noise in printed(notebook) for noise in NOISE)


@each_notebook
def test_notebook_is_explained_and_linked(path):
    notebook = read(path)
    assert notebook.cells[0].source.startswith("<!-- Copyright 2026 The hf-gpvit authors -->\n# ")
    assert f"](notebooks/{path.name})" in (ROOT / "README.md").read_text(encoding="utf-8")
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", prose):
        assert (path.parent / link).exists(), link


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_notebook
def test_notebook_runs(path, tmp_path, monkeypatch):
    # as many threads for all, so that a busy machine is not slower still
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = {file: file.stat().st_mtime_ns for file in (ROOT / "notebooks").rglob("*")}
    notebook = run_notebook(path, tmp_path)
    check_outputs(notebook, path.stem)
    assert {file: file.stat().st_mtime_ns for file in (ROOT / "notebooks").rglob("*")} == before
    assert any(tmp_path.glob("hf-gpvit-*"))
