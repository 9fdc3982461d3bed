# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Files and folders that are there whole or not at all."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_folder(path: str | os.PathLike, keep_older: bool = True) -> Iterator[Path]:
    """A folder to write into that becomes `path` when the block ends, and vanishes if the block raises.

    What was at `path` before stays whole: it moves to the first free of `path-1`, `path-2`, ...; without `keep_older`
    it goes as soon as the new one is there.

    Raises:
        NotADirectoryError: `path` is a file.
    """
    path = Path(path).absolute()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; give the name of a folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        older = _free_name(path)
        if path.exists():
            os.replace(path, older)
        os.replace(folder, path)
        if not keep_older:
            shutil.rmtree(older, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_whole(path: str | os.PathLike, text: str) -> None:
    """A UTF-8 file that is there whole or not at all, in place of an older one."""
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    # a folder of its own, because a file made there has the permissions of any other
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        file = Path(folder) / path.name
        file.write_text(text, encoding="utf-8")
        os.replace(file, path)


def write_metrics(path: str | os.PathLike, metrics: dict[str, float | str]) -> None:
    """Figures, and text that says where they come from, as JSON, written by `write_whole`.

    NaN, which classes have that don't occur, is no JSON: it becomes null.
    """
    record = {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in metrics.items()
    }
    write_whole(path, json.dumps(record, indent=2, ensure_ascii=False))


def printable(text: str | os.PathLike) -> str:
    """The text on one line: line breaks, control characters and broken letters, which names may have, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in os.fspath(text))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _free_name(path: Path) -> Path:
    number = 1
    while (free := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return free
