# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL while something is being saved: what was there stays whole, or the new one is."""

import os
import random
import runpy
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

import hf_gpvit_cli
from families import GPVIT
from hf_gpvit import files
from hf_gpvit.commands import convert as convert_command
from hf_gpvit.files import atomic_folder, remove_partial
from hf_gpvit.hub import push, push_model, save_for_hub
from hf_gpvit.training import engine, train


if sys.platform == "win32":
    pytest.skip("Windows has no SIGKILL", allow_module_level=True)

from children import ended, killed_after  # noqa: E402


ROOT = Path(__file__).parents[2]
KILLS = 24


def numbered(number: int):
    """A tiny classifier whose weights are all this number: half of one and half of another can be told."""
    model = GPVIT.classifier_class(GPVIT.config(num_labels=2, id2label={0: "blue", 1: "red"})).eval()
    for value in model.state_dict().values():
        value.fill_(number)
    return model


def number_of(folder: Path) -> int:
    """The number of the classifier in a folder, which must be whole."""
    numbers = {
        value.item() for weight in load_file(folder / "model.safetensors").values() for value in weight.unique()
    }
    assert len(numbers) == 1, f"{folder} holds weights of several models"
    assert AutoModelForImageClassification.from_pretrained(folder).config.id2label == {0: "blue", 1: "red"}
    return int(numbers.pop())


def check_folders(root: Path) -> None:
    """All that can be seen is whole; what isn't whole is hidden, and says that it is partial."""
    assert number_of(root / "model") >= 1
    for path in root.iterdir():
        if path.name.startswith("."):
            assert path.name.startswith(".model-")
            assert path.name.endswith(".partial")
        else:
            number_of(path)


def save_hub_folders(root: Path, ready) -> None:
    for number in range(1, 1000):
        save_for_hub(numbered(number), root / "model")
        ready()


def save_converted(root: Path, ready) -> None:
    numbers = iter(range(1, 1000))
    convert_command.convert_checkpoint = lambda *_: numbered(next(numbers))
    while True:
        hf_gpvit_cli.main(["convert", "checkpoint.pth", str(root / "model")])
        ready()


def anything(folder: Path) -> list[str]:
    return ["*"]


def save_replaced(root: Path, ready) -> None:
    """As training saves its best model."""
    for number in range(1, 1000):
        with atomic_folder(root / "model", written=anything, keep_former=False) as folder:
            numbered(number).save_pretrained(folder)
        ready()


def kill_often(work, root: Path, kills: int) -> None:
    chance = random.Random(work.__name__)
    for _ in range(kills):
        killed_after(lambda ready: work(root, ready), chance.uniform(0, 0.4))
        check_folders(root)
        for older in root.glob("model-*"):
            shutil.rmtree(older)
    remove_partial(root)
    assert not list(root.glob(".*"))


def test_a_few_kills(tmp_path):
    kill_often(save_replaced, tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
@pytest.mark.parametrize("work", [save_hub_folders, save_converted, save_replaced])
def test_many_kills(tmp_path, work):
    kill_often(work, tmp_path, KILLS)


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("keep_former", [True, False])
def test_killed_before_each_rename(tmp_path, monkeypatch, keep_former, can_exchange):
    """Names can be exchanged on Linux. Elsewhere there is a moment with nothing at the name, and both beside it."""
    exchange = files._exchange if can_exchange else lambda *_: False
    if can_exchange and sys.platform != "linux":
        pytest.skip("Only Linux exchanges names.")

    def save(text):
        with atomic_folder(tmp_path / "model", written=anything, keep_former=keep_former) as folder:
            (folder / "file").write_text(text)

    def save_killed(number):
        calls = []

        def counted(call):
            def counting(*arguments):
                calls.append(arguments)
                if len(calls) > number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments)

            return counting

        monkeypatch.setattr(os, "replace", counted(os.replace))
        monkeypatch.setattr(files, "_exchange", counted(exchange))
        save("new")

    save("old")
    for number in range(6):
        ended(lambda number=number: save_killed(number))
        found = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
        texts = {(tmp_path / name / "file").read_text() for name in found}
        assert texts <= {"old", "new"}
        assert "old" in texts or not keep_former or not can_exchange
        if can_exchange:
            assert "model" in found
        else:
            assert found
        if not (tmp_path / "model").exists():
            (tmp_path / "model-1").rename(tmp_path / "model")


def improving():
    """Evaluations of which each is better than the one before."""
    figures = iter(range(1, 1000))
    return lambda *_, **__: {"accuracy": next(figures) / 1000}


def run_again(recipe, ready) -> None:
    """A run that evaluates and saves in every step, and is ready after its first checkpoint."""
    engine.evaluate_model = improving()
    save = engine.Checkpoints.save

    def save_and_say(checkpoints, step):
        folder = save(checkpoints, step)
        ready()
        return folder

    engine.Checkpoints.save = save_and_say
    train(recipe)


def check_run(run: Path) -> None:
    """Every folder that can be seen loads."""
    assert AutoModelForImageClassification.from_pretrained(run / "best").config.num_labels == 2
    checkpoints = [path for path in (run / "checkpoints").iterdir() if not path.name.startswith(".")]
    assert checkpoints
    for path in checkpoints:
        assert load_file(path / "model.safetensors")
        torch.load(path / "optimizer.bin")
    hidden = [path for folder in (run, run / "checkpoints") for path in folder.glob(".*") if path.name != ".lock"]
    assert all(path.name.endswith(".partial") for path in hidden)


@pytest.mark.slow
def test_a_run_is_killed_while_saving(recipe, tmp_path, monkeypatch):
    """Checkpoints, best and log; it goes on each time, and in the end leaves nothing that is partial."""
    recipe = replace(recipe, max_steps=400, eval_steps=1, num_workers=0, resume=True)
    chance = random.Random(0)
    for _ in range(KILLS):
        killed_after(lambda ready: run_again(recipe, ready), chance.uniform(0, 0.5))
        check_run(tmp_path / "run")
    remove_partial(tmp_path / "run")
    steps = [path.name for path in (tmp_path / "run/checkpoints").glob("step-*")]
    assert 1 <= len(steps) <= recipe.max_checkpoints + 1


@pytest.mark.slow
def test_the_quickstart_is_killed(photos, saved, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    quickstart = runpy.run_path(str(ROOT / "scripts/quickstart.py"))
    arguments = quickstart["Arguments"](
        data=str(photos / "classification"),
        model=str(saved / "gpvit"),
        output=str(tmp_path / "model"),
        image_size=32,
        num_train_epochs=1,
        batch_size=4,
    )
    draw = type("Drawn", (), {"returncode": 0})

    def work(ready):
        quickstart["run"].__globals__["subprocess"] = type("subprocess", (), {"run": lambda *_: draw})
        while True:
            quickstart["run"](arguments)
            ready()

    chance = random.Random(0)
    for _ in range(KILLS):
        killed_after(work, chance.uniform(0, 1))
        for path in tmp_path.glob("model*"):
            assert AutoModelForImageClassification.from_pretrained(path).config.num_labels == 2
            assert (path / "metrics.json").is_file()
        assert all(path.name.startswith(".model-") and path.name.endswith(".partial") for path in tmp_path.glob(".*"))
        for older in tmp_path.glob("model-*"):
            shutil.rmtree(older)


@pytest.mark.slow
def test_a_push_is_killed_while_its_folder_is_made(saved, tmp_path, monkeypatch):
    """The model's folder stays as it is; what is left lies among temporary files, and says whose it is."""
    monkeypatch.setattr(push.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    monkeypatch.setattr(push, "prepare_repo", lambda *_, **__: None)
    monkeypatch.setattr(push, "_upload", lambda folder, *_: number_of_files(folder))
    before = {path.name: path.read_bytes() for path in (saved / "gpvit").iterdir()}

    def work(ready):
        while True:
            push_model(saved / "gpvit", "you/model")
            ready()

    chance = random.Random(0)
    for _ in range(KILLS):
        killed_after(work, chance.uniform(0, 0.4))
    assert {path.name: path.read_bytes() for path in (saved / "gpvit").iterdir()} == before
    assert all(path.name.startswith("hf-gpvit-push-") for path in tmp_path.iterdir() if path.name != "cache")
    assert push_model(saved / "gpvit", "you/model") > 5


def number_of_files(folder: Path) -> int:
    return len(list(folder.iterdir()))
