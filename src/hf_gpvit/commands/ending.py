# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""How a command speaks, and how it ends where something is wrong."""

import functools
import logging
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from huggingface_hub.errors import StrictDataclassError

from ..files import printable


# What makes letters bold or coloured.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def ending_errors(*errors: type[Exception], interrupted: str = "Interrupted: nothing was written.") -> Callable:
    """Decorates a function so that what users can mend ends the process with one message and the exit code 1.

    That is a ValueError, OSError or ImportError, a wrong field of a config, one of `errors`, or Ctrl-C; a SIGTERM
    (`kill`) counts as Ctrl-C, so that what was begun is removed. Other errors are mistakes of ours, and keep their
    traceback. The message begins as those of argparse, with the `prog` that `main` is given as a keyword, by default
    the script's name. In it, and in what is logged meanwhile, names can do nothing to a terminal.
    """

    def decorate(main: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(main)
        def wrapped(*args, **kwargs) -> None:
            former = signal.signal(signal.SIGTERM, signal.default_int_handler)
            former_record = logging.getLogRecordFactory()
            logging.setLogRecordFactory(_PrintableRecord)
            try:
                return main(*args, **kwargs)
            except KeyboardInterrupt:
                message = interrupted
            except (ValueError, OSError, ImportError, StrictDataclassError, *errors) as error:
                message = (
                    f"{kwargs.get('prog') or Path(sys.argv[0]).name}: {_told(str(error)) or type(error).__name__}"
                )
            finally:
                signal.signal(signal.SIGTERM, former)
                logging.setLogRecordFactory(former_record)
            # the error is gone now, and with it what its frames held: no progress bar is drawn after the message
            sys.exit(message)

        return wrapped

    return decorate


class _PrintableRecord(logging.LogRecord):
    """What any library logs: transformers, for one, lists the names of weights as they are."""

    def getMessage(self) -> str:
        return _told(_STYLE.sub("", super().getMessage()).expandtabs(4))


def _told(text: str) -> str:
    """The text on lines that are printable. Those after the first are indented: names have line breaks, too, and none
    shall make a line that looks like ours."""
    return textwrap.indent("\n".join(map(printable, text.split("\n"))), "  ").strip()


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
