# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The papers' ablations at a width that two cores train: variants of the nano models on drawn scenes.

    python benchmarks/small_ablations.py --list
    python benchmarks/small_ablations.py
    python benchmarks/small_ablations.py --keys gpvit-nano-window-none gpvit-nano-window-gp --seeds 0 1 2 3 4 5 6 7

Every run is a process of its own that trains by the recipe in configs/small of its task: all variants get as many
steps and pictures, and with the same seed the same pictures in the same order. The seed decides the weights too. What
counts is the last evaluation, on 300 scenes that no run has trained on. A run is meant to take a minute at most on two
cores that do nothing else, from the start of its process to its end; one that takes longer counts all the same, and
the report says so.

What is compared, with how many seeds, is data below: `TABLES` and `PLAN`. A session that is interrupted goes on, when
it is started again, with the runs that are missing. Scenes are drawn once, into the output folder.

Writes small_ablations.md and small_ablations.json after every run, and small_ablations.png in the end.
"""

import math
import multiprocessing
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers.utils import logging

import published
from hf_gpvit.data.loading import TEST_SCENES, TRAIN_SCENES, LoadedData
from hf_gpvit.data.shapes import NAMES, load_shapes
from hf_gpvit.extras import import_extra
from hf_gpvit.files import atomic_folder, json_text, read_json, write_whole
from hf_gpvit.tasks import find_task
from hf_gpvit.tasks.recipe import Recipe
from hf_gpvit.training import load_recipe, train
from hf_gpvit.training.run_log import read_log
from machine import describe_machine
from report import save
from small_ablations_report import Row, Table, plot, report_text
from speed import positive


datasets = import_extra("datasets")

Process = multiprocessing.get_context("spawn").Process

SEGMENTATION = "semantic-segmentation"
CONFIGS = {SEGMENTATION: "small/ablation-segmentation"}
SCENES = {"train": TRAIN_SCENES, "test": TEST_SCENES}
LIMIT = 60  # seconds that a run may take on two cores that do nothing else
NAME = "small_ablations"


def printed(table: str, key: str) -> dict[str, float]:
    """What a table of a paper says of the accuracy of a model, as fields of `Row`."""
    [row] = [row for row in published.TABLES[table].rows if row.key == key]
    return {field: float(figure) for field, figure in zip(("top_1", "mean_iou"), row.results, strict=False)}


TABLES = (
    Table(
        "GPViT, Tables 6 and 7: what stands between layers of window attention",
        question="gpvit-nano-window-gp",
        rows=(
            Row("none", "gpvit-nano-window-none", **printed("gpvit-7", "l1-window-none")),
            Row("convolution", "gpvit-nano-window-conv", **printed("gpvit-7", "l1-window-conv")),
            Row("global attention", "gpvit-nano-window-global", **printed("gpvit-7", "l1-window-global")),
            Row("shifted windows", "gpvit-nano-window-shift", **printed("gpvit-7", "l1-window-shift")),
            Row("GP Block", "gpvit-nano-window-gp", **printed("gpvit-7", "l1-window-gp")),
        ),
    ),
    Table(
        "GPViT, Tables 6 and 7: what stands between layers of LePE attention",
        question="gpvit-nano-lepe-gp",
        rows=(
            Row("none", "gpvit-nano-lepe-none", **printed("gpvit-7", "l1-lepe-none")),
            Row("convolution", "gpvit-nano-lepe-conv", **printed("gpvit-7", "l1-lepe-conv")),
            Row("global attention", "gpvit-nano-lepe-global", **printed("gpvit-7", "l1-lepe-global")),
            Row("GP Block", "gpvit-nano-lepe-gp", **printed("gpvit-7", "l1-lepe-gp")),
        ),
    ),
    Table(
        "GPViT, Table 9: propagation between groups",
        rows=(
            Row("none", "gpvit-nano-propagation-none", **printed("gpvit-9", "l1-propagation-none")),
            Row(
                "self-attention",
                "gpvit-nano-propagation-self-attention-depth1",
                **printed("gpvit-9", "l1-propagation-self-attention-depth1"),
            ),
            Row("MLPMixer", "gpvit-nano-lepe-gp", **printed("gpvit-9", "l1-propagation-mixer")),
        ),
    ),
    Table(
        "HRViT, Table 5: without one of its ideas, and without all",
        rows=(
            Row("HRViT", "hrvit-nano", **printed("hrvit-5", "hrvit-b1")),
            Row("- key-value sharing", "hrvit-nano-without-kv-sharing", **printed("hrvit-5", "b1-without-kv-sharing")),
            Row(
                "- efficient patch embedding",
                "hrvit-nano-without-efficient-patch-embedding",
                **printed("hrvit-5", "b1-without-efficient-patch-embedding"),
            ),
            Row("- MixCFN", "hrvit-nano-without-mixcfn", **printed("hrvit-5", "b1-without-mixcfn")),
            Row(
                "- parallel convolution",
                "hrvit-nano-without-parallel-convolution",
                **printed("hrvit-5", "b1-without-parallel-convolution"),
            ),
            Row(
                "- nonlinearity and BN",
                "hrvit-nano-without-nonlinearity-bn",
                **printed("hrvit-5", "b1-without-nonlinearity-bn"),
            ),
            Row("- dense fusion", "hrvit-nano-sparse-fusion", **printed("hrvit-5", "b1-sparse-fusion")),
            Row("- DES", "hrvit-nano-without-des", **printed("hrvit-5", "b1-without-des")),
            Row(
                "- all of them", "hrvit-nano-all-off-sparse-no-lepe", **printed("hrvit-5", "b1-all-off-sparse-no-lepe")
            ),
        ),
    ),
)
ALL = tuple(dict.fromkeys(row.key for table in TABLES for row in table.rows))
ASKED = tuple(key for table in TABLES if table.question for key in (table.reference, table.question))
# Task, keys, and the number of their seeds. 72 runs: 72 minutes if each took its limit.
PLAN = ((SEGMENTATION, ALL, 3), (SEGMENTATION, ASKED, 6))


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        key: Variant, or preset.
        task: Key of `CONFIGS`.
        seed: Of the weights and of the order of the pictures.
    """

    key: str
    task: str
    seed: int

    def __str__(self) -> str:
        return f"{self.key}, {self.task}, seed {self.seed}"

    def recipe(self, output_dir: Path) -> Recipe:
        """The task's recipe with this model and seed."""
        arguments = ["--model", self.key, "--seed", str(self.seed), "--output_dir", str(output_dir)]
        return load_recipe(find_task(self.task).recipe_class, CONFIGS[self.task], arguments)


def planned(arguments: Namespace) -> list[Run]:
    """The runs that the command line asks for, seed by seed, so that an early end leaves whole tables."""
    runs = [
        Run(key, task, seed)
        for task, keys, number in PLAN
        for key in keys
        for seed in arguments.seeds or range(number)
        if key in arguments.keys
    ]
    return sorted(dict.fromkeys(runs), key=lambda run: run.seed)


def draw_scenes(folder: Path) -> None:
    """Draws the scenes that the dataset "shapes" has, unless they are there."""
    if folder.is_dir():
        return
    with atomic_folder(folder) as partial:
        for split, scenes in SCENES.items():
            load_shapes(**scenes).save_to_disk(partial / split)


def train_run(recipe: Recipe, scenes: Path, threads: int | None, path: Path) -> None:
    """Trains, and writes figures of the last evaluation, the main one first, and the loss of the last steps."""
    if threads:
        torch.set_num_threads(threads)
    logging.disable_progress_bar()
    column = find_task(recipe.task).target_column
    parts = {split: datasets.load_from_disk(scenes / split).select_columns(["image", column]) for split in SCENES}
    metrics = train(recipe, LoadedData(**parts, class_names=list(NAMES[column])))
    # a class that none of the scenes has is left out: NaN is no JSON
    metrics = {name: value for name, value in metrics.items() if not math.isnan(value)}
    losses = [record["loss"] for record in read_log(Path(recipe.output_dir) / "log.jsonl") if "loss" in record]
    write_whole(path, json_text({"metrics": metrics, "loss": losses[-1], "threads": torch.get_num_threads()}))


def finish(run: Run, scenes: Path, threads: int | None) -> dict:
    """The record of a run, done in a process of its own; its model is not kept."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        process = Process(target=train_run, args=(run.recipe(Path(folder) / "run"), scenes, threads, path))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"The run of {run} failed; see its message above.")
        return asdict(run) | read_json(path) | {"seconds": time.perf_counter() - start}


def budgets() -> dict[str, dict]:
    """What all runs of a task have in common, by task."""
    own = ("model", "seed", "output_dir")
    recipes = {task: asdict(Run(ALL[0], task, 0).recipe(Path("run"))) for task in CONFIGS}
    return {
        task: {name: value for name, value in fields.items() if name not in own} for task, fields in recipes.items()
    }


def load_results(path: Path) -> dict:
    """What former sessions have left, or the beginning of it.

    Raises:
        ValueError: It is of runs with another budget, which can't be compared.
    """
    recipes = budgets()
    if not path.exists():
        return {"limit_seconds": LIMIT, "scenes": SCENES, "recipes": recipes, "runs": []}
    results = read_json(path)
    for name, value in {"scenes": SCENES, "recipes": recipes}.items():
        if results[name] != value:
            raise ValueError(f"{path} has runs with other {name}, which can't be compared: give another --output_dir.")
    return results


def list_runs(runs: Sequence[Run], results: dict) -> str:
    """A line for each run, and how long those that are missing will take."""
    seconds = {run_of(record): record["seconds"] for record in results["runs"]}
    lines = [f"{run}: {f'{seconds[run]:.0f} s' if run in seconds else 'missing'}" for run in runs]
    missing = [run for run in runs if run not in seconds]
    lines += ["", f"{len(missing)} of {len(runs)} runs are missing: {len(missing) * LIMIT / 60:.0f} minutes at most"]
    if seconds:
        mean = sum(seconds.values()) / len(seconds)
        lines[-1] += f", {len(missing) * mean / 60:.0f} if each takes as long as the {len(seconds)} there are"
    return "\n".join(lines)


def run_of(record: dict) -> Run:
    return Run(record["key"], record["task"], record["seed"])


def do_runs(runs: Sequence[Run], results: dict, arguments: Namespace) -> None:
    """Those that are missing, each of which is written when it is done."""
    done = {run_of(record) for record in results["runs"]}
    missing = [run for run in runs if run not in done]
    folder = arguments.output_dir
    if missing:
        draw_scenes(folder / "scenes")
        results["machine"] = describe_machine(torch.device("cpu"))
    for number, run in enumerate(missing, start=1):
        record = finish(run, folder / "scenes", arguments.threads)
        results["runs"].append(record)
        save(folder, NAME, report_text(TABLES, results), results)
        name, value = next(iter(record["metrics"].items()))
        print(f"{number}/{len(missing)} {run}: {name} {value:.4f}, {record['seconds']:.0f} s", flush=True)


def natural(text: str) -> int:
    """A number of at least 0."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say which runs there are and how long they take")
    parser.add_argument("--keys", nargs="+", choices=ALL, default=ALL, metavar="KEY", help=", ".join(ALL))
    parser.add_argument("--seeds", nargs="+", type=natural, help="of every key; by default as many as planned")
    parser.add_argument("--threads", type=positive, help="of a run; by default as PyTorch chooses")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs") / NAME, help="by default %(default)s")
    arguments = parser.parse_args(argv)
    folder, runs = arguments.output_dir, planned(arguments)
    try:
        results = load_results(folder / f"{NAME}.json")
    except ValueError as error:
        parser.error(str(error))
    if arguments.list:
        print(list_runs(runs, results))
        return
    do_runs(runs, results, arguments)
    print(report_text(TABLES, results))
    plot(TABLES, results, folder / f"{NAME}.png")
    print(f"{folder}: {NAME}.md, {NAME}.json, {NAME}.png")


if __name__ == "__main__":
    main()
