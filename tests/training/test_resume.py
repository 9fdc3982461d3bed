# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed and resumed end with the very weights of a run that nothing happened to."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_gpvit.training.run_log import read_log
from short_runs import short_detection_run


ROOT = Path(__file__).parents[2]
STEPS = 40
OPTIONS = f"""
    --image_size 32 --batch_size 4 --max_steps {STEPS} --eval_steps 4 --logging_steps 1 --num_workers 1
    --ema_decay 0.9 --mixup_alpha 0.8 --cutmix_alpha 1 --drop_path_rate 0.2 --rand_augment_magnitude 9
    --random_erasing 0.25 --warmup_steps 5 --max_grad_norm 1 --learning_rate 3e-3
""".split()
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


CLASSIFICATION, DETECTION = (
    str(ROOT / name) for name in ("scripts/train_image_classification.py", "tests/support/run_recipe.py")
)


def start(num_processes: int, script: str, *arguments: str) -> subprocess.Popen:
    """A training script in a group of processes of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(num_processes), "--master_port", str(port)]
    command = [sys.executable, *(launcher if num_processes > 1 else []), script, *arguments]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def kill_when(process: subprocess.Popen, condition) -> None:
    """SIGKILL to the whole group as soon as `condition()` holds."""
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def last_step(run: Path) -> int:
    try:
        records = read_log(run / "log.jsonl")
    except ValueError:
        return 0
    return max((record["step"] for record in records), default=0)


def is_saving(run: Path, step: int) -> bool:
    return (run / f"checkpoints/.step-{step:08d}.partial").exists()


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_killed_five_times(photos, models, tmp_path, num_processes):
    data = ["--model", str(models / "gpvit"), "--dataset", str(photos / "classification"), *OPTIONS]

    def begin(run: Path) -> subprocess.Popen:
        return start(num_processes, CLASSIFICATION, *data, "--output_dir", str(run), "--resume")

    assert_same_however_often_it_is_killed(begin, tmp_path, num_processes)


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_detector_killed_five_times(photos, models, tmp_path, num_processes):
    fields = {"batch_size": 4, "max_steps": STEPS, "eval_steps": 4, "logging_steps": 1, "num_workers": 1}
    fields |= {"ema_decay": 0.9, "drop_path_rate": 0.2, "zoom_rate": 0.5, "crop_size": 40, "warmup_steps": 5}
    fields |= {"schedule": "step", "milestone_steps": [30], "max_grad_norm": 1.0, "photometric_distortion": True}

    def begin(run: Path) -> subprocess.Popen:
        recipe = short_detection_run("instance-segmentation", models / "gpvit", photos, run, resume=True, **fields)
        recipe.save(tmp_path / "recipe.yaml")
        return start(num_processes, DETECTION, str(tmp_path / "recipe.yaml"))

    assert_same_however_often_it_is_killed(begin, tmp_path, num_processes)


def assert_same_however_often_it_is_killed(begin: Callable[[Path], subprocess.Popen], folder: Path, seed: int) -> None:
    """`begin` begins a run in a folder, or goes on with the one that is there."""
    finish(begin(folder / "whole"))
    run = folder / "run"
    steps = sorted(random.Random(seed).sample(range(12, STEPS - 2), 4))
    # the first time amid a save, which leaves a part of a checkpoint
    kills = [lambda: is_saving(run, 8), *(lambda step=step: last_step(run) >= step for step in steps)]
    for kill in kills:
        kill_when(begin(run), kill)
    finish(begin(run))
    whole, resumed = (load_file(path / "last/model.safetensors") for path in (folder / "whole", run))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [record["step"] for record in read_log(run / "log.jsonl") if "loss" in record] == list(range(1, STEPS + 1))
    assert not list((run / "checkpoints").glob(".*"))
