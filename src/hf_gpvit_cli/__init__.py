# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The `hf-gpvit` command: which commands there are, with what arguments. What they do is in `hf_gpvit.commands`.

It stands outside the package, whose import loads torch, so that help, the list of presets and mistakes in arguments
take no time; only the fields of recipes need the package.
"""

import logging
import sys
from argparse import REMAINDER, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from . import arguments


COMMANDS = {
    "presets": ("list the model variants and their sizes", arguments.presets),
    "info": ("parameters, multiply-adds and memory of a model", arguments.info),
    "train": ("a model by a recipe", arguments.train),
    "predict": ("what a model says about pictures", arguments.predict),
    "convert": ("an official checkpoint to a model folder", arguments.convert),
    "evaluate": ("how good a model is on a dataset", arguments.evaluate),
    "push": ("a model to the Hugging Face Hub", arguments.push),
}
# Where what they do isn't in a file of `hf_gpvit.commands` that is called as they are.
_ELSEWHERE = {"presets": "hf_gpvit_cli.presets"}


def main(given: Sequence[str] | None = None) -> None:
    lines = [f"  {name:10}{summary}" for name, (summary, _) in COMMANDS.items()]
    parser = ArgumentParser(
        prog="hf-gpvit",
        usage="%(prog)s [-h] [--version] command ...",
        description="High-resolution vision transformers.",
        epilog="\n".join(["commands:", *lines, "", "hf-gpvit COMMAND --help shows the options of one."]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hf-gpvit {version('hf-gpvit')}")
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of those below")
    parser.add_argument("arguments", nargs=REMAINDER, metavar="...", help="what the command takes")
    options = parser.parse_args(given)
    run(options.command, options.arguments, prog=f"{parser.prog} {options.command}")


def run(command: str, given: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs one command. Mistakes of users end the process with one message and the exit code 1, or 2 with the usage.

    Args:
        command: Key of `COMMANDS`.
        given: The arguments. Default: this process's.
        prog: Name of the program, which help and messages show. Default: the script's.
    """
    prog = prog or Path(sys.argv[0]).name
    _, parse = COMMANDS[command]
    options = parse(sys.argv[1:] if given is None else given, prog)
    # where torchao is installed, torch warns of how that registers its types
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    try:
        work = import_module(_ELSEWHERE.get(command, f"hf_gpvit.commands.{command}"))
    except ImportError as error:  # of an extra
        sys.exit(f"{prog}: {error}")
    work.run(options, prog=prog)
