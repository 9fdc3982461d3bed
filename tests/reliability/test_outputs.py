# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What somebody else has put where something is to be written stays, and what was computed is not lost."""

import json
import os
import sys
from types import SimpleNamespace

import pytest

import hf_gpvit_cli
from hf_gpvit.commands import evaluate as evaluate_command
from hf_gpvit.commands import predict as predict_command
from hf_gpvit.metrics import MeanIoU, TopKAccuracy
from hf_gpvit.saved_models import load_image_processor, load_model
from hf_gpvit.training.run_folder import RunFolder


@pytest.fixture
def best(recipe, saved, tmp_path):
    """Saves a run's best model, and gives the folder."""
    model = load_model(saved / "gpvit", "image-classification")
    image_processor = load_image_processor(saved / "gpvit")

    def save():
        run = SimpleNamespace(path=tmp_path / "run", recipe=recipe)
        RunFolder.save_model(run, "best", model, image_processor, {"accuracy": 0.5})
        return run.path / "best"

    return save


def test_a_better_model_takes_the_place_of_a_former_one(best):
    best()
    assert [path.name for path in best().parent.iterdir()] == ["best"]


def test_notes_beside_a_best_model_move_aside(best):
    """With the model that they are of, and rather than to go with it."""
    (best() / "notes.txt").write_text("mine")
    folder = best()
    assert not (folder / "notes.txt").exists()
    assert (folder.with_name("best-1") / "notes.txt").read_text() == "mine"
    assert (folder.with_name("best-1") / "model.safetensors").is_file()


@pytest.mark.parametrize("output_dir", [".", "..", "/", "{home}", "{mine}"])
@pytest.mark.parametrize("command", ["predict", "convert"])
def test_folders_of_people_stay(command, output_dir, saved, photos, tmp_path, monkeypatch):
    """That is told before anything is read."""
    for name in ("home/here", "mine"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "precious.txt").write_text("mine")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home/here")
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    output_dir = output_dir.format(home=tmp_path / "home", mine=tmp_path / "mine")
    arguments = {
        "predict": ["--model", "not-looked-at", str(photos), "--output_dir", output_dir],
        "convert": ["not-looked-at.pth", output_dir],
    }[command]
    with pytest.raises(SystemExit, match="is the current folder|is the home folder|holds precious.txt"):
        hf_gpvit_cli.main([command, *arguments])
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before


def evaluate(saved, photos, output):
    data = ["--dataset", str(photos / "classification"), "--output", str(output)]
    hf_gpvit_cli.main(["evaluate", "--model", str(saved / "gpvit"), *data])


@pytest.mark.parametrize("output", ["folder", "new-folder/", "", "file/metrics.json", "link-to-folder", os.devnull])
def test_figures_that_could_not_be_written_are_not_computed(output, saved, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate_command, "_evaluate", lambda *_: pytest.fail("it was begun"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    if sys.platform != "win32":
        (tmp_path / "link-to-folder").symlink_to(tmp_path / "folder")
    with pytest.raises(SystemExit, match="^hf-gpvit evaluate: .*must be"):
        evaluate(saved, photos, output)
    assert (tmp_path / "file").read_text() == "mine"


def test_figures_are_written_before_they_are_printed(saved, photos, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no terminal")

    monkeypatch.setattr(evaluate_command, "say", fail)
    with pytest.raises(SystemExit, match="no terminal"):
        evaluate(saved, photos, tmp_path / "metrics.json")
    assert "accuracy" in json.loads((tmp_path / "metrics.json").read_text())


def test_figures_that_cannot_be_written_after_all_are_printed(saved, photos, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(evaluate_command, "write_metrics", fail)
    with pytest.raises(SystemExit, match="disk full"):
        evaluate(saved, photos, tmp_path / "metrics.json")
    assert capsys.readouterr().out.startswith("accuracy ")


def test_predictions_are_written_before_they_are_printed(saved, photos, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no terminal")

    monkeypatch.setattr(predict_command, "say", fail)
    output = ["--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="no terminal"):
        hf_gpvit_cli.main(["predict", "--model", str(saved / "gpvit"), str(photos / "classification"), *output])
    assert json.loads((tmp_path / "out/predictions.json").read_text())


def test_metrics_write_nothing(tmp_path, monkeypatch):
    """Where the cache should be is a file."""
    (tmp_path / "file").write_text("")
    for metric_class in (MeanIoU, TopKAccuracy):
        metric = metric_class(num_labels=3, cache_dir=str(tmp_path / "file/cache"))
        metric.state = metric.state + 1
        metric.compute()
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["file"]
