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
from hf_gpvit.training import ClassificationRecipe, engine


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


def stop_at(monkeypatch, step, action):
    """Does `action` after the loss of `step`."""
    task = engine.TASKS["image-classification"]
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
