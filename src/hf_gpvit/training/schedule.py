# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The learning rate over time."""

import math


SCHEDULES = {
    "cosine": lambda progress, minimum: minimum + (1 - minimum) * (1 + math.cos(math.pi * progress)) / 2,
    "poly": lambda progress, minimum: max(1 - progress, minimum),
}


def learning_rate_factor(
    step: int, num_steps: int, schedule: str, warmup_steps: int = 0, warmup_start: float = 0.0, minimum: float = 0.0
) -> float:
    """Learning rate of optimizer step `step` (from 0) in units of its peak, as mm-toolkits compute it.

    "cosine" falls from 1 to `minimum`, "poly" linearly (power 1) towards 0 and not below `minimum`. During the warm-up
    this is multiplied by a factor that rises linearly from `warmup_start` to 1.
    """
    progress = min(step / num_steps, 1.0)
    factor = SCHEDULES[schedule](progress, minimum)
    if step < warmup_steps:
        factor *= warmup_start + (1 - warmup_start) * step / warmup_steps
    return factor
