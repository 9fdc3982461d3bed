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
"""From rows of a dataset to what a model is trained on."""

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from transformers import BaseImageProcessor


class TrainTransform:
    """Random crops and flips for `datasets.Dataset.with_transform`; masks follow their images.

    Takes batches of columns `image` (PIL images of any size and mode), and `annotation` (PIL images of class ids) or
    `label` (class ids). Gives `pixel_values`, (3, size, size) floats each, normalised as `image_processor` does, and
    `labels`: (size, size) int64 each, or the class ids.

    Args:
        image_processor: The one that belongs to the model.
        size: Side, or height and width, of the crops in pixels.
        scale: Least and greatest part of the image's area that a crop shows. Default (0.5, 1).
    """

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.5, 1.0),
    ):
        self.augment = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=scale, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}, scale=True),
                v2.Normalize(image_processor.image_mean, image_processor.image_std),
                v2.ToPureTensor(),
            ]
        )

    def __call__(self, batch: dict) -> dict:
        images = [tv_tensors.Image(image.convert("RGB")) for image in batch["image"]]
        if "annotation" not in batch:
            return {"pixel_values": [self.augment(image) for image in images], "labels": batch["label"]}
        masks = [tv_tensors.Mask(annotation_ids(annotation)) for annotation in batch["annotation"]]
        pairs = [self.augment(image, mask) for image, mask in zip(images, masks, strict=True)]
        return {"pixel_values": [image for image, _ in pairs], "labels": [mask for _, mask in pairs]}


def annotation_ids(annotation: Image.Image) -> torch.Tensor:
    """(H, W) int64 class ids of an annotation of any mode that holds them in one channel: L, P, I;16 or I."""
    return torch.from_numpy(np.array(annotation)).long()
