# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""One loop that trains classifiers and segmentors, on Accelerate."""

import copy
import functools
import math
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from transformers import PreTrainedConfig, PreTrainedModel

from ..data.loading import is_hub_name, load_data
from ..data.samples import StreamedSamples, TrainingSamples
from ..extras import import_extra
from ..files import atomic_folder, remove_partial, write_metrics
from ..hub.push import NotPublished, prepare_repo, push_model
from ..tasks import TASKS
from ..tasks.recipe import Recipe, load_recipe
from .building import build_model
from .checkpoints import Checkpoints
from .evaluation import evaluate_model
from .parameter_groups import parameter_groups
from .run_log import RunLog, plot_curves
from .schedule import learning_rate_factor


accelerate = import_extra("accelerate")

# Fields with which a run may go on differently.
FREE_FIELDS = (
    "output_dir",
    "resume",
    "num_workers",
    "logging_steps",
    "max_checkpoints",
    "trackers",
    "push_to_hub",
    "hub_model_id",
    "hub_private_repo",
    "hub_license",
)


class TrainingStopped(RuntimeError):
    """Training ended early: the message says why, and what to go on from."""


@dataclass
class Progress:
    """Where a run stands; part of its checkpoints."""

    step: int = 0
    epoch: int = 0  # of a stream, whose length nobody knows
    num_corrupt: int = 0
    best: float = -math.inf
    metrics: dict[str, float] = field(default_factory=dict)  # of the last evaluation

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        wrong = [name for name, value in vars(self).items() if not isinstance(state_dict.get(name), type(value))]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be those of a run, got {state_dict!r:.200}.")
        vars(self).update(state_dict)


def train(recipe: Recipe) -> dict[str, float]:
    """Trains, evaluates and saves as `recipe` says.

    Leaves in `recipe.output_dir`: `best` and `last` (folders with model, image processor and metrics.json),
    `checkpoints`, recipe.yaml, log.jsonl (a line per `logging_steps`, and per evaluation) and curves.png. With
    `push_to_hub`, `best` is published then; that this can be done is found out before training.

    Returns:
        The figures of the last evaluation; the first one decides which evaluation was best.

    Raises:
        ValueError: the recipe doesn't fit the data, the model or this machine, or a picture or mask is broken.
        FileExistsError: `output_dir` is in use, and `resume` not set.
        TrainingStopped: the loss was not finite, or the process was asked to end (SIGTERM); checkpoints are kept.
        ConnectionError, PermissionError: The Hub can't be reached, or the token may not write there.
        NotPublished: The run is complete, but the Hub did not take its model.
    """
    return Engine(recipe).run()


class Engine:
    """A run: what it needs, its loop, and what it leaves."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.folder = Path(recipe.output_dir)
        check_folder(recipe)
        self.accelerator = build_accelerator(recipe)
        if recipe.push_to_hub:
            check_hub(recipe, self.accelerator)
        accelerate.utils.set_seed(recipe.seed)
        self._load_data()
        self._prepare(self._build_model())
        self.progress = Progress()
        stateful = [self.scheduler, self.progress, *([self.average] if self.average else [])]
        self.accelerator.register_for_checkpointing(*stateful)
        stream = self.loader if recipe.streaming else None
        self.checkpoints = Checkpoints(self.accelerator, self.folder / "checkpoints", recipe.max_checkpoints, stream)
        accelerate.utils.set_seed(recipe.seed, device_specific=True)  # each process drops paths of its own

    def _load_data(self) -> None:
        recipe = self.recipe
        # the main process first: it fills the cache of `datasets`, the others read it
        with self.accelerator.main_process_first():
            data = load_data(
                recipe.dataset,
                TASKS[recipe.task],
                name=recipe.dataset_name,
                train_split=recipe.train_split,
                eval_split=recipe.eval_split,
                image_column=recipe.image_column,
                target_column=recipe.target_column,
                class_names=recipe.class_names,
                streaming=recipe.streaming,
                skip_corrupt=recipe.skip_corrupt,
            )
        self.train_set, self.test_set, self.class_names = data.train, data.test, data.class_names
        # found out here, because only here paths are what they are
        self.origin = data.test_source | ({"base_model": recipe.model} if is_pretrained_of_hub(recipe.model) else {})

    def _build_model(self) -> PreTrainedModel:
        recipe = self.recipe
        self.task = TASKS[recipe.task](recipe, len(self.class_names))
        model = build_model(
            recipe.model, recipe.task, self.class_names, self.task.preset_image_size, **recipe.model_fields
        )
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        if recipe.sync_batch_norm:
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.image_processor = self.task.image_processor(model)
        return model

    def _prepare(self, model: PreTrainedModel) -> None:
        """Everything that Accelerate puts something around."""
        recipe = self.recipe
        self.sharded = self.accelerator.distributed_type == accelerate.DistributedType.FSDP
        if self.sharded and recipe.ema_decay:
            raise ValueError(f"ema_decay must be 0 where weights are shared out (FSDP), got {recipe.ema_decay}.")
        # shards can't be evaluated, nor saved as a model
        self.whole = copy.deepcopy(model).to(self.accelerator.device) if self.sharded else None
        loader = self._build_loader(model.config)
        self._count_steps()
        decay, head_factor = (recipe.weight_decay, recipe.no_decay), recipe.head_learning_rate_factor
        optimizer = torch.optim.AdamW(parameter_groups(model, recipe.learning_rate, *decay, head_factor))
        factor = functools.partial(
            learning_rate_factor,
            num_steps=self.num_steps,
            schedule=recipe.schedule,
            warmup_steps=recipe.warmup_steps or round(recipe.warmup_epochs * self.steps_per_epoch),
            warmup_start=recipe.warmup_start_ratio,
            minimum=recipe.min_learning_rate_ratio,
        )
        # not prepared, because Accelerate would step it once for each process
        self.scheduler = LambdaLR(optimizer, factor)
        # a stream gives every process its own part already
        items = (model, optimizer) if recipe.streaming else (model, optimizer, loader)
        self.model, self.optimizer, *prepared = self.accelerator.prepare(*items)
        [self.loader] = prepared or [loader]
        self.average = None
        if recipe.ema_decay:
            average = get_ema_multi_avg_fn(recipe.ema_decay)
            self.average = AveragedModel(self.unwrapped, multi_avg_fn=average, use_buffers=True)

    def _build_loader(self, config: PreTrainedConfig) -> DataLoader:
        recipe = self.recipe
        reader = self.task.reader(config, self.image_processor, self.train_set.split)
        what = (reader, self.task.transform(self.image_processor), recipe.seed, recipe.skip_corrupt)
        if recipe.streaming:
            process = (self.accelerator.process_index, self.accelerator.num_processes)
            self.samples = StreamedSamples(self.train_set, *what, *process)
        else:
            self.samples = TrainingSamples(self.train_set, *what)
        loader_class = stateful_loader_class() if recipe.streaming else DataLoader
        return loader_class(
            self.samples,
            batch_size=self._batch_size_of_process(),
            shuffle=None if recipe.streaming else True,
            num_workers=recipe.num_workers,
            drop_last=True,
            pin_memory=torch.accelerator.is_available(),
            # every start of an epoch draws from it: a run that goes on amid one would have drawn once more than others
            generator=torch.Generator(),
            worker_init_fn=leave_process_group,
            collate_fn=self.task.collate,
        )

    def _batch_size_of_process(self) -> int:
        recipe, num_processes = self.recipe, self.accelerator.num_processes
        parts = num_processes * recipe.gradient_accumulation_steps
        if recipe.batch_size % parts:
            raise ValueError(
                f"batch_size must be a multiple of {num_processes} processes times gradient_accumulation_steps="
                f"{recipe.gradient_accumulation_steps}, got batch_size={recipe.batch_size}."
            )
        if not recipe.streaming and len(self.samples) < recipe.batch_size:
            raise ValueError(
                f"batch_size must be at most the {len(self.samples)} pictures of train_split={recipe.train_split!r}, "
                f"got batch_size={recipe.batch_size}."
            )
        return recipe.batch_size // parts

    def _count_steps(self) -> None:
        recipe = self.recipe
        # a stream's length is unknown: it counts as one epoch
        self.steps_per_epoch = recipe.max_steps if recipe.streaming else len(self.samples) // recipe.batch_size
        self.num_steps = recipe.max_steps or max(1, round(recipe.num_train_epochs * self.steps_per_epoch))
        self.eval_steps = recipe.eval_steps or self.steps_per_epoch
        self.save_steps = recipe.save_steps or self.eval_steps

    @property
    def unwrapped(self) -> PreTrainedModel:
        """The model without what Accelerate put around it."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    @property
    def trained(self) -> PreTrainedModel:
        """What is evaluated and saved: the averaged weights if they are averaged, gathered if they are shared out."""
        if self.sharded:
            options = StateDictOptions(full_state_dict=True)
            self.whole.load_state_dict(get_model_state_dict(self.unwrapped, options=options))
            return self.whole
        return self.average.module if self.average else self.unwrapped

    def run(self) -> dict[str, float]:
        """Trains to the end, from the newest checkpoint where `resume` is set."""
        self._start()
        if self.progress.step == self.num_steps:  # at most, it was cut short while saving the last model
            return self._finish()
        # closed in the end, so that workers end whatever ends the run
        with requested_to_end() as request, closing(self._batches()) as batches:
            for batch in batches:
                self._train_on(batch)
                if self.accelerator.sync_gradients and self._is_end_after_step(request):
                    break
        return self._finish()

    def _is_end_after_step(self, request: threading.Event) -> bool:
        """Logs, evaluates and saves where it is time to, and says whether that was the last step."""
        step, is_last = self.progress.step, self.progress.step == self.num_steps
        if step % self.recipe.logging_steps == 0 or is_last:
            self._log()
        if step % self.eval_steps == 0 or is_last:
            self._evaluate()
        is_stopping = not is_last and self._all_agree(request)
        if step % self.save_steps == 0 or is_last or is_stopping:
            self._save_checkpoint()
        if is_stopping:
            self._save_model("last", self.progress.metrics if step % self.eval_steps == 0 else {})
            raise self._stopped(f"Asked to end, stopped after step {step} of {self.num_steps}.")
        return is_last

    def _start(self) -> None:
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_partial(self.folder)
            self.recipe.save(self.folder / "recipe.yaml")
        if self.recipe.resume:
            self.checkpoints.load_newest()
        if self.recipe.trackers:
            # TensorBoard takes neither lists nor None
            config = {
                name: value if isinstance(value, (bool, int, float)) else str(value)
                for name, value in asdict(self.recipe).items()
            }
            self.accelerator.init_trackers(self.folder.name, config=config)
        self.log = RunLog(self.accelerator, self.folder, self.progress.step, self.num_steps)
        self.losses, self.num_corrupt, self.time = [], [], time.perf_counter()

    def _batches(self) -> Iterator[dict[str, torch.Tensor]]:
        """Endless batches, from where the run stands: each epoch in another order, which its number decides."""
        if self.recipe.streaming:
            epoch, position = self.progress.epoch, 0  # the loader's own state has its place
        else:
            num_batches = self.progress.step * self.recipe.gradient_accumulation_steps
            epoch, position = divmod(num_batches, len(self.loader))
        is_resumed = self.progress.step > 0
        while True:
            self.progress.epoch = epoch
            self.samples.set_epoch(epoch)
            loader = accelerate.skip_first_batches(self.loader, position) if position else self.loader
            if not self.recipe.streaming:
                loader.set_epoch(epoch)
            number = -1
            for number, batch in enumerate(loader):  # noqa: B007
                yield batch
            # what a run that goes on had done of its epoch may have been all of it
            if number < 0 and not is_resumed:
                raise ValueError(
                    f"train_split={self.recipe.train_split!r} gives a process, or each of its num_workers="
                    f"{self.recipe.num_workers}, fewer pictures than the {self.loader.batch_size} of a batch."
                )
            epoch, position, is_resumed = epoch + 1, 0, False

    def _train_on(self, batch: dict[str, torch.Tensor]) -> None:
        self.model.train()
        batch = accelerate.utils.send_to_device(batch, self.accelerator.device, non_blocking=True)
        with self.accelerator.accumulate(self.model):
            loss = self.task.loss(self.model, batch)
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients and self.recipe.max_grad_norm:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.losses.append(loss.detach())
        self.num_corrupt.append(batch["num_corrupt"].sum())
        if self.accelerator.sync_gradients:
            self.learning_rate = self.scheduler.get_last_lr()[0]  # of this step, and the trunk's
            self.scheduler.step()
            if self.average:
                self.average.update_parameters(self.unwrapped)
            self.progress.step += 1
            self.log.bar.update()

    def _log(self) -> None:
        """Writes the record since the last one, and waits for the device only here."""
        step, parts = self.progress.step, self.recipe.gradient_accumulation_steps
        losses = self.accelerator.reduce(torch.stack(self.losses), "mean").view(-1, parts).mean(1)
        self.progress.num_corrupt += int(self.accelerator.reduce(torch.stack(self.num_corrupt), "sum").sum())
        seconds = time.perf_counter() - self.time
        self._check_losses(losses.tolist())
        figures = {
            "loss": losses.mean().item(),
            "learning_rate": self.learning_rate,
            "images_per_second": len(losses) * self.recipe.batch_size / seconds,
        }
        if self.progress.num_corrupt:
            figures["num_corrupt"] = self.progress.num_corrupt
        if torch.cuda.is_available():
            figures["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
        self.log.write(step, figures)
        self.log.bar.set_postfix({name: f"{value:.4g}" for name, value in figures.items()})
        self.losses, self.num_corrupt, self.time = [], [], time.perf_counter()

    def _check_losses(self, losses: list[float]) -> None:
        for step, loss in enumerate(losses, start=self.progress.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise self._stopped(
                    f"The loss became {loss} at step {step}. Try a lower learning_rate, or max_grad_norm."
                )

    def _evaluate(self) -> None:
        if self.losses:
            self._log()
        # each process has its own statistics of BatchNorm since its last step, and the main process saves its own
        model = self.trained
        accelerate.utils.broadcast(list(model.buffers()))
        metrics = evaluate_model(
            model,
            self.image_processor,
            self.test_set,
            settings=self.task.evaluation_settings,
            accelerator=self.accelerator,
            skip_corrupt=self.recipe.skip_corrupt,
        )
        self.log.write(self.progress.step, {f"eval/{name}": value for name, value in metrics.items()})
        self.progress.metrics = metrics
        main = next(iter(metrics.values()))
        if main > self.progress.best:
            self.progress.best = main
            self._save_model("best", metrics)
        self.time = time.perf_counter()

    def _save_checkpoint(self) -> None:
        if self.losses:
            self._log()
        self._check_weights()
        self.checkpoints.save(self.progress.step)
        self.time = time.perf_counter()

    def _check_weights(self) -> None:
        """A checkpoint must never hold what a step with a finite loss and an infinite gradient leaves."""
        parts = (getattr(weight, "to_local", lambda weight=weight: weight)() for weight in self.unwrapped.parameters())
        infinite = torch.tensor(sum(not part.isfinite().all() for part in parts), device=self.accelerator.device)
        if self.accelerator.reduce(infinite, "sum") > 0:
            raise self._stopped(f"Weights are not finite after step {self.progress.step}. Try a lower learning_rate.")

    def _save_model(self, name: str, metrics: dict[str, float]) -> None:
        model = self.trained  # gathered by all processes together
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        with atomic_folder(self.folder / name, keep_older=False) as folder:
            model.save_pretrained(folder)
            self.image_processor.save_pretrained(folder)
            write_metrics(folder / "metrics.json", {"step": self.progress.step, **metrics, **self.origin})
            self.recipe.save(folder / "recipe.yaml")

    def _all_agree(self, request: threading.Event) -> bool:
        """Whether the run shall end now; several processes ask each other only where they log."""
        if self.accelerator.num_processes == 1:
            return request.is_set()
        if self.progress.step % self.recipe.logging_steps:
            return False
        requests = torch.tensor(int(request.is_set()), device=self.accelerator.device)
        return self.accelerator.reduce(requests, "sum").item() > 0

    def _stopped(self, reason: str) -> TrainingStopped:
        self.log.close()
        self.accelerator.end_training()
        complete = self.checkpoints.complete()
        kept = f"{complete[-1][1]} is kept; resume=True goes on from it" if complete else "There is no checkpoint yet"
        return TrainingStopped(f"{reason} {kept}.")

    def _finish(self) -> dict[str, float]:
        self._save_model("last", self.progress.metrics)
        self.log.close()
        if self.accelerator.is_main_process:
            plot_curves(self.folder / "log.jsonl", self.folder / "curves.png")
        is_main_process = self.accelerator.is_main_process
        self.accelerator.end_training()
        # the other processes have ended by then: however long it takes, they don't wait
        if self.recipe.push_to_hub and is_main_process:
            push_best(self.recipe)
        return self.progress.metrics


def build_accelerator(recipe: Recipe) -> accelerate.Accelerator:
    check_trackers(recipe.trackers)
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


def check_hub(recipe: Recipe, accelerator: accelerate.Accelerator) -> None:
    """Raises an error in all processes unless the main one, which asks, may write to the repository."""
    errors = [None]
    if accelerator.is_main_process:
        try:
            import_extra("jinja2", "hub")  # for the card
            prepare_repo(recipe.hub_model_id, private=recipe.hub_private_repo)
        except (OSError, ValueError, ImportError) as error:
            errors = [error]
    [error] = accelerate.utils.broadcast_object_list(errors)
    if error is not None:
        raise error


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


def is_pretrained_of_hub(model: str) -> bool:
    """Whether a recipe's `model` names weights on the Hub, rather than a preset or a folder."""
    return "/" in model and is_hub_name(model)


def stateful_loader_class() -> type[DataLoader]:
    """A DataLoader whose workers say how far they have read a stream."""
    return import_extra("torchdata.stateful_dataloader").StatefulDataLoader


def check_trackers(names: list[str]) -> None:
    """Raises an error where Accelerate would go on without a tracker."""
    available = [str(name) for name in accelerate.tracking.get_available_trackers()]
    missing = [name for name in names if name not in ("all", *available)]
    if missing:
        raise ValueError(
            f"trackers must be installed and known to Accelerate, got {', '.join(missing)}; "
            f"there are {', '.join(available) or 'none'}."
        )


def check_folder(recipe: Recipe) -> None:
    """Raises an error where a run would write over something, or go on with another recipe."""
    folder = Path(recipe.output_dir)
    if folder.exists() and not recipe.resume and not _is_free(folder):
        raise FileExistsError(
            f"output_dir={recipe.output_dir!r} is not empty: resume=True goes on with the run in it, "
            "or choose another folder."
        )
    if not recipe.resume or not (folder / "recipe.yaml").exists():
        return
    try:
        former = asdict(load_recipe(type(recipe), folder / "recipe.yaml"))
    except ValueError as error:
        raise ValueError(f"{folder / 'recipe.yaml'} is no recipe to go on with: {error}") from error
    changed = [name for name, value in asdict(recipe).items() if name not in FREE_FIELDS and former[name] != value]
    if changed:
        raise ValueError(
            f"{folder} holds a run with {', '.join(f'{name}={former[name]!r}' for name in changed)}: it can't go on "
            f"with {', '.join(f'{name}={getattr(recipe, name)!r}' for name in changed)}."
        )


def _is_free(folder: Path) -> bool:
    """Whether there is nothing in it but what a run has left that ended before its first checkpoint."""
    return folder.is_dir() and all(path.name in ("recipe.yaml", "log.jsonl") for path in folder.iterdir())


def leave_process_group(worker: int) -> None:
    """A SIGTERM often goes to the whole group of processes, but to end well, training needs its workers."""
    if hasattr(os, "setpgrp"):  # not on Windows
        os.setpgrp()


@contextmanager
def requested_to_end() -> Iterator[threading.Event]:
    """An event that is set when the process gets a SIGTERM, which then doesn't end it."""
    request = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # where signals can't be had
        yield request
        return
    former = signal.signal(signal.SIGTERM, lambda *_: request.set())
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, former)
