# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of tests that train: import them in a conftest."""

from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from colored_photos import draw_photos
from hf_gpvit.training import ClassificationRecipe


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
