# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What the command lines of the scripts share."""

import functools
import signal
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError

from .inference import SegmentationSettings


def ending_errors(*errors: type[Exception], interrupted: str = "Interrupted: nothing was written.") -> Callable:
    """Decorates a `main` so that what users can mend ends the process with one message and the exit code 1.

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
                message = f"{kwargs.get('prog') or Path(sys.argv[0]).name}: {error}"
            finally:
                signal.signal(signal.SIGTERM, former)
            # the error is gone now, and with it what its frames held: no progress bar is drawn after the message
            sys.exit(message)

        return wrapped

    return decorate


def command_parser(description: str, prog: str | None = None) -> ArgumentParser:
    """A parser that shows `description` line by line, with `%(prog)s` in it replaced, and takes whole options only.

    Args:
        description: What `--help` says.
        prog: Name of the program. Default: the script's.
    """
    return ArgumentParser(
        prog=prog, description=description, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )


def add_segmentation_arguments(parser: ArgumentParser) -> None:
    """The fields of `SegmentationSettings` as options, in a group of their own."""
    group = parser.add_argument_group("segmentation")
    group.add_argument("--window_size", type=int, help="side of sliding windows; by default the whole picture")
    group.add_argument("--window_stride", type=int, help="by default three quarters of the window")
    group.add_argument("--scales", type=float, nargs="+", default=[1.0], help="of the image processor's size")
    group.add_argument("--flip", action="store_true", help="look at each picture mirrored too")
    group.add_argument("--size_divisor", type=int, help="what sides are multiples of: 32 in the ADE20K test")


def segmentation_settings(arguments: Namespace) -> SegmentationSettings:
    """What the options of `add_segmentation_arguments` say.

    Raises:
        ValueError: One of them is out of range.
    """
    return SegmentationSettings(
        window_size=arguments.window_size,
        window_stride=arguments.window_stride,
        scales=arguments.scales,
        flip=arguments.flip,
        size_divisor=arguments.size_divisor,
    )
