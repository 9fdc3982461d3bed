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
"""What a saved model does, and what loads it."""

import os

from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSemanticSegmentation

from ..registration import TASKS, architecture_task
from .segmentation import SegmentationSettings


AUTO_CLASSES = {
    "image-classification": AutoModelForImageClassification,
    "semantic-segmentation": AutoModelForSemanticSegmentation,
}


def task_of(model: str | os.PathLike, settings: SegmentationSettings | None = None) -> str:
    """The task of a saved model, "image-classification" or "semantic-segmentation": a key of `AUTO_CLASSES`.

    Args:
        model: Folder or Hub name; only its config is read.
        settings: How it shall segment. Default: as `pipeline` does.

    Raises:
        OSError: There is no such model.
        ValueError: It has another task, or `settings` that are not the default are given for a classifier.
    """
    try:
        architectures = AutoConfig.from_pretrained(model).architectures or []
    except OSError as error:
        raise OSError(f"model must be the folder or Hub name of a model, got {str(model)!r}: {error}") from error
    task = next(filter(None, map(architecture_task, architectures)), None)
    if task is None:
        raise ValueError(f"model must be one of {', '.join(TASKS)}, but {model} has architectures {architectures}.")
    if task == "image-classification" and settings not in (None, SegmentationSettings()):
        raise ValueError(f"settings are for segmentation, but {model} is a classifier, got {settings}.")
    return task
