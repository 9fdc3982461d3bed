# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What tests that train have in common; fixtures are to be imported in a conftest."""

import os
import signal
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from colored_photos import draw_photos
from hf_gpvit.tasks import TASKS
from hf_gpvit.training import ClassificationRecipe, DetectionRecipe, engine


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Accelerate keeps its settings for the whole process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of pictures for each task; see `colored_photos`."""
    root = tmp_path_factory.mktemp("photos")
    draw_photos(root)
    return root


def short_run(model: Path, photos: Path, output_dir: Path, **fields) -> ClassificationRecipe:
    """A recipe for a few steps on `photos`."""
    return ClassificationRecipe(
        model=str(model),
        dataset=str(photos / "classification"),
        output_dir=str(output_dir),
        image_size=32,
        batch_size=4,
        **fields,
    )


# Fields of a config with which the tiny classifier becomes a tiny detector.
SMALL_DETECTOR = {
    "num_deformable_heads": 4,
    "spatial_prior_hidden_size": 8,
    "fpn_hidden_size": 16,
    "box_hidden_size": 32,
    "rpn_post_nms_top_n": 50,
    "box_batch_size_per_image": 32,
}


def short_detection_run(task: str, model: Path, photos: Path, output_dir: Path, **fields) -> DetectionRecipe:
    """The same of a detector, which begins with a classifier; the picture without an object is left out."""
    defaults = {"resize_size": [40, 64], "train_sides": [36, 40], "batch_size": 3, "learning_rate": 3e-3}
    defaults |= {"max_steps": 6, "eval_steps": 3, "logging_steps": 2, "model_fields": SMALL_DETECTOR}
    return TASKS[task].recipe_class(
        model=str(model), dataset=str(photos / "detection"), output_dir=str(output_dir), **defaults | fields
    )


def stop_at(monkeypatch, step, action, task="image-classification"):
    """Does `action` after the loss of `step`."""
    task = engine.TASKS[task]
    loss, calls = task.loss, []

    def acting(*arguments):
        value = loss(*arguments)
        calls.append(value)
        return action(value) if len(calls) == step else value

    monkeypatch.setattr(task, "loss", acting)


def ask_to_end(loss):
    os.kill(os.getpid(), signal.SIGTERM)
    return loss


def rates_and_norms(monkeypatch):
    """Lists that fill with the learning rates and the gradient's norm of each step that AdamW does."""
    seen, step = [], torch.optim.AdamW.step

    def seeing(optimizer, *arguments, **keywords):
        gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None]).item()
        seen.append(([group["lr"] for group in optimizer.param_groups], norm))
        return step(optimizer, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.AdamW, "step", seeing)
    return seen
