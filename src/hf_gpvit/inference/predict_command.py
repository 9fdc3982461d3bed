# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The command `hf-gpvit predict`, which is also scripts/predict.py."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from ..command_line import add_segmentation_arguments, command_parser, ending_errors, segmentation_settings
from ..files import printable
from ..prediction import predict_pictures


DESCRIPTION = """What a model says about pictures: classes, or a mask and an overlay of each.

    %(prog)s --model outputs/quickstart photos/ cat.jpg
    %(prog)s --model gpvit-l1-ade20k photos/ --window_size 1024 --flip --scales 0.75 1 1.25

`--model` is a folder or Hub name of a classifier or segmentor. The output folder appears whole or not at all; an older
one is moved aside. Pictures that can't be read are named at the end, and the exit code is 1.
"""


@ending_errors()
def predict_command(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Predicts as the command line says, prints a table and ends the process.

    The exit code is 1, with a message, after mistakes and where pictures can't be read.

    Args:
        arguments: The options. Default: this process's.
        prog: Name of the program that `--help` shows. Default: the script's.
    """
    parser = command_parser(DESCRIPTION, prog)
    parser.add_argument("pictures", nargs="+", help="files, and folders, which are searched recursively")
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with its image processor")
    parser.add_argument("--output_dir", default="outputs/predictions", help="folder to write")
    parser.add_argument("--top_k", type=int, default=5, help="labels of each picture that are kept and shown")
    parser.add_argument("--device", help="such as cpu or cuda:0; by default the accelerator, if there is one")
    add_segmentation_arguments(parser)
    sys.exit(_run(parser.parse_args(arguments), parser.prog))


def predictions_table(records: list[dict[str, Any]], top_k: int) -> str:
    """A line for each picture that could be read: the file, and labels with scores or shares."""
    lines = {}
    for record in records:
        found = record.get("predictions", record.get("shares", []))[:top_k]
        lines[printable(record["file"])] = ", ".join(
            f"{entry['label']} {list(entry.values())[1]:.1%}" for entry in found
        )
    width = max(map(len, lines))
    return "\n".join(f"{file:<{width}}  {found}" for file, found in lines.items() if found)


def _run(arguments: Namespace, prog: str) -> int:
    settings = segmentation_settings(arguments)
    records = predict_pictures(
        arguments.model, arguments.pictures, arguments.output_dir, settings, arguments.top_k, arguments.device
    )
    errors = [record["error"] for record in records if "error" in record]
    print(predictions_table(records, arguments.top_k))
    print(f"\n{len(records) - len(errors)} of {len(records)} pictures: {os.path.join(arguments.output_dir, '')}")
    for error in errors:
        print(f"{prog}: {error}", file=sys.stderr)
    return 1 if errors else 0
