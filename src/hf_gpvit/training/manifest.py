# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What the files of a checkpoint were when it was written."""

import hashlib
import json
from pathlib import Path

from transformers.utils import logging

from ..files import read_json, write_whole


logger = logging.get_logger(__name__)

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Notes the SHA-256 of every file in `folder`."""
    digests = {name: _digest(path) for name, path in sorted(_files(folder).items())}
    write_whole(folder / MANIFEST, json.dumps({"sha256": digests}, indent=2))


def check_manifest(folder: Path) -> None:
    """That every file is as it was written. A folder without manifest, of an older version, gets a warning.

    Hidden files, such as file managers leave, are none of ours.

    Raises:
        ValueError: One has changed, is missing or came later, or the manifest is broken; the message names it.
        OSError: One can't be read.
    """
    path = folder / MANIFEST
    if not path.exists():
        logger.warning(f"{folder} has no {MANIFEST}, as those of older versions: changes in its files go unnoticed.")
        return
    noted, files = read_json(path).get("sha256"), _files(folder)
    if not isinstance(noted, dict):
        raise ValueError(f"{path} must have an entry sha256 for the files, got {noted!r:.80}")
    for name in sorted(noted.keys() | files.keys()):
        if name not in files:
            raise ValueError(f"{name} is missing")
        if name not in noted:
            raise ValueError(f"{name} is not one of its files")
        if _digest(files[name]) != noted[name]:
            raise ValueError(f"{name} is not as it was written: its SHA-256 is another one")


def _files(folder: Path) -> dict[str, Path]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in files.items() if name != MANIFEST and not path.name.startswith(".")}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
