# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit predict` does."""

import os
import sys
from argparse import Namespace
from typing import Any

from ..files import printable
from ..inference import SegmentationSettings
from ..prediction import predict_pictures
from .ending import ending_errors


@ending_errors()
def run(options: Namespace, prog: str) -> None:
    """Predicts, prints a table and ends the process: with the exit code 1 where a picture can't be read."""
    settings = SegmentationSettings.of(options)
    records = predict_pictures(
        options.model, options.pictures, options.output_dir, settings, options.top_k, options.device
    )
    errors = [record["error"] for record in records if "error" in record]
    print(predictions_table(records, options.top_k))
    print(f"\n{len(records) - len(errors)} of {len(records)} pictures: {os.path.join(options.output_dir, '')}")
    for error in errors:
        print(f"{prog}: {error}", file=sys.stderr)
    sys.exit(1 if errors else 0)


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
