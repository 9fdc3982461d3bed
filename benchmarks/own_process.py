# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Work in a process of its own, so that what it takes is its alone and what it breaks is, too."""

import multiprocessing
import re
import resource
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


RESIDENT_UNIT = 1 if sys.platform == "darwin" else 1024
_STATUS = Path("/proc/self/status")  # Linux's


def run_alone(function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
    """What a function of a module gives in a new process, which ends with it.

    Raises:
        TimeoutError: It took longer than `seconds`, the start of Python included.
        MemoryError: It raised one, or the system ended it, as Linux does where memory is out.
        RuntimeError: It raised something else, which its process has printed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        return _received(receiver, seconds)
    except EOFError:
        process.join()
        if process.exitcode < 0:  # by a signal
            raise MemoryError(f"ended by signal {-process.exitcode}") from None
        raise RuntimeError(f"{function.__name__} of {arguments} ended with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()


def _received(receiver: Connection, seconds: float) -> Any:
    if not receiver.poll(seconds):
        raise TimeoutError(f"more than {seconds:g} s")
    answer = receiver.recv()
    if isinstance(answer, MemoryError):
        raise answer
    return answer


def _answer(sender: Connection, function: Callable[..., Any], arguments: tuple) -> None:
    try:
        sender.send(function(*arguments))
    except MemoryError as error:
        sender.send(MemoryError(*error.args))


def peak_bytes() -> int:
    """The most that this process has had resident."""
    if _STATUS.exists():  # Linux's getrusage begins with what the process had that started this one
        return _status_bytes("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RESIDENT_UNIT


def limit_memory(num_bytes: int) -> None:
    """What this process takes beyond so much more fails, rather than being taken away from others; on Linux alone."""
    if _STATUS.exists():
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (_status_bytes("VmData") + num_bytes, hard))


def _status_bytes(field: str) -> int:
    return 1024 * int(re.search(rf"{field}:\s*(\d+)", _STATUS.read_text())[1])
