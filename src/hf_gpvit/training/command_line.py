# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of the training scripts."""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, RawDescriptionHelpFormatter

from accelerate import PartialState

from ..command_line import ending_errors
from ..hub.push import NotPublished, repo_url
from ..tasks.recipe import Recipe, RecipeParser, load_recipe
from .engine import TrainingStopped, train


INTERRUPTED = "Interrupted: --resume goes on from the newest checkpoint, if there is one."


class _HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Shows defaults, and leaves the description as it is."""


@ending_errors(TrainingStopped, NotPublished, interrupted=INTERRUPTED)
def train_command(recipe_class: type[Recipe], description: str) -> None:
    """Trains as the command line says: `--config` names a YAML file, and the recipe's fields are options.

    Mistakes, broken data and stopped runs end the process with one message and the exit code 1.
    """
    recipe = parse_recipe(recipe_class, description)
    metrics = train(recipe)
    name, value = next(iter(metrics.items()))
    if PartialState().is_main_process:
        print(f"{name} {value:.4f}; the model is in {recipe.output_dir}/best")
        if recipe.push_to_hub:
            print(f"published: {repo_url(recipe.hub_model_id)}")


def parse_recipe(recipe_class: type[Recipe], description: str) -> Recipe:
    """The recipe of this process's command line."""
    parser = RecipeParser(recipe_class, description=description, formatter_class=_HelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file with fields of the recipe.")
    parser.parse_args()  # for --help and for mistakes: argparse shows the usage
    config = ArgumentParser(add_help=False, allow_abbrev=False)
    config.add_argument("--config")
    known, arguments = config.parse_known_args()
    return load_recipe(recipe_class, known.config, arguments)
