# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What classifiers say about pictures."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel

from ..data.pictures import to_rgb
from .finite import NotFiniteError, finite_logits
from .modes import evaluating
from .pictures import check_resized_size


def classify(
    model: PreTrainedModel, image_processor: BaseImageProcessor, images: Sequence[Image.Image], batch_size: int = 32
) -> torch.Tensor:
    """(N, num_labels) float32 probabilities on the CPU: the scores of `pipeline("image-classification")`.

    They are the softmax of the logits; for a `problem_type` of "multi_label_classification", or a single label, the
    sigmoid; and for "regression" the logits themselves.

    Args:
        model: Model for image classification, in any mode, which it keeps.
        image_processor: The one that belongs to `model`.
        images: PIL images of any size and mode.
        batch_size: Pictures that go through the model at a time. Default 32.

    Raises:
        ValueError: `batch_size` is below 1, or a picture is one that `classification_inputs` refuses, or of which the
            model's logits are not finite.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    scores = [torch.empty(0, model.config.num_labels)]
    for start in range(0, len(images), batch_size):
        batch = [classification_inputs(image_processor, image) for image in images[start : start + batch_size]]
        try:
            scores.append(classification_scores(model, batch))
        except NotFiniteError as error:
            raise NotFiniteError(f"In images[{start}:{start + len(batch)}]: {error}") from error
    return torch.cat(scores)


def classification_inputs(image_processor: BaseImageProcessor, image: Image.Image) -> torch.Tensor:
    """`pixel_values` (1, num_channels, height, width) of a picture, a small part of what a large picture takes.

    Args:
        image_processor: The one that belongs to the model.
        image: PIL image of any size and mode; see `hf_gpvit.data.to_rgb`.

    Raises:
        ValueError: The picture can't be made RGB, or is so thin that resizing it would take gigabytes.
    """
    check_resized_size(image_processor, image)
    return image_processor(to_rgb(image), return_tensors="pt")["pixel_values"]


def classification_scores(model: PreTrainedModel, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """(N, num_labels) float32 on the CPU, as `classify` gives them.

    Args:
        model: As in `classify`.
        inputs: (1, num_channels, height, width) of each picture; those of one size go through the model together.

    Raises:
        NotFiniteError: The model's logits are not finite.
    """
    places = defaultdict(list)
    for place, pixel_values in enumerate(inputs):
        places[pixel_values.shape].append(place)
    scores = torch.empty(len(inputs), model.config.num_labels)
    with evaluating(model):
        for some in places.values():
            pixel_values = torch.cat([inputs[place] for place in some])
            scores[some] = _scores(finite_logits(model, pixel_values).float(), model.config).cpu()
    return scores


def _scores(logits: torch.Tensor, config) -> torch.Tensor:
    if config.problem_type == "regression":
        return logits
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return logits.sigmoid()
    return logits.softmax(dim=-1)
