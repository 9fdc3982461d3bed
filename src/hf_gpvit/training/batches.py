# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Batches without an end, of a dataset or of a stream, from any step on."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..data.rows import RowReader
from ..data.samples import StreamedSamples, TrainingSamples
from ..data.workers import batches_of, leave_process_group
from ..extras import import_extra
from ..tasks.recipe import Recipe
from .checkpoints import Progress


accelerate = import_extra("accelerate")


class Batches:
    """What `DatasetBatches` and `StreamBatches` have in common.

    `prepare` gives back what it is given as Accelerate prepares it. `starting_at` gives endless batches from where a
    run stands, whose `epoch` it keeps up to date.

    Attributes:
        steps_per_epoch: Optimizer steps that count as one epoch.
        stateful: The loader, if a checkpoint must keep its state besides the run's progress, or None.
    """

    steps_per_epoch: int
    stateful: DataLoader | None = None

    def __init__(self, recipe: Recipe, accelerator: accelerate.Accelerator, loader: DataLoader):
        self.recipe, self.accelerator = recipe, accelerator
        self.loader, self.samples = loader, loader.dataset


class DatasetBatches(Batches):
    """Each epoch in another order, which its number decides; the step says where a run is."""

    def __init__(self, recipe: Recipe, accelerator: accelerate.Accelerator, loader: DataLoader):
        super().__init__(recipe, accelerator, loader)
        if len(self.samples) < recipe.batch_size:
            raise ValueError(
                f"batch_size must be at most the {len(self.samples)} pictures of train_split={recipe.train_split!r}, "
                f"got batch_size={recipe.batch_size}."
            )
        self.steps_per_epoch = len(self.samples) // recipe.batch_size

    def prepare(self, *others: Any) -> list[Any]:
        *others, self.loader = self.accelerator.prepare(*others, self.loader)
        return others

    def starting_at(self, progress: Progress) -> Iterator[dict[str, torch.Tensor]]:
        num_done = progress.step * self.recipe.gradient_accumulation_steps
        first, position = divmod(num_done, len(self.loader))
        for epoch in count(first):
            progress.epoch = epoch
            self.samples.set_epoch(epoch)
            loader = accelerate.skip_first_batches(self.loader, position) if position else self.loader
            loader.set_epoch(epoch)
            yield from batches_of(loader)
            position = 0


class StreamBatches(Batches):
    """Each process reads its own part of the stream; how far, the loader's state says."""

    def __init__(self, recipe: Recipe, accelerator: accelerate.Accelerator, loader: DataLoader):
        super().__init__(recipe, accelerator, loader)
        self.steps_per_epoch = recipe.max_steps  # its length is unknown: it counts as one epoch
        self.stateful = loader

    def prepare(self, *others: Any) -> list[Any]:
        return list(self.accelerator.prepare(*others))  # the loader gives this process its own part already

    def starting_at(self, progress: Progress) -> Iterator[dict[str, torch.Tensor]]:
        is_resumed = progress.step > 0
        for epoch in count(progress.epoch):
            progress.epoch = epoch
            self.samples.set_epoch(epoch)
            number = -1
            for number, batch in enumerate(batches_of(self.loader)):  # noqa: B007
                yield batch
            # what a run that goes on had done of its epoch may have been all of it
            if number < 0 and not is_resumed:
                raise ValueError(
                    f"train_split={self.recipe.train_split!r} gives a process, or each of its num_workers="
                    f"{self.recipe.num_workers}, fewer pictures than the {self.loader.batch_size} of a batch."
                )
            is_resumed = False


def build_batches(
    recipe: Recipe,
    accelerator: accelerate.Accelerator,
    dataset: Any,
    reader: RowReader,
    transform: Callable,
    collate: Callable | None = None,
) -> Batches:
    """The batches of a recipe.

    Args:
        recipe: Decides sizes, order and workers.
        accelerator: Its processes share each batch.
        dataset, reader, transform: As `TrainingSamples` or, of a stream, `StreamedSamples` take them.
        collate: Makes a batch of a list of samples. Default: stacks them.

    Raises:
        ValueError: A batch can't be shared out among processes and accumulated parts, or is more than the dataset; or
            the samples can't be had of `dataset`. While iterating: a process gets less than a batch of a stream.
    """
    what = (dataset, reader, transform, recipe.seed, recipe.skip_corrupt)
    if recipe.streaming:
        samples = StreamedSamples(*what, accelerator.process_index, accelerator.num_processes)
        loader_class = import_extra("torchdata.stateful_dataloader").StatefulDataLoader
        kind, order = StreamBatches, {}
    else:
        samples = TrainingSamples(*what)
        loader_class = DataLoader
        kind, order = DatasetBatches, {"shuffle": True}
    loader = loader_class(
        samples,
        batch_size=batch_size_of_process(recipe, accelerator.num_processes),
        num_workers=recipe.num_workers,
        collate_fn=collate,
        drop_last=True,
        pin_memory=torch.accelerator.is_available(),
        # every start of an epoch draws from it: a run that goes on amid one would have drawn once more than others
        generator=torch.Generator(),
        worker_init_fn=leave_process_group,
        **order,
    )
    return kind(recipe, accelerator, loader)


def batch_size_of_process(recipe: Recipe, num_processes: int) -> int:
    """Pictures that a process sees at once."""
    parts = num_processes * recipe.gradient_accumulation_steps
    if recipe.batch_size % parts:
        raise ValueError(
            f"batch_size must be a multiple of {num_processes} processes times gradient_accumulation_steps="
            f"{recipe.gradient_accumulation_steps}, got batch_size={recipe.batch_size}."
        )
    return recipe.batch_size // parts
