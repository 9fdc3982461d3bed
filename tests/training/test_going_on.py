# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a run that goes on must have in common with what it was, and how one is made longer."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_gpvit.data.loading import LoadedData, load_data
from hf_gpvit.training import TrainingStopped, engine, run_data, train
from hf_gpvit.training.run_log import read_log
from short_runs import ask_to_end, rates_and_norms, stop_at


@pytest.fixture
def own_photos(photos, tmp_path):
    """Photos that a test may change."""
    return shutil.copytree(photos / "classification", tmp_path / "photos")


@pytest.fixture
def recipe(classification, own_photos):
    """Two epochs of four steps, with a checkpoint after every second step."""
    fields = {"max_steps": 0, "num_train_epochs": 2, "batch_size": 2, "eval_steps": 4, "save_steps": 2}
    return replace(classification, dataset=str(own_photos), **fields)


def stopped_at(recipe, step, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, step, ask_to_end)
        with pytest.raises(TrainingStopped):
            train(recipe)


def remove_photos(folder: Path, count: int) -> None:
    for path in sorted((folder / "train").rglob("*.png"), key=lambda path: int(path.stem))[-count:]:
        path.unlink()


def warned(monkeypatch, caplog) -> pytest.LogCaptureFixture:
    for module in (run_data, engine):
        monkeypatch.setattr(module.logger, "propagate", True)
    return caplog


def test_what_a_run_saw_is_beside_its_recipe(recipe, tmp_path):
    train(replace(recipe, num_train_epochs=1))
    for folder in (tmp_path / "run", tmp_path / "run/checkpoints/step-00000004"):
        assert json.loads((folder / "data.json").read_text()) == {
            "class_names": ["blue", "red"],
            "num_train": 8,
            "num_test": 4,
        }
        assert (folder / "recipe.yaml").read_text() == (tmp_path / "run/best/recipe.yaml").read_text()


@pytest.mark.parametrize("count", [2, 4, 6])
def test_with_fewer_pictures_a_run_ends(recipe, own_photos, tmp_path, monkeypatch, count):
    """Also where it has done more steps than there are left: it was endless then."""
    stopped_at(recipe, 6, monkeypatch)
    remove_photos(own_photos, count)
    metrics = train(replace(recipe, resume=True))
    saved = json.loads((tmp_path / "run/last/metrics.json").read_text())
    assert saved == {"step": 6} | metrics | {"dataset": "photos", "split": "test"}
    assert (tmp_path / "run/best/metrics.json").exists()


def test_other_numbers_of_pictures_are_said(recipe, own_photos, monkeypatch, caplog):
    warned(monkeypatch, caplog)
    stopped_at(recipe, 2, monkeypatch)
    remove_photos(own_photos, 1)
    shutil.copy(own_photos / "test/red/9.png", own_photos / "test/red/13.png")
    train(replace(recipe, resume=True))
    assert "is of a run with 8 pictures to train on, and now there are 7" in caplog.text
    assert "is of a run with 4 pictures to evaluate on, and now there are 5" in caplog.text


def test_that_there_is_no_checkpoint_is_said(recipe, tmp_path, monkeypatch, caplog):
    warned(monkeypatch, caplog)
    train(replace(recipe, max_steps=1))
    shutil.rmtree(tmp_path / "run/checkpoints")
    train(replace(recipe, max_steps=1, resume=True))
    assert "There is no checkpoint in " in caplog.text


@pytest.mark.parametrize("before_start", [True, False])
def test_other_classes_are_refused(recipe, own_photos, tmp_path, monkeypatch, before_start):
    stopped_at(recipe, 2, monkeypatch)
    before = (tmp_path / "run/log.jsonl").read_bytes()
    for split in ("train", "test"):
        if before_start:
            (own_photos / split / "red").rename(own_photos / split / "azure")
        else:
            shutil.copytree(own_photos / split / "red", own_photos / split / "zinc")
    message = "class 0 was 'blue' and is 'azure'" if before_start else "class 2 was none and is 'zinc'"
    with pytest.raises(ValueError, match=f"step-00000002 is of a run with 2 classes.*{message}.*model="):
        train(replace(recipe, resume=True))
    assert (tmp_path / "run/log.jsonl").read_bytes() == before


def test_classes_in_another_order_are_refused(recipe, own_photos, monkeypatch):
    data = load_data(str(own_photos), "image-classification")
    stopped_at(recipe, 2, monkeypatch)
    turned = LoadedData(data.train, data.test, data.class_names[::-1], data.test_source)
    with pytest.raises(ValueError, match="class 0 was 'blue' and is 'red'"):
        train(replace(recipe, resume=True), turned)


def test_without_the_runs_recipe_that_of_the_checkpoint_counts(recipe, tmp_path, monkeypatch):
    stopped_at(recipe, 2, monkeypatch)
    (tmp_path / "run/recipe.yaml").unlink()
    with pytest.raises(ValueError, match=r"step-00000002 holds a run with learning_rate=0.003: .*learning_rate=0.1"):
        train(replace(recipe, resume=True, learning_rate=0.1))
    with pytest.raises(ValueError, match=r"step-00000002 holds a run with model=.*: it can't go on with model="):
        train(replace(recipe, resume=True, model="gpvit-nano"))
    train(replace(recipe, resume=True))


@pytest.mark.parametrize("fields", [{"num_train_epochs": 1}, {"max_steps": 100}])
def test_a_run_is_not_made_shorter_nor_measured_otherwise(recipe, monkeypatch, fields):
    stopped_at(recipe, 2, monkeypatch)
    with pytest.raises(ValueError, match=f"can't go on with {next(iter(fields))}=.*another output_dir"):
        train(replace(recipe, resume=True, **fields))


def test_a_complete_run_says_how_it_is_made_longer(recipe, monkeypatch, caplog):
    warned(monkeypatch, caplog)
    train(replace(recipe, num_train_epochs=1))
    train(replace(recipe, num_train_epochs=1, resume=True))
    assert "is complete, with 4 steps of 4. A larger max_steps or num_train_epochs makes it longer." in caplog.text


def test_a_complete_run_is_made_longer(recipe, tmp_path, monkeypatch):
    """Its learning rate follows the schedule of the new length from there on, and the log has all steps once."""
    train(replace(recipe, num_train_epochs=1, logging_steps=1))
    seen = rates_and_norms(monkeypatch)
    train(replace(recipe, num_train_epochs=2, logging_steps=1, resume=True))
    train(replace(recipe, num_train_epochs=2, output_dir=str(tmp_path / "whole")))
    rates = [rates for rates, _ in seen]
    assert len(rates) == 4 + 8
    assert rates[:4] == rates[8:]
    assert [record["step"] for record in read_log(tmp_path / "run/log.jsonl") if "loss" in record] == [*range(1, 9)]
    with pytest.raises(ValueError, match=r"num_train_epochs=2.0: it can't go on with num_train_epochs=1"):
        train(replace(recipe, num_train_epochs=1, resume=True))


def test_a_moved_run_goes_on(recipe, tmp_path, monkeypatch):
    train(replace(recipe, output_dir=str(tmp_path / "whole")))
    stopped_at(recipe, 4, monkeypatch)
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    train(replace(recipe, output_dir=str(tmp_path / "elsewhere"), resume=True))
    weights, expected = (load_file(tmp_path / name / "last/model.safetensors") for name in ("elsewhere", "whole"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("text", ["{", "[]", '{"class_names": 3}', '{"class_names": ["a"], "num_train": "many"}'])
def test_data_of_another_kind_is_named(text, tmp_path):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(ValueError, match=r"data\.json"):
        run_data.RunData.load(tmp_path / "data.json")
