# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: a file with a line per record, a progress bar, trackers, and curves."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from transformers.utils.logging import tqdm

from ..extras import import_extra
from ..files import write_whole


accelerate = import_extra("accelerate")
Figure = import_extra("matplotlib.figure").Figure


class RunLog:
    """Writes records to a file and to the accelerator's trackers, and has the progress bar.

    Args:
        accelerator: Only its main process writes.
        path: The log.jsonl.
        step: Optimizer steps done so far. Records of later ones, of a run that went on after its last checkpoint,
            are cut off.
        num_steps: Steps of the whole run.
    """

    def __init__(self, accelerator: accelerate.Accelerator, path: Path, step: int, num_steps: int):
        self.accelerator = accelerator
        self.path = path
        if accelerator.is_main_process:
            self._cut(step)
        self.bar = tqdm(total=num_steps, initial=step, unit="step", disable=not accelerator.is_main_process)

    def _cut(self, step: int) -> None:
        kept = [record for record in read_log(self.path) if record["step"] <= step]
        write_whole(self.path, "".join(json.dumps(record) + "\n" for record in kept))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds a record of finite or missing (NaN) figures."""
        self.accelerator.log(dict(figures), step=step)
        if self.accelerator.is_main_process:
            # NaN, which classes have that don't occur, is no JSON
            record = {name: value if value == value else None for name, value in figures.items()}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **record}) + "\n")

    def show(self, figures: Mapping[str, float]) -> None:
        """Beside the progress bar."""
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items()})

    def close(self) -> None:
        self.bar.close()


def read_log(path: str | os.PathLike) -> list[dict[str, float | None]]:
    """The records of a log.jsonl, oldest first; those of a missing file: none. A last line cut short is left out.

    Raises:
        ValueError: A line is no record; the message names file and line.
    """
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [_record(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.endswith(b"\n")]


def _record(line: bytes, place: str) -> dict[str, float | None]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        raise ValueError(f"{place} is no record of a run: {line[:80]!r}. Remove the line.")
    return record


def plot_curves(log: str | os.PathLike, picture: str | os.PathLike) -> None:
    """Draws loss, learning rate and the main figure of the evaluations over the steps, from a log.jsonl."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    records = read_log(log)
    evaluations = [record for record in records if any(name.startswith("eval/") for name in record)]
    main = next((name for record in evaluations for name in record if name.startswith("eval/")), None)
    names = [name for name in ("loss", "learning_rate", main) if name is not None]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
        axes.plot(*zip(*points, strict=True), marker="." if name == main else None)
        axes.set(xlabel="step", title=name)
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=100)
