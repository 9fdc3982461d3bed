# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in processes that load pictures is said as without them, and a killed one ends the run."""

import os
import shutil
import signal
import sys
from dataclasses import replace

import pytest

from hf_gpvit.commands import train as train_command
from hf_gpvit.data import rows
from hf_gpvit.data.pictures import UnreadablePictureError
from hf_gpvit.training import TrainingStopped, batches, engine, train
from short_runs import stop_at


if sys.platform == "win32":
    pytest.skip("uses forked workers and signals", allow_module_level=True)


@pytest.fixture
def cut_photo(photos, tmp_path):
    """A folder with a photo that is cut off in the middle."""
    folder = shutil.copytree(photos / "classification", tmp_path / "photos")
    file = folder / "train/red/3.png"
    file.write_bytes(file.read_bytes()[:100])
    return folder


def test_a_broken_picture_is_said_as_without_workers(classification, cut_photo, tmp_path):
    said = []
    for num_workers in (0, 2):
        fields = {"num_workers": num_workers, "output_dir": str(tmp_path / f"run-{num_workers}")}
        with pytest.raises(UnreadablePictureError, match="3.png") as raised:
            train(replace(classification, dataset=str(cut_photo), **fields))
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert "\n" not in said[0]


def test_in_one_line_from_the_command(classification, cut_photo, monkeypatch):
    recipe = replace(classification, dataset=str(cut_photo), num_workers=1)
    monkeypatch.setattr(train_command, "parse_recipe", lambda *_: recipe)
    with pytest.raises(SystemExit) as ended:
        train_command.train_command(type(recipe), "")
    assert "3.png" in ended.value.code
    assert "\n" not in ended.value.code


def failing(error):
    """Reads no picture, but for this error."""

    def read(*_):
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("two lines\nof it"), ValueError, "two lines\nof it"),
        (PermissionError(13, "Permission denied", "a.png"), PermissionError, "[Errno 13] Permission denied: 'a.png'"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ValueError, "'utf-8' codec can't decode byte"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_other_errors_of_workers(classification, parquet, monkeypatch, error, kind, message, streaming):
    monkeypatch.setattr(rows.RowReader, "read", failing(error))
    recipe = replace(classification, dataset=str(parquet), streaming=streaming, num_workers=1, batch_size=2)
    with pytest.raises(kind) as raised:
        train(recipe)
    assert type(raised.value) is kind
    assert str(raised.value).startswith(message)


def test_mistakes_of_ours_keep_their_traceback(classification, monkeypatch):
    monkeypatch.setattr(rows.RowReader, "read", failing(AttributeError("no such thing")))
    with pytest.raises(AttributeError, match="Original Traceback"):
        train(replace(classification, num_workers=1))


@pytest.fixture
def kill(monkeypatch):
    """Kills the newest worker, of which nothing in the midst of other work must hear: only who waits for a batch."""
    workers, begin = [], batches.DataLoader._get_iterator

    def remembering(loader):
        iterator = begin(loader)
        workers.extend(getattr(iterator, "_workers", []))  # the few pictures of an evaluation need none
        return iterator

    def killing(value=None):
        if workers[-1].is_alive():
            os.kill(workers[-1].pid, signal.SIGKILL)
            workers[-1].join()
        return value

    monkeypatch.setattr(batches.DataLoader, "_get_iterator", remembering)
    return killing


def lost(recipe):
    with pytest.raises(
        TrainingStopped, match=r"worker .* lost .*memory.*num_workers=0. .*(step-\d+ is kept|no checkpoint)"
    ):
        # of small batches the worker has not made all of an epoch ahead
        train(replace(recipe, num_workers=1, batch_size=2, max_steps=20, eval_steps=3, save_steps=1))


def test_a_worker_is_killed_in_training(classification, monkeypatch, kill):
    stop_at(monkeypatch, 1, kill)
    lost(classification)


def test_a_worker_is_killed_while_evaluating(classification, monkeypatch, kill):
    evaluate = engine.evaluate_model

    def evaluating(*args, **kwargs):
        kill()
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(engine, "evaluate_model", evaluating)
    lost(classification)
