# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What small ablations have shown, as tables, as an answer, and as a plot.

A row is compared with the first of its table seed by seed, because runs of a seed have seen the same pictures in the
same order. The interval is Student's for the mean of these differences: in 95 of 100 cases it holds the mean over all
seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch

from hf_gpvit.data.shapes import NAMES
from hf_gpvit.extras import import_extra
from hf_gpvit.tasks import find_task
from hf_gpvit.training import build_model
from report import OURS_COLOR, PEER_COLOR, markdown_table, new_figure


stats = import_extra("scipy.stats", "benchmark")

CONFIDENCE = 0.95
LABELS = {"mean_iou": "mIoU"}  # of main figures, as the papers have them


@dataclass(frozen=True)
class Row:
    """
    Attributes:
        name: As the paper's table has it.
        key: Variant that is trained for it.
        top_1: The paper's accuracy on ImageNet-1K in percent. Default: it has none.
        mean_iou: The paper's on ADE20K (GPViT) or Cityscapes (HRViT) in percent. Default: it has none.
    """

    name: str
    key: str
    top_1: float | None = None
    mean_iou: float | None = None


@dataclass(frozen=True)
class Table:
    """
    Attributes:
        title: What it is, and which table of the paper.
        rows: In the paper's order; the others are compared with the first.
        question: Key of the row of which the report says in words whether it is better. Default: none.
    """

    title: str
    rows: tuple[Row, ...]
    question: str | None = None

    @property
    def reference(self) -> str:
        """Key of the row that others are compared with."""
        return self.rows[0].key


@dataclass(frozen=True)
class Difference:
    """Mean over the seeds that both have, and the limits of its interval, infinite where there is but one seed."""

    mean: float
    least: float
    greatest: float
    number: int

    @property
    def verdict(self) -> str:
        if self.least > 0:
            return "better"
        return "worse" if self.greatest < 0 else "not to be told from chance"


def compare(values: dict[int, float], reference: dict[int, float]) -> Difference | None:
    """Of two dicts by seed; None where no seed is in both."""
    differences = [values[seed] - reference[seed] for seed in values.keys() & reference.keys()]
    if not differences:
        return None
    number, middle, half = len(differences), mean(differences), math.inf
    if number > 1:
        factor = stats.t.ppf((1 + CONFIDENCE) / 2, number - 1)
        half = float(factor) * stdev(differences) / math.sqrt(number)
    return Difference(middle, middle - half, middle + half, number)


def values_of(records: Sequence[dict], key: str) -> dict[int, float]:
    """The main figure of a variant in percent, by seed."""
    return {record["seed"]: 100 * main_figure(record)[1] for record in records if record["key"] == key}


def main_figure(record: dict) -> tuple[str, float]:
    return next(iter(record["metrics"].items()))


def report_text(tables: Sequence[Table], results: dict) -> str:
    """The tables of each task of which there are runs, answers to their questions, and times, in Markdown."""
    tasks = dict.fromkeys(record["task"] for record in results["runs"])
    parts = [part for task in tasks for part in _parts(tables, task, results)]
    return "\n".join([*parts, _times(results)])


def _parts(tables: Sequence[Table], task: str, results: dict) -> list[str]:
    records = [record for record in results["runs"] if record["task"] == task]
    recipe = results["recipes"][task]
    pictures = recipe["max_steps"] * recipe["batch_size"]
    parts = [f"## {task}: {recipe['max_steps']} steps, {pictures} pictures\n"]
    for table in tables:
        if any(values_of(records, row.key) for row in table.rows):
            parts += [f"### {table.title}\n", _table(table, task, records), *_answer(table, records)]
    return parts


def _table(table: Table, task: str, records: Sequence[dict]) -> str:
    name = main_figure(records[0])[0]
    label = LABELS.get(name, name)
    head = ["row", "paper: top-1", "paper: mIoU", f"{label} here", "difference", "seeds", "parameters", "seconds"]
    return markdown_table([head, *(_cells(row, table, task, records) for row in table.rows)], 1)


def _cells(row: Row, table: Table, task: str, records: Sequence[dict]) -> list[str]:
    paper = ["" if figure is None else f"{figure:g}" for figure in (row.top_1, row.mean_iou)]
    values = values_of(records, row.key)
    if not values:
        return [row.name, *paper, "", "", "0", "", ""]
    difference = compare(values, values_of(records, table.reference))
    is_compared = row.key != table.reference and difference is not None
    return [
        row.name,
        *paper,
        _with_spread([*values.values()]),
        _signed(difference) if is_compared else "",
        str(len(values)),
        f"{_parameters(row.key, task):,}",
        f"{mean(record['seconds'] for record in records if record['key'] == row.key):.0f}",
    ]


def _with_spread(values: Sequence[float]) -> str:
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _signed(difference: Difference) -> str:
    interval = f" ({difference.least:+.1f} to {difference.greatest:+.1f})" if difference.number > 1 else ""
    return f"{difference.mean:+.1f}{interval}"


def _parameters(key: str, task: str) -> int:
    with torch.device("meta"):
        return build_model(key, task, NAMES[find_task(task).target_column]).num_parameters()


def _answer(table: Table, records: Sequence[dict]) -> list[str]:
    names = {row.key: row.name for row in table.rows}
    difference = table.question and compare(values_of(records, table.question), values_of(records, table.reference))
    if not difference:
        return []
    pair = f"{names[table.question]} against {names[table.reference]}"
    seeds = f"{difference.number} seed{'s' if difference.number > 1 else ''}"
    return [f"{pair}: {difference.verdict}, {_signed(difference)} points, {seeds}.\n"]


def _times(results: dict) -> str:
    limit, seconds = results["limit_seconds"], [record["seconds"] for record in results["runs"]]
    late = sum(value > limit for value in seconds)
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    return (
        f"{len(seconds)} runs took {sum(seconds) / 60:.0f} minutes, the longest {max(seconds):.0f} s; {late} of them "
        f"took more than the {limit} s that a run may. The spread (±) is the standard deviation over seeds; "
        f"differences are to the first row, seed by seed, with their 95 % interval.\n\nMachine: {machine}\n"
    )


def plot(tables: Sequence[Table], results: dict, path: Path) -> None:
    """A panel for each table and task: a dot for each seed, a mark at the mean, a dotted line at the first row's."""
    tasks = dict.fromkeys(record["task"] for record in results["runs"])
    panels = [(table, [own for own in results["runs"] if own["task"] == task]) for task in tasks for table in tables]
    panels = [(table, own) for table, own in panels if any(values_of(own, row.key) for row in table.rows)]
    heights = [len(table.rows) + 1.5 for table, _ in panels]
    figure = new_figure((8, 0.4 * sum(heights)))
    all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (table, records) in zip(all_axes, panels, strict=True):
        _panel(axes, table, records)
    figure.savefig(path, dpi=110)


def _panel(axes, table: Table, records: Sequence[dict]) -> None:
    for place, row in enumerate(table.rows):
        values = [*values_of(records, row.key).values()]
        color = PEER_COLOR if row.key == table.reference else OURS_COLOR
        axes.plot(values, [place] * len(values), "o", color=color, alpha=0.6)
        if values:
            axes.plot(mean(values), place, "|", color="black", markersize=14)
    reference = [*values_of(records, table.reference).values()]
    if reference:
        axes.axvline(mean(reference), color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(table.rows)), [row.name for row in table.rows])
    axes.invert_yaxis()
    axes.margins(y=0.15)
    name = main_figure(records[0])[0]
    axes.set_title(f"{table.title}: {LABELS.get(name, name)} in %", fontsize="medium", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
