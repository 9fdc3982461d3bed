# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder, whatever the other one is and however it ends."""

import errno
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hf_gpvit.training import engine, run_lock, train
from hf_gpvit.training.run_lock import RunLock


if sys.platform == "win32":
    pytest.skip("Windows has no fork", allow_module_level=True)

import children  # noqa: E402


@pytest.fixture
def other(tmp_path):
    """Kills another process that holds the lock of the folder `run`; its child, as a worker is one, outlives it."""
    (tmp_path / "run").mkdir()

    def hold(ready):
        lock = RunLock(tmp_path / "run")
        lock.acquire()
        if os.fork():
            ready()
        time.sleep(60)

    pid, reader = children.start(hold)
    assert os.read(reader, 1) == b"."
    yield lambda: (os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0))
    os.killpg(pid, signal.SIGKILL)
    os.close(reader)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_another_process_keeps_all_runs_out_until_it_is_killed(classification, other, tmp_path):
    classification.save(tmp_path / "run/recipe.yaml")
    (tmp_path / "run/log.jsonl").write_text("")
    before = contents(tmp_path / "run")
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=r"output_dir=.*is in use"):
            train(replace(classification, resume=resume))
    assert contents(tmp_path / "run") == before
    other()
    train(replace(classification, max_steps=1))
    assert (tmp_path / "run/best").is_dir()


def test_a_run_that_another_thread_began_keeps_all_out(classification, tmp_path, monkeypatch):
    """The system's locks don't tell apart what one process does."""
    loss, refused = engine.TASKS["image-classification"].loss, []

    def intruding(*arguments):
        with pytest.raises(FileExistsError, match="is in use"):
            train(replace(classification, resume=True))
        refused.append(True)
        return loss(*arguments)

    monkeypatch.setattr(engine.TASKS["image-classification"], "loss", intruding)
    train(replace(classification, max_steps=2))
    assert refused == [True, True]


def test_of_two_that_begin_in_a_new_folder_one_is_refused(classification, tmp_path, monkeypatch):
    """The folder came while this run loaded its data."""
    other = RunLock(tmp_path / "run")
    load = engine.load_training_data

    def overtaken(*arguments):
        (tmp_path / "run").mkdir()
        (tmp_path / "run/recipe.yaml").write_text("theirs")
        other.acquire()
        return load(*arguments)

    monkeypatch.setattr(engine, "load_training_data", overtaken)
    with pytest.raises(FileExistsError, match="is in use"):
        train(classification)
    assert (tmp_path / "run/recipe.yaml").read_text() == "theirs"
    other.release()


def test_a_mistake_gives_the_lock_back(classification, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match="no/such"):
        train(replace(classification, dataset="no/such"))
    train(replace(classification, max_steps=1))


def test_a_folder_of_others_stays_as_it_is(classification, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty"):
        train(classification)
    assert contents(tmp_path / "run") == {"mine.txt": b"precious"}


def test_a_link_to_the_folder_is_the_folder(other, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run", target_is_directory=True)
    with pytest.raises(FileExistsError, match="is in use"):
        RunLock(tmp_path / "link").acquire()


def test_a_file_system_without_locks_gets_a_warning(tmp_path, monkeypatch, caplog):
    def unknown(_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock, "_lock", unknown)
    monkeypatch.setattr(run_lock.logger, "propagate", True)
    lock = RunLock(tmp_path)
    lock.acquire()
    assert "can't be locked" in caplog.text
    lock.release()
