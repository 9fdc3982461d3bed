# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A folder or a file is there whole or not at all."""

import json
import math
import os
import stat
import sys
from pathlib import Path

import pytest

from hf_gpvit.files import atomic_folder, check_replaceable, json_lines, one_line, printable, read_json, write_metrics


def write(folder, text="new"):
    (folder / "sub").mkdir()
    (folder / "sub" / "file.txt").write_text(text)


def written(folder):
    """What `write` leaves."""
    return ["sub/file*"]


def contents(root):
    """Text by relative path of every file, hidden ones too."""
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", [".", "", "..", "../..", "../here", "{root}/here", "{root}/link"])
def test_the_current_folder_is_not_moved(path, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/precious.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path / "here")
    path = path.format(root=tmp_path).replace("link", "link/here")
    with pytest.raises(ValueError, match="is the current folder or one above it"), atomic_folder(path) as folder:
        write(folder)
    assert contents(tmp_path) == {"here/precious.txt": "mine"}


def test_the_current_folder_behind_a_link_and_up_is_not_moved(tmp_path, monkeypatch):
    for folder in ("a/b", "a/out", "x"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "x/link").symlink_to(tmp_path / "a/b", target_is_directory=True)
    monkeypatch.chdir(tmp_path / "a/out")
    with pytest.raises(ValueError, match="is the current folder"), atomic_folder(f"{tmp_path}/x/link/../out"):
        pass
    assert os.path.samefile(tmp_path / "a/out", os.curdir)


def test_without_a_current_folder(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with atomic_folder(tmp_path / "model") as folder:
        write(folder)
    monkeypatch.chdir(tmp_path)
    assert contents(tmp_path) == {"model/sub/file.txt": "new"}


def test_a_link_to_the_current_folder_moves_alone(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here", target_is_directory=True)
    monkeypatch.chdir(tmp_path / "here")
    with atomic_folder("../link", overwrite=True) as folder:
        write(folder)
    assert contents(tmp_path / "link") == {"sub/file.txt": "new"}
    assert (tmp_path / "link-1").is_symlink() and (tmp_path / "here").is_dir()


@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_appears_only_at_the_end(tmp_path, as_path):
    path = tmp_path / "a" / "b" / "model"
    with atomic_folder(as_path(path)) as folder:
        assert folder.is_dir() and list(folder.iterdir()) == []
        # a rename can't leave the file system
        assert folder.parent == path.parent
        write(folder)
        assert not path.exists()
    assert contents(tmp_path) == {"a/b/model/sub/file.txt": "new"}
    assert [child.name for child in path.parent.iterdir()] == ["model"]


def test_relative_path_although_the_working_folder_changes(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with atomic_folder("model") as folder:
        os.chdir(tmp_path / "elsewhere")
        write(folder)
    assert contents(tmp_path) == {"model/sub/file.txt": "new"}


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("exists", [False, True])
def test_nothing_is_left_of_a_failure(tmp_path, error, exists):
    path = tmp_path / "model"
    if exists:
        path.mkdir()
        write(path, "old")
    with pytest.raises(error, match="stop"), atomic_folder(path, overwrite=True) as folder:
        write(folder)
        raise error("stop")
    assert contents(tmp_path) == ({"model/sub/file.txt": "old"} if exists else {})
    assert [child.name for child in tmp_path.iterdir()] == ["model"] * exists


@pytest.mark.parametrize("options", [{"written": written}, {"overwrite": True}])
def test_older_folders_move_aside(tmp_path, options):
    for text in ("first", "second", "third"):
        with atomic_folder(tmp_path / "model", **options) as folder:
            write(folder, text)
    assert contents(tmp_path) == {
        "model-1/sub/file.txt": "first",
        "model-2/sub/file.txt": "second",
        "model/sub/file.txt": "third",
    }


def test_older_folder_stays_until_the_end(tmp_path):
    (tmp_path / "model").mkdir()
    write(tmp_path / "model", "old")
    with atomic_folder(tmp_path / "model", written=written):
        assert (tmp_path / "model" / "sub" / "file.txt").read_text() == "old"
        assert not (tmp_path / "model-1").exists()
    assert (tmp_path / "model-1" / "sub" / "file.txt").read_text() == "old"


def test_names_that_are_taken_are_skipped(tmp_path):
    (tmp_path / "model").mkdir()
    write(tmp_path / "model", "old")
    (tmp_path / "model-1").write_text("a file")
    (tmp_path / "model-3").mkdir()
    with atomic_folder(tmp_path / "model", written=written) as folder:
        write(folder)
    assert contents(tmp_path) == {
        "model/sub/file.txt": "new",
        "model-1": "a file",
        "model-2/sub/file.txt": "old",
    }
    assert list((tmp_path / "model-3").iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "model").mkdir()
    with atomic_folder(tmp_path / "model") as folder:
        write(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert contents(tmp_path) == {"model/sub/file.txt": "new"}


@pytest.mark.parametrize("name", ["mine.txt", "sub/mine.txt", "sub/deep/other.md", "link", "sub/link", "empty"])
@pytest.mark.parametrize("options", [{}, {"written": written}])
def test_what_somebody_else_has_put_there_is_not_moved(tmp_path, options, name):
    """Beside what a former work has left, or alone; links and empty folders count as files."""
    theirs = tmp_path / "model" / name
    theirs.parent.mkdir(parents=True)
    if options:
        (tmp_path / "model/sub").mkdir(exist_ok=True)
        (tmp_path / "model/sub/file.txt").write_text("old")
    if theirs.name == "link":
        theirs.symlink_to(tmp_path)
    elif theirs.name == "empty":
        theirs.mkdir()
    else:
        theirs.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=f"is there already, and holds {name}. Give another name"):
        check_replaceable(tmp_path / "model", **options)
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "model", **options):
        pytest.fail("the block ran")
    assert contents(tmp_path) == before
    with atomic_folder(tmp_path / "model", overwrite=True, written=written, keep_former=False) as folder:
        write(folder)
    assert os.path.lexists(tmp_path / "model-1" / name)


def test_a_former_folder_goes_where_nobody_wants_it(tmp_path):
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "model", written=written, keep_former=False) as folder:
            write(folder, text)
    assert contents(tmp_path) == {"model/sub/file.txt": "new"}


def test_the_home_folder_and_mounted_disks_stay(tmp_path, monkeypatch):
    """With `overwrite` too."""
    (tmp_path / "user").mkdir()
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "user")
    monkeypatch.setattr(os.path, "ismount", lambda path: path.name == "disk")
    for path, message in (("user", "is the home folder or one"), ("disk", "is where a disk is mounted")):
        with pytest.raises(ValueError, match=message):
            check_replaceable(tmp_path / path, overwrite=True)
    with pytest.raises(ValueError, match="is the home folder or one above"):
        check_replaceable(tmp_path, overwrite=True)
    check_replaceable(tmp_path / "user/models")
    check_replaceable(tmp_path / "disk/models")


def test_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is no folder"):
        check_replaceable(tmp_path / "file/deep/model")


def test_file_in_the_way(tmp_path):
    """Said before anything is written."""
    (tmp_path / "model").write_text("a file")
    with pytest.raises(NotADirectoryError, match="model is a file; give the name"), atomic_folder(tmp_path / "model"):
        pytest.fail("the block ran")
    assert contents(tmp_path) == {"model": "a file"}


def test_folder_that_comes_meanwhile_moves_aside(tmp_path):
    with atomic_folder(tmp_path / "model") as folder:
        write(folder, "mine")
        with atomic_folder(tmp_path / "model") as other:
            write(other, "theirs")
    assert contents(tmp_path) == {"model-1/sub/file.txt": "theirs", "model/sub/file.txt": "mine"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_permissions_are_those_of_mkdir(tmp_path, umask):
    before = os.umask(umask)
    try:
        (tmp_path / "plain").mkdir()
        with atomic_folder(tmp_path / "model"):
            pass
        (tmp_path / "plain2").mkdir()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes["model"] == modes["plain"] == modes["plain2"] == 0o777 & ~umask


# --- a file of figures


def test_metrics(tmp_path):
    """Which replace older ones; where there is no figure, JSON has null."""
    path = tmp_path / "a" / "metrics.json"
    for _ in range(2):
        write_metrics(str(path), {"mean_iou": 0.5, "iou/Straße": math.nan, "num_corrupt": 3})
    record = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert record == {"mean_iou": 0.5, "iou/Straße": None, "num_corrupt": 3}
    assert [child.name for child in path.parent.iterdir()] == ["metrics.json"]


def test_figures_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(tmp_path / "metrics.json", {"accuracy": math.inf})
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_metrics_that_cannot_be_written(tmp_path, monkeypatch):
    write_metrics(tmp_path / "metrics.json", {"accuracy": 1.0})

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_metrics(tmp_path / "metrics.json", {"accuracy": 0.0})
    assert {name: json.loads(text) for name, text in contents(tmp_path).items()} == {"metrics.json": {"accuracy": 1.0}}
    assert [child.name for child in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")
def test_metrics_are_as_readable_as_any_file(tmp_path):
    write_metrics(tmp_path / "metrics.json", {"accuracy": 1.0})
    (tmp_path / "plain").write_text("")
    assert len({stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}) == 1


# --- what is printed


def test_printable():
    assert printable(Path("a b/é背景🐱.png")) == "a b/é背景🐱.png"
    assert printable("a\nb\r\x1b[2J\udcff") == "a\\nb\\r\\x1b[2J\\udcff"
    assert printable(5) == "5"


@pytest.mark.parametrize("char", [*"\u202a\u202e\u2066\u2069\u200b\u200d\ufeff\u2028\x9b\x07\t\u3164\ufe0f\u034f"])
def test_what_nobody_sees_or_what_turns_lines_around_is_printed_as_escape(char):
    assert printable(f"cat{char}") != printable("cat")
    assert printable(f"a{char}b").isascii()
    assert printable(printable(f"a{char}b")) == printable(f"a{char}b")


def test_errors_are_one_line_whatever_they_quote():
    assert one_line(ValueError("first:\n  a  b\x1b[2J\r\n")) == "first: a  b\\x1b[2J"
    assert one_line(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": NaN}', "NaN is no finite number"),
        (b'{"a": [-Infinity]}', "-Infinity is no finite number"),
        (b'{"a": 1e999}', "1e999 is no finite number"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' is there more than once"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' is there more than once"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b'{"a": "\xff"}', "utf-8"),
        (b"[" * 10**6, "recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_json_that_readers_take_differently(text, message, tmp_path):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=f"a.json is no JSON: .*{message}") as raised:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_metrics_can_be_read_again(tmp_path):
    write_metrics(tmp_path / "a.json", {"a": 0.5, "b": float("nan"), "dataset": "d"})
    assert read_json(tmp_path / "a.json") == {"a": 0.5, "b": None, "dataset": "d"}


def test_lines_of_json():
    """A list whatever is in it; numbers that JSON has no word for are refused."""
    values = [{"name": "Å\n"}, [0.1], None]
    text = json_lines(iter(values))
    assert json.loads(text) == values and len(text.splitlines()) == 3
    assert json.loads(json_lines([])) == []
    with pytest.raises(ValueError, match="JSON compliant"):
        json_lines([math.nan])
