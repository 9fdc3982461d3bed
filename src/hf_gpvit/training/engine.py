# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""One loop that trains a model of any task, on Accelerate."""

import math
from contextlib import closing
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from ..data.loading import LoadedData
from ..data.workers import LOST_ADVICE, is_lost_worker
from ..extras import import_extra
from ..files import one_line
from ..tasks import TASKS
from ..tasks.recipe import Recipe
from .batches import build_batches
from .building import check_fields
from .checkpoints import Checkpoints, Progress, newest_checkpoint, unusable
from .evaluation import evaluate_model
from .materials import build_accelerator, build_training_model, load_training_data
from .parameter_groups import parameter_groups
from .publishing import base_model, check_hub, push_best
from .run_data import RunData
from .run_folder import RunFolder
from .run_log import RunLog, plot_curves
from .schedule import build_scheduler, follow_schedule
from .stopping import StopRequest, TrainingStopped
from .weights import Weights


accelerate = import_extra("accelerate")
logger = logging.get_logger(__name__)


def train(recipe: Recipe, data: LoadedData | None = None) -> dict[str, float]:
    """Trains, evaluates and saves as `recipe` says.

    Leaves in `recipe.output_dir`: `best` and `last` (folders with model, image processor and metrics.json),
    `checkpoints`, recipe.yaml, data.json, log.jsonl (a line per `logging_steps`, and per evaluation) and curves.png.
    With `push_to_hub`, `best` is published then; that this can be done is found out before training.

    Args:
        recipe: What to do.
        data: Its data, where it is loaded already. Default: what `load_data` makes of the recipe's fields.

    Returns:
        The figures of the last evaluation; the first one decides which evaluation was best.

    Raises:
        ValueError: the recipe doesn't fit the data, the model or this machine, a picture or mask is broken, or a run
            can't go on: with another recipe, with other classes, or from a checkpoint that is damaged.
        FileExistsError: `output_dir` is not empty and `resume` not set, or another run is training in it.
        TrainingStopped: the loss, a weight or the main figure was not finite, a worker was killed, or the process was
            asked to end (SIGTERM); checkpoints are kept.
        ConnectionError, PermissionError: The Hub can't be reached, or the token may not write there.
        NotPublished: The run is complete, but the Hub did not take its model.
    """
    with RunFolder(recipe, build_accelerator(recipe)) as folder:
        return Engine(folder, data).run()


class Engine:
    """A run: what it needs, its loop, and what it leaves, in the order in which things happen.

    Args:
        folder: Its folder, entered, with the recipe and the processes.
        data: As `train` takes it.
    """

    def __init__(self, folder: RunFolder, data: LoadedData | None = None):
        self.folder, self.recipe, self.accelerator = folder, folder.recipe, folder.accelerator
        recipe = self.recipe
        check_hub(recipe, self.accelerator)
        check_fields(recipe.model, recipe.task, recipe.config_fields)
        accelerate.utils.set_seed(recipe.seed)
        data = data or load_training_data(recipe, self.accelerator)
        self.data = RunData.of(data)
        self.folder.check_data(self.data)
        self.test_set = data.test
        self.origin = data.test_source | base_model(recipe)  # now, because only now paths are what they are
        self.task = TASKS[recipe.task](recipe, len(data.class_names))
        model = build_training_model(recipe, data.class_names, self.task.preset_image_size)
        self.image_processor = self.task.image_processor(model)
        reader = self.task.reader(model.config, self.image_processor, data.train.split)
        transform = self.task.transform(model.config, self.image_processor)
        rows = self.task.training_rows(data.train)
        self.batches = build_batches(recipe, self.accelerator, rows, reader, transform, self.task.collate)
        self._prepare(model)
        accelerate.utils.set_seed(recipe.seed, device_specific=True)  # each process drops paths of its own

    def _prepare(self, model: PreTrainedModel) -> None:
        """Everything that Accelerate puts something around, and what checkpoints hold."""
        recipe, steps_per_epoch = self.recipe, self.batches.steps_per_epoch
        self.num_steps = recipe.max_steps or max(1, round(recipe.num_train_epochs * steps_per_epoch))
        self.eval_steps = recipe.eval_steps or steps_per_epoch
        self.save_steps = recipe.save_steps or self.eval_steps
        self.weights = Weights(self.accelerator, model, recipe.ema_decay)
        rates = (recipe.learning_rate, recipe.weight_decay, recipe.no_decay, recipe.head_learning_rate_factor)
        optimizer = torch.optim.AdamW(parameter_groups(model, *rates))
        self.scheduler = build_scheduler(optimizer, recipe, self.num_steps, steps_per_epoch)
        self.model, self.optimizer = self.batches.prepare(model, optimizer)
        self.weights.follow(self.model)
        self.progress = Progress()
        stateful = (self.scheduler, self.progress, self.weights.average)
        self.accelerator.register_for_checkpointing(*filter(None, stateful))
        where, keep = self.folder.checkpoints, recipe.max_checkpoints
        self.checkpoints = Checkpoints(self.accelerator, where, keep, self.folder.write_notes, self.batches.stateful)

    def run(self) -> dict[str, float]:
        """Trains to the end, from the newest checkpoint where `resume` is set."""
        self._start()
        if self.progress.step < self.num_steps:
            self._train()
        return self._finish()

    def _start(self) -> None:
        self.folder.start(self.data)
        source = self.checkpoints.load_newest() if self.recipe.resume else None
        if self.recipe.resume and source is None and self.accelerator.is_main_process:
            logger.warning(f"There is no checkpoint in {self.folder.checkpoints}: the run begins anew.")
        broken = self.weights.broken()
        if broken and source:
            raise unusable(source, f"{broken} has numbers that are not finite")
        if broken:
            raise ValueError(f"The weights of {self.recipe.model!r} are broken: {broken} is not finite.")
        follow_schedule(self.scheduler)
        if self.progress.step >= self.num_steps and self.accelerator.is_main_process:
            logger.warning(
                f"The run in {self.folder.path} is complete, with {self.progress.step} steps of {self.num_steps}. A "
                "larger max_steps or num_train_epochs makes it longer."
            )
        self.log = RunLog(self.accelerator, self.folder.log, self.recipe, self.progress, self.num_steps)

    def _train(self) -> None:
        try:
            # closed in the end, so that workers end whatever ends the run
            with StopRequest(self.accelerator) as stop, closing(self.batches.starting_at(self.progress)) as batches:
                for batch in batches:
                    self._train_on(batch)
                    if self.accelerator.sync_gradients and self._is_end_after_step(stop):
                        break
        except Exception as error:
            if not (self.recipe.num_workers and is_lost_worker(error)):
                raise
            raise self._stopped(
                f"A worker that loads pictures was lost after step {self.progress.step} ({one_line(error):.200}). "
                f"{LOST_ADVICE}"
            ) from error

    def _train_on(self, batch: dict[str, Any]) -> None:
        self.model.train()
        batch = accelerate.utils.send_to_device(batch, self.accelerator.device, non_blocking=True)
        with self.accelerator.accumulate(self.model):
            loss = self.task.loss(self.model, batch)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients and self.recipe.max_grad_norm:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        learning_rate = self.scheduler.get_last_lr()[0]  # of this step, and the trunk's
        self.log.add(loss.detach(), batch["num_corrupt"].sum(), learning_rate)
        if self.accelerator.sync_gradients:
            self.scheduler.step()
            if self.weights.average:
                self.weights.average.update_parameters(self.weights.trained)
            self.progress.step += 1
            self.log.bar.update()

    def _is_end_after_step(self, stop: StopRequest) -> bool:
        """Logs, evaluates and saves where it is time to, and says whether that was the last step."""
        step, is_last = self.progress.step, self.progress.step >= self.num_steps
        is_logging, is_evaluating = step % self.recipe.logging_steps == 0, step % self.eval_steps == 0
        if is_logging or is_last:
            self._log()
        if is_evaluating or is_last:
            self._evaluate()
        is_stopping = not is_last and stop.is_agreed(may_ask=is_logging)
        if step % self.save_steps == 0 or is_last or is_stopping:
            self._save_checkpoint()
        if is_stopping:
            self._save_last()
            raise self._stopped(f"Asked to end, stopped after step {step} of {self.num_steps}.")
        return is_last

    def _log(self) -> None:
        """Writes what is new since the last record, and waits for the device only here."""
        if not self.log.losses:
            return
        losses, figures = self.log.read()
        for step, loss in enumerate(losses, start=self.progress.step - len(losses) + 1):
            if not math.isfinite(loss):
                advice = "Try a lower learning_rate, or max_grad_norm."
                raise self._stopped(f"The loss became {loss} at step {step}. {advice}")
        self.log.write(figures)
        self.log.bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items()})
        self.log.restart_clock()

    def _evaluate(self) -> None:
        self._log()
        self._check_weights()
        # each process has its own statistics of BatchNorm since its last step, and the main process saves its own
        model = self.weights.model()
        accelerate.utils.broadcast(list(model.buffers()))
        metrics = evaluate_model(
            model,
            self.image_processor,
            self.test_set,
            settings=self.task.evaluation_settings,
            accelerator=self.accelerator,
            num_workers=self.recipe.num_workers,
            skip_corrupt=self.recipe.skip_corrupt,
        )
        self.log.write({f"eval/{name}": value for name, value in metrics.items()})
        self.progress.metrics, self.progress.evaluated = metrics, self.progress.step
        name, main = next(iter(metrics.items()))
        if not math.isfinite(main):
            reason = (
                f"The evaluation after step {self.progress.step} gave {name}={main}: no model can be called the best."
            )
            raise self._stopped(f"{reason} See whether the pictures of eval_split have any of the classes.")
        if main > self.progress.best:
            self.progress.best = main
            self._save_model("best", metrics)
        self.log.restart_clock()

    def _save_checkpoint(self) -> None:
        self._log()
        self._check_weights()
        self.checkpoints.save(self.progress.step)
        self.log.restart_clock()

    def _check_weights(self) -> None:
        """Nothing must ever hold what a step with a finite loss and an infinite gradient leaves."""
        broken = self.weights.broken()
        if broken:
            reason = f"Weights are not finite after step {self.progress.step}: {broken} is the first of them."
            raise self._stopped(f"{reason} Try a lower learning_rate, or max_grad_norm.")

    def _save_last(self) -> None:
        self._check_weights()
        is_evaluated = self.progress.evaluated == self.progress.step
        self._save_model("last", self.progress.metrics if is_evaluated else {})

    def _save_model(self, name: str, metrics: dict[str, float]) -> None:
        model = self.weights.model()  # gathered by all processes together
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            figures = {"step": self.progress.step, **metrics, **self.origin}
            self.folder.save_model(name, model, self.image_processor, figures)

    def _stopped(self, reason: str) -> TrainingStopped:
        self.log.close()
        newest = newest_checkpoint(self.folder.checkpoints)
        kept = f"{newest} is kept; resume=True goes on from it" if newest else "There is no checkpoint yet"
        stopped = TrainingStopped(f"{reason} {kept}.")
        stopped.reason = reason
        return stopped

    def _finish(self) -> dict[str, float]:
        if self.progress.evaluated != self.progress.step:  # of more steps than there are left pictures for
            self._evaluate()
        self._save_last()
        is_main_process = self.accelerator.is_main_process
        if is_main_process:
            plot_curves(self.folder.log, self.folder.curves)
        self.log.close()
        # the other processes have ended by then: however long it takes, they don't wait
        if self.recipe.push_to_hub and is_main_process:
            push_best(self.recipe)
        return self.progress.metrics
