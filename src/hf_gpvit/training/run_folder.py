# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The folder that a run leaves: what is written where, and when it may be."""

from pathlib import Path

from transformers import BaseImageProcessor, PreTrainedModel

from ..extras import import_extra
from ..files import atomic_folder, remove_partial, write_metrics
from ..hub.folders import model_files
from ..tasks.recipe import Recipe, load_recipe
from .checkpoints import check_newest, newest_checkpoint
from .processes import in_main_process
from .run_data import RunData
from .run_lock import LOCK, RunLock


accelerate = import_extra("accelerate")

RECIPE, DATA, LOG = "recipe.yaml", "data.json", "log.jsonl"


class RunFolder:
    """`best` and `last` (models), `checkpoints`, recipe.yaml, data.json, log.jsonl and curves.png in `output_dir`.

    While it is entered no other run can use it. One that isn't there is made by `start`, and by then also locked.

    Raises:
        FileExistsError: On entering: it isn't empty and `resume` not set, or another run is training in it.
        ValueError: On entering: it holds a run with another recipe, or a damaged checkpoint.
    """

    def __init__(self, recipe: Recipe, accelerator: accelerate.Accelerator):
        self.recipe, self.accelerator = recipe, accelerator
        self.path = Path(recipe.output_dir)
        self.checkpoints = self.path / "checkpoints"
        self.log = self.path / LOG
        self.curves = self.path / "curves.png"
        self.lock = RunLock(self.path)

    def __enter__(self) -> "RunFolder":
        try:
            in_main_process(self.accelerator, self._claim_what_is_there)
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.lock.release()

    def _claim_what_is_there(self) -> None:
        if not self.path.exists():
            return
        self._check_is_free()  # before anything is written into a folder that is none of ours
        self.lock.acquire()
        self._check_is_free()  # a run may have ended in between
        if self.recipe.resume:
            newest = check_newest(self.checkpoints)
            for folder in filter(None, (self.path, newest)):
                self._check_recipe(folder / RECIPE)

    def _check_is_free(self) -> None:
        """That there is nothing in it but what a run has left that ended before its first checkpoint."""
        left = (RECIPE, DATA, LOG, LOCK)
        is_free = self.path.is_dir() and all(path.name in left for path in self.path.iterdir())
        if not self.recipe.resume and not is_free:
            raise FileExistsError(
                f"output_dir={self.recipe.output_dir!r} is not empty: resume=True goes on with the run in it, "
                "or choose another folder."
            )

    def _check_recipe(self, path: Path) -> None:
        if not path.exists():
            return
        recipe = self.recipe
        try:
            former = load_recipe(type(recipe), path)
        except ValueError as error:
            raise ValueError(f"{path} is no recipe to go on with: {error}") from error
        changed = [name for name in former.changes_to(recipe) if not _is_longer(name, former, recipe)]
        if changed:
            raise ValueError(
                f"{path.parent} holds a run with {former.describe(changed)}: it can't go on with "
                f"{recipe.describe(changed)}. To begin another run with its weights, give "
                f"model={str(self.path / 'best')!r} and another output_dir."
            )

    def check_data(self, data: RunData) -> None:
        """That a run which goes on has the data of its newest checkpoint. Every process must call it.

        Raises:
            ValueError: It has other classes.
        """
        in_main_process(self.accelerator, lambda: self._check_data(data))

    def _check_data(self, data: RunData) -> None:
        newest = newest_checkpoint(self.checkpoints) if self.recipe.resume else None
        if newest is not None and (newest / DATA).exists():
            data.check_goes_on(RunData.load(newest / DATA), newest)

    def start(self, data: RunData) -> None:
        """Makes it, with the recipe in it, and without what a run that was killed has left half-written.

        Every process must call it.

        Raises:
            FileExistsError: Another run was faster.
            OSError: It can't be written.
        """
        self.data = data
        in_main_process(self.accelerator, self._start)

    def _start(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.lock.is_held:
            self._claim_what_is_there()
        remove_partial(self.path)
        self.write_notes(self.path)

    def write_notes(self, folder: Path) -> None:
        """What the run is, and what it saw, into a folder of it."""
        self.recipe.save(folder / RECIPE)
        self.data.save(folder / DATA)

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
            self.recipe.save(folder / RECIPE)


def _is_longer(name: str, former: Recipe, recipe: Recipe) -> bool:
    """Whether a field is how long a run is, in the same unit, and more than it was."""
    if name not in ("max_steps", "num_train_epochs") or bool(former.max_steps) != bool(recipe.max_steps):
        return False
    return getattr(recipe, name) > getattr(former, name)
