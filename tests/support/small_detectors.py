# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny detectors with every path of the large ones, and labels for them."""

import torch
from torch import nn

from families import GPVIT
from hf_gpvit.models.configuration_gpvit_detection import GPViTDetectionConfig
from hf_gpvit.models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection


SMALL = GPVIT.small | {
    "num_deformable_heads": 4,
    "spatial_prior_hidden_size": 8,
    "layer_scale_init_value": 0.5,
    "fpn_hidden_size": 16,
    "box_hidden_size": 16,
    "rpn_post_nms_top_n": 50,
    "box_batch_size_per_image": 32,
}
# The three kinds of detectors: class and type.
KINDS = {
    "retinanet": (GPViTForObjectDetection, "retinanet"),
    "boxes": (GPViTForObjectDetection, "mask_rcnn"),
    "masks": (GPViTForInstanceSegmentation, "mask_rcnn"),
}


def small_config(kind: str = "masks", **overrides) -> GPViTDetectionConfig:
    return GPViTDetectionConfig(**SMALL | {"detector_type": KINDS[kind][1]} | overrides)


def small_detector(kind: str, **overrides) -> nn.Module:
    """A detector in eval mode that finds a few objects of any class anywhere: its heads' weights aren't tiny."""
    model = KINDS[kind][0](small_config(kind, **overrides))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.startswith("detector") and ("classifier" in name or "objectness" in name):
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        if name.startswith("detector") and "deltas" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def random_labels(size: tuple[int, int], *numbers: int, num_labels: int = 5) -> list[dict[str, torch.Tensor]]:
    """As many objects as `numbers` says in each image, with masks."""
    return [random_objects(size, number, num_labels) for number in numbers]


def random_objects(size: tuple[int, int], number: int, num_labels: int) -> dict[str, torch.Tensor]:
    sizes = torch.rand(number, 2) * 0.6 + 0.1
    centres = sizes / 2 + torch.rand(number, 2) * (1 - sizes)
    return {
        "class_labels": torch.randint(num_labels, (number,)),
        "boxes": torch.cat([centres, sizes], dim=1),
        "masks": torch.rand(number, *size) > 0.5,
    }
