# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The learning rate over time."""

import functools
import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..tasks.recipe import Recipe


SCHEDULES = {
    "cosine": lambda progress, minimum: minimum + (1 - minimum) * (1 + math.cos(math.pi * progress)) / 2,
    "poly": lambda progress, minimum: max(1 - progress, minimum),
}


# Of a learning rate, at each milestone.
STEP_FACTOR = 0.1


def build_scheduler(optimizer: Optimizer, recipe: Recipe, num_steps: int, steps_per_epoch: int) -> LambdaLR:
    """The recipe's schedule over `num_steps` optimizer steps. Accelerate would step it once for each process."""
    factor = functools.partial(
        learning_rate_factor,
        num_steps=num_steps,
        schedule=recipe.schedule,
        warmup_steps=recipe.warmup_steps or round(recipe.warmup_epochs * steps_per_epoch),
        warmup_start=recipe.warmup_start_ratio,
        minimum=recipe.min_learning_rate_ratio,
        milestones=recipe.milestone_steps
        or [round(epoch * steps_per_epoch) for epoch in recipe.milestone_epochs or ()],
    )
    return LambdaLR(optimizer, factor)


def follow_schedule(scheduler: LambdaLR) -> None:
    """Sets the rates of the step at which it stands: those in a checkpoint are others where a run was made longer."""
    factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
    rates = [rate * factor for rate, factor in zip(scheduler.base_lrs, factors, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def learning_rate_factor(
    step: int,
    num_steps: int,
    schedule: str,
    warmup_steps: int = 0,
    warmup_start: float = 0.0,
    minimum: float = 0.0,
    milestones: Sequence[int] = (),
) -> float:
    """Learning rate of optimizer step `step` (from 0) in units of its peak, as mm-toolkits compute it.

    "cosine" falls from 1 to `minimum`, "poly" linearly (power 1) towards 0 and not below `minimum`, and "step" to a
    tenth after each of so many steps as `milestones` says, and not below `minimum`. During the warm-up this is
    multiplied by a factor that rises linearly from `warmup_start` to 1.
    """
    if schedule == "step":
        num_passed = sum(step >= milestone for milestone in milestones)
        factor = max(STEP_FACTOR**num_passed, minimum)
    else:
        factor = SCHEDULES[schedule](min(step / num_steps, 1.0), minimum)
    if step < warmup_steps:
        factor *= warmup_start + (1 - warmup_start) * step / warmup_steps
    return factor
