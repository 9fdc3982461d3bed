# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The script run as a user runs them, on pictures that the tests draw."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import pipeline

from hf_gpvit import GPViTConfig, GPViTForImageClassification


SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 6), ("test", 2)):
        for color in ("red", "green", "blue"):
            for index in range(count):
                path = folder / split / color / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40 + index, 30), color).save(path)
    return folder


def finetune(pictures, output, *arguments, start=(SCRIPTS / "finetune_with_trainer.py",)):
    command = [sys.executable, *start, "--dataset", pictures, "--output_dir", output]
    options = ["--max_steps", "2", "--per_device_train_batch_size", "4", "--report_to", "none", "--use_cpu"]
    subprocess.run([*map(str, command), *options, *arguments], check=True, capture_output=True, text=True)
    answer = pipeline("image-classification", model=str(output))(str(pictures / "test" / "red" / "0.png"))
    assert answer[0]["label"] in ("red", "green", "blue")
    assert 0 <= json.loads((output / "eval_results.json").read_text())["eval_accuracy"] <= 1


def test_finetuning_a_preset_from_folder_to_pipeline(pictures, tmp_path):
    finetune(pictures, tmp_path / "model", "--model", "gpvit-nano", "--image_size", "32", "--seed", "3")
    assert GPViTConfig.from_pretrained(tmp_path / "model").image_size == 32


SPAWNED = f"""
import multiprocessing, runpy, sys
multiprocessing.set_start_method("spawn")
runpy.run_path({str(SCRIPTS / "finetune_with_trainer.py")!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_finetuning_with_workers_that_are_spawned(pictures, tmp_path):
    """As on macOS and Windows."""
    options = ("--image_size", "32", "--dataloader_num_workers", "1", "--save_strategy", "no")
    finetune(pictures, tmp_path / "model", *options, start=("-c", SPAWNED))


@pytest.mark.slow
def test_finetuning_keeps_pretrained_weights_at_another_size(pictures, tmp_path):
    """Only the classifier starts anew; with a learning rate of zero the trunk is what it was."""
    pretrained = GPViTForImageClassification(GPViTConfig.from_preset("gpvit-nano", num_labels=7))
    pretrained.save_pretrained(tmp_path / "pretrained")
    options = ("--model", str(tmp_path / "pretrained"), "--image_size", "32", "--learning_rate", "0")
    finetune(pictures, tmp_path / "model", *options)
    model = GPViTForImageClassification.from_pretrained(tmp_path / "model")
    assert model.config.num_labels == 3
    assert model.config.label2id == {"blue": 0, "green": 1, "red": 2}
    for name, parameter in model.gpvit.named_parameters():
        assert torch.equal(parameter, pretrained.gpvit.get_parameter(name)), name
