# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit predict` does."""

import os
import sys
from argparse import Namespace
from collections import Counter
from functools import partial
from typing import Any

from ..extras import import_extra
from ..files import printable
from ..prediction import predict_pictures
from .ending import ending_errors, say
from .settings import check_ranges, settings_of


@ending_errors()
def run(options: Namespace, prog: str) -> None:
    """Predicts, prints a table and ends the process: with the exit code 1 where a picture can't be predicted.

    Under `accelerate launch` or torchrun all processes share the work, and the first one prints and writes.
    """
    check_ranges(options)
    accelerator = _accelerator()
    rates = []
    records = predict_pictures(
        options.model,
        options.pictures,
        options.output_dir,
        partial(settings_of, options),
        options.top_k,
        options.device,
        overwrite=options.overwrite,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        accelerator=accelerator,
        report=rates.append,
    )
    if accelerator is not None:
        accelerator.end_training()
        if not accelerator.is_main_process:
            return
    errors = [record["error"] for record in records if "error" in record]
    say(predictions_table(records, options.top_k))
    folder = printable(os.path.join(options.output_dir, ""))
    say(f"\n{len(records) - len(errors)} of {len(records)} pictures, {rates[0]:.1f} in a second: {folder}")
    for error in errors:
        say(f"{prog}: {error}", file=sys.stderr)
    sys.exit(1 if errors else 0)


def _accelerator() -> Any:
    """Of several processes; one alone, which may have no accelerate, needs none."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return None
    return import_extra("accelerate").Accelerator()


def predictions_table(records: list[dict[str, Any]], top_k: int) -> str:
    """A line for each picture that could be predicted: the file, and labels with scores, shares or numbers."""
    files = [printable(record["file"]) for record in records]
    width = max(map(len, files))
    return "\n".join(
        f"{file:<{width}}  {_found(record, top_k)}"
        for file, record in zip(files, records, strict=True)
        if "error" not in record
    )


def _found(record: dict[str, Any], top_k: int) -> str:
    if "detections" in record:
        counts = Counter(item["label"] for item in record["detections"]).most_common(top_k)
        return ", ".join(f"{number} {printable(label)}" for label, number in counts) or "nothing"
    entries = (entry.values() for entry in record.get("predictions", record.get("shares"))[:top_k])
    return ", ".join(f"{printable(label)} {value:.1%}" for label, value in entries)
