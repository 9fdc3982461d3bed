# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run with tiny models, and what they make of given times is right."""

import gc
import json
import mmap
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Makes the benchmarks importable, with small ceilings and no repetition."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import machine
    import speed
    import timing
    from entrants import Work

    monkeypatch.setattr(machine, "GEMM_SIDE", 64)
    monkeypatch.setattr(machine, "COPIED_BYTES", 2**16)
    monkeypatch.setattr(timing, "SECONDS_PER_ROUND", 0)
    monkeypatch.setattr(speed, "UNIT", Work("gpvit-nano", 32, 32, 2))


def run(script, tmp_path, *arguments):
    """Rows, all results and the table's lines."""
    module = __import__(script)
    module.main([*arguments, "--rounds", "2", "--device", "cpu", "--output_dir", str(tmp_path)])
    results = json.loads((tmp_path / f"{script}.json").read_text())
    assert (tmp_path / f"{script}.png").read_bytes().startswith(b"\x89PNG")
    lines = [line for line in (tmp_path / f"{script}.md").read_text().splitlines() if line.startswith("| ")]
    return results["rows"], results, lines


def test_speed_of_classifiers_and_segmentors_in_inference_and_training(tmp_path):
    models = ("hrvit-nano", "gpvit-nano-segformer", "segformer-b1")
    arguments = ("--models", *models, "--sizes", "32x64", "--batch_sizes", "2", "--modes", "inference", "training")
    rows, results, lines = run("speed", tmp_path, *arguments)
    assert [row["model"] for row in rows] == ["gpvit-nano"] * 2 + list(models) * 2  # the unit of each mode first
    assert [row["ratio"] for row in rows[:2]] == [1, 1]
    assert all(len(row["seconds"]) == 2 for row in rows)
    assert (rows[3]["height"], rows[3]["width"]) == (32, 64)
    assert len(lines) == 2 + len(rows)  # and two of the head
    for inference, training in zip(rows[2:5], rows[5:], strict=True):
        assert (inference["mode"], training["mode"]) == ("inference", "training")
        assert 2.5 < training["macs_per_image"] / inference["macs_per_image"] < 3.5
        assert training["memory_bytes"] > inference["memory_bytes"] > 4 * inference["parameters"]
    machine = results["machine"]
    assert machine["torch"] and machine["threads"] == torch.get_num_threads()
    assert platform.node() not in machine.values()
    assert str(tmp_path) not in json.dumps(results)


def test_speed_in_bfloat16_is_in_units_of_the_same_dtype(tmp_path):
    rows, results, _ = run(
        "speed", tmp_path, "--models", "hrvit-nano", "--sizes", "32", "--modes", "inference", "--dtypes", "bfloat16"
    )
    assert {row["dtype"] for row in rows} == {"bfloat16"} == set(results["ceilings"])
    assert rows[0]["model"] == "gpvit-nano" and "ratio" in rows[-1]


def test_scaling(tmp_path):
    rows, results, lines = run("scaling", tmp_path, "--models", "gpvit-nano", "hrvit-nano", "--sides", "64", "32")
    assert [(row["model"], row["height"], row["width"]) for row in rows] == [
        (model, side, side) for model in ("gpvit-nano", "hrvit-nano") for side in (32, 64)
    ]
    assert rows[1]["macs_per_image"] > 3 * rows[0]["macs_per_image"]
    assert results["growth"] == {}  # neither 256 nor 1024
    assert len(lines) == 2 + 4


def test_growth_is_time_per_pixel():
    from scaling import growth

    eager = {"dtype": "float32", "execution": "eager", "fits": True}
    rows = [
        {**eager, "model": "a", "height": 256, "seconds_per_image": 1.0},
        {**eager, "model": "a", "height": 1024, "seconds_per_image": 24.0},
        {**eager, "model": "a", "height": 256, "seconds_per_image": 1.0, "execution": "compiled"},
        {**eager, "model": "a", "height": 1024, "seconds_per_image": 16.0, "execution": "compiled"},
        {**eager, "model": "b", "height": 256, "seconds_per_image": 1.0},
        {**eager, "model": "b", "height": 1024, "fits": False},
    ]
    assert growth(rows) == {"a": 1.5, "a compiled": 1}


def test_ratios_are_of_times_per_image_in_the_same_round():
    from report import ratio_range

    assert ratio_range([2.0, 6.0, 8.0], 1, [4.0, 8.0, 4.0], 4) == (3, 2, 8)
    assert ratio_range([2.0], 2, [4.0, 100.0], 4) == (1, 1, 1)  # a slow step has one round


def test_row():
    from entrants import Work
    from report import make_row

    work = Work("gpvit-l1", 224, 224, 4)
    row = make_row(
        work, [0.5, 0.4, 2.0], parameters=7, macs=8000, memory_bytes=9, gemm=64000.0, unit=([1.0, 1.0, 1.0], 2)
    )
    assert row["seconds_per_image"] == 0.125
    assert row["images_per_second"] == 8
    assert row["macs_per_image"] == 2000
    assert row["fraction_of_gemm_ceiling"] == 0.5  # 16000 FLOP in 0.5 s
    assert (row["ratio"], row["ratio_least"], row["ratio_greatest"]) == (0.25, 0.2, 1)


def test_ceiling_is_the_faster_way_and_copies_read_and_write(monkeypatch):
    import report

    monkeypatch.setattr(report, "GEMM_FLOPS", 100)
    monkeypatch.setattr(report, "COPIED_BYTES", 30)
    seconds = {"matrix_product": [4.0, 5.0, 9.0], "pointwise_convolution": [2.0], "copy": [3.0]}
    rates = {"matrix_product": 20, "pointwise_convolution": 50, "gemm": 50, "copy": 20}
    assert report.ceilings(seconds) == rates


def test_reference_suite():
    from entrants import suite_works

    works = suite_works("reference")
    assert [str(work) for work in works] == [
        "gpvit-l1 4x224x224",
        "gpvit-l2 4x224x224",
        "hrvit-b1 4x224x224",
        "gpvit-l1-backbone 1x512x512",
        "hrvit-b1-segformer 1x512x512",
        "hrvit-b3-segformer 1x512x512",
        "segformer-b1 1x512x512",
        "segformer-b3 1x512x512",
        "gpvit-l1 4x224x224 training",
        "hrvit-b1 4x224x224 training",
    ]
    given = suite_works("reference", models=["gpvit-nano"], batch_sizes=[2], modes=["inference"], sizes=None)
    assert [str(work) for work in given] == ["gpvit-nano 2x224x224", "gpvit-nano 2x512x512"]


def test_published_sizes_of_segformer():
    """13.7 and 47.3 million parameters with 150 classes."""
    from entrants import MODELS

    with torch.device("meta"):
        sizes = [MODELS[name](512, 512).num_parameters() / 1e6 for name in ("segformer-b1", "segformer-b3")]
    assert sizes == pytest.approx([13.7, 47.3], abs=0.1)


def test_multiply_adds_of_a_training_step_know_groups():
    """The first convolution has no gradient of its input, so it counts twice and the linear layer three times."""
    from entrants import Work
    from timing import count

    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(6, 1000))
    macs, _ = count(model, Work("a classifier", 8, 16, 2, "training"), torch.device("cpu"))
    assert macs == 2 * (2 * 6 * 9 * 8 * 16 + 3 * 6 * 1000)


def test_rounds_take_turns_and_slow_steps_are_timed_once(monkeypatch):
    import timing

    order = []
    clocks = [timing.Clock(lambda name=name: order.append(name)) for name in "ab"]
    timing.run_rounds(clocks, 2)
    assert "".join(order) == "aabbaabb"  # one call untimed, one timed
    monkeypatch.setattr(timing, "SLOW_SECONDS", -1)
    slow = timing.Clock(lambda: None)
    slow.calibrate()
    timing.run_rounds([slow], 3)
    assert len(slow.times) == 1


def test_what_does_not_fit_into_memory_is_said(monkeypatch):
    import entrants
    import report
    import speed
    import timing

    def build(height, width):
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setitem(entrants.MODELS, "gpvit-l4", build)
    entry = timing.prepare(entrants.Work("gpvit-l4", 8192, 8192, 1), torch.device("cpu"))
    row = speed.entry_row(entry, {"float32": {"gemm": 1.0}})
    assert not row["fits"]
    assert "out of memory" in report.table([row])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cpu", "--executions", "cuda-graphs"], "needs CUDA"),
        (["--device", "cpu", "--dtypes", "float16"], "bfloat16"),
        (["--device", "cpu", "--models", "gpvit-l1-backbone", "--modes", "training"], "with a head"),
        (["--sizes", "1x2x3"], "invalid size value: '1x2x3'"),
        (["--rounds", "0"], "invalid positive value: '0'"),
    ],
)
def test_what_can_not_be_measured_is_refused_before_any_work(arguments, message, capsys):
    import speed

    with pytest.raises(SystemExit):
        speed.main(arguments)
    assert message in capsys.readouterr().err


MINUTES = np.linspace(0, 30, 900)


def wandering(random, scale, samples=30):
    """Noise in which each sample resembles so many before it; 30 are a minute."""
    steps = random.normal(scale=scale, size=len(MINUTES) + samples - 1)
    return np.convolve(steps, np.ones(samples) / samples**0.5, mode="valid")


@pytest.mark.parametrize(
    ("series", "growth"),
    [
        (lambda random: np.zeros(900), 0),
        (lambda random: wandering(random, 10), 0),
        (lambda random: np.minimum(MINUTES, 9) * 20 + random.normal(size=900), 0),  # all of it in the warm-up
        (lambda random: 50.0 * (random.uniform(size=900) < 0.1), 0),  # garbage waits now and then
        (lambda random: 2 * MINUTES * random.uniform(size=900), 0),  # ever more of it, but all is freed
        (lambda random: np.where(MINUTES > 28, 30.0, 0), 0),  # a cache that fills late
        (lambda random: 0.1 * MINUTES, 2),  # certain, but next to nothing
        (lambda random: 2 * MINUTES, 40),
        (lambda random: 2 * MINUTES + random.normal(scale=10, size=900), 40),
        (lambda random: 2 * MINUTES + 30 * (MINUTES % 1), 40),  # what is kept and what waits for a collection
        (lambda random: 4 * MINUTES + wandering(random, 5), 80),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_growth_is_told_from_noise(series, growth, seed):
    from trend import find_trend

    trend = find_trend(60 * MINUTES, 500 + series(np.random.default_rng(seed)))
    assert (trend.verdict == "grows") == (growth > 5)
    assert trend.growth == pytest.approx(growth, abs=max(4 * trend.error, 1))


def test_error_is_about_what_chance_gives_where_memory_wanders():
    from trend import find_trend

    noises = [wandering(np.random.default_rng(seed), 10, samples=90) for seed in range(40)]
    trends = [find_trend(60 * MINUTES, 500 + noise) for noise in noises]
    # half of what has a normal distribution is within 0.67 standard errors
    assert 0.3 < np.median([abs(trend.growth) / trend.error for trend in trends]) < 1


def test_growth_that_may_be_chance_is_unclear():
    from trend import Trend

    def verdict(growth, error):
        return Trend(level=100, growth=growth, error=error, times=(), floors=()).verdict

    assert [verdict(0.9, 0.1), verdict(2, 0.1), verdict(2, 1), verdict(-2, 0.1)] == [
        "flat",
        "grows",
        "unclear",
        "flat",
    ]


def test_shrinking_is_not_growing():
    from trend import find_trend

    trend = find_trend(60 * MINUTES, 500 - 2 * MINUTES)
    assert trend.verdict == "flat" and trend.growth == pytest.approx(-40, rel=0.01)
    assert trend.level == pytest.approx(460, rel=0.01)  # amid what is after the warm-up


def test_trends_know_missing_values_and_how_little_they_have():
    from trend import find_trend

    values = [5.0 * minute if index % 10 == 0 else None for index, minute in enumerate(MINUTES)]
    assert find_trend(MINUTES, values).growth == pytest.approx(100, rel=0.05)
    assert find_trend(MINUTES[:50], values[:50]) is None
    assert find_trend([], []) is None


def make_cycle():
    layer = nn.Linear(1, 1)
    layer.itself = [layer]


@pytest.fixture
def few_objects():
    """Objects that are there already are left out of collections and counts, which takes seconds off them."""
    gc.freeze()
    yield
    gc.unfreeze()


def touched_pages(size):
    """Memory from the system itself, and resident."""
    pages = mmap.mmap(-1, size)
    for start in range(0, size, mmap.PAGESIZE):
        pages[start] = 1
    return pages


@pytest.mark.usefixtures("few_objects")
def test_monitor_sees_what_works_leave_behind(monkeypatch, tmp_path):
    import monitor

    monkeypatch.setattr(monitor, "TENSORS_EVERY", 1)
    watch = monitor.Monitor("a test", seconds=60, interval=0)
    kept = []
    watch.run("kept", lambda: kept.extend([torch.zeros(1), (tmp_path / "file").open("w")]))
    watch.run("kept", lambda: kept.extend([nn.Linear(1, 1), torch.ones(2**24), touched_pages(2**26)]))
    watch.run("dropped", make_cycle)
    kept.pop(1).close()
    watch.run("nothing", lambda: None)
    samples = watch.samples
    assert np.diff(samples["tensors"]).tolist() == [1, 3, 0, 0]
    assert np.diff(samples["open_files"]).tolist() == [1, 0, 0, -1]
    # the tensor may stand where another one of this process was before, the pages are new
    assert 0.9 * 2**26 < samples["rss_bytes"][2] - samples["rss_bytes"][1] < 2.2 * 2**26
    if samples["heap_bytes"][0] is not None:
        assert samples["heap_bytes"][2] - samples["heap_bytes"][1] == pytest.approx(2**26, rel=0.1)
    assert samples["seconds"] == sorted(samples["seconds"])
    assert {name: counter.times for name, counter in watch.works.items()} == {"kept": 2, "dropped": 1, "nothing": 1}


@pytest.mark.usefixtures("few_objects")
def test_interrupt_and_time_end_works(request):
    from monitor import Monitor, interruptible

    # workers of pytest-xdist ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    watch = Monitor("a test", seconds=60)
    with interruptible(watch):
        assert not watch.is_over
        signal.raise_signal(signal.SIGINT)
    assert watch.is_over and watch.is_interrupted
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert Monitor("a test", seconds=0).is_over


def long_record(growth):
    seconds = list(range(100))
    rising = [1000 + growth * second for second in seconds]
    samples = {"seconds": seconds, "rss_bytes": rising, "open_files": [9] * 100, "threads": [1] * 100}
    samples["heap_bytes"] = [None] * 100
    samples["tensors"] = [50 if second % 10 == 0 else None for second in seconds]
    works = {"forward": {"times": 1234, "seconds": 99.0}}
    return {"machine": {"cpu": "x"}, "minutes": 2.0, "is_interrupted": True, "works": works, "samples": samples}


@pytest.mark.parametrize(("growth", "verdict"), [(0, "flat"), (10, "grows")])
def test_report_of_long_runs_says_whether_anything_grows(growth, verdict, tmp_path):
    from long_run_report import write_report

    (tmp_path / "training.json").write_text(json.dumps(long_record(growth)))
    assert write_report(tmp_path, ("inference", "training")) == (verdict == "grows")
    result = json.loads((tmp_path / "long_run.json").read_text())["training"]
    assert result["trends"]["rss_bytes"]["verdict"] == verdict
    assert result["trends"]["tensors"] is None
    lines = (tmp_path / "long_run.md").read_text().splitlines()
    verdicts = [line.split("|")[-2].strip() for line in lines if line.startswith("| training")]
    assert verdicts == [verdict, "too short to tell", "too short to tell", "flat", "flat", "99"]
    assert "2.0 minutes, interrupted" in lines[-1]
    assert (tmp_path / "long_run.png").read_bytes().startswith(b"\x89PNG")


LONG_RUN = str(Path(__file__).parents[1] / "benchmarks/long_run.py")


@pytest.mark.slow
def test_long_run(tmp_path):
    command = [sys.executable, LONG_RUN, "--minutes", "0.5", "--interval", "0.1", "--output_dir", str(tmp_path)]
    status = subprocess.run(command).returncode
    results = json.loads((tmp_path / "long_run.json").read_text())
    trends = [trend for own in results.values() for trend in own["trends"].values()]
    growing = [trend["verdict"] == "grows" for trend in trends if trend is not None]
    assert status == any(growing)
    assert list(results) == ["inference", "training"]
    assert results["inference"]["works"]["largest picture"]["times"] > 1
    assert results["training"]["works"]["step"]["times"] > 1
    for mode in results:
        samples = json.loads((tmp_path / f"{mode}.json").read_text())["samples"]
        assert results[mode]["minutes"] >= 0.5 and min(samples["rss_bytes"]) > 2**26
        assert all(len(values) == len(samples["seconds"]) for values in samples.values())
    assert str(tmp_path) not in json.dumps(results)


@pytest.mark.slow
def test_interrupted_long_run_keeps_its_figures(tmp_path):
    command = [sys.executable, LONG_RUN, "--modes", "inference", "--output_dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert "inference, 0 min" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    results = json.loads((tmp_path / "long_run.json").read_text())
    assert results["inference"]["is_interrupted"] and results["inference"]["minutes"] < 5


# --- detectors


@pytest.mark.slow
def test_detectors_beside_those_of_torchvision(tmp_path):
    import detection

    arguments = ("--size", "64x96", "--rounds", "1", "--calls", "1", "--threads", "1", "--output_dir", str(tmp_path))
    with touched_pages(2**29):  # more than a detector needs: what this process has had is no detector's
        detection.main(["--models", "gpvit-nano-retinanet", *arguments])
    results = json.loads((tmp_path / "detection.json").read_text())
    peer, own = results["rows"]
    assert (peer["model"], own["model"]) == ("retinanet_resnet50_fpn_v2", "gpvit-nano-retinanet")
    assert (peer["ratio"], peer["memory_ratio"]) == (1, 1)
    assert peer["detections"] == own["detections"] == 100
    assert own["parameters"] < 10**7 < peer["parameters"]
    assert all(row["memory_bytes"] > 4 * row["parameters"] for row in (peer, own))
    assert len([line for line in (tmp_path / "detection.md").read_text().splitlines() if line.startswith("| ")]) == 4


def test_ratios_of_detectors_are_of_rounds():
    import detection

    def rounds(*seconds):
        return [{"seconds": each, "memory_bytes": 2**20, "parameters": 1, "detections": 0} for each in seconds]

    measured = {"maskrcnn_resnet50_fpn_v2": rounds(1, 2, 10), "gpvit-l1-mask_rcnn": rounds(2, 3, 5)}
    row = detection.rows_of(measured)[1]
    assert (row["ratio"], row["ratio_least"], row["ratio_greatest"]) == (1.5, 0.5, 2)
    assert "gpvit-l1-mask_rcnn" in detection.table([row])


@pytest.mark.parametrize("name", ["gpvit-nano-mask_rcnn", "gpvit-nano-retinanet"])
def test_all_detectors_have_as_much_to_do(name, monkeypatch):
    """In a picture where 100 boxes of one class have room: all of Mask R-CNN's are of one."""
    import detection

    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    assert detection.measure(name, 256, 320, 1, 1)["detections"] == 100


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2"])
def test_detectors_of_torchvision_resize_nothing(name):
    import detection

    with torch.device("meta"):
        model = detection.MODELS[name](64, 96)
    images, _ = model.transform([torch.zeros(3, 64, 96)])
    assert images.image_sizes == [(64, 96)]


# --- the papers' tables and figures


def test_papers_tables_are_of_models_that_there_are():
    from hf_gpvit.saved_models import is_preset
    from published import TABLES, TIMES

    rows = [row for table in TABLES.values() for row in table.rows]
    assert all(is_preset(row.key) for row in rows) and all(map(is_preset, TIMES))
    assert all(float(printed) > 0 for row in rows for printed in row.printed)
    for table in TABLES.values():
        assert table.unit in [row.name for row in table.rows]
        assert {(len(row.printed), len(row.results)) for row in table.rows} == {
            (len(table.columns), len(table.results))
        }


def test_multiply_adds_without_output_projections():
    from paper_counts import figure
    from published import Count

    count = Count("", "classifier", (224, 224), "output projections of ungrouping")
    assert figure("gpvit-l1", count, {}) / 1e9 == pytest.approx(5.95, abs=0.005)


def test_a_count_agrees_where_it_rounds_to_what_is_printed():
    from paper_counts import agrees

    assert agrees(5.849e9, 1e9, "5.8") and agrees(33.6e9, 1e9, "34")
    assert not agrees(5.851e9, 1e9, "5.8") and not agrees(33.4e9, 1e9, "34")


@pytest.mark.parametrize("size", [(224, 224), (512, 2048)])
def test_layers_of_figure_5_by_formula(size):
    from layer_costs import layer_macs, mlp_macs

    c, h, w = 96, size[0] // 8, size[1] // 8
    n, padded, m = h * w, 49 * -(-h // 7) * -(-w // 7), 32
    assert layer_macs("self-attention", c, size) == 12 * c**2 * n + 2 * c * n**2 + 9 * c * n
    assert layer_macs("LePE attention", c, size) == 12 * c**2 * n + 2 * c * n * (h + w) + 18 * c * n
    assert layer_macs("window attention", c, size) == 8 * c**2 * n + (4 * c + 98) * c * padded + 9 * c * n
    assert layer_macs("GPBlock-32", c, size) == 13 * c**2 * n + 4 * m * c * n + 11 * c**2 * m + 9 * c * n
    assert mlp_macs(c, size) == 8 * c**2 * n


def test_figure_5(monkeypatch, tmp_path):
    import ablations
    import layer_costs

    curves = {name: layer_costs.CURVES[name] for name in ("LePE attention", "GPBlock-16")}
    monkeypatch.setattr(layer_costs, "CURVES", curves)
    monkeypatch.setattr(layer_costs, "SIDES", (64, 128))
    monkeypatch.setattr(layer_costs, "WIDTHS", (96, 192))
    monkeypatch.setattr(layer_costs, "SIZES", ((64, 96),))
    ablations.main(["--figures", "5", "--output_dir", str(tmp_path)])
    panels = json.loads((tmp_path / "figure-5.json").read_text())["panels"]
    assert [panel["title"] for panel in panels] == ["348 channels", "64x96"]
    assert panels[0]["layer"]["LePE attention"][1] == layer_costs.layer_macs("LePE attention", 348, (128, 128))
    assert (tmp_path / "figure-5.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "ablations.json").exists()


@pytest.fixture
def small_table(monkeypatch):
    from published import TABLES, Column, Count, Row, Table

    columns = (
        Column("parameters (M)", (Count("classifier", "classifier"),)),
        Column("GMAC", (Count("plain", "classifier", (32, 32)),)),
    )
    rows = (
        Row("none", "gpvit-nano-lepe-none", ("9.9", "0.01"), ("70.1",)),
        Row("GP Block", "gpvit-nano-lepe-gp", ("9.9", "0.01"), ("",)),
    )
    monkeypatch.setitem(TABLES, "gpvit-7", Table("A table: of two", columns, ("top-1",), rows, unit="GP Block"))


def table_cells(folder):
    """Cells of the lines of ablations.md."""
    lines = (folder / "ablations.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


@pytest.mark.usefixtures("small_table")
def test_tables_have_ours_beside_the_papers(tmp_path):
    import ablations

    ablations.main(["--tables", "gpvit-7", "--counts_only", "--output_dir", str(tmp_path)])
    head, _, none, _ = table_cells(tmp_path)
    assert head[2:] == ["parameters (M), classifier", "paper", "GMAC, plain", "paper", "paper: top-1"]
    assert none[:2] == ["none", "`gpvit-nano-lepe-none`"]
    assert none[3:] == ["9.9", "**0.01**", "0.01", "70.1"]
    assert json.loads((tmp_path / "ablations.json").read_text())["seconds"] == {}
    assert "2 of 4 printed figures" in (tmp_path / "ablations.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("small_table")
def test_tables_have_times(tmp_path):
    import ablations

    ablations.main(["--tables", "gpvit-7", "--device", "cpu", "--rounds", "2", "--output_dir", str(tmp_path)])
    head, _, none, block = table_cells(tmp_path)
    assert head[7] == "ms per image, 4x32x32" and float(none[7]) > 0
    assert block[-1] == "1.00 (1.00-1.00)"
    results = json.loads((tmp_path / "ablations.json").read_text())
    assert [len(seconds) for seconds in results["seconds"].values()] == [2, 2]


@pytest.mark.usefixtures("small_table")
def test_times_are_in_units_of_a_row():
    import ablations
    from published import TABLES
    from timing import Clock, Entry

    table = TABLES["gpvit-7"]
    [works] = ablations.timed_works(table)
    assert [str(work) for work in works] == ["gpvit-nano-lepe-none 4x32x32", "gpvit-nano-lepe-gp 4x32x32"]
    times = dict(zip(works, ([1.0, 2.0, 9.0], [2.0, 2.0, 3.0]), strict=True))
    entries = {work: Entry(work, clock=Clock(None, times=seconds)) for work, seconds in times.items()}
    assert list(ablations.time_cells(table, [works], entries).values()) == [
        ["500", "500"],
        ["1.00 (0.50-3.00)", "1.00 (1.00-1.00)"],
    ]
    entries[works[0]].clock = None
    assert list(ablations.time_cells(table, [works], entries).values())[0] == ["out of memory", "500"]


def test_work_alone_ends_with_its_process():
    import own_process

    assert own_process.run_alone(len, "abc", seconds=60) == 3
    with pytest.raises(MemoryError, match="signal 9"):
        own_process.run_alone(signal.raise_signal, signal.SIGKILL, seconds=60)
    with pytest.raises(TimeoutError, match="more than 0.1 s"):
        own_process.run_alone(time.sleep, 60, seconds=0.1)


def test_an_entrant_that_has_no_memory_or_time_has_a_line_that_says_so(monkeypatch):
    import high_resolution
    from entrants import Work

    conditions = high_resolution.Conditions("cpu", 1, 1, "sdpa", 2**30, 5)
    for error, said in (
        (MemoryError("out of memory"), "memory: out of memory; limit 1.0 GiB"),
        (TimeoutError("5 s"), "5 s"),
    ):

        def fail(*arguments, seconds, error=error):
            raise error

        monkeypatch.setattr(high_resolution, "run_alone", fail)
        row = high_resolution.measured_row(Work("vit-d216-p8", 512, 2048, 1), conditions)
        line = high_resolution.time_table([row]).splitlines()[2]
        assert said in line and "out of memory |" in line and " 7.4 |" in line
        assert row["macs_per_image"] > 5e11


@pytest.mark.slow
def test_table_10(tmp_path):
    import ablations

    arguments = [
        "--tables",
        "gpvit-10",
        "--models",
        "gpvit-l1",
        "vit-d216-p8",
        "--sizes",
        "32",
        "512",
        "--rounds",
        "1",
    ]
    arguments += ["--attention", "eager", "--device", "cpu", "--memory_limit", "1"]
    ablations.main([*arguments, "--batch_size", "2", "--output_dir", str(tmp_path)])
    rows = json.loads((tmp_path / "table-10.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["gpvit-l1", "vit-d216-p8"] * 2
    assert all(row["memory_bytes"] > 4 * row["parameters"] for row in rows[:3])
    # weights of 12 heads among 4096 tokens are 0.75 GiB, and softmax makes others of them
    assert rows[3]["skipped"] == "memory: out of memory; limit 1.0 GiB"


@pytest.fixture
def trained_folder(tmp_path):
    from families import GPVIT
    from hf_gpvit.data import image_processor_for

    model = GPVIT.classifier_class(GPVIT.config())
    model.save_pretrained(tmp_path / "model")
    image_processor_for(model, 64).save_pretrained(tmp_path / "model")
    Image.effect_noise((90, 70), 80).save(tmp_path / "photo.png")
    return tmp_path


def test_figure_6(trained_folder):
    import ablations

    folder, picture = str(trained_folder / "model"), str(trained_folder / "photo.png")
    ablations.main(["--figures", "6", "--model", folder, "--image", picture, "--output_dir", str(trained_folder)])
    blocks = json.loads((trained_folder / "figure-6.json").read_text())["blocks"]
    assert [block["groups"] for block in blocks] == [6, 5]
    assert all(sum(block["tokens_by_group"].values()) == 64 for block in blocks)
    width, height = Image.open(trained_folder / "figure-6.png").size
    assert width > 7 * 224 and height > 2 * 224
    lines = [line for line in (trained_folder / "figure-6.md").read_text().splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figures", "6", "--model", "nowhere"], "needs --model and --image"),
        (["--tables", "gpvit-7", "--image", "photo.png", "--model", "nowhere"], "needs --model and --image"),
        (["--figures", "6", "--model", "nowhere", "--image", "photo.png"], "nowhere"),
        (["--tables", "gpvit-2"], "invalid choice: 'gpvit-2'"),
    ],
)
def test_papers_figures_that_can_not_be_drawn_are_refused(arguments, message, capsys, tmp_path, monkeypatch):
    import ablations

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        ablations.main(arguments)
    assert message in capsys.readouterr().err
