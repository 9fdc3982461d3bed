# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What is measured between two records of a run."""

import time

import torch

from ..extras import import_extra
from .progress import Progress
from ..tasks.recipe import Recipe


accelerate = import_extra("accelerate")


class Meter:
    """Collects losses and numbers of unreadable pictures, which stay on the device until they are read.

    Args:
        accelerator: Its processes read together.
        recipe: Decides how many pictures a step has, and in how many parts.
        progress: Counts the unreadable pictures of the whole run.

    Attributes:
        learning_rate: Of the last optimizer step.
    """

    def __init__(self, accelerator: accelerate.Accelerator, recipe: Recipe, progress: Progress):
        self.accelerator, self.recipe, self.progress = accelerator, recipe, progress
        self.losses, self.num_corrupt = [], []
        self.restart_clock()

    def restart_clock(self) -> None:
        """What was done until now is no training."""
        self.start = time.perf_counter()

    def add(self, loss: torch.Tensor, num_corrupt: torch.Tensor) -> None:
        """Of a part of a batch, in one process."""
        self.losses.append(loss)
        self.num_corrupt.append(num_corrupt)

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
