# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Work in a process of its own, which can be killed, and whose files can be limited in size."""

import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from io import FileIO

import torch


PATIENCE = 60


def start(work: Callable[[Callable[[], None]], None]) -> tuple[int, int]:
    """Forks a leader of a group of processes that does `work`.

    Returns:
        The process's number, and a pipe that gets a byte whenever `work` calls its argument, and then its error.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 1
    try:
        os.setpgid(0, 0)
        os.close(reader)
        _be_quiet()
        torch.set_num_threads(1)
        work(lambda: os.write(writer, b"."))
        code = 0
    except SystemExit as ended:
        os.write(writer, f"SystemExit: {ended.code}".encode())
    except BaseException:
        os.write(writer, traceback.format_exc().encode())
    finally:
        os._exit(code)


def killed_after(work: Callable[[Callable[[], None]], None], seconds: float) -> None:
    """Kills `work` and its whole group so many seconds after it first called its argument."""
    pid, pipe, said = _begun(work)
    with pipe:
        assert said == b".", (said + pipe.readall()).decode()
        time.sleep(seconds)
        status = _killed(pid)
        said = pipe.readall().lstrip(b".")
    assert os.WIFSIGNALED(status), said.decode()


def ended(work: Callable[[], None], largest_file: int | None = None) -> str:
    """What `work` ends with: nothing, or its error. No file may become larger than so many bytes: the disk is full."""

    def limited(_) -> None:
        if largest_file is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        work()

    pid, pipe, said = _begun(limited)
    with pipe:
        said += pipe.readall()
    os.waitpid(pid, 0)
    return said.decode()


def _begun(work: Callable[[Callable[[], None]], None]) -> tuple[int, FileIO, bytes]:
    """The process, its pipe and the first byte in it.

    A fork may inherit a lock that another thread holds, and then waits for ever: it is killed, and another one begins.
    """
    for _ in range(3):
        pid, reader = start(work)
        pipe = FileIO(reader)
        if select.select([pipe], [], [], PATIENCE)[0]:
            return pid, pipe, pipe.read(1)
        _killed(pid)
        pipe.close()
    raise AssertionError(f"three processes did nothing for {PATIENCE} seconds each")


def _killed(pid: int) -> int:
    os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return status


def _be_quiet() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
