# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: a file with a line per record, a progress bar, trackers, and curves."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from transformers.utils.logging import tqdm

from ..extras import import_extra
from ..files import write_whole
from ..tasks.recipe import Recipe
from .checkpoints import Progress


accelerate = import_extra("accelerate")
Figure = import_extra("matplotlib.figure").Figure


class RunLog:
    """Collects what happens, and writes it to a file and to the recipe's trackers; has the progress bar.

    Losses and numbers of unreadable pictures stay on the device until they are read.

    Args:
        accelerator: Only its main process writes.
        path: The log.jsonl.
        recipe: Of the run.
        progress: Where the run stands. Records of later steps, of a run that went on after its last checkpoint, are
            cut off.
        num_steps: Steps of the whole run.
    """

    def __init__(
        self, accelerator: accelerate.Accelerator, path: Path, recipe: Recipe, progress: Progress, num_steps: int
    ):
        self.accelerator, self.path, self.recipe, self.progress = accelerator, path, recipe, progress
        if recipe.trackers:
            accelerator.init_trackers(Path(recipe.output_dir).name, config=_plain_fields(recipe))
        if accelerator.is_main_process:
            self._cut(progress.step)
        hidden = not accelerator.is_main_process
        self.bar = tqdm(total=num_steps, initial=progress.step, unit="step", disable=hidden)
        self.losses, self.num_corrupt = [], []
        self.restart_clock()

    def _cut(self, step: int) -> None:
        kept = [record for record in read_log(self.path) if record["step"] <= step]
        write_whole(self.path, "".join(json.dumps(record) + "\n" for record in kept))

    def restart_clock(self) -> None:
        """What was done until now is no training."""
        self.start = time.perf_counter()

    def add(self, loss: torch.Tensor, num_corrupt: torch.Tensor, learning_rate: float) -> None:
        """What a part of a batch gave in this process."""
        self.losses.append(loss)
        self.num_corrupt.append(num_corrupt)
        self.learning_rate = learning_rate

    def read(self) -> tuple[list[float], dict[str, float]]:
        """Losses of the optimizer steps since the last time, and the figures of a record. Waits for the device."""
        parts = self.recipe.gradient_accumulation_steps
        losses = self.accelerator.reduce(torch.stack(self.losses), "mean").view(-1, parts).mean(1)
        self.progress.num_corrupt += int(self.accelerator.reduce(torch.stack(self.num_corrupt), "sum").sum())
        seconds = time.perf_counter() - self.start
        self.losses, self.num_corrupt = [], []
        figures = {
            "loss": losses.mean().item(),
            "learning_rate": self.learning_rate,
            "images_per_second": len(losses) * self.recipe.batch_size / seconds,
        }
        if self.progress.num_corrupt:
            figures["num_corrupt"] = self.progress.num_corrupt
        if torch.cuda.is_available():
            figures["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
        return losses.tolist(), figures

    def write(self, figures: Mapping[str, float]) -> None:
        """Adds a record of finite or missing (NaN) figures."""
        self.accelerator.log(dict(figures), step=self.progress.step)
        if self.accelerator.is_main_process:
            # NaN, which classes have that don't occur, is no JSON
            record = {name: value if value == value else None for name, value in figures.items()}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.progress.step, **record}) + "\n")

    def close(self) -> None:
        self.bar.close()
        self.accelerator.end_training()


def check_trackers(names: list[str]) -> None:
    """Raises an error where Accelerate would go on without a tracker."""
    available = [str(name) for name in accelerate.tracking.get_available_trackers()]
    missing = [name for name in names if name not in ("all", *available)]
    if missing:
        raise ValueError(
            f"trackers must be installed and known to Accelerate, got {', '.join(missing)}; "
            f"there are {', '.join(available) or 'none'}."
        )


def _plain_fields(recipe: Recipe) -> dict[str, bool | int | float | str]:
    # TensorBoard takes neither lists nor None
    fields = asdict(recipe).items()
    return {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in fields}


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
