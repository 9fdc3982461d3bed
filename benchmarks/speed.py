# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of our models and of those that people would take instead, side by side in one run.

    python benchmarks/speed.py
    python benchmarks/speed.py --suite classification --dtypes bfloat16 --executions eager compiled
    python benchmarks/speed.py --models gpvit-l2 hrnet_w18 --sizes 224 800x1280 --batch_sizes 1 8 --modes training

Every work is timed once a round; the table shows medians with the range of all rounds. "ratio" is the time per image
in units of timm's Swin-T with 4 images of 224x224 under the same conditions, from the same round. The ceiling is what
the machine does in one large matrix product. What is not given is as the suite has it.

Inference is in eval mode and inference mode, with weights and images in the dtype. A training step is forward pass,
cross-entropy and backward pass, with weights in float32, the dtype by autocast. On CUDA, memory is what was allocated
at the peak of a step, weights included. Elsewhere it is counted: weights, and the most that tensors hold at a time of
inference, or gradients and what autograd keeps in training.

Writes speed.md, speed.json and speed.png into the output folder.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

import torch

from entrants import EXECUTIONS, MODELS, MODES, SUITES, UNIT, Work, suite_works, unit_of
from machine import ceiling_steps, describe_machine
from report import ceilings, machine_text, make_row, plot_ratios, save, table
from timing import Clock, Entry, prepare, run_rounds


DTYPES = ("float32", "bfloat16", "float16")


def size(text: str) -> tuple[int, int]:
    """Height and width from "800x1280", or from "512" for both."""
    sides = [int(side) for side in text.split("x")]
    if len(sides) > 2 or min(sides) < 1:
        raise ValueError(text)
    return sides[0], sides[-1]


def positive(text: str) -> int:
    """A number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def common_parser(description: str) -> ArgumentParser:
    """The arguments of benchmarks of any models."""
    parser = base_parser(description)
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES)
    parser.add_argument("--executions", nargs="+", choices=EXECUTIONS, help="cuda-graphs needs CUDA")
    return parser


def base_parser(description: str) -> ArgumentParser:
    """The arguments that every benchmark in rounds has."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--device", default=default_device(), help="such as cpu or cuda; by default %(default)s")
    parser.add_argument("--threads", type=positive, help="of the CPU; by default as PyTorch chooses")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/benchmark"), help="by default %(default)s")
    return parser


def default_device() -> str:
    """The accelerator, if there is one."""
    return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"


def start(parser: ArgumentParser, arguments: Namespace) -> torch.device:
    """Checks what depends on the device, and sets threads and seed."""
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: PyTorch sees no CUDA GPU here")
    if device.type != "cuda" and "cuda-graphs" in (vars(arguments).get("executions") or ()):
        parser.error(f"argument --executions: cuda-graphs needs CUDA, the device is {device.type}")
    if device.type == "cpu" and "float16" in (arguments.dtypes or ()):
        parser.error("argument --dtypes: float16 needs an accelerator, bfloat16 is for CPUs too")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    return device


def time_works(
    works: Sequence[Work], device: torch.device, rounds: int
) -> tuple[list[Entry], dict[str, dict[str, float]]]:
    """Times all works and the machine's ceilings in the same rounds; ceilings are by dtype."""
    dtypes = list(dict.fromkeys(work.dtype for work in works))
    machine = {dtype: _ceiling_clocks(device, dtype) for dtype in dtypes}
    entries = []
    for work in works:
        print(f"{len(entries) + 1}/{len(works)} {work}", flush=True)
        entries.append(prepare(work, device))
    clocks = [clock for own in machine.values() for clock in own.values()]
    clocks += [entry.clock for entry in entries if entry.clock is not None]
    run_rounds(clocks, rounds, lambda index: print(f"round {index + 1} of {rounds}", flush=True))
    rates = {dtype: ceilings({name: clock.times for name, clock in own.items()}) for dtype, own in machine.items()}
    return entries, rates


def _ceiling_clocks(device: torch.device, dtype: str) -> dict[str, Clock]:
    clocks = {name: Clock(step) for name, step in ceiling_steps(device, getattr(torch, dtype)).items()}
    for clock in clocks.values():
        clock.step()
        clock.calibrate()
    return clocks


def entry_row(entry: Entry, rates: dict[str, dict[str, float]], unit: Entry | None = None) -> dict:
    """The row of an entry, in units of `unit` where there is one."""
    return make_row(
        entry.work,
        entry.clock.times if entry.clock is not None else (),
        parameters=entry.parameters,
        macs=entry.macs,
        memory_bytes=entry.memory_bytes,
        gemm=rates[entry.work.dtype]["gemm"],
        unit=(unit.clock.times, unit.work.batch_size) if unit is not None and unit.clock is not None else None,
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = common_parser(__doc__)
    parser.add_argument("--suite", choices=SUITES, default="reference")
    parser.add_argument("--sizes", nargs="+", type=size, metavar="SIZE", help="sides such as 512, or 800x1280")
    parser.add_argument("--batch_sizes", nargs="+", type=positive, metavar="IMAGES")
    parser.add_argument("--modes", nargs="+", choices=MODES)
    arguments = parser.parse_args(argv)
    device = start(parser, arguments)
    fields = ("models", "sizes", "batch_sizes", "modes", "dtypes", "executions")
    works = suite_works(arguments.suite, **{name: getattr(arguments, name) for name in fields})
    if any(work.mode == "training" and work.model.endswith("-backbone") for work in works):
        parser.error("argument --modes: training needs models with a head, which backbones don't have")
    works = list(dict.fromkeys([*(unit_of(work, UNIT) for work in works), *works]))
    entries, rates = time_works(works, device, arguments.rounds)
    by_work = {entry.work: entry for entry in entries}
    rows = [entry_row(entry, rates, by_work[unit_of(entry.work, UNIT)]) for entry in entries]
    report(rows, rates, device, arguments.output_dir)


def report(rows: list[dict], rates: dict, device: torch.device, folder: Path) -> None:
    """Prints the table and writes the files."""
    machine = describe_machine(device)
    memory = "measured" if device.type == "cuda" else "counted"
    unit = f"{UNIT.model}, {UNIT.batch_size}x{UNIT.height}x{UNIT.width}"
    text = f"Ratios are to {unit}; memory is {memory}.\n\n{table(rows)}\n{machine_text(machine, rates)}"
    print(text)
    results = {"machine": machine, "ceilings": rates, "unit": unit, "memory": memory, "rows": rows}
    save(folder, "speed", text, results)
    plot_ratios(rows, unit, folder / "speed.png")
    print(f"{folder}: speed.md, speed.json, speed.png")


if __name__ == "__main__":
    main()
