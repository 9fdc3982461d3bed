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
"""The official models and their published figures: GPViT's (https://arxiv.org/abs/2212.06795); HRViT has none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """An official model.

    Attributes:
        variant: Name of the preset.
        dataset: What it was trained for; a key of the label sets.
        decode_head_type: Of a segmentor, as in the config; None of a classifier.
        metric: Name of what was measured, in percent.
        value: The published figure.
        license: SPDX name of the licence of the weights.
    """

    variant: str
    dataset: str
    decode_head_type: str | None
    metric: str
    value: float
    license: str = "Apache-2.0"

    @property
    def task(self) -> str:
        return "image-classification" if self.decode_head_type is None else "semantic-segmentation"


RELEASES = (
    Release("gpvit-l1", "imagenet-1k", None, "top-1 accuracy", 80.5),
    Release("gpvit-l2", "imagenet-1k", None, "top-1 accuracy", 83.4),
    Release("gpvit-l3", "imagenet-1k", None, "top-1 accuracy", 84.1),
    Release("gpvit-l4", "imagenet-1k", None, "top-1 accuracy", 84.3),
    Release("gpvit-l1", "ade20k", "segformer", "mIoU", 46.9),
    Release("gpvit-l2", "ade20k", "segformer", "mIoU", 49.2),
    Release("gpvit-l3", "ade20k", "segformer", "mIoU", 50.8),
    Release("gpvit-l4", "ade20k", "segformer", "mIoU", 51.3),
    Release("gpvit-l1", "ade20k", "upernet", "mIoU", 49.1),
    Release("gpvit-l2", "ade20k", "upernet", "mIoU", 50.2),
    Release("gpvit-l3", "ade20k", "upernet", "mIoU", 51.7),
    Release("gpvit-l4", "ade20k", "upernet", "mIoU", 52.5),
)
