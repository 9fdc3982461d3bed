# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""How a command speaks, and how it ends where something is wrong."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from huggingface_hub.errors import StrictDataclassError

from ..files import one_line, printable


def ending_errors(*errors: type[Exception], interrupted: str = "Interrupted: nothing was written.") -> Callable:
    """Decorates a function so that what users can mend ends the process with one message and the exit code 1.

    That is a ValueError, OSError or ImportError, a wrong field of a config, one of `errors`, or Ctrl-C; a SIGTERM
    (`kill`) counts as Ctrl-C, so that what was begun is removed. Other errors are mistakes of ours, and keep their
    traceback. The message begins as those of argparse, with the `prog` that `main` is given as a keyword, by default
    the script's name.
    """

    def decorate(main: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(main)
        def wrapped(*args, **kwargs) -> None:
            former = signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                return main(*args, **kwargs)
            except KeyboardInterrupt:
                message = interrupted
            except (ValueError, OSError, ImportError, StrictDataclassError, *errors) as error:
                message = f"{kwargs.get('prog') or Path(sys.argv[0]).name}: {one_line(error)}"
            finally:
                signal.signal(signal.SIGTERM, former)
            # the error is gone now, and with it what its frames held: no progress bar is drawn after the message
            sys.exit(message)

        return wrapped

    return decorate


def say(*lines: str, file: TextIO | None = None) -> None:
    """Prints lines on any terminal: what it would act upon, or has no letters for, as escapes.

    Args:
        lines: Or several in one, with line breaks. So names in them, which may have some too, must be `printable`.
        file: Default: standard output. Nothing is said where that is closed.
    """
    file = sys.stdout if file is None else file
    if file is None:
        return
    encoding = getattr(file, "encoding", None) or "utf-8"
    text = "\n".join(printable(line) for text in lines for line in text.split("\n"))
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=file, flush=True)
    except BrokenPipeError:  # who reads it has seen enough: nothing more is said, when the process ends neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
