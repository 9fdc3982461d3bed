# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes on CPU do what one does, and what they share out comes together again."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

from hf_gpvit.training import ClassificationRecipe
from hf_gpvit.training.run_lock import RunLock
from hf_gpvit.training.run_log import read_log


SCRIPT = Path(__file__).parents[1] / "support" / "run_recipe.py"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="uses torchrun with gloo")]


def run(recipe: ClassificationRecipe, path: Path, num_processes: int, *ways: str) -> list[dict]:
    """Trains as `run_recipe.py` says, and returns the log."""
    recipe.save(path)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), str(path), *ways]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return read_log(Path(recipe.output_dir) / "log.jsonl")


@pytest.fixture(params=["gpvit", "hrvit"])
def recipe(request, classification, models):
    fields = {"max_steps": 20, "eval_steps": 10, "logging_steps": 1, "learning_rate": 1e-3}
    return replace(classification, model=str(models / request.param), **fields)


def losses(log: list[dict]) -> torch.Tensor:
    return torch.tensor([record["loss"] for record in log if "loss" in record])


def evaluations(log: list[dict]) -> list[float]:
    return [record["eval/accuracy"] for record in log if "eval/accuracy" in record]


@pytest.mark.parametrize("gradient_accumulation_steps", [1, 2])
def test_two_processes_train_as_one(recipe, tmp_path, gradient_accumulation_steps):
    one = run(recipe, tmp_path / "one.yaml", 1, "frozen")
    fields = {"output_dir": str(tmp_path / "two"), "gradient_accumulation_steps": gradient_accumulation_steps}
    two = run(replace(recipe, **fields), tmp_path / "two.yaml", 2, "frozen")
    torch.testing.assert_close(losses(two), losses(one), atol=1e-4, rtol=0)
    assert evaluations(two) == evaluations(one)


# All anchors and regions take part: none is drawn, which each process would do by random numbers of its own.
NO_DRAWING = {"rpn_batch_size_per_image": 2**16, "box_batch_size_per_image": 2**16}


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_detectors_train_on_the_average_of_the_losses_of_their_processes(detection, tmp_path, precision):
    """Each loss is divided by what there is in the pictures of a process, as if they were the parts of a batch."""
    fields = {"batch_size": 4, "max_steps": 10, "logging_steps": 1, "freeze_batch_norm": True, "learning_rate": 1e-3}
    fields |= {"model_fields": detection.model_fields | NO_DRAWING, "skip_empty": False, "mixed_precision": precision}
    parts = replace(detection, gradient_accumulation_steps=2, output_dir=str(tmp_path / "parts"), **fields)
    run(parts, tmp_path / "parts.yaml", 1)
    run(replace(detection, **fields), tmp_path / "two.yaml", 2)
    weights = [load_file(tmp_path / name / "last/model.safetensors") for name in ("parts", "run")]
    tolerance = 1e-4 if precision == "no" else 1e-2
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=tolerance, rtol=tolerance, msg=name)


def test_sharded_weights_train_and_load(recipe, tmp_path):
    one = run(recipe, tmp_path / "one.yaml", 1, "frozen")
    sharded = replace(recipe, output_dir=str(tmp_path / "sharded"))
    log = run(sharded, tmp_path / "sharded.yaml", 2, "frozen", "fsdp2")
    torch.testing.assert_close(losses(log), losses(one), atol=1e-4, rtol=0)
    assert evaluations(log) == evaluations(one)
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "sharded/last")
    expected = load_file(tmp_path / "run/last/model.safetensors")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-3, rtol=1e-3)


def test_sharded_weights_are_not_averaged(recipe, tmp_path):
    path = tmp_path / "recipe.yaml"
    with pytest.raises(AssertionError, match="ema_decay must be 0"):
        run(replace(recipe, ema_decay=0.9, max_steps=1), path, 2, "fsdp2")


def test_a_run_in_use_is_refused_in_all_processes(recipe, tmp_path):
    """The main process alone finds out, and locks; nothing waits for it."""
    (tmp_path / "run").mkdir()
    lock = RunLock(tmp_path / "run")
    lock.acquire()
    with pytest.raises(AssertionError) as failed:
        run(replace(recipe, resume=True), tmp_path / "recipe.yaml", 2)
    lock.release()
    assert str(failed.value).count("is in use: another run is training in it") >= 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    run(replace(recipe, max_steps=2, resume=True), tmp_path / "recipe.yaml", 2)


def test_a_damaged_checkpoint_is_refused_in_all_processes(recipe, tmp_path):
    run(replace(recipe, max_steps=2), tmp_path / "recipe.yaml", 2)
    checkpoint = tmp_path / "run/checkpoints/step-00000002"
    assert (checkpoint / "random_states_1.pkl").exists()
    (checkpoint / "random_states_1.pkl").write_bytes(b"")
    with pytest.raises(AssertionError) as failed:
        run(replace(recipe, max_steps=2, resume=True), tmp_path / "recipe.yaml", 2)
    assert str(failed.value).count("random_states_1.pkl is not as it was written") >= 2
