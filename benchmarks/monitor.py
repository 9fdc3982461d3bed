# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a process holds while it works: memory, tensors, open files, threads."""

import ctypes
import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from hf_gpvit.extras import import_extra


psutil = import_extra("psutil", "benchmark")

QUANTITIES = ("rss_bytes", "heap_bytes", "tensors", "open_files", "threads")
TENSORS_EVERY = 10  # samples, because looking at every object takes a while
SECONDS_PER_LINE = 60
# of glibc's struct mallinfo2, in its order
HEAP_FIELDS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


@dataclass
class Counter:
    """Works of a kind: how many, and how long they took together."""

    times: int = 0
    seconds: float = 0.0


@dataclass
class Monitor:
    """Samples the process between two works, where nothing is under way, until its time is over.

    Memory is what is resident (RSS), as the system sees it; and what is allocated on the heap, where the C library is
    one that tells: the rest of what is resident is gaps in the heap, and libraries. Tensors are counted after a
    collection of reference cycles: those that wait for Python's own collection are no leak. It frees some memory a
    little sooner than would happen anyway; nothing else is done to keep memory low.

    Attributes:
        name: What its lines begin with.
        seconds: How long works are to go on.
        interval: Least seconds from one sample to the next.
        works: By name.
        samples: A list for "seconds" since the start and for each of `QUANTITIES`; None where one wasn't counted.
        is_interrupted: Whether somebody has asked to end before that.
    """

    name: str
    seconds: float
    interval: float = 1.0
    works: dict[str, Counter] = field(default_factory=dict)
    samples: dict[str, list] = field(default_factory=lambda: {name: [] for name in ("seconds", *QUANTITIES)})
    is_interrupted: bool = False

    def __post_init__(self):
        self._process = psutil.Process()
        self._start = time.perf_counter()
        self._next_line = 0.0
        self._take_sample()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def is_over(self) -> bool:
        return self.is_interrupted or self.elapsed >= self.seconds

    def run(self, name: str, work: Callable[[], object]) -> None:
        """Does a work, drops its result, and takes a sample if it is time to."""
        start = self.elapsed
        work()
        counter = self.works.setdefault(name, Counter())
        counter.times += 1
        counter.seconds += self.elapsed - start
        if self.elapsed >= self._next_sample:
            self._take_sample()

    def _take_sample(self) -> None:
        number = len(self.samples["seconds"])
        self.samples["seconds"].append(self.elapsed)
        self.samples["rss_bytes"].append(self._process.memory_info().rss)
        self.samples["heap_bytes"].append(heap_bytes())
        self.samples["tensors"].append(count_tensors() if number % TENSORS_EVERY == 0 else None)
        self.samples["open_files"].append(self._count_open_files())
        self.samples["threads"].append(self._process.num_threads())
        self._next_sample = self.elapsed + self.interval
        if self.elapsed >= self._next_line:
            self._print_line()
            self._next_line += SECONDS_PER_LINE

    def _count_open_files(self) -> int:
        return self._process.num_handles() if psutil.WINDOWS else self._process.num_fds()

    def _print_line(self) -> None:
        last = ", ".join(f"{name} {self.samples[name][-1]:,}" for name in QUANTITIES if self.samples[name][-1])
        done = sum(counter.times for counter in self.works.values())
        print(f"{self.name}, {self.elapsed / 60:.0f} min: {done:,} works, {last}", flush=True)


class _HeapInfo(ctypes.Structure):
    """What glibc's mallinfo2 gives, from its version 2.33 on."""

    _fields_ = [(name, ctypes.c_size_t) for name in HEAP_FIELDS]


def heap_bytes() -> int | None:
    """Bytes that are allocated and not freed, from heap and system; None where glibc isn't the C library."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    mallinfo.restype = _HeapInfo
    info = mallinfo()
    return info.uordblks + info.hblkhd


def count_tensors() -> int:
    """Tensors that Python can reach."""
    gc.collect()
    # the type, because objects that only stand for something else would load it if they were asked for their class
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@contextmanager
def interruptible(monitor: Monitor) -> Iterator[None]:
    """SIGINT (Ctrl-C) ends the works after the one that is under way, rather than anywhere in it."""

    def interrupt(*_) -> None:
        monitor.is_interrupted = True

    former = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
