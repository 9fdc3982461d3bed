# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A full disk and a folder that can't be written to: one error, nothing half-written, and what was there stays."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

import hf_gpvit_cli
from families import GPVIT
from hf_gpvit.commands import convert as convert_command
from hf_gpvit.commands import train as train_command
from hf_gpvit.files import write_metrics
from hf_gpvit.hub import push, push_model, save_for_hub
from hf_gpvit.training import engine, train


if sys.platform == "win32":
    pytest.skip("Windows has other limits", allow_module_level=True)

from children import ended  # noqa: E402


def model():
    return GPVIT.classifier_class(GPVIT.config(num_labels=2)).eval()


def convert(folder, saved, photos):
    convert_command.convert_checkpoint = lambda *_: model()
    hf_gpvit_cli.main(["convert", "checkpoint.pth", str(folder / "model"), "--overwrite"])


def save(folder, saved, photos):
    save_for_hub(model(), folder / "model", overwrite=True)


def predict(folder, saved, photos):
    pictures = str(photos / "classification")
    output = ["--output_dir", str(folder / "model"), "--overwrite"]
    hf_gpvit_cli.main(["predict", "--model", str(saved / "gpvit"), pictures, *output])


def evaluate(folder, saved, photos):
    data = ["--dataset", str(photos / "classification"), "--output", str(folder / "model/metrics.json")]
    hf_gpvit_cli.main(["evaluate", "--model", str(saved / "gpvit"), *data])


def metrics(folder, saved, photos):
    write_metrics(folder / "model/metrics.json", {f"iou/{number}": 0.5 for number in range(200)})


WORKS = [convert, save, predict, evaluate, metrics]


def listing(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def former(tmp_path):
    """A folder with what was written before."""
    folder = tmp_path / "disk"
    (folder / "model").mkdir(parents=True)
    (folder / "model/metrics.json").write_text('{"accuracy": 1.0}')
    return folder


def check(said: str, folder: Path, before: dict[str, bytes], reason: str) -> None:
    assert reason in said
    assert "Traceback" not in said.partition("SystemExit")[0] or "OSError" in said
    assert listing(folder) == before
    assert not list(folder.rglob(".*"))


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_no_file_fits(work, former, saved, photos):
    before = listing(former)
    said = ended(lambda: work(former, saved, photos), largest_file=60)
    check(said, former, before, "File too large")


@pytest.mark.parametrize("work", [convert, save], ids=lambda work: work.__name__)
@pytest.mark.parametrize("largest_file", [4000, 20_000])
def test_weights_do_not_fit(work, largest_file, former, saved, photos):
    before = listing(former)
    check(ended(lambda: work(former, saved, photos), largest_file), former, before, "File too large")


@pytest.mark.slow
@pytest.mark.parametrize("largest_file", [3_000, 30_000, 80_000])
def test_training(largest_file, recipe, tmp_path):
    """Stopped in `best` or in a checkpoint, whose former one stays; what was there goes on when there is room."""
    train(replace(recipe, max_steps=2))
    former = {
        name: load_file(tmp_path / "run" / name / "model.safetensors")
        for name in ("best", "checkpoints/step-00000002")
    }
    (tmp_path / "run/recipe.yaml").unlink()

    def work():
        train_command.parse_recipe = lambda *_: replace(recipe, resume=True)
        engine.evaluate_model = lambda *_, **__: {"accuracy": 1.0}
        train_command.train_command(type(recipe), "")

    said = ended(work, largest_file)
    assert said.startswith("SystemExit: ")
    assert "Traceback" not in said
    assert "too large" in said or "step-00000004" in said
    for name, weights in former.items():
        found = load_file(tmp_path / "run" / name / "model.safetensors")
        assert found.keys() == weights.keys()
    assert not list((tmp_path / "run").rglob("*.partial"))
    assert [path.name for path in (tmp_path / "run").rglob(".*")] == [".lock"]
    train(replace(recipe, resume=True))


def mounted(folder: Path, *options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 KB of its own, where that is permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or not mounted(folder, "size=200k"):
        pytest.skip("No file system can be mounted here.")
    (folder / "model").mkdir()
    (folder / "model/metrics.json").write_text('{"accuracy": 1.0}')
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
@pytest.mark.parametrize("room", [0, 16_000, 64_000])
def test_a_small_disk(work, room, small_disk, saved, photos):
    if room and work in (predict, evaluate, metrics):
        pytest.skip("It would fit.")
    with (small_disk / "ballast").open("wb") as file:
        file.write(bytes(200 * 1024 - 12_288 - room))
    before = listing(small_disk)
    if not room:
        fill(small_disk)
        before = listing(small_disk)
    check(ended(lambda: work(small_disk, saved, photos)), small_disk, before, "No space left")


def fill(folder: Path) -> None:
    with (folder / "ballast").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass


@pytest.fixture
def read_only(former):
    """A folder that can't be written to: by mount for root, whom permissions don't stop."""
    if os.geteuid():
        for folder in (former / "model", former):
            folder.chmod(0o555)
        yield former
        for folder in (former, former / "model"):
            folder.chmod(0o755)
        return
    options = ["mount", "--bind", str(former), str(former)]
    if sys.platform != "linux" or subprocess.run(options, capture_output=True).returncode:
        pytest.skip("No file system can be mounted here.")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(former)], check=True)
    yield former
    subprocess.run(["umount", str(former)], check=True)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_a_read_only_folder(work, read_only, saved, photos):
    before = listing(read_only)
    said = ended(lambda: work(read_only, saved, photos))
    assert str(read_only) in said
    assert "Traceback" not in said or work in (save, metrics)
    assert listing(read_only) == before


def test_an_evaluation_that_could_not_be_written_is_not_begun(read_only, saved, photos, monkeypatch):
    monkeypatch.setattr("hf_gpvit.commands.evaluate._evaluate", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(SystemExit, match="must be where files can be written"):
        evaluate(read_only, saved, photos)


def test_training_in_a_read_only_folder(recipe, read_only):
    with pytest.raises(OSError, match="disk"):
        train(replace(recipe, output_dir=str(read_only / "run")))


def test_push_without_room_for_its_folder(saved, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(push.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(push, "_check_token", lambda: None)
    before = listing(saved)
    said = ended(lambda: push_model(saved / "gpvit", "you/model"), largest_file=5000)
    assert "OSError" in said
    assert "File too large" in said
    assert not list((tmp_path / "temporary").iterdir())
    assert listing(saved) == before
