# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that read and prepare pictures ahead of the one that needs them."""

import builtins
import io
import os
import pickle
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..files import one_line


# How torch begins the error of a worker, before the whole traceback of it.
_IN_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process \d+\.\nOriginal Traceback")
# What torch says where a worker was killed, or where what it made can't be handed over.
_LOST = ("DataLoader worker (pid", "</torch_", "items of ancdata", "Communication with the workers")
LOST_ADVICE = (
    "Often memory is used up, or the shared memory (/dev/shm) of a container: try less num_workers, or num_workers=0."
)
# Where tensors begin in what a worker hands over: a multiple of the size of every type.
_ALIGNMENT = 16


def ready_batches(samples: Dataset | IterableDataset, batch_size: int, num_workers: int = 0) -> Iterator[list[Any]]:
    """Lists of `batch_size` samples in their order, made by workers while those before are used.

    No random number is drawn, and no worker started that would have nothing to do.

    Args:
        samples: Gives a sample by its index, anything that can be pickled; of what is only iterated, this process
            reads all by itself.
        batch_size: Length of the lists, but for the last one.
        num_workers: Processes. Default: this process makes each sample when it is needed.

    Raises:
        ChildProcessError: A worker was killed.
        ValueError: `batch_size` is below 1, or `num_workers` below 0.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    is_stream = isinstance(samples, IterableDataset)
    num_workers = 0 if is_stream else min(num_workers, max(ceil(len(samples) / batch_size) - 1, 0))
    return _batches(samples, batch_size, num_workers)


def _batches(samples: Dataset, batch_size: int, num_workers: int) -> Iterator[list[Any]]:
    loader = DataLoader(
        samples,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=_packed if num_workers else list,
        generator=torch.Generator(),  # of which it draws, instead of the one of a training around it
        worker_init_fn=leave_process_group,
    )
    try:
        for batch in batches_of(loader):
            yield _unpacked(batch) if num_workers else batch
    except RuntimeError as error:
        if not is_lost_worker(error):
            raise
        reason = f"A worker that loads pictures was lost ({one_line(error):.200}). {LOST_ADVICE}"
        raise ChildProcessError(reason) from error


class _Packed(NamedTuple):
    """What a worker hands over: torch would do so with each tensor by itself, in a file and a connection of its own.

    Attributes:
        content: A pickle without its tensors.
        kinds: First byte, type and shape of each of these.
        values: All of them, (N,) uint8.
    """

    content: bytes
    kinds: list[tuple[int, torch.dtype, torch.Size]]
    values: torch.Tensor


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors = []

    def persistent_id(self, value: Any) -> int | None:
        if type(value) is not torch.Tensor:
            return None
        self.tensors.append(value)
        return len(self.tensors) - 1


class _Unpacker(pickle.Unpickler):
    def __init__(self, packed: _Packed):
        super().__init__(io.BytesIO(packed.content))
        self.packed = packed

    def persistent_load(self, place: int) -> torch.Tensor:
        start, dtype, shape = self.packed.kinds[place]
        return self.packed.values[start : start + shape.numel() * dtype.itemsize].view(dtype).view(shape)


def _packed(batch: list[Any]) -> _Packed:
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(batch)
    kinds, end = [], 0
    for tensor in packer.tensors:
        kinds.append((end, tensor.dtype, tensor.shape))
        end += ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT
    values = torch.empty(end, dtype=torch.uint8)
    for (start, _, _), tensor in zip(kinds, packer.tensors, strict=True):
        values[start : start + tensor.nbytes] = tensor.reshape(-1).view(torch.uint8)
    return _Packed(file.getvalue(), kinds, values)


def _unpacked(packed: _Packed) -> list[Any]:
    return _Unpacker(packed).load()


def leave_process_group(worker: int) -> None:
    """A SIGTERM often goes to the whole group of processes, but to end well, the process needs its workers."""
    if hasattr(os, "setpgrp"):  # not on Windows
        os.setpgrp()


def batches_of(loader: Iterable[Any]) -> Iterator[Any]:
    """What a loader gives; errors in its workers are as they would be without workers."""
    try:
        for batch in loader:
            _leave_lost_workers_to_loaders()
            yield batch
    except Exception as error:
        plain = _as_without_workers(error)
        if plain is error:
            raise
        raise plain from error


def _leave_lost_workers_to_loaders() -> None:
    """Undoes torch's handler of SIGCHLD, which raises in the midst of anything, where nothing can catch it too.

    A loader that waits looks after its workers every few seconds by itself, and raises where it is asked for a batch.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return
    if getattr(signal.getsignal(signal.SIGCHLD), "__module__", "").startswith("torch"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _as_without_workers(error: Exception) -> Exception:
    """What was raised in a worker, with its own message alone; mistakes of ours keep the traceback."""
    found = _IN_WORKER.match(str(error))
    if found is None:
        return error
    # torch makes a RuntimeError of those that it can't make again
    kind = type(error) if type(error).__name__ == found[1] else getattr(builtins, found[1], RuntimeError)
    if not issubclass(kind, (ValueError, OSError)):
        return error
    said = re.split(rf"^(?:[\w.]+\.)?{found[1]}: ", str(error), flags=re.MULTILINE)[-1].strip()
    return type(error)(said) if kind is type(error) else ValueError(said)


def is_lost_worker(error: Exception) -> bool:
    """Whether it says that a worker was killed; before the first batch torch raises that in the midst of anything."""
    return any(text in str(error) for text in _LOST)
