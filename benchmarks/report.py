# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Rows, tables and plots of what was timed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from types import MappingProxyType

from entrants import Work, is_peer
from hf_gpvit.extras import import_extra
from hf_gpvit.files import write_whole
from machine import COPIED_BYTES, GEMM_FLOPS


MEBIBYTE = 2**20
COLUMNS = {
    "model": "model",
    "input": "input",
    "step": "step",
    "ms": "ms per image",
    "spread": "range",
    "rate": "images/s",
    "ratio": "ratio",
    "ratio_spread": "range",
    "gmac": "GMAC per image",
    "ceiling": "of the ceiling",
    "parameters": "parameters (M)",
    "memory": "memory (MB)",
}
NUMBERS = 3  # columns from here on are aligned to the right
OURS_COLOR, PEER_COLOR = "tab:blue", "tab:gray"
MARKERS = "osD^vP*X"


def ratio_range(
    seconds: Sequence[float], images: int, unit_seconds: Sequence[float], unit_images: int
) -> tuple[float, float, float]:
    """Median, least and greatest of the rounds' ratios of times per image, each of both in the same round."""
    rounds = min(len(seconds), len(unit_seconds))  # slow steps are timed once
    pairs = zip(seconds[:rounds], unit_seconds[:rounds], strict=True)
    ratios = [(own / images) / (unit / unit_images) for own, unit in pairs]
    return median(ratios), min(ratios), max(ratios)


def ceilings(seconds: dict[str, Sequence[float]]) -> dict[str, float]:
    """FLOP/s of both ways of computing a product, the better one as "gemm", and bytes/s read and written by a copy."""
    rates = {name: GEMM_FLOPS / median(times) for name, times in seconds.items() if name != "copy"}
    return {**rates, "gemm": max(rates.values()), "copy": 2 * COPIED_BYTES / median(seconds["copy"])}


def make_row(
    work: Work,
    seconds: Sequence[float],
    *,
    parameters: int,
    macs: int,
    memory_bytes: int,
    gemm: float,
    unit: tuple[Sequence[float], int] | None = None,
) -> dict:
    """Figures of a work: all in plain units and of one image, but for `seconds`, which are those of steps.

    Args:
        work: What was timed.
        seconds: Of a step in each round; none if it did not fit into memory.
        parameters: Their number.
        macs: Multiply-adds of a step.
        memory_bytes: What a step needs.
        gemm: The machine's FLOP/s.
        unit: Seconds of the unit's steps and the number of their images.
    """
    row = {**asdict(work), "parameters": parameters, "fits": bool(seconds)}
    if not seconds:
        return row
    per_image = median(seconds) / work.batch_size
    row |= {
        "seconds": list(seconds),
        "seconds_per_image": per_image,
        "images_per_second": 1 / per_image,
        "macs_per_image": macs / work.batch_size,
        "fraction_of_gemm_ceiling": 2 * macs / median(seconds) / gemm,
        "memory_bytes": memory_bytes,
    }
    if unit is not None:
        ratio, least, greatest = ratio_range(seconds, work.batch_size, *unit)
        row |= {"ratio": ratio, "ratio_least": least, "ratio_greatest": greatest}
    return row


def table(rows: Sequence[dict]) -> str:
    """Markdown, one line for a row."""
    cells = [_cells(row) for row in rows]
    columns = [name for name in COLUMNS if any(cell[name] for cell in cells)]
    lines = [[COLUMNS[name] for name in columns], *([cell[name] for name in columns] for cell in cells)]
    return markdown_table(lines, NUMBERS)


def markdown_table(lines: Sequence[Sequence[str]], numbers: int) -> str:
    """The first line is the head; columns from `numbers` on are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if index < numbers else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    texts = [_aligned(line, widths, numbers) for line in lines]
    return "\n".join(f"| {' | '.join(text)} |" for text in [texts[0], rule, *texts[1:]]) + "\n"


def _aligned(line: Sequence[str], widths: list[int], numbers: int) -> list[str]:
    cells = zip(line, widths, strict=True)
    return [cell.ljust(width) if index < numbers else cell.rjust(width) for index, (cell, width) in enumerate(cells)]


def _cells(row: dict) -> dict[str, str]:
    cells = dict.fromkeys(COLUMNS, "")
    cells |= {
        "model": row["model"],
        "input": f"{row['batch_size']}x{row['height']}x{row['width']}",
        "step": ", ".join(row[name] for name in ("mode", "dtype", "execution")),
        "parameters": f"{row['parameters'] / 1e6:.1f}",
    }
    return cells | (_measured(row) if row["fits"] else {"ms": "out of memory"})


def _measured(row: dict) -> dict[str, str]:
    steps = [1000 * seconds / row["batch_size"] for seconds in row["seconds"]]
    cells = {
        "ms": f"{1000 * row['seconds_per_image']:.4g}",
        "spread": f"{min(steps):.4g}-{max(steps):.4g}",
        "rate": f"{row['images_per_second']:.4g}",
        "gmac": f"{row['macs_per_image'] / 1e9:.2f}",
        "ceiling": f"{row['fraction_of_gemm_ceiling']:.0%}",
        "memory": f"{row['memory_bytes'] / MEBIBYTE:,.0f}",
    }
    if "ratio" in row:
        cells["ratio"] = f"{row['ratio']:.2f}"
        cells["ratio_spread"] = f"{row['ratio_least']:.2f}-{row['ratio_greatest']:.2f}"
    return cells


def machine_text(machine: dict, rates: Mapping[str, dict[str, float]] = MappingProxyType({})) -> str:
    """The machine, and its ceilings where they were measured, in Markdown."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    for dtype, rate in rates.items():
        ways = ", ".join(f"{name.replace('_', ' ')} {rate[name] / 1e9:.0f}" for name in rate if name[0] in "mp")
        lines.append(f"- ceiling of products in {dtype}: {rate['gemm'] / 1e9:.0f} GFLOP/s ({ways})")
    if rates:
        copy = max(rate["copy"] for rate in rates.values())
        lines.append(f"- copying: {copy / 1e9:.1f} GB/s read and written")
    return "\n".join(lines) + "\n"


def save(folder: Path, name: str, text: str, results: dict) -> None:
    """Writes NAME.md and NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.md", text)
    write_whole(folder / f"{name}.json", json.dumps(results, indent=2) + "\n")


def model_name(row: dict) -> str:
    """The model, and the conditions that are not the usual ones."""
    usual = ("float32", "eager")
    return " ".join([row["model"], *(row[name] for name in ("dtype", "execution") if row[name] not in usual)])


def plot_ratios(rows: Sequence[dict], unit: str, path: Path) -> None:
    """Bars of the ratios, one panel for inference and one for training; lines show the rounds' range."""
    rows = [row for row in rows if "ratio" in row]
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    panels = [[row for row in rows if row["mode"] == mode] for mode in modes]
    heights = [len(panel) + 1 for panel in panels]
    figure = new_figure((9, 1.3 + 0.34 * sum(heights)))
    all_axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    handles = [
        import_extra("matplotlib.patches", "benchmark").Patch(color=color) for color in (OURS_COLOR, PEER_COLOR)
    ]
    figure.legend(handles, ("hf-gpvit", "others"), loc="outside lower right", ncols=2, frameon=False)
    for axes, mode, panel in zip(all_axes, modes, panels, strict=True):
        _bars(axes, panel)
        axes.set_title(f"{mode}: time per image / that of {unit}", fontsize="medium", loc="left")
    figure.savefig(path, dpi=130)


def _bars(axes, rows: Sequence[dict]) -> None:
    labels = [f"{model_name(row)}  {row['batch_size']}x{row['height']}x{row['width']}" for row in rows]
    ratios = [row["ratio"] for row in rows]
    below = [row["ratio"] - row["ratio_least"] for row in rows]
    above = [row["ratio_greatest"] - row["ratio"] for row in rows]
    colors = [PEER_COLOR if is_peer(row["model"]) else OURS_COLOR for row in rows]
    places = range(len(rows))
    axes.barh(places, ratios, xerr=(below, above), color=colors, ecolor="black")
    for place, row in zip(places, rows, strict=True):
        axes.annotate(
            f"{row['ratio']:.2f}", (row["ratio_greatest"], place), (4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.spines[["top", "right"]].set_visible(False)


def plot_scaling(rows: Sequence[dict], path: Path) -> None:
    """Multiply-adds, time and memory of one image against its side, all axes logarithmic."""
    rows = [row for row in rows if row["fits"]]
    figure = new_figure((13, 4.2))
    all_axes = figure.subplots(1, 3)
    scaled = {"macs_per_image": (1e-9, "GMAC"), "seconds_per_image": (1e3, "ms"), "memory_bytes": (1 / MEBIBYTE, "MB")}
    locator = import_extra("matplotlib.ticker", "benchmark").LogLocator
    formatter = import_extra("matplotlib.ticker", "benchmark").StrMethodFormatter("{x:g}")
    for axes, (name, (factor, label)) in zip(all_axes, scaled.items(), strict=True):
        _curves(axes, rows, name, factor)
        axes.yaxis.set_major_locator(locator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(formatter)
        axes.set_title(f"{label} of one image", fontsize="medium", loc="left")
    all_axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)


def _curves(axes, rows: Sequence[dict], name: str, factor: float) -> None:
    for model, marker in zip(dict.fromkeys(map(model_name, rows)), MARKERS * len(rows), strict=False):
        own = [row for row in rows if model_name(row) == model]
        style = "--" if is_peer(model) else "-"
        axes.loglog(
            [row["height"] for row in own], [factor * row[name] for row in own], style, marker=marker, label=model
        )
    sides = sorted({row["height"] for row in rows})
    axes.set_xticks(sides, [str(side) for side in sides])
    axes.minorticks_off()
    axes.set_xlabel("side of the image in pixels")
    axes.grid(alpha=0.3)


def new_figure(size: tuple[float, float]):
    return import_extra("matplotlib.figure", "benchmark").Figure(figsize=size, layout="constrained")
