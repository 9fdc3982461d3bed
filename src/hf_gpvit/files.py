# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders: written whole or not at all, read with errors that name them."""

import ctypes
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


# Names of files in a folder, relative and with "/", or patterns with "*".
Written = Callable[[Path], Iterable[str]]

# What is being written has a hidden name with this end. It stays where a process is killed, and may be removed.
PARTIAL = ".partial"
# Letters and marks that Unicode calls printable, and that show nothing by themselves.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def _nothing(folder: Path) -> Iterable[str]:
    return ()


_LONGEST_LINE = 1000  # of what libraries say, who quote files and answers of servers


@contextmanager
def atomic_folder(
    path: str | os.PathLike, overwrite: bool = False, written: Written = _nothing, keep_former: bool = True
) -> Iterator[Path]:
    """A folder to write into that becomes `path` when the block ends, and vanishes if the block raises.

    What somebody else has put at `path` is not touched, unless with `overwrite`: `check_replaceable` says what is.
    What is replaced stays whole: it moves to the first free of `path-1`, `path-2`, .... Of a link, the link itself
    moves, never what it points to. A process that is killed leaves at `path` what was there or the new folder, and
    perhaps a hidden folder that ends in ".partial". (Not on Linux, and on file systems that can't exchange names, a
    kill between two renames leaves the older one at `path-1` and nothing at `path`.)

    Args:
        path: The folder; those above it are made.
        overwrite: Replace whatever is there. Default: raise.
        written: Takes a folder and gives the names of the files that a former work of the same kind has left in it,
            relative and with "/", or patterns with "*". Default: none.
        keep_former: Whether a folder of nothing but these files moves aside too. Default: it does, and does not go.

    Raises:
        OSError, ValueError: As `check_replaceable`, or it can't be written there.
    """
    check_replaceable(path, overwrite, written)
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=PARTIAL, dir=path.parent))
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        goes = _is_empty(path) or (not keep_former and _foreign(path, written) is None)
        _put(folder, path, keep_older=not goes)
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise OSError(f"Can't write {path}: {error}") from error
    finally:
        remove_tree(folder, ignore_errors=True)


def check_replaceable(path: str | os.PathLike, overwrite: bool = False, written: Written = _nothing) -> None:
    """Raises an error unless a new folder can take its place at `path`; takes what `atomic_folder` takes.

    That is where nothing is, an empty folder, or one with nothing but the files that `written` names; with
    `overwrite`, any folder or link.

    Raises:
        FileExistsError: There is something else.
        NotADirectoryError: `path` is a file, or lies below one.
        PermissionError: Nothing can be written there.
        ValueError: `path` is the current folder, the home folder, one above these, or where a disk is mounted, which
            all must stay where they are.
    """
    absolute = Path(path).absolute()
    # a link at `path` itself would move alone
    moved = absolute.resolve() if absolute.name == ".." else absolute.parent.resolve() / absolute.name
    advice = f"give the name of a folder of its own, such as {os.path.join(path, 'output')!r}."
    for name, find in (("current", Path.cwd), ("home", Path.home)):
        if _is_found_below(moved, find):
            raise ValueError(
                f"{os.fspath(path)!r} is the {name} folder or one above it, which would be moved aside for the new "
                f"one; {advice}"
            )
    if os.path.ismount(absolute):
        raise ValueError(f"{os.fspath(path)!r} is where a disk is mounted, which can't be moved aside; {advice}")
    if absolute.exists() and not absolute.is_dir():
        raise NotADirectoryError(f"{path} is a file; give the name of a folder.")
    check_can_be_written(path)
    found = None if overwrite else _foreign(absolute, written)
    if found is not None:
        raise FileExistsError(
            f"{path} is there already, and {found}. Give another name; or overwrite (--overwrite, overwrite=True), "
            "which moves it aside."
        )


def check_can_be_written(path: str | os.PathLike) -> None:
    """Raises a NotADirectoryError or PermissionError unless the folder of `path` can be written to, or made."""
    folder = next(folder for folder in Path(path).absolute().parents if os.path.lexists(folder))
    if not folder.is_dir():
        raise NotADirectoryError(f"{path} must be where files can be written, but {folder} is no folder.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path} must be where files can be written, but {folder} can't be written to.")


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

    NaN, which classes have that don't occur, is no JSON: it becomes null. What is infinite is a ValueError.
    """
    record = {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in metrics.items()
    }
    write_whole(path, json_text(record))


def json_text(value: Any) -> str:
    """Indented JSON; a ValueError where a number in it is not finite, for which JSON has no word."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def json_lines(values: Iterable[Any]) -> str:
    """A JSON list with a line for each value; a ValueError where a number in one is not finite."""
    return "[" + ",\n".join(json.dumps(value, ensure_ascii=False, allow_nan=False) for value in values) + "]\n"


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
    """What an error says, on one line, printable and not too long, or its type where it says nothing."""
    lines = (line.strip() for line in str(error).split("\n"))
    text = printable(" ".join(filter(None, lines))) or type(error).__name__
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]} ..."


def printable(text: Any) -> str:
    """The text, path or number on one line, so that a terminal shows it and does nothing else.

    Names may have anything in them: line breaks, control characters, those that change the direction of what follows
    or that nobody sees, and broken letters, become escapes such as "\\x1b".
    """
    return "".join(
        char.encode("unicode_escape").decode() if not char.isprintable() or _UNSEEN.match(char) else char
        for char in str(text)
    )


def is_unicode(name: str) -> bool:
    """Whether files can be written with it: names of files may be any bytes, and JSON may have halves of letters."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


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


def _is_found_below(path: Path, find: Callable[[], Path]) -> bool:
    """Whether a folder, where it can be found, is `path` or below it."""
    try:
        return find().resolve().is_relative_to(path)
    except (FileNotFoundError, RuntimeError):  # somebody has removed it, or nobody knows it
        return False


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _foreign(path: Path, written: Written) -> str | None:
    """What is at `path` that isn't one of the files that `written` names, in words; None where there is nothing."""
    if path.is_symlink():
        return "is a link"
    names = set(written(path)) if path.is_dir() else set()
    patterns = [name for name in names if "*" in name]
    for file in _files(path):
        if file not in names and not any(fnmatchcase(file, pattern) for pattern in patterns):
            return f"holds {printable(file)}"
    return None


def _files(root: Path) -> Iterator[str]:
    """Paths of the files, links and empty folders below a folder, relative to it."""
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        yield from (Path(folder, name).relative_to(root).as_posix() for name in sorted(files + links))
        if not folders and not files and folder != os.fspath(root):
            yield Path(folder).relative_to(root).as_posix()


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
