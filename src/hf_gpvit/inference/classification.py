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
"""What classifiers say about pictures."""

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel

from .modes import evaluating


def classify(
    model: PreTrainedModel, image_processor: BaseImageProcessor, images: Sequence[Image.Image], batch_size: int = 32
) -> torch.Tensor:
    """(N, num_labels) float32 probabilities on the CPU: the scores of `pipeline("image-classification")`.

    They are the softmax of the logits; for a `problem_type` of "multi_label_classification", or a single label, the
    sigmoid; and for "regression" the logits themselves.

    Args:
        model: Model for image classification, in any mode, which it keeps.
        image_processor: The one that belongs to `model`; it must bring all pictures to one size.
        images: PIL images of any size and mode.
        batch_size: Pictures that go through the model at a time. Default 32.

    Raises:
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    scores = [torch.empty(0, model.config.num_labels)]
    with evaluating(model):
        for start in range(0, len(images), batch_size):
            batch = [image.convert("RGB") for image in images[start : start + batch_size]]
            inputs = image_processor(batch, return_tensors="pt").to(model.device, model.dtype)
            scores.append(_scores(model(**inputs).logits.float(), model.config).cpu())
    return torch.cat(scores)


def _scores(logits: torch.Tensor, config) -> torch.Tensor:
    if config.problem_type == "regression":
        return logits
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return logits.sigmoid()
    return logits.softmax(dim=-1)
