# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder."""

import errno
import os
from pathlib import Path

from transformers.utils import logging


try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

logger = logging.get_logger(__name__)

LOCK = ".lock"

# What systems say where another process holds a lock; other errors are those of file systems that have none.
_IN_USE = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
# The system's locks are between processes.
_held_here: set[Path] = set()


class RunLock:
    """A lock on the file `.lock` of a folder, which the system gives back however the process ends.

    The file stays: to remove it would let two runs lock one each. Processes that are forked don't hold the lock, so
    that workers which outlive a killed run keep nobody waiting.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = None

    @property
    def is_held(self) -> bool:
        return self.file is not None

    def acquire(self) -> None:
        """Takes it, unless it is held already. On file systems without locks there is a warning instead.

        Raises:
            FileExistsError: Another run holds it.
            OSError: The file can't be written.
        """
        if self.is_held:
            return
        path = (self.folder / LOCK).resolve()
        if path in _held_here:  # to open and close the file once more would give the lock back
            raise self._in_use()
        file = path.open("a")
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno in _IN_USE:
                file.close()
                raise self._in_use() from error
            logger.warning(f"{self.folder} can't be locked ({error}): nothing keeps a second run out of it.")
        self.file, self.path = file, path
        _held_here.add(path)

    def _in_use(self) -> FileExistsError:
        return FileExistsError(
            f"output_dir={os.fspath(self.folder)!r} is in use: another run is training in it. Wait for its end, or "
            "choose another folder."
        )

    def release(self) -> None:
        if self.is_held:
            self.file.close()
            _held_here.remove(self.path)
            self.file = None


def _lock(descriptor: int) -> None:
    """Raises an OSError at once where it can't be had."""
    if os.name == "nt":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
