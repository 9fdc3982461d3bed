# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Table 10 of GPViT's paper: time per picture and peak memory of GPViT and of plain vision transformers as wide."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size

from entrants import MODELS, Work
from hf_gpvit.costs import count_plain_macs
from own_process import limit_memory, peak_bytes, run_alone
from published import TIMES
from report import MEBIBYTE, markdown_table
from timing import Clock, build, make_step, run_rounds


GIBIBYTE = 2**30


@dataclass(frozen=True)
class Conditions:
    """What holds for all entrants.

    Attributes:
        device: Such as "cpu".
        threads: Of the CPU.
        rounds: How often a step is timed, after one that is not.
        attention: "sdpa", or "eager", which keeps all weights of an attention at once.
        memory_bytes: What an entrant may take.
        seconds: How long an entrant may take at one size, the start of its process and the building included.
    """

    device: str
    threads: int
    rounds: int
    attention: str
    memory_bytes: int
    seconds: float


def entrant_works(arguments: Namespace) -> list[Work]:
    """Every entrant at every size; pictures larger than 224x224 go one at a time."""
    return [
        Work(model, *size, arguments.batch_size if size == (224, 224) else 1, dtype=dtype)
        for dtype in arguments.dtypes
        for size in arguments.sizes
        for model in arguments.models
    ]


def measure(work: Work, conditions: Conditions) -> dict[str, Any]:
    """Seconds of steps and the memory that they take, to be called in a new process.

    Raises:
        MemoryError: There is not enough.
    """
    try:
        return _measured(work, conditions)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        raise MemoryError("out of memory") from None


def _measured(work: Work, conditions: Conditions) -> dict[str, Any]:
    device = torch.device(conditions.device)
    torch.set_num_threads(conditions.threads)
    torch.manual_seed(0)
    _limit(conditions.memory_bytes, device)
    before = peak_bytes()
    model = build(work, device)
    model.set_attn_implementation(conditions.attention)
    clock = Clock(make_step(model, work, device))
    clock.step()
    clock.calibrate()
    run_rounds([clock], conditions.rounds)
    taken = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes() - before
    return {"seconds": clock.times, "memory_bytes": taken}


def _limit(num_bytes: int, device: torch.device) -> None:
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(num_bytes / total, 1.0), device)
    else:
        limit_memory(num_bytes)


def measured_row(work: Work, conditions: Conditions) -> dict[str, Any]:
    """What was measured of an entrant, in plain units of one picture, or `skipped`: why nothing was."""
    with torch.device("meta"):
        model = MODELS[work.model](work.height, work.width)
        macs = count_plain_macs(model, work.height, work.width)
    row = {**asdict(work), "parameters": model.num_parameters(), "macs_per_image": macs}
    try:
        found = run_alone(measure, work, conditions, seconds=conditions.seconds)
    except TimeoutError as error:
        return row | {"skipped": f"time limit: {error}"}
    except MemoryError as error:
        return row | {"skipped": f"memory: {error}; limit {conditions.memory_bytes / GIBIBYTE:.1f} GiB"}
    return row | found | {"seconds_per_image": median(found["seconds"]) / work.batch_size}


def time_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, one line for an entrant at a size, with what the paper prints."""
    head = ["model", "input", "dtype", "parameters (M)", "paper", "GMAC per image", "ms per image", "range"]
    lines = [[*head, "memory (MB)", "paper: ms, 2080 Ti"]]
    for row in rows:
        parameters, times = TIMES[row["model"]]
        input_size = f"{row['batch_size']}x{row['height']}x{row['width']}"
        printed = times.get((row["height"], row["width"]))
        lines.append(
            [
                row["model"],
                input_size,
                row["dtype"],
                f"{row['parameters'] / 1e6:.1f}",
                parameters,
                f"{row['macs_per_image'] / 1e9:.1f}",
                *_measured_cells(row),
                "" if printed is None else printed or "out of memory",
            ]
        )
    return markdown_table(lines, 3)


def _measured_cells(row: dict[str, Any]) -> list[str]:
    """Time, its range and memory."""
    if "skipped" in row:
        return [row["skipped"], "", ""]
    steps = [1000 * seconds / row["batch_size"] for seconds in row["seconds"]]
    memory = f"{row['memory_bytes'] / MEBIBYTE:,.0f}"
    return [f"{1000 * row['seconds_per_image']:.4g}", f"{min(steps):.4g}-{max(steps):.4g}", memory]
