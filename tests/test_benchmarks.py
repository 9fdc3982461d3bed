# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The benchmarks run with tiny models, and what they make of given times is right."""

import json
import platform
from pathlib import Path

import pytest
import torch
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
