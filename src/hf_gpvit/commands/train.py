# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit train` does, and the training scripts with it."""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from ..extras import import_extra
from ..files import printable, read_json
from ..hub.push import NotPublished, repo_url
from ..tasks import TASKS, find_task
from ..tasks.recipe import Recipe, RecipeParser, load_recipe, recipe_fields
from ..training import TrainingStopped, train
from .ending import ending_errors, say


PartialState = import_extra("accelerate").PartialState

_ending_errors = ending_errors(
    TrainingStopped,
    NotPublished,
    interrupted="Interrupted: --resume goes on from the newest checkpoint, if there is one.",
)


class _HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Shows defaults, and leaves the description as it is."""


@_ending_errors
def run(options: Namespace, prog: str) -> None:
    """Trains by the recipe that `config` names, or by the defaults of `task`; `fields` override it."""
    config = [] if options.config is None else ["--config", options.config]
    recipe_class = find_task(options.task or _task_of(options.config)).recipe_class
    _train(parse_recipe(recipe_class, options.description, [*config, *options.fields], prog))


@_ending_errors
def train_command(recipe_class: type[Recipe], description: str) -> None:
    """Trains as this process's command line says: `--config` names a YAML file, and the recipe's fields are options.

    Mistakes, broken data and stopped runs end the process with one message and the exit code 1.
    """
    _train(parse_recipe(recipe_class, description, sys.argv[1:], Path(sys.argv[0]).name))


def parse_recipe(recipe_class: type[Recipe], description: str, arguments: Sequence[str], prog: str) -> Recipe:
    """The recipe of a command line."""
    parser = RecipeParser(
        recipe_class, prog=prog, description=description, formatter_class=_HelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", help="YAML file with fields of the recipe.")
    parser.parse_args(arguments)  # for --help and for mistakes: argparse shows the usage
    config = ArgumentParser(add_help=False, allow_abbrev=False)
    config.add_argument("--config")
    known, arguments = config.parse_known_args(arguments)
    return load_recipe(recipe_class, known.config, arguments)


def _task_of(config: str) -> str:
    task = recipe_fields(config).get("task")
    if task not in [*TASKS]:
        raise ValueError(f"{config} must say its task, {' or '.join(TASKS)}, or --task be given, got task={task!r}.")
    return task


def _train(recipe: Recipe) -> None:
    main_figure = next(iter(train(recipe)))
    if PartialState().is_main_process:
        say(_result(Path(recipe.output_dir), main_figure))
        if recipe.push_to_hub:
            say(f"published: {repo_url(recipe.hub_model_id)}")


def _result(run: Path, name: str) -> str:
    """Which model there is, and its own figure; without a best one, which somebody may have taken away, the last."""
    folder = next(folder for folder in (run / "best", run / "last") if (folder / "metrics.json").is_file())
    figures = read_json(folder / "metrics.json")
    return f"{name} {figures[name]:.4f} after step {figures['step']}; the model is in {printable(folder)}"
