# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders: written whole or not at all, read with errors that name them."""

import ctypes
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


# What is being written has a hidden name with this end. It stays where a process is killed, and may be removed.
PARTIAL = ".partial"

_LONGEST_LINE = 1000  # of what libraries say, who quote files and answers of servers


@contextmanager
def atomic_folder(path: str | os.PathLike, keep_older: bool = True) -> Iterator[Path]:
    """A folder to write into that becomes `path` when the block ends, and vanishes if the block raises.

    What was at `path` before stays whole: it moves to the first free of `path-1`, `path-2`, ...; without `keep_older`
    it goes as soon as the new one is there. Of a link, the link itself moves or goes, never what it points to. A
    process that is killed leaves at `path` what was there or the new folder, and perhaps a hidden folder that ends in
    ".partial". (Not on Linux, and on file systems that can't exchange names, a kill between two renames leaves the
    older one at `path-1` and nothing at `path`.)

    Raises:
        NotADirectoryError: `path` is a file.
        OSError: It can't be written there.
        ValueError: `path` is the current folder or one above it, which must stay where it is.
    """
    check_replaceable(path)
    path = Path(path).absolute()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; give the name of a folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=PARTIAL, dir=path.parent))
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        _put(folder, path, keep_older)
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise OSError(f"Can't write {path}: {error}") from error
    finally:
        remove_tree(folder, ignore_errors=True)


def check_replaceable(path: str | os.PathLike) -> None:
    """Raises a ValueError where a new folder at `path` would move the current folder away."""
    try:
        current = Path.cwd()
    except FileNotFoundError:  # somebody has removed it
        return
    absolute = Path(path).absolute()
    # a link at `path` itself would move alone
    moved = absolute.resolve() if absolute.name == ".." else absolute.parent.resolve() / absolute.name
    if current.is_relative_to(moved):
        raise ValueError(
            f"{os.fspath(path)!r} is the current folder or one above it, which would be moved aside for the new one; "
            f"give the name of a folder of its own, such as {os.path.join(path, 'output')!r}."
        )


def write_whole(path: str | os.PathLike, text: str) -> None:
    """A UTF-8 file that is there whole or not at all, in place of an older one."""
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    # a folder of its own, because a file made there has the permissions of any other
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", suffix=PARTIAL, dir=path.parent) as folder:
        file = Path(folder) / path.name
        file.write_text(text, encoding="utf-8")
        os.replace(file, path)


def write_metrics(path: str | os.PathLike, metrics: dict[str, float | str]) -> None:
    """Figures, and text that says where they come from, as JSON, written by `write_whole`.

    NaN, which classes have that don't occur, is no JSON: it becomes null, as what is infinite does.
    """
    record = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
    write_whole(path, json.dumps(record, indent=2, ensure_ascii=False))


def read_json(path: Path) -> dict[str, Any]:
    """Raises a ValueError that names the file unless it holds a JSON object: one that all readers take for the same.

    Names that are there twice, NaN, infinite numbers and broken letters are none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {one_line(error)}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold a JSON object, got {fields!r:.80}.")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)!r:.80} is there more than once")
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is no finite number")
    return number


def shipped_folder(name: str) -> Path:
    """A folder that comes along: in an installed package inside of it, in a clone at the root."""
    package = Path(__file__).parent
    return next(folder for folder in (package / name, package.parents[1] / name) if folder.is_dir())


def one_line(error: Exception) -> str:
    """What an error says, printable and not too long, or its type where it says nothing."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]} ..."


def printable(text: str | os.PathLike) -> str:
    """The text on one line: line breaks, control characters and broken letters, which names may have, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in os.fspath(text))


def remove_tree(path: Path, ignore_errors: bool = False) -> None:
    """Removes a folder; of a link to one, the link alone."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=ignore_errors)


def remove_partial(root: Path) -> None:
    """Removes what processes that were killed have left in `root`, into which no other process may be writing."""
    for path in root.glob(f".*{PARTIAL}"):
        remove_tree(path)


def _put(folder: Path, path: Path, keep_older: bool) -> None:
    """Renames `folder` to `path`; what was there gets a free name, or without `keep_older` goes."""
    if not os.path.lexists(path):
        os.replace(folder, path)
        return
    older = _free_name(path)
    # what an exchange leaves behind must not be called partial if it is to stay
    spare = older if keep_older else folder
    os.replace(folder, spare)
    if _exchange(spare, path):
        return
    os.replace(spare, folder)
    os.replace(path, older)
    os.replace(folder, path)
    if not keep_older:
        remove_tree(older, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two names in one step; False, and nothing changed, where the system can't do it."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    return rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


def share_files(folder: Path) -> None:
    """Gives the files of a folder, which some libraries make for their owner alone, the permissions of any others."""
    mode = 0o666 & ~_umask()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _free_name(path: Path) -> Path:
    number = 1
    while os.path.lexists(free := path.with_name(f"{path.name}-{number}")):
        number += 1
    return free
