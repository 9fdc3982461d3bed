# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds of the papers' models, counted in the ways in which the papers may have counted."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_gpvit.costs import backbone_parameters, count_attention_macs, count_plain_macs
from hf_gpvit.saved_models import AUTO_CLASSES, preset_config
from published import Count, Row, Table


def _classifier(key: str, **fields: Any) -> PreTrainedModel:
    config = preset_config(key, num_labels=1000, **fields)
    return AUTO_CLASSES["image-classification"].from_config(config)


def _segmentor(key: str, head: str, num_labels: int, **fields: Any) -> PreTrainedModel:
    config = preset_config(key, num_labels=num_labels, decode_head_type=head, **fields)
    return AUTO_CLASSES["semantic-segmentation"].from_config(config)


BUILDERS: dict[str, Callable[..., PreTrainedModel]] = {
    "classifier": _classifier,
    "segformer19": partial(_segmentor, head="segformer", num_labels=19),
    "segformer150": partial(_segmentor, head="segformer", num_labels=150),
    "upernet150": partial(_segmentor, head="upernet", num_labels=150, use_auxiliary_head=False),
}


def output_projections(model: PreTrainedModel, height: int, width: int) -> int:
    """Multiply-adds of the projections between ungrouping and concatenation, one in each GP Block."""
    config, tokens = model.config, math.prod(model.token_grid(height, width))
    return len(config.group_layer_indices) * tokens * config.hidden_size**2


LEFT_OUT: dict[str, Callable[[PreTrainedModel, int, int], float]] = {
    "nothing": lambda model, height, width: 0,
    "output projections of ungrouping": output_projections,
    "attention products": count_attention_macs,
    "half of the attention products": lambda model, *size: count_attention_macs(model, *size) / 2,
}


def figure(key: str, count: Count, fields: dict[str, Any]) -> float:
    """What `count` gives for a preset or variant: parameters or multiply-adds, in plain units."""
    with torch.device("meta"):
        if count.model == "backbone":
            return backbone_parameters(preset_config(key, **fields))
        model = BUILDERS[count.model](key, **fields)
        if count.size is None:
            return model.num_parameters()
        return count_plain_macs(model, *count.size) - LEFT_OUT[count.left_out](model, *count.size) + count.added


def agrees(value: float, unit: float, printed: str) -> bool:
    """Whether a figure, rounded to as many digits, is the printed one."""
    decimals = len(printed.partition(".")[2])
    return f"{value / unit:.{decimals}f}" == printed


def counted_row(row: Row, table: Table) -> dict[str, Any]:
    """The row with our figures of each column, by the heading of how they were counted."""
    columns = {}
    for column, printed in zip(table.columns, row.printed, strict=True):
        figures = {count.heading: figure(row.key, count, table.fields) for count in column.counts}
        fit = [count.heading for count in column.counts if agrees(figures[count.heading], count.unit, printed)]
        columns[column.heading] = {"ours": figures, "paper": printed, "agree": fit}
    results = dict(zip(table.results, row.results, strict=True))
    return {"name": row.name, "key": row.key, "columns": columns, "results": results}


def count_lines(table: Table, rows: list[dict[str, Any]], times: dict[str, list[str]]) -> list[list[str]]:
    """Cells of the table, the head first: ours and the paper's by turns, bold where they agree, then what was timed.

    Args:
        table: What was counted.
        rows: Its `counted_row`s.
        times: Cells by heading, one for each row.
    """
    head = ["model", "key"]
    for column in table.columns:
        head += [f"{column.heading}, {count.heading}" for count in column.counts] + ["paper"]
    head += [f"paper: {heading}" for heading in table.results] + list(times)
    lines = [head]
    for index, row in enumerate(rows):
        line = [row["name"], f"`{row['key']}`"]
        for column in table.columns:
            line += _cells(column.counts, row["columns"][column.heading])
        line += [row["results"][heading] for heading in table.results]
        lines.append(line + [cells[index] for cells in times.values()])
    return lines


def _cells(counts: tuple[Count, ...], found: dict[str, Any]) -> list[str]:
    cells = []
    for count in counts:
        text = f"{found['ours'][count.heading] / count.unit:.2f}"
        cells.append(f"**{text}**" if count.heading in found["agree"] else text)
    return [*cells, found["paper"]]


def agreement(tables: dict[str, list[dict[str, Any]]]) -> tuple[int, int]:
    """How many printed figures one of our counts agrees with, and how many there are."""
    columns = [column for rows in tables.values() for row in rows for column in row["columns"].values()]
    return sum(bool(column["agree"]) for column in columns), len(columns)
