# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The folder that a run leaves: what is written where, and when it may be."""

from pathlib import Path

from transformers import BaseImageProcessor, PreTrainedModel

from ..files import atomic_folder, remove_partial, write_metrics
from ..hub.folders import model_files
from ..tasks.recipe import Recipe, load_recipe


class RunFolder:
    """`best` and `last` (models), `checkpoints`, recipe.yaml, log.jsonl and curves.png in a recipe's `output_dir`.

    Raises:
        FileExistsError: It is in use, and `resume` not set.
        ValueError: It holds a run with another recipe.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.path = Path(recipe.output_dir)
        self.checkpoints = self.path / "checkpoints"
        self.log = self.path / "log.jsonl"
        self.curves = self.path / "curves.png"
        self._check()

    def _check(self) -> None:
        if self.path.exists() and not self.recipe.resume and not self._is_free():
            raise FileExistsError(
                f"output_dir={self.recipe.output_dir!r} is not empty: resume=True goes on with the run in it, "
                "or choose another folder."
            )
        if self.recipe.resume and (self.path / "recipe.yaml").exists():
            self._check_recipe()

    def _is_free(self) -> bool:
        """Whether there is nothing in it but what a run has left that ended before its first checkpoint."""
        return self.path.is_dir() and all(path.name in ("recipe.yaml", "log.jsonl") for path in self.path.iterdir())

    def _check_recipe(self) -> None:
        path, recipe = self.path / "recipe.yaml", self.recipe
        try:
            former = load_recipe(type(recipe), path)
        except ValueError as error:
            raise ValueError(f"{path} is no recipe to go on with: {error}") from error
        changed = former.changes_to(recipe)
        if changed:
            raise ValueError(
                f"{self.path} holds a run with {former.describe(changed)}: it can't go on with "
                f"{recipe.describe(changed)}."
            )

    def start(self) -> None:
        """Makes it, with the recipe in it, and without what a run that was killed has left half-written."""
        self.path.mkdir(parents=True, exist_ok=True)
        remove_partial(self.path)
        self.recipe.save(self.path / "recipe.yaml")

    def save_model(
        self, name: str, model: PreTrainedModel, image_processor: BaseImageProcessor, metrics: dict[str, float | str]
    ) -> None:
        """The folder `name` with all that belongs to a model.

        A former one goes, or moves aside where somebody has put something of their own into it.
        """
        with atomic_folder(self.path / name, overwrite=True, written=model_files, keep_former=False) as folder:
            model.save_pretrained(folder)
            image_processor.save_pretrained(folder)
            write_metrics(folder / "metrics.json", metrics)
            self.recipe.save(folder / "recipe.yaml")
