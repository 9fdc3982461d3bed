# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A run and the Hub: what is found out before training, and what is pushed after it."""

import shlex
from pathlib import Path

from ..data.loading import is_hub_name
from ..extras import import_extra
from ..hub.push import NotPublished, prepare_repo, push_model
from ..tasks.recipe import Recipe
from .processes import in_main_process


accelerate = import_extra("accelerate")


def check_hub(recipe: Recipe, accelerator: accelerate.Accelerator) -> None:
    """With `push_to_hub`, raises an error in all processes unless the main one, which asks, may write there."""
    if recipe.push_to_hub:
        in_main_process(accelerator, lambda: _prepare(recipe))


def _prepare(recipe: Recipe) -> None:
    import_extra("jinja2", "hub")  # for the card
    prepare_repo(recipe.hub_model_id, private=recipe.hub_private_repo)


def push_best(recipe: Recipe) -> None:
    """Publishes a run's best model. Whatever fails then is a NotPublished, because the run itself is complete."""
    folder = Path(recipe.output_dir) / "best"
    try:
        push_model(folder, recipe.hub_model_id, license=recipe.hub_license, private=recipe.hub_private_repo)
    except Exception as error:
        command = ["hf-gpvit", "push", folder.as_posix(), recipe.hub_model_id, "--license", recipe.hub_license]
        command += [] if recipe.hub_private_repo else ["--public"]
        raise NotPublished(
            f"The run is complete and its model is in {folder}, but it was not published: {error}\n"
            f"To try again: {shlex.join(command)}"
        ) from error


def base_model(recipe: Recipe) -> dict[str, str]:
    """`base_model` for the card: weights on the Hub that a run begins with. A folder's name says nothing to others."""
    return {"base_model": recipe.model} if "/" in recipe.model and is_hub_name(recipe.model) else {}
