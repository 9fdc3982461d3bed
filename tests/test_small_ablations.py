# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The papers' ablations at nano size: what is planned, what a session leaves, and what the report makes of it."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest
from transformers.utils import logging

from hf_gpvit.ablations import VARIANTS
from hf_gpvit.training import engine
from short_runs import fresh_accelerator  # noqa: F401


NONE, GP = "gpvit-nano-window-none", "gpvit-nano-window-gp"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import small_ablations

    return small_ablations


@pytest.fixture
def tiny(small, monkeypatch, tmp_path):
    """Few small scenes, and two steps of two."""
    recipe = "task: semantic-segmentation\nresize_size: [64, 64]\ncrop_size: 64\nbatch_size: 2\nmax_steps: 2\n"
    (tmp_path / "tiny.yaml").write_text(recipe)
    monkeypatch.setattr(small, "CONFIGS", {small.SEGMENTATION: str(tmp_path / "tiny.yaml")})
    sizes = {"num_scenes": 4, "image_size": 64}
    monkeypatch.setattr(small, "SCENES", {"train": sizes | {"seed": 0}, "test": sizes | {"seed": 1}})
    yield small
    logging.enable_progress_bar()  # which a run hides in its own process; here other tests need it


@pytest.fixture
def pretended(tiny, monkeypatch):
    """Runs that are not done, but listed: the GP Block is better by a point, and by one more for each seed."""
    done = []

    def finish(run, scenes, threads):
        done.append((run.key, run.seed))
        value = 0.3 + 0.01 * (run.key == GP) * (1 + run.seed)
        return {"key": run.key, "task": run.task, "seed": run.seed, "metrics": {"mean_iou": value}, "seconds": 30.0}

    monkeypatch.setattr(tiny, "finish", finish)
    monkeypatch.setattr(tiny, "draw_scenes", lambda folder: None)
    return done


def test_plan_fits_into_75_minutes_and_has_three_seeds_of_every_row(small):
    runs = small.planned(Namespace(keys=small.ALL, seeds=None))
    assert len(runs) == len(set(runs)) and len(runs) * small.LIMIT <= 75 * 60
    assert {run.key for run in runs} == {run.key for run in runs if run.seed == 2} == set(small.ALL)
    assert set(small.ALL) <= {"hrvit-nano", *VARIANTS}
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)  # an early end leaves whole tables


def test_recipes_end_with_their_only_evaluation(small):
    for task in small.CONFIGS:
        recipe = small.Run("gpvit-nano-lepe-none", task, 7).recipe(Path("run"))
        assert (recipe.model, recipe.seed) == ("gpvit-nano-lepe-none", 7)
        assert 0 < recipe.max_steps == recipe.eval_steps
        assert recipe.max_steps * recipe.batch_size <= small.SCENES["train"]["num_scenes"]  # no picture twice


def test_an_interrupted_session_goes_on_with_what_is_missing(tiny, pretended, monkeypatch, tmp_path):
    arguments = ["--keys", NONE, GP, "--seeds", "0", "1", "--output_dir", str(tmp_path)]
    finish = tiny.finish

    def interrupted(*run):
        if len(pretended) == 3:
            raise KeyboardInterrupt
        return finish(*run)

    monkeypatch.setattr(tiny, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tiny.main(arguments)
    assert pretended == [(NONE, 0), (GP, 0), (NONE, 1)]
    records = json.loads((tmp_path / "small_ablations.json").read_text())["runs"]
    assert [(record["key"], record["seed"]) for record in records] == pretended
    monkeypatch.setattr(tiny, "finish", finish)
    tiny.main(arguments)
    assert pretended[3:] == [(GP, 1)]
    assert (tmp_path / "small_ablations.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_fails_is_named(tiny, monkeypatch, tmp_path):
    process = Namespace(start=lambda: None, join=lambda: None, exitcode=1)
    monkeypatch.setattr(tiny, "Process", lambda **arguments: process)
    run = tiny.Run(NONE, tiny.SEGMENTATION, 4)
    with pytest.raises(RuntimeError, match=f"The run of {NONE}, semantic-segmentation, seed 4 failed"):
        tiny.finish(run, tmp_path, threads=None)


def test_list_says_what_is_missing_and_does_nothing(tiny, pretended, tmp_path, capsys):
    arguments = ["--keys", NONE, GP, "--output_dir", str(tmp_path)]
    tiny.main([*arguments, "--seeds", "0"])
    capsys.readouterr()
    tiny.main([*arguments, "--seeds", "0", "1", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{NONE}, semantic-segmentation, seed 0: 30 s"
    assert lines[2] == f"{NONE}, semantic-segmentation, seed 1: missing"
    assert lines[-1] == ("2 of 4 runs are missing: 2 minutes at most, 1 if each takes as long as the 2 there are")
    assert len(pretended) == 2


def test_runs_with_another_budget_are_not_mixed(tiny, pretended, tmp_path, capsys):
    arguments = ["--keys", NONE, "--seeds", "0", "--output_dir", str(tmp_path)]
    tiny.main(arguments)
    path = Path(tiny.CONFIGS[tiny.SEGMENTATION])
    path.write_text(path.read_text().replace("max_steps: 2", "max_steps: 3"))
    with pytest.raises(SystemExit):
        tiny.main(arguments)
    assert "other recipes, which can't be compared: give another --output_dir" in capsys.readouterr().err


def test_report_has_the_papers_figures_means_spread_and_answer(tiny, pretended, tmp_path):
    tiny.main(["--keys", NONE, GP, "--seeds", "0", "1", "2", "--output_dir", str(tmp_path)])
    text = (tmp_path / "small_ablations.md").read_text()
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    cells = [cell.strip() for cell in rows["GP Block"].strip("|").split("|")]
    assert cells[1:6] == ["79.8", "45.5", "32.0 ± 1.0", "+2.0 (-0.5 to +4.5)", "3"] and cells[7] == "30"
    none = [cell.strip() for cell in rows["none"].strip("|").split("|")]
    assert none[3:6] == ["30.0 ± 0.0", "", "3"] and int(none[6].replace(",", "")) < int(cells[6].replace(",", ""))
    assert [cell.strip() for cell in rows["convolution"].strip("|").split("|")][3:] == ["", "", "0", "", ""]
    assert "GP Block against none: not to be told from chance, +2.0 (-0.5 to +4.5) points, 3 seeds." in text
    assert "HRViT" not in text  # there are no such runs
    assert "0 of them took more than the 60 s" in text


def test_differences_are_of_the_same_seed(small):
    from small_ablations_report import compare

    difference = compare({0: 11.0, 1: 22.0, 2: 33.0, 3: 0.0}, {2: 30.0, 1: 20.0, 0: 10.0})
    assert (difference.mean, difference.number) == (2, 3)
    assert difference.greatest - 2 == 2 - difference.least == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    single = compare({0: 5.0}, {0: 1.0, 1: 2.0})
    assert (single.mean, single.least) == (4, -math.inf) and single.verdict == "not to be told from chance"
    assert compare({0: 1.0}, {1: 1.0}) is None


def test_verdicts(small):
    from small_ablations_report import Difference

    limits = [(0.1, 0.9), (-0.9, -0.1), (-0.1, 0.9)]
    verdicts = [Difference(0.0, least, greatest, 3).verdict for least, greatest in limits]
    assert verdicts == ["better", "worse", "not to be told from chance"]


def test_all_variants_see_the_same_pictures_in_the_same_order(tiny, monkeypatch, tmp_path):
    task = engine.TASKS[tiny.SEGMENTATION]
    loss, seen = task.loss, {}
    tiny.draw_scenes(tmp_path / "scenes")

    def seeing(self, model, batch):
        seen[key].append(batch["pixel_values"].sum(dim=(1, 2, 3)).tolist())
        return loss(self, model, batch)

    monkeypatch.setattr(task, "loss", seeing)
    for key in ("gpvit-nano-window-conv", "hrvit-nano"):
        seen[key] = []
        recipe = tiny.Run(key, tiny.SEGMENTATION, 1).recipe(tmp_path / key)
        tiny.train_run(recipe, tmp_path / "scenes", None, tmp_path / f"{key}.json")
    first, second = seen.values()
    assert len(first) == 2 and first[0] != first[1]
    assert first == second


@pytest.mark.slow
def test_two_runs(tiny, tmp_path):
    arguments = ["--keys", NONE, GP, "--seeds", "0", "--threads", "1", "--output_dir", str(tmp_path)]
    tiny.main(arguments)
    records = json.loads((tmp_path / "small_ablations.json").read_text())["runs"]
    assert [record["key"] for record in records] == [NONE, GP]
    assert all(0 <= record["metrics"]["mean_iou"] <= 1 and record["threads"] == 1 for record in records)
    assert all(record["seconds"] > 1 and math.isfinite(record["loss"]) for record in records)
    assert not list(tmp_path.rglob("*.safetensors"))
    tiny.main(arguments)
    assert json.loads((tmp_path / "small_ablations.json").read_text())["runs"] == records
