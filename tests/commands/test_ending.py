# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What commands print can be printed, and does nothing to a terminal."""

import io
import json
import logging
import os
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import hf_gpvit_cli
from families import GPVIT, awake
from hf_gpvit.commands import ending
from hf_gpvit.commands.evaluate import metrics_table
from hf_gpvit.commands.predict import predictions_table
from hf_gpvit.data import image_processor_for


EVIL = "\x1b]0;owned\x07\x1b[2J\r\nother.png  cat 99.9%\u202e\u200b"


def terminal(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def shown(file):
    file.flush()
    return file.buffer.getvalue().decode(file.encoding)


@pytest.mark.parametrize(
    ("encoding", "expected"), [("ascii", "\\xe9 \\u80cc"), ("latin-1", "é \\u80cc"), ("utf-8", "é 背")]
)
def test_letters_that_a_terminal_has_not(encoding, expected):
    file = terminal(encoding)
    ending.say("é 背", "second", file=file)
    assert shown(file) == f"{expected}\nsecond\n"


def test_what_a_terminal_would_act_upon():
    file = io.StringIO()  # which has no encoding
    ending.say(f"first\n{EVIL}", file=file)
    lines = file.getvalue().splitlines()
    assert lines[0] == "first"
    assert "".join(lines).isprintable()


def test_nobody_listens(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    ending.say("nothing")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_who_reads_has_seen_enough():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as file:
        ending.say("first", file=file)
        ending.say("second", file=file)


@ending.ending_errors()
def failing(error, prog):
    logging.getLogger("test").warning("\x1b[1mbold\x1b[0m %s", EVIL)
    raise error


def test_errors_and_what_is_logged_meanwhile(caplog):
    """Lines after the first are indented, so that none can be forged."""
    before = logging.getLogRecordFactory()
    with pytest.raises(SystemExit) as ended:
        failing(ValueError(f"Found:\n{EVIL}"), prog="test")
    assert ended.value.code.startswith("test: Found:\n  \\x1b]0;owned")
    assert caplog.messages[0].startswith("bold \\x1b]0;owned")
    for text in (ended.value.code, caplog.messages[0]):
        first, *others = text.split("\n")
        assert others
        assert all(line.startswith("  ") and line.isprintable() for line in others)
        assert first.isprintable()
    assert logging.getLogRecordFactory() is before


def test_an_error_without_words():
    with pytest.raises(SystemExit, match=r"^test: OSError$"):
        failing(OSError(), prog="test")


def test_tables():
    """A line for each, also of two files whose names look alike."""
    table = metrics_table({"mean_iou": 0.5, f"iou/{EVIL}": 0.5, "iou/b": 0.25})
    assert len(table.splitlines()) == 5
    found = [{"label": EVIL, "share": 0.5}]
    table = predictions_table([{"file": "a\n.png", "shares": found}, {"file": "a\\n.png", "shares": found}], 5)
    assert len(table.splitlines()) == 2
    assert table.replace("\n", "").isprintable()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Of classes and a weight with names that no terminal should see."""
    folder = tmp_path_factory.mktemp("model")
    made = awake(GPVIT.classifier_class(GPVIT.config(num_labels=2, id2label={0: EVIL, 1: "背景 é"})))
    for part in (made, image_processor_for(made, 40)):
        part.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors") | {f"weight {EVIL}": torch.zeros(1)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_predictions_on_any_terminal(encoding, model, tmp_path, monkeypatch, capfd):
    """They are written, whatever a terminal can show of them."""
    photo = tmp_path / "é背\x1b[2J.png"
    Image.new("RGB", (40, 40)).save(photo)
    monkeypatch.setattr(sys, "stdout", terminal(encoding))
    with pytest.raises(SystemExit) as ended:
        hf_gpvit_cli.main(["predict", "--model", str(model), str(photo), "--output_dir", str(tmp_path / "é背")])
    assert ended.value.code == 0
    [record] = json.loads((tmp_path / "é背/predictions.json").read_text(encoding="utf-8"))
    assert {entry["label"] for entry in record["predictions"]} == {EVIL, "背景 é"}
    lines = shown(sys.stdout).split("\n")
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert "\x1b" not in capfd.readouterr().err
