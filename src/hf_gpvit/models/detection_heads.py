# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What detectors are built of beside the backbone: feature pyramid, RPN, RetinaNet's head, box and mask heads."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init

from .layers import ConvBN, ConvBNReLU


# Logit of 1 %: almost all anchors are background (https://arxiv.org/abs/1708.02002, Section 4.1).
RARE = -4.59511985013459


class FeaturePyramid(nn.Module):
    """Maps of one width from fine to coarse, each with what the coarser ones know (https://arxiv.org/abs/1612.03144).

    Args:
        in_channels: Of the backbone's maps.
        channels: Of the pyramid's.
        extra: How the levels beyond the backbone's are made: "subsample" (one, every other value of the coarsest) or
            "convolution" (two, by convolutions of stride 2).
    """

    def __init__(self, in_channels: list[int], channels: int, extra: str):
        super().__init__()
        self.lateral = nn.ModuleList(ConvBN(width, channels) for width in in_channels)
        self.output = nn.ModuleList(ConvBN(channels, channels, kernel_size=3) for _ in in_channels)
        num_extra = 2 if extra == "convolution" else 0
        self.extra = nn.ModuleList(ConvBN(channels, channels, kernel_size=3, stride=2) for _ in range(num_extra))

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """(B, C_i, h_i, w_i), fine to coarse -> (B, channels, h_i, w_i), one or two more."""
        laterals = [lateral(feature_map) for lateral, feature_map in zip(self.lateral, feature_maps, strict=True)]
        for finer in range(len(laterals) - 2, -1, -1):
            size = laterals[finer].shape[-2:]
            laterals[finer] = laterals[finer] + F.interpolate(laterals[finer + 1], size=size, mode="nearest")
        maps = [output(lateral) for output, lateral in zip(self.output, laterals, strict=True)]
        for convolution in self.extra:
            maps.append(convolution(maps[-1]))
        return maps if self.extra else [*maps, F.max_pool2d(maps[-1], kernel_size=1, stride=2)]


def by_anchor(dense: torch.Tensor, values: int) -> torch.Tensor:
    """(B, A * values, h, w) -> (B, h * w * A, values), in the order of `grid_anchors`, in float32."""
    return dense.permute(0, 2, 3, 1).reshape(dense.shape[0], -1, values).float()


class RPNHead(nn.Module):
    """Whether there is an object at each anchor, and where exactly (https://arxiv.org/abs/1506.01497)."""

    def __init__(self, channels: int, num_anchors: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.objectness = nn.Conv2d(channels, num_anchors, kernel_size=1)
        self.deltas = nn.Conv2d(channels, num_anchors * 4, kernel_size=1)

    def forward(self, feature_map: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, h, w) -> logits (B, h * w * A), deltas (B, h * w * A, 4)."""
        hidden_states = F.relu(self.convolution(feature_map))
        return by_anchor(self.objectness(hidden_states), 1)[..., 0], by_anchor(self.deltas(hidden_states), 4)


class RetinaHead(nn.Module):
    """Classes and boxes of each anchor, by two stacks of convolutions that all levels share."""

    def __init__(self, channels: int, num_anchors: int, num_labels: int):
        super().__init__()
        self.num_labels = num_labels
        self.class_convolutions = convolution_stack(channels)
        self.box_convolutions = convolution_stack(channels)
        self.classifier = nn.Conv2d(channels, num_anchors * num_labels, kernel_size=3, padding=1)
        self.deltas = nn.Conv2d(channels, num_anchors * 4, kernel_size=3, padding=1)

    def forward(self, feature_map: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, h, w) -> logits (B, h * w * A, num_labels), deltas (B, h * w * A, 4)."""
        classes = self.classifier(self.class_convolutions(feature_map))
        return by_anchor(classes, self.num_labels), by_anchor(self.deltas(self.box_convolutions(feature_map)), 4)


class BoxHead(nn.Module):
    """Class and box of each region; the last of the classes is the background."""

    def __init__(self, channels: int, region_size: int, hidden_size: int, num_labels: int):
        super().__init__()
        self.convolutions = nn.Sequential(*(ConvBNReLU(channels, channels, kernel_size=3) for _ in range(4)))
        self.hidden = nn.Linear(channels * region_size**2, hidden_size)
        self.classifier = nn.Linear(hidden_size, num_labels + 1)
        self.deltas = nn.Linear(hidden_size, num_labels * 4)

    def forward(self, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(R, C, s, s) -> logits (R, num_labels + 1), deltas (R, num_labels, 4), in float32."""
        hidden_states = F.relu(self.hidden(self.convolutions(regions).flatten(1)))
        return self.classifier(hidden_states).float(), self.deltas(hidden_states).unflatten(-1, (-1, 4)).float()


class MaskHead(nn.Module):
    """A mask of each class for each region, at twice its resolution."""

    def __init__(self, channels: int, num_labels: int):
        super().__init__()
        self.convolutions = convolution_stack(channels)
        self.upsampling = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
        self.classifier = nn.Conv2d(channels, num_labels, kernel_size=1)

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        """(R, C, s, s) -> logits (R, num_labels, 2 * s, 2 * s), in float32."""
        return self.classifier(F.relu(self.upsampling(self.convolutions(regions)))).float()


def convolution_stack(channels: int) -> nn.Sequential:
    """Four convolutions, each with a ReLU and none with a norm."""
    layers = [(nn.Conv2d(channels, channels, kernel_size=3, padding=1), nn.ReLU()) for _ in range(4)]
    return nn.Sequential(*(module for pair in layers for module in pair))


@torch.no_grad()
def init_detection_head(module: nn.Module) -> None:
    """The official initialisation of each head; of a detector's other modules nothing."""
    if isinstance(module, FeaturePyramid):
        for convolution in _convolutions(module):
            init.xavier_uniform_(convolution.weight)
    elif isinstance(module, (RPNHead, RetinaHead)):
        for convolution in _convolutions(module):
            init.normal_(convolution.weight, std=0.01)
            init.zeros_(convolution.bias)
        if isinstance(module, RetinaHead):
            init.constant_(module.classifier.bias, RARE)
    elif isinstance(module, BoxHead):
        for convolution in _convolutions(module):
            init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        init.xavier_uniform_(module.hidden.weight)
        init.normal_(module.classifier.weight, std=0.01)
        init.normal_(module.deltas.weight, std=0.001)
    elif isinstance(module, MaskHead):
        for convolution in (*_convolutions(module), module.upsampling):
            init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            init.zeros_(convolution.bias)


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [child for child in module.modules() if isinstance(child, nn.Conv2d)]
