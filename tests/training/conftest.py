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
"""What tests of training start from."""

import pytest
import torch
from accelerate.state import AcceleratorState

from colored_photos import draw_photos
from families import FAMILIES
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


@pytest.fixture
def classification(photos, models, tmp_path):
    """A short run."""
    return ClassificationRecipe(
        model=str(models / "gpvit"),
        dataset=str(photos / "classification"),
        output_dir=str(tmp_path / "run"),
        image_size=32,
        batch_size=4,
        max_steps=6,
        eval_steps=3,
        logging_steps=2,
        learning_rate=3e-3,
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with a tiny classifier of each family."""
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        torch.manual_seed(0)
        family.classifier_class(family.config(initializer_range=0.02)).save_pretrained(root / family.name)
    return root
