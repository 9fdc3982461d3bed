# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A run publishes its best model at the end, and is kept where that fails."""

import json
import subprocess
import sys

import pytest
import yaml

from fake_hub import READ_TOKEN, TOKEN, Fault, hub_environment, running_hub
from hf_gpvit.hub import NotPublished
from hf_gpvit.training import SegmentationRecipe, publishing


# Trains with few scenes, and without the waiting of a library that tries again.
TRAIN = """
import sys, time
time.sleep = lambda seconds: None
from hf_gpvit.commands.train import train_command
from hf_gpvit.data import loading
from hf_gpvit.training import SegmentationRecipe
loading.TRAIN_SCENES = {"num_scenes": 8, "seed": 0}
loading.TEST_SCENES = {"num_scenes": 2, "seed": 1}
train_command(SegmentationRecipe, "")
"""


@pytest.fixture
def hub():
    with running_hub() as hub:
        yield hub


def train(hub, folder, *arguments, **variables):
    options = "--push_to_hub --hub_model_id you/shapes --max_steps 3 --batch_size 2 --crop_size 32 --output_dir run"
    result = subprocess.run(
        [sys.executable, "-c", TRAIN, *options.split(), "--resize_size", "32", "64", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=hub_environment(hub, folder, **variables),
    )
    assert TOKEN not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def test_best_model_is_published(hub, tmp_path):
    result = train(hub, tmp_path, "--hub_license", "cc-by-4.0")
    assert result.returncode == 0, result.stderr
    assert f"published: {hub.url}/you/shapes" in result.stdout
    assert hub.repos["you/shapes"].private
    _, commit = hub.repos["you/shapes"].branches["main"]
    assert commit.files["model.safetensors"] == (tmp_path / "run/best/model.safetensors").read_bytes()
    card = commit.files["README.md"].decode()
    assert "| Mean IoU |" in card
    assert "Measured on shapes (test)" in card
    assert "weights under cc-by-4.0" in card
    assert {"dataset": "shapes", "split": "test"}.items() <= json.loads(commit.files["metrics.json"]).items()
    assert yaml.safe_load(commit.files["recipe.yaml"])["hub_model_id"] == "you/shapes"


@pytest.mark.slow
def test_failed_push_keeps_the_run(hub, tmp_path):
    """The command that the message names does what is left; so does the run, resumed."""
    hub.faults = [Fault("POST", "/commit/", times=float("inf"))]
    result = train(hub, tmp_path)
    assert result.returncode == 1
    assert "hf-gpvit push run/best you/shapes" in result.stderr
    assert {"best", "last", "curves.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert len(hub.repos["you/shapes"].branches["main"]) == 1

    hub.faults = []
    assert train(hub, tmp_path, "--resume").returncode == 0
    command = [sys.executable, "-m", "hf_gpvit_cli", "push", "run/best", "you/shapes"]
    subprocess.run(command, check=True, cwd=tmp_path, env=hub_environment(hub, tmp_path), capture_output=True)
    assert len(hub.repos["you/shapes"].branches["main"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("token", "name", "message"),
    [("", "you/shapes", "no token"), (READ_TOKEN, "you/shapes", "for reading"), (TOKEN, "others/shapes", "may not")],
)
def test_is_checked_before_training(token, name, message, hub, tmp_path):
    result = train(hub, tmp_path, "--hub_model_id", name, HF_TOKEN=token)
    assert result.returncode == 1
    assert message in result.stderr
    assert not (tmp_path / "run").exists()
    assert not hub.repos


def test_any_failure_names_the_command_that_is_left(monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("sha")

    monkeypatch.setattr(publishing, "push_model", fail)
    fields = {"hub_model_id": "you/m", "hub_private_repo": False, "hub_license": "mit"}
    recipe = SegmentationRecipe(output_dir="run", push_to_hub=True, **fields)
    with pytest.raises(NotPublished, match="is complete(.|\n)*hf-gpvit push run/best you/m --license mit --public"):
        publishing.push_best(recipe)


@pytest.mark.parametrize(
    ("model", "is_hub_name"), [("gpvit-nano", False), ("here/model", False), ("/a/model", False), ("you/model", True)]
)
def test_weights_of_the_hub(model, is_hub_name, tmp_path, monkeypatch):
    """A folder is none, even where its path looks like a name."""
    (tmp_path / "here/model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    recipe = SegmentationRecipe(model=model)
    assert publishing.base_model(recipe) == ({"base_model": model} if is_hub_name else {})


def test_name_is_needed():
    with pytest.raises(ValueError, match="hub_model_id must be given where push_to_hub=True"):
        SegmentationRecipe(push_to_hub=True)
