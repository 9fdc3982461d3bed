# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Memory over a long run: half an hour of mixed inference, and half an hour of training, both at once.

    python benchmarks/long_run.py
    python benchmarks/long_run.py --modes inference --minutes 120

Each mode is a process of its own with one thread. Between two works, once a second, it looks up what it holds:
memory, open files, threads, and every tenth time the tensors that Python can reach. Models are small, because small
ones do more in the time, and leaks are of objects. All is on the CPU, where resident memory is all there is.

The run fails (exit status 1) if one of them grows beyond noise; trend.py says what that is. What is unclear, or too
short to tell, is said to be so and does not fail it. Resident memory that grows while what is allocated on the heap
does not is fragmentation. Ctrl-C ends it early with the figures so far.

Writes MODE.json with the samples of each mode, and long_run.md, long_run.json and long_run.png with those of both that
are in the output folder, also from an earlier run.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from transformers.utils import logging

from hf_gpvit.extras import import_extra
from hf_gpvit.files import write_whole
from long_run_report import write_report
from machine import describe_machine
from mixed_inference import run_inference
from mixed_training import run_training
from monitor import Monitor, interruptible
from speed import positive as positive_integer


# oneDNN compiles some operations anew for every shape, and PyTorch keeps the last 1024 of up to 0.6 MB each: with ever
# new shapes that looks like a leak for thousands of works, so here it keeps fewer
CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
Process = multiprocessing.get_context("spawn").Process
MODES = {"inference": run_inference, "training": run_training}


def run_modes(modes: Sequence[str], arguments: Namespace) -> None:
    """Each mode in a process of its own, side by side."""
    processes = [Process(target=run_mode, args=(mode, arguments)) for mode in modes]

    def pass_on(*_) -> None:
        for process in filter(Process.is_alive, processes):
            os.kill(process.pid, signal.SIGINT)

    os.environ.update(CACHES | os.environ)
    for process in processes:
        process.start()
    former = signal.signal(signal.SIGINT, pass_on)
    try:
        for process in processes:
            process.join()
    finally:
        signal.signal(signal.SIGINT, former)
    failed = [mode for mode, process in zip(modes, processes, strict=True) if process.exitcode]
    if failed:
        raise RuntimeError(f"The process of {' and of '.join(failed)} failed; see its message above.")


def run_mode(mode: str, arguments: Namespace) -> None:
    """Works, and writes the samples."""
    # this process was spawned; those that load pictures start as they do in a user's
    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    logging.disable_progress_bar()
    import_extra("datasets").disable_progress_bars()
    monitor = Monitor(mode, 60 * arguments.minutes, arguments.interval)
    with tempfile.TemporaryDirectory() as folder, interruptible(monitor):
        MODES[mode](monitor, Path(folder), arguments.seed)
    record = {
        "machine": describe_machine(torch.device("cpu")),
        "minutes": monitor.elapsed / 60,
        "is_interrupted": monitor.is_interrupted,
        "works": {name: asdict(counter) for name, counter in monitor.works.items()},
        "samples": monitor.samples,
    }
    write_whole(arguments.output_dir / f"{mode}.json", json.dumps(record) + "\n")


def positive(text: str) -> float:
    """A number above 0."""
    number = float(text)
    if not number > 0:
        raise ValueError(text)
    return number


def main(argv: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="by default both")
    parser.add_argument("--minutes", type=positive, default=30.0, help="of each mode; by default %(default)s")
    parser.add_argument("--interval", type=positive, default=1.0, help="seconds between samples")
    parser.add_argument("--threads", type=positive_integer, default=1, help="of each process; by default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/long_run"), help="by default %(default)s")
    arguments = parser.parse_args(argv)
    run_modes(list(dict.fromkeys(arguments.modes)), arguments)
    return int(write_report(arguments.output_dir, MODES))


if __name__ == "__main__":
    sys.exit(main())
