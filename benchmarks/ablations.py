# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Both papers' tables of models and variants with our figures beside theirs, and Figures 5 and 6 of GPViT's.

    python benchmarks/ablations.py                                     # all tables and Figure 5; long on two cores
    python benchmarks/ablations.py --counts_only                       # the same, but nothing is timed: minutes
    python benchmarks/ablations.py --tables gpvit-7 hrvit-5
    python benchmarks/ablations.py --tables gpvit-10 --models gpvit-l1 vit-d216-p8 --sizes 224 512x2048 --batch_size 32
    python benchmarks/ablations.py --figures 6 --model runs/my-model/best --image photo.jpg

A table has parameters, multiply-adds as the paper may have counted them (bold where they round to what it prints), and
time: ms per image, and in units of one of its rows, the median of the rounds with their range. Classifiers are timed
with 4 pictures and their usual pooling, segmentors with one picture, the SegFormer head and 150 classes.

gpvit-10 is the paper's Table 10: each entrant at each size has a process of its own, in which memory is the most that
was resident, less what was before the model was built; on CUDA the most that was allocated. What takes more than
--memory_limit or --time_limit is skipped, and the table says so.

Writes .md and .json of ablations, table-10, figure-5 and figure-6 into the output folder, and .png of the figures.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from entrants import Work
from group_pictures import draw_groups
from hf_gpvit.extras import import_extra
from hf_gpvit.files import one_line
from high_resolution import GIBIBYTE, Conditions, entrant_works, measured_row, time_table
from layer_costs import layer_tables, panels, plot_layers
from machine import describe_machine
from paper_counts import agreement, count_lines, counted_row
from published import TABLES, TIMES, Table
from report import machine_text, markdown_table, ratio_range, save
from speed import DTYPES, base_parser, positive, size, start, time_works
from timing import Entry


TABLE_10 = "gpvit-10"
PAPER_SIZES = ((224, 224), (800, 1280), (512, 2048))
# suffix of the entrant and pictures of a step, by what is counted; UPerNet isn't timed
TIMED = {"classifier": ("", 4), "segformer19": ("-segformer", 1), "segformer150": ("-segformer", 1)}


def make_parser() -> ArgumentParser:
    parser = base_parser(__doc__)
    parser.set_defaults(output_dir=Path("outputs/ablations"))
    parser.add_argument("--tables", nargs="+", choices=(*TABLES, TABLE_10), help="by default all, without --figures")
    parser.add_argument("--figures", nargs="+", type=int, choices=(5, 6), help="of GPViT's paper; by default 5")
    parser.add_argument("--counts_only", action="store_true", help="time nothing")
    figure_6 = parser.add_argument_group("Figure 6")
    figure_6.add_argument("--model", help="folder or Hub name of a trained GPViT")
    figure_6.add_argument("--image", type=Path, help="picture to look at")
    table_10 = parser.add_argument_group("Table 10")
    table_10.add_argument("--models", nargs="+", choices=TIMES, default=list(TIMES), metavar="MODEL", help="of its 12")
    table_10.add_argument("--sizes", nargs="+", type=size, default=PAPER_SIZES, metavar="SIZE")
    table_10.add_argument("--batch_size", type=positive, default=8, help="pictures of 224x224; larger ones go alone")
    table_10.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"])
    table_10.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="eager keeps all weights")
    table_10.add_argument("--memory_limit", type=float, metavar="GIB", help="by default what is free")
    table_10.add_argument("--time_limit", type=float, default=600, metavar="SECONDS", help="by default %(default)s")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser()
    arguments = parser.parse_args(argv)
    tables = arguments.tables or ([] if arguments.figures else [*TABLES, TABLE_10])
    figures = arguments.figures or ([] if arguments.tables else [5])
    if (6 in figures) != (arguments.model is not None and arguments.image is not None):
        parser.error("--figures 6 needs --model and --image, which nothing else needs")
    device = start(parser, arguments)
    if 6 in figures:  # first, because folder or picture may not be there
        try:
            write_figure_6(arguments.model, arguments.image, arguments.output_dir)
        except (OSError, ValueError) as error:
            parser.error(one_line(error))
    if 5 in figures:
        write_figure_5(arguments.output_dir)
    counted = {name: TABLES[name] for name in tables if name != TABLE_10}
    if counted:
        write_tables(counted, device, 0 if arguments.counts_only else arguments.rounds, arguments.output_dir)
    if TABLE_10 in tables and not arguments.counts_only:
        write_table_10(arguments, device)


# --- tables


def write_tables(tables: dict[str, Table], device: torch.device, rounds: int, folder: Path) -> None:
    """Counts all tables, times what there is to time where `rounds` is not 0, and writes ablations.md and .json."""
    rows = {}
    for name, table in tables.items():
        print(f"counting {name}", flush=True)
        rows[name] = [counted_row(row, table) for row in table.rows]
    works = {name: timed_works(table) for name, table in tables.items()}
    entries, rates = [], {}
    if rounds:
        distinct = dict.fromkeys(work for columns in works.values() for column in columns for work in column)
        entries, rates = time_works(list(distinct), device, rounds)
    by_work = {entry.work: entry for entry in entries}
    machine = describe_machine(device)
    texts = []
    for name, table in tables.items():
        times = time_cells(table, works[name], by_work) if rounds else {}
        lines = count_lines(table, rows[name], times)
        texts.append("\n\n".join(filter(None, [f"## {table.title}", markdown_table(lines, 2).rstrip(), table.note])))
    agreeing, printed = agreement(rows)
    texts.append(f"{agreeing} of {printed} printed figures are what one of our counts rounds to.")
    texts.append(machine_text(machine, rates))
    seconds = {str(work): entry.clock.times for work, entry in by_work.items() if entry.clock is not None}
    text = "\n\n".join(texts)
    print(text)
    save(folder, "ablations", text, {"machine": machine, "tables": rows, "seconds": seconds})


def timed_works(table: Table) -> list[list[Work]]:
    """A list for each column of times, with a work for each row."""
    counts = dict.fromkeys((count.model, count.size) for column in table.columns for count in column.counts)
    columns = []
    for model, picture in counts:
        if picture is not None and model in TIMED:
            suffix, images = TIMED[model]
            columns.append([Work(row.key + suffix, *picture, images) for row in table.rows])
    return columns


def time_cells(table: Table, columns: list[list[Work]], entries: dict[Work, Entry]) -> dict[str, list[str]]:
    """Cells by heading: ms per image, and the ratio to the table's unit with its range."""
    place = [row.name for row in table.rows].index(table.unit)
    cells = {}
    for works in columns:
        first = works[0]
        heading = f"ms per image, {first.batch_size}x{first.height}x{first.width}"
        seconds = [entries[work].clock.times if entries[work].clock is not None else [] for work in works]
        cells[heading] = [_milliseconds(own, first.batch_size) for own in seconds]
        cells[f"in units of {table.unit}, {first.height}"] = [_ratio(own, seconds[place]) for own in seconds]
    return cells


def _milliseconds(seconds: list[float], images: int) -> str:
    return f"{1000 * median(seconds) / images:.4g}" if seconds else "out of memory"


def _ratio(seconds: list[float], unit: list[float]) -> str:
    if not seconds or not unit:
        return ""
    return "{:.2f} ({:.2f}-{:.2f})".format(*ratio_range(seconds, 1, unit, 1))


# --- Table 10


def write_table_10(arguments: Namespace, device: torch.device) -> None:
    """Measures the entrants, each in a process of its own, and writes table-10.md and .json."""
    conditions = Conditions(
        device=arguments.device,
        threads=torch.get_num_threads(),
        rounds=arguments.rounds,
        attention=arguments.attention,
        memory_bytes=memory_limit(arguments.memory_limit, device),
        seconds=arguments.time_limit,
    )
    works, rows = entrant_works(arguments), []
    for index, work in enumerate(works, start=1):
        print(f"{index}/{len(works)} {work}", flush=True)
        rows.append(measured_row(work, conditions))
    machine = describe_machine(device)
    limits = f"at most {conditions.memory_bytes / GIBIBYTE:.1f} GiB and {conditions.seconds:g} s for an entrant"
    text = (
        f"## GPViT, Table 10: time per picture\n\nAttention is {conditions.attention}; {limits}.\n\n"
        f"{time_table(rows)}\n{machine_text(machine)}"
    )
    print(text)
    save(arguments.output_dir, "table-10", text, {"machine": machine, "conditions": vars(conditions), "rows": rows})


def memory_limit(gibibytes: float | None, device: torch.device) -> int:
    """Bytes that an entrant may take: those given, or what is free."""
    if gibibytes is not None:
        return int(gibibytes * GIBIBYTE)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return import_extra("psutil", "benchmark").virtual_memory().available


# --- figures


def write_figure_5(folder: Path) -> None:
    print("counting layers", flush=True)
    found = panels()
    text = f"## GPViT, Figure 5: multiply-adds of one layer\n\n{layer_tables(found)}"
    print(text)
    save(folder, "figure-5", text, {"panels": found})
    plot_layers(found, folder / "figure-5.png")


def write_figure_6(model: str, picture: Path, folder: Path) -> None:
    drawn, blocks = draw_groups(model, picture)
    lines = [["GP Block", "layer", "groups", "chosen by a token", "tokens of the largest"]]
    for number, block in enumerate(blocks, start=1):
        tokens = block["tokens_by_group"].values()
        share = f"{max(tokens) / sum(tokens):.0%}"
        lines.append([str(number), str(block["layer"] + 1), str(block["groups"]), str(len(tokens)), share])
    text = f"## GPViT, Figure 6: what groups make of a picture\n\n{markdown_table(lines, 1)}"
    print(text)
    save(folder, "figure-6", text, {"blocks": blocks})
    drawn.save(folder / "figure-6.png")


if __name__ == "__main__":
    main()
