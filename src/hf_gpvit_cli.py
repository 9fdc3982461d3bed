# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0

"""The `hf-gpvit` command. It stands outside the package, whose import loads torch, so that `--help` is quick."""

import importlib
import logging
import sys
from argparse import REMAINDER, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib.metadata import version


# By name: what it does, and the function that does it; that takes the arguments and the program's name to show.
COMMANDS = {
    "presets": ("list the model variants and their sizes", "hf_gpvit.info_command:presets_command"),
    "info": ("parameters, multiply-adds and memory of a model", "hf_gpvit.info_command:info_command"),
    "predict": ("what a model says about pictures", "hf_gpvit.inference.predict_command:predict_command"),
    "convert": ("an official checkpoint to a model folder", "hf_gpvit.conversion.convert_command:convert_command"),
    "evaluate": ("how good a model is on a dataset", "hf_gpvit.training.evaluate_command:evaluate_command"),
    "push": ("a model to the Hugging Face Hub", "hf_gpvit.hub.push_command:push_command"),
}


def main(arguments: Sequence[str] | None = None) -> None:
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
    options = parser.parse_args(arguments)
    prog = f"{parser.prog} {options.command}"
    # where torchao is installed, torch warns of how that registers its types
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    module, _, name = COMMANDS[options.command][1].partition(":")
    try:
        command = getattr(importlib.import_module(module), name)
    except ImportError as error:  # of an extra
        sys.exit(f"{prog}: {error}")
    command(options.arguments, prog=prog)


if __name__ == "__main__":
    main()
