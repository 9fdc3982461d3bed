# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From rows of a dataset to the samples that a `torch.utils.data.DataLoader` makes batches of.

The augmentation of a sample depends on the seed, the epoch and the sample alone: neither on the worker that makes it
nor on what was made before. A resumed run sees what an uninterrupted one sees, with any number of workers.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.utils import logging

from ..extras import import_extra
from .pictures import UnreadablePictureError
from .rows import RowReader


split_dataset_by_node = import_extra("datasets.distributed").split_dataset_by_node
logger = logging.get_logger(__name__)

# Rows of a stream that are shuffled among themselves; they wait encoded, some 100 MB of photographs.
BLOCK_SIZE = 1000


class TrainingSamples(torch.utils.data.Dataset):
    """A dataset as samples to train on: dicts of what the model takes by name, and `num_corrupt`, 0 or 1.

    That is `pixel_values`, (3, H, W) float, and `labels`: a class id, or (H, W) int64 class ids with 255 where nothing
    is to be learned. The augmentation of a sample is a function of (`seed`, epoch, index); torch's random state is
    left as it was.

    Args:
        dataset: `datasets.Dataset` with the columns of `reader`, such as `load_data` gives.
        reader: Reads the rows: that of the task.
        transform: Augments what was read: that of the task, or a callable of the same arguments. Its random numbers
            must be torch's.
        seed: At least 0. Default 0.
        skip_corrupt: What to do about a picture that can't be decoded: raise, or put the next readable sample in its
            place, with `num_corrupt` 1. Default False: raise.

    Raises:
        ValueError: The columns are missing; on access: a picture can't be decoded, or its target is missing or wrong.
            The message names the file, or the row where there is none.
    """

    def __init__(self, dataset, reader: RowReader, transform: Callable, seed: int = 0, skip_corrupt: bool = False):
        self.reader = reader
        self.dataset = reader.undecoded(dataset)
        self.transform = transform
        self.seed = seed
        self.skip_corrupt = skip_corrupt
        # in shared memory, because persistent workers keep the copy of this object that they were started with
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Other augmentations than in other epochs. Call it before the epoch's batches are drawn."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        image, target, num_corrupt = self._read(index)
        with _random_state(self.seed, self._epoch.item(), index):
            return self.reader.sample(self.transform, image, target) | {"num_corrupt": num_corrupt}

    def _read(self, index: int) -> tuple[Image.Image, Any, int]:
        """Decoded picture and target of the first readable row from `index` on, and whether that is another one."""
        for offset in range(len(self)):
            row = (index + offset) % len(self)
            try:
                return *self.reader.read(self.dataset[row], f"row {row}"), int(offset > 0)
            except UnreadablePictureError as error:
                if not self.skip_corrupt:
                    raise
                logger.warning_once(f"{error} Another sample takes its place.")
        raise ValueError(f"None of the {len(self)} samples can be read.")


class StreamedSamples(torch.utils.data.IterableDataset):
    """The same over a dataset that is streamed; `num_corrupt` counts the unreadable samples skipped just before.

    Each process, and in it each worker of a DataLoader, reads its own part of the stream (a worker needs a shard of
    its own: more workers than `dataset.num_shards` have nothing to do). The augmentation of a sample is a function of
    (`seed`, epoch, encoded picture), because a part of a stream doesn't know the number of its rows in the whole.

    Rows are read in blocks, and the rows of a block come in another order in each epoch. Blocks follow each other as
    they are stored, so what is stored class by class should be shuffled once.

    `state_dict` and `load_state_dict` are for torchdata's `StatefulDataLoader`: iteration goes on after the last
    sample, by reading the current block again. They follow what is yielded in one process; workers have copies.

    Args:
        dataset: `datasets.IterableDataset` with the columns of `TrainingSamples`' one.
        reader, transform, seed: As in `TrainingSamples`.
        skip_corrupt: Skip pictures that can't be decoded rather than raise. Default False.
        process_index, num_processes: Which part of the stream this process reads. Default: all of it.

    Raises:
        ValueError: As in `TrainingSamples`. With `skip_corrupt`, if a worker can read nothing of its whole part.
    """

    def __init__(
        self,
        dataset,
        reader: RowReader,
        transform: Callable,
        seed: int = 0,
        skip_corrupt: bool = False,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        self.reader = reader
        dataset = reader.undecoded(dataset)
        if num_processes > 1:
            dataset = split_dataset_by_node(dataset, process_index, num_processes)
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.skip_corrupt = skip_corrupt
        # the dataset's state before the current block, the block's number, and how much of it was yielded
        self._state = {"epoch": 0, "start": None, "block": 0, "position": 0}
        self._resumed = None

    def set_epoch(self, epoch: int) -> None:
        """Another order and other augmentations. Call it before an epoch's batches are drawn."""
        self.dataset.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = self._resumed = dict(state_dict)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch, resumed = self.dataset.epoch, self._resumed
        is_resumed = resumed is not None and resumed["epoch"] == epoch
        num_corrupt, empty = 0, not is_resumed
        for place, row in self._rows(epoch, resumed if is_resumed else None):
            try:
                image, target = self.reader.read(row, place)
            except UnreadablePictureError as error:
                if not self.skip_corrupt:
                    raise
                logger.warning_once(f"{error} It is skipped.")
                num_corrupt += 1
                continue
            with _random_state(self.seed, epoch, _fingerprint(row["image"])):
                sample = self.reader.sample(self.transform, image, target)
            yield sample | {"num_corrupt": num_corrupt}
            num_corrupt, empty = 0, False
        if num_corrupt and empty:
            raise ValueError(f"None of the {num_corrupt} samples of this worker's part of the stream can be read.")

    def _rows(self, epoch: int, resumed: dict[str, Any] | None) -> Iterator[tuple[str, dict]]:
        """Places and undecoded rows, block by block, each block in an order that seed, epoch and its number decide."""
        start, number, done = None, 0, 0
        if resumed is not None:
            start, number, done = resumed["start"], resumed["block"], resumed["position"]
        if start is not None:
            self.dataset.load_state_dict(start)
        rows = iter(self.dataset)
        while block := list(islice(rows, BLOCK_SIZE)):
            following = self.dataset.state_dict()
            with _random_state(self.seed, epoch, number):
                order = torch.randperm(len(block)).tolist()
            for position in range(done, len(block)):
                self._state = {"epoch": epoch, "start": start, "block": number, "position": position + 1}
                yield f"row {number * BLOCK_SIZE + order[position]} of this worker's part", block[order[position]]
            start, number, done = following, number + 1, 0


def _fingerprint(picture: dict) -> int:
    """Of the encoded picture, or of where it is if that is all there is."""
    return zlib.crc32(picture["bytes"] if picture["bytes"] is not None else picture["path"].encode())


@contextmanager
def _random_state(*key: int) -> Iterator[None]:
    """Torch's CPU random numbers as `key` says, and afterwards as if nothing had been drawn."""
    [seed] = np.random.SeedSequence(key).generate_state(1)
    state = torch.get_rng_state()
    # torch.manual_seed would seed the accelerators' generators too
    torch.default_generator.manual_seed(int(seed))
    try:
        yield
    finally:
        torch.set_rng_state(state)
