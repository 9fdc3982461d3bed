# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Detection in pictures of any size."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel


class Detected(NamedTuple):
    """A prediction, on the CPU, in pixels of the upright picture, the best first.

    Attributes:
        image: The picture.
        scores: (N,) float32.
        class_labels: (N,) int64.
        boxes: (N, 4) float32 x1, y1, x2, y2.
        masks: COCO's RLE {"size": [h, w], "counts": bytes} of each; None without.
    """

    image: Image.Image
    scores: torch.Tensor
    class_labels: torch.Tensor
    boxes: torch.Tensor
    masks: list[dict] | None


@dataclass(frozen=True)
class DetectionSettings:
    """How a detector is used at test time. The default is one look at the whole picture."""

    window_size: int | None = None
    window_stride: int | None = None
    threshold: float = 0.5


def detect(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    image: Image.Image,
    settings: DetectionSettings | None = None,
) -> Detected:
    raise NotImplementedError
