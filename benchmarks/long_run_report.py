# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What long runs have shown, as text and plot."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from monitor import QUANTITIES
from report import MEBIBYTE, markdown_table, new_figure, save
from trend import WARM_UP, Trend, find_trend


NAMES = {
    "rss_bytes": "resident memory (MB)",
    "heap_bytes": "allocated on the heap (MB)",
    "tensors": "tensors",
    "open_files": "open files",
    "threads": "threads",
}
Trends = dict[str, Trend | None]  # of each quantity


def trends_of(record: dict) -> Trends:
    """The trend of each quantity of a mode."""
    samples = record["samples"]
    return {name: find_trend(samples["seconds"], samples[name]) for name in QUANTITIES}


def write_report(folder: Path, modes: Iterable[str]) -> bool:
    """Writes and prints what is in `folder` of these modes; whether anything grows."""
    paths = {mode: folder / f"{mode}.json" for mode in modes}
    records = {mode: json.loads(path.read_text(encoding="utf-8")) for mode, path in paths.items() if path.exists()}
    trends = {mode: trends_of(record) for mode, record in records.items()}
    text = _text(records, trends)
    print(text)
    results = {mode: _result(record, trends[mode]) for mode, record in records.items()}
    save(folder, "long_run", text, results)
    samples = {mode: record["samples"] for mode, record in records.items()}
    plot(samples, trends, folder / "long_run.png")
    print(f"{folder}: long_run.md, long_run.json, long_run.png")
    return any(trend is not None and trend.verdict == "grows" for own in trends.values() for trend in own.values())


def _result(record: dict, trends: Trends) -> dict:
    """A record without its samples, which are in a file of their own, and with its trends."""
    own = {name: value for name, value in record.items() if name != "samples"}
    own["trends"] = {name: trend and asdict(trend) | {"verdict": trend.verdict} for name, trend in trends.items()}
    return own


def _text(records: dict[str, dict], trends: dict[str, Trends]) -> str:
    head = ["mode", "after warm-up", "level", "growth since", "standard error", "verdict"]
    lines = [[mode, NAMES[name], *_cells(name, trend)] for mode in records for name, trend in trends[mode].items()]
    works = [
        [mode, name, f"{counter['times']:,}", f"{counter['seconds']:,.0f}"]
        for mode, record in records.items()
        for name, counter in record["works"].items()
    ]
    parts = [markdown_table([head, *lines], 2), markdown_table([["mode", "work", "times", "seconds"], *works], 2)]
    parts += [_machine_text(mode, record) for mode, record in records.items()]
    return "\n".join(parts)


def _cells(name: str, trend: Trend | None) -> list[str]:
    if trend is None:
        return ["", "", "", "too short to tell"]
    unit = _unit(name)
    return [
        f"{trend.level / unit:,.0f}",
        f"{trend.growth / unit:+.1f}",
        f"{trend.error / unit:.1f}",
        trend.verdict,
    ]


def _unit(name: str) -> int:
    return MEBIBYTE if name.endswith("bytes") else 1


def _machine_text(mode: str, record: dict) -> str:
    early = ", interrupted" if record["is_interrupted"] else ""
    machine = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    return f"- {mode}: {record['minutes']:.1f} minutes{early}; {machine}"


def plot(samples: dict[str, dict[str, list]], trends: dict[str, Trends], path: Path) -> None:
    """A column for each mode: memory, tensors, open files and threads against minutes; warm-up is grey."""
    panels = {
        "memory (MB)": {"rss_bytes": "resident", "heap_bytes": "allocated"},
        "tensors": {"tensors": "reachable from Python"},
        "number": {"open_files": "open files", "threads": "threads"},
    }
    figure = new_figure((5.5 * len(samples), 7))
    grid = figure.subplots(len(panels), len(samples), squeeze=False, sharex="col", height_ratios=(3, 2, 2))
    for (mode, own), column in zip(samples.items(), grid.T, strict=True):
        for axes, (label, series) in zip(column, panels.items(), strict=True):
            for color, (name, legend) in zip(("tab:blue", "tab:orange"), series.items(), strict=False):
                _series(axes, own, name, trends[mode][name], color, legend)
            axes.axvspan(0, WARM_UP * own["seconds"][-1] / 60, color="0.92")
            axes.set_ylabel(label)
            axes.set_ylim(0, 1.2 * axes.dataLim.y1)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, loc="center right", ncols=len(series), fontsize="small", markerscale=3)
        column[0].set_title(mode, loc="left")
        column[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=110)


def _series(axes, samples: dict[str, list], name: str, trend: Trend | None, color: str, legend: str) -> None:
    """Samples as points, and the floors that the trend goes by as a line."""
    unit = _unit(name)
    pairs = zip(samples["seconds"], samples[name], strict=True)
    points = [(seconds / 60, value / unit) for seconds, value in pairs if value is not None]
    axes.plot(
        [time for time, _ in points],
        [value for _, value in points],
        ".",
        color=color,
        alpha=0.4,
        markersize=3,
        label=legend,
    )
    if trend is not None:
        label = f"floors: {trend.growth / unit:+.1f} ± {trend.error / unit:.1f}"
        minutes, floors = [time / 60 for time in trend.times], [floor / unit for floor in trend.floors]
        axes.plot(minutes, floors, color=color, label=label)
