# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a recipe asks of Accelerate."""

from dataclasses import asdict
from pathlib import Path

from ..extras import import_extra
from ..tasks.recipe import Recipe


accelerate = import_extra("accelerate")


def build_accelerator(recipe: Recipe) -> accelerate.Accelerator:
    """The processes of a run, with precision, accumulation, compilation and trackers as the recipe says.

    Raises:
        ValueError: There is no such tracker; Accelerate would go on without it.
    """
    _check_trackers(recipe.trackers)
    return accelerate.Accelerator(
        mixed_precision=recipe.mixed_precision,
        gradient_accumulation_plugin=accelerate.utils.GradientAccumulationPlugin(
            num_steps=recipe.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        dataloader_config=accelerate.DataLoaderConfiguration(use_seedable_sampler=True, non_blocking=True),
        dynamo_backend="inductor" if recipe.compile else "no",
        log_with=recipe.trackers or None,
        project_dir=recipe.output_dir,
    )


def _check_trackers(names: list[str]) -> None:
    available = [str(name) for name in accelerate.tracking.get_available_trackers()]
    missing = [name for name in names if name not in ("all", *available)]
    if missing:
        raise ValueError(
            f"trackers must be installed and known to Accelerate, got {', '.join(missing)}; "
            f"there are {', '.join(available) or 'none'}."
        )


def start_trackers(accelerator: accelerate.Accelerator, recipe: Recipe) -> None:
    """Tells the recipe to its trackers, if it has any. The run is called as its folder."""
    if not recipe.trackers:
        return
    # TensorBoard takes neither lists nor None
    config = {
        name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in asdict(recipe).items()
    }
    accelerator.init_trackers(Path(recipe.output_dir).name, config=config)
