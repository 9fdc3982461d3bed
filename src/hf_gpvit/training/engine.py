# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""One loop that trains classifiers and segmentors, on Accelerate."""

import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from ..data.loading import load_data
from ..data.samples import StreamedSamples, TrainingSamples
from ..extras import import_extra
from ..files import atomic_folder
from .building import build_model
from .checkpoints import Checkpoints
from .evaluation import evaluate_model
from .parameter_groups import parameter_groups
from .recipe import Recipe, load_recipe
from .run_log import RunLog, plot_curves
from .schedule import learning_rate_factor
from .tasks import TASKS


accelerate = import_extra("accelerate")

# Pictures of a stream among which the next one is drawn.
SHUFFLE_BUFFER = 1000
# Fields with which a run may go on differently.
FREE_FIELDS = ("output_dir", "resume", "num_workers", "logging_steps", "max_checkpoints", "trackers")


class TrainingStopped(RuntimeError):
    """Training ended early: the message says why, and what to go on from."""


@dataclass
class Progress:
    """Where a run stands; part of its checkpoints."""

    step: int = 0
    batches: int = 0  # that this process computed: gradient_accumulation_steps of them are a step
    num_corrupt: int = 0
    best: float = -math.inf
    metrics: dict[str, float] = field(default_factory=dict)  # of the last evaluation

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


def train(recipe: Recipe) -> dict[str, float]:
    """Trains, evaluates and saves as `recipe` says.

    Leaves in `recipe.output_dir`: `best` and `last` (folders with model, image processor and metrics.json),
    `checkpoints`, recipe.yaml, log.jsonl (a line per `logging_steps`, and per evaluation) and curves.png.

    Returns:
        The figures of the last evaluation; the first one decides which evaluation was best.

    Raises:
        ValueError: the recipe doesn't fit the data, the model or this machine, or a picture or mask is broken.
        FileExistsError: `output_dir` is in use, and `resume` not set.
        TrainingStopped: the loss was not finite, or the process was asked to end (SIGTERM); checkpoints are kept.
    """
    return Engine(recipe).run()


class Engine:
    """A run: what it needs, its loop, and what it leaves."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.folder = Path(recipe.output_dir)
        check_folder(recipe)
        self.accelerator = build_accelerator(recipe)
        accelerate.utils.set_seed(recipe.seed)
        self._load_data()
        self._build_model()
        self._build_loader()
        self._build_optimizer()
        self.progress = Progress()
        stateful = [self.scheduler, self.progress, *([self.average] if self.average else [])]
        self.accelerator.register_for_checkpointing(*stateful)
        self.checkpoints = Checkpoints(self.accelerator, self.folder / "checkpoints", recipe.max_checkpoints)
        accelerate.utils.set_seed(recipe.seed, device_specific=True)  # each process drops paths of its own

    def _load_data(self) -> None:
        recipe = self.recipe
        # the main process first: it fills the cache of `datasets`, the others read it
        with self.accelerator.main_process_first():
            data = load_data(
                recipe.dataset,
                recipe.task,
                name=recipe.dataset_name,
                train_split=recipe.train_split,
                eval_split=recipe.eval_split,
                image_column=recipe.image_column,
                target_column=recipe.target_column,
                class_names=recipe.names_or_label_set,
                streaming=recipe.streaming,
                skip_corrupt=recipe.skip_corrupt,
            )
        self.train_set, self.test_set, self.class_names = data.train, data.test, data.class_names

    def _build_model(self) -> None:
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
        self.model = self.accelerator.prepare(model)
        self.average = None
        if recipe.ema_decay:
            average = get_ema_multi_avg_fn(recipe.ema_decay)
            self.average = AveragedModel(self.unwrapped, multi_avg_fn=average, use_buffers=True)

    def _build_loader(self) -> None:
        recipe = self.recipe
        what = (self.task.transform(self.image_processor), len(self.class_names), recipe.seed, recipe.skip_corrupt)
        if recipe.streaming:
            stream = self.train_set.shuffle(recipe.seed, buffer_size=SHUFFLE_BUFFER)
            process = (self.accelerator.process_index, self.accelerator.num_processes)
            self.samples = StreamedSamples(stream, *what, *process)
        else:
            self.samples = TrainingSamples(self.train_set, *what)
        loader = DataLoader(
            self.samples,
            batch_size=self._batch_size_of_process(),
            shuffle=None if recipe.streaming else True,
            num_workers=recipe.num_workers,
            drop_last=True,
            pin_memory=torch.accelerator.is_available(),
            # every start of an epoch draws from it: a run that goes on amid one would have drawn once more than others
            generator=torch.Generator(),
            worker_init_fn=ignore_requests_to_end,
        )
        # a stream gives every process its own part already
        self.loader = loader if recipe.streaming else self.accelerator.prepare(loader)

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

    def _build_optimizer(self) -> None:
        recipe = self.recipe
        groups = parameter_groups(
            self.unwrapped,
            recipe.learning_rate,
            recipe.weight_decay,
            recipe.no_decay,
            recipe.head_learning_rate_factor,
        )
        # a stream's length is unknown: it counts as one epoch
        steps = recipe.max_steps if recipe.streaming else len(self.loader) // recipe.gradient_accumulation_steps
        self.num_steps = recipe.max_steps or math.ceil(recipe.num_train_epochs * steps)
        self.eval_steps = recipe.eval_steps or steps
        warmup_steps = recipe.warmup_steps or round(recipe.warmup_epochs * steps)

        def factor(step: int) -> float:
            schedule = (recipe.schedule, warmup_steps, recipe.warmup_start_ratio, recipe.min_learning_rate_ratio)
            return learning_rate_factor(step, self.num_steps, *schedule)

        self.optimizer = self.accelerator.prepare(torch.optim.AdamW(groups))
        # not prepared, because Accelerate would step it once for each process
        self.scheduler = LambdaLR(self.optimizer.optimizer, factor)

    @property
    def unwrapped(self) -> PreTrainedModel:
        """The model without what Accelerate put around it."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    @property
    def trained(self) -> PreTrainedModel:
        """What is evaluated and saved: the averaged weights where they are averaged."""
        return self.average.module if self.average else self.unwrapped

    def run(self) -> dict[str, float]:
        """Trains to the end, from the newest checkpoint where `resume` is set."""
        self._start()
        if self.progress.step == self.num_steps:  # at most, it was cut short while saving the last model
            return self._finish(self.progress.metrics)
        metrics = {}
        with requested_to_end() as request:
            for batch in self._batches():
                self._train_on(batch)
                if not self.accelerator.sync_gradients:
                    continue
                step, is_last = self.progress.step, self.progress.step == self.num_steps
                if step % self.recipe.logging_steps == 0 or is_last:
                    self._log()
                if step % self.eval_steps == 0 or is_last:
                    metrics = self._evaluate()
                if is_last:
                    break
                if self._all_agree(request):
                    self._stop(metrics if step % self.eval_steps == 0 else {})
        return self._finish(metrics)

    def _start(self) -> None:
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
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
        epoch, position = 0, 0
        if not self.recipe.streaming:
            epoch, position = divmod(self.progress.batches, len(self.loader))
        while True:
            self.samples.set_epoch(epoch)
            loader = accelerate.skip_first_batches(self.loader, position) if position else self.loader
            if not self.recipe.streaming:
                loader.set_epoch(epoch)
            before = self.progress.batches
            yield from loader
            if self.progress.batches == before:
                raise ValueError(
                    f"train_split={self.recipe.train_split!r} gives a process, or each of its "
                    f"num_workers={self.recipe.num_workers}, fewer pictures than the {loader.batch_size} of a batch."
                )
            epoch, position = epoch + 1, 0

    def _train_on(self, batch: dict[str, torch.Tensor]) -> None:
        self.model.train()
        batch = accelerate.utils.send_to_device(batch, self.accelerator.device, non_blocking=True)
        with self.accelerator.accumulate(self.model):
            loss = self.task.loss(self.model, batch["pixel_values"], batch["labels"])
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients and self.recipe.max_grad_norm:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.losses.append(loss.detach())
        self.num_corrupt.append(batch["num_corrupt"].sum())
        self.progress.batches += 1
        if self.accelerator.sync_gradients:
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
            "learning_rate": self.scheduler.get_last_lr()[0],
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

    def _evaluate(self) -> dict[str, float]:
        if self.losses:
            self._log()
        self._check_weights()
        # each process has its own statistics of BatchNorm since its last step, and the main process saves its own
        accelerate.utils.broadcast(list(self.trained.buffers()))
        metrics = evaluate_model(
            self.trained,
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
        self.checkpoints.save(self.progress.step)
        self.time = time.perf_counter()
        return metrics

    def _check_weights(self) -> None:
        """A checkpoint must never hold what a step with a finite loss and an infinite gradient leaves."""
        if not all(parameter.isfinite().all() for parameter in self.unwrapped.parameters()):
            raise self._stopped(f"Weights are not finite after step {self.progress.step}. Try a lower learning_rate.")

    def _save_model(self, name: str, metrics: dict[str, float]) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        with atomic_folder(self.folder / name, keep_older=False) as folder:
            self.trained.save_pretrained(folder)
            self.image_processor.save_pretrained(folder)
            record = {name: None if math.isnan(value) else value for name, value in metrics.items()}
            (folder / "metrics.json").write_text(
                json.dumps({"step": self.progress.step, **record}, indent=2), encoding="utf-8"
            )
            self.recipe.save(folder / "recipe.yaml")

    def _all_agree(self, request: threading.Event) -> bool:
        """Whether the run shall end now; several processes ask each other only where they log."""
        if self.accelerator.num_processes == 1:
            return request.is_set()
        if self.progress.step % self.recipe.logging_steps:
            return False
        requests = torch.tensor(int(request.is_set()), device=self.accelerator.device)
        return self.accelerator.reduce(requests, "sum").item() > 0

    def _stop(self, metrics: dict[str, float]) -> None:
        """Saves and ends; `metrics` are those of an evaluation after this step, which has saved the checkpoint."""
        if self.losses:
            self._log()
        if not metrics:
            self._check_weights()
            self.checkpoints.save(self.progress.step)
        self._save_model("last", metrics)
        raise self._stopped(f"Asked to end, stopped after step {self.progress.step} of {self.num_steps}.")

    def _stopped(self, reason: str) -> TrainingStopped:
        self.log.close()
        self.accelerator.end_training()
        complete = self.checkpoints.complete()
        kept = f"{complete[-1][1]} is kept; resume=True goes on from it" if complete else "There is no checkpoint yet"
        return TrainingStopped(f"{reason} {kept}.")

    def _finish(self, metrics: dict[str, float]) -> dict[str, float]:
        self._save_model("last", metrics)
        self.log.close()
        if self.accelerator.is_main_process:
            plot_curves(self.folder / "log.jsonl", self.folder / "curves.png")
        self.accelerator.end_training()
        return metrics


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
    former = asdict(load_recipe(type(recipe), folder / "recipe.yaml"))
    changed = [name for name, value in asdict(recipe).items() if name not in FREE_FIELDS and former[name] != value]
    if changed:
        raise ValueError(
            f"{folder} holds a run with {', '.join(f'{name}={former[name]!r}' for name in changed)}: it can't go on "
            f"with {', '.join(f'{name}={getattr(recipe, name)!r}' for name in changed)}."
        )


def _is_free(folder: Path) -> bool:
    """Whether there is nothing in it but what a run has left that ended before its first checkpoint."""
    return folder.is_dir() and all(path.name in ("recipe.yaml", "log.jsonl") for path in folder.iterdir())


def ignore_requests_to_end(worker: int) -> None:
    """A SIGTERM goes to the whole group of processes, but the training process needs its workers to end well."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


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
