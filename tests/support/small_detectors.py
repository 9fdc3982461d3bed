# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny detectors with every path of the large ones, and labels for them."""

import torch
from torch import nn

from families import GPVIT
from hf_gpvit.models.configuration_gpvit_adapter import GPViTAdapterConfig
from hf_gpvit.models.configuration_gpvit_detection import GPViTDetectionConfig
from hf_gpvit.models.modeling_gpvit_adapter import GPViTAdapterBackbone
from hf_gpvit.models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection
from model_outputs import assert_same


SMALL_ADAPTER = GPVIT.small | {
    "num_deformable_heads": 4,
    "spatial_prior_hidden_size": 8,
    "layer_scale_init_value": 0.5,
}
SMALL = SMALL_ADAPTER | {
    "fpn_hidden_size": 16,
    "box_hidden_size": 16,
    "rpn_post_nms_top_n": 50,
    "box_batch_size_per_image": 32,
}
# Overrides where time grows with depth: compilation.
SHALLOW = GPVIT.shallow | {"interaction_indexes": [[0, 1]], "num_extra_extractors": 1}
# The three kinds of detectors: class and type.
KINDS = {
    "retinanet": (GPViTForObjectDetection, "retinanet"),
    "boxes": (GPViTForObjectDetection, "mask_rcnn"),
    "masks": (GPViTForInstanceSegmentation, "mask_rcnn"),
}


# "backbone", and what `KINDS` names.
ALL_KINDS = ("backbone", *KINDS)


def small_model(kind: str, **overrides) -> nn.Module:
    """Of `ALL_KINDS`, in eval mode."""
    if kind != "backbone":
        return small_detector(kind, **overrides)
    return GPViTAdapterBackbone(GPViTAdapterConfig(**SMALL_ADAPTER | overrides)).eval()


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


def assert_alike(actual, expected) -> None:
    """That feature maps are the same, or almost all detections: where two score alike, rounding decides for one."""
    if "logits" not in expected:
        assert_same(actual, expected, atol=1e-4, rtol=1e-4)
        return
    assert actual.keys() == expected.keys()
    assert torch.equal(actual["pixel_sizes"], expected["pixel_sizes"])
    rows = [_detections(outputs) for outputs in (actual, expected)]
    assert len(rows[1]) > 5
    for some, others in (rows, rows[::-1]):
        distances = torch.cdist(some, others, p=float("inf")).min(dim=1).values
        assert (distances < 1e-3).float().mean() > 0.96, distances


def _detections(outputs) -> torch.Tensor:
    """One row for each: image, class, score, box, probabilities of its mask."""
    scores, classes = outputs["logits"].sigmoid().max(dim=-1)
    images = torch.arange(len(scores))[:, None].expand_as(scores)
    rows = [images[..., None], classes[..., None], scores[..., None], outputs["pred_boxes"]]
    if "pred_masks" in outputs:
        rows.append(outputs["pred_masks"].sigmoid().flatten(2))
    return torch.cat(rows, dim=-1)[scores > 0]


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
