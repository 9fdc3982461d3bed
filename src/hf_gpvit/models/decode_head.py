# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation heads, their initialisation and their loss, for both model families."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import UperNetConfig
from transformers import initialization as init

from .compat import UperNetFCNHead, UperNetHead
from .inputs import check_batch_statistics, checked_label_ids
from .layers import ConvBNReLU
from .shortcuts import at_least_float32, fuse_at_each_size, resize_bilinear, with_shortcut


_DEFAULT_HIDDEN_SIZE = {"segformer": 256, "upernet": 512}
_POOL_SCALES = (1, 2, 3, 6)


class PixelClassifier(nn.Conv2d):
    """Dropout2d and 1x1 convolution: one module, so that it can stand for the `classifier` of upstream's heads.

    The arguments are those of `nn.Conv2d`: PEFT makes the parts of an adapter by the class of the adapted layer.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size=1, *args, dropout_rate: float = 0.0, **kwargs):
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)
        self.dropout_rate = dropout_rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return super().forward(F.dropout2d(hidden_states, self.dropout_rate, self.training))


class SegformerHead(nn.Module):
    """All-MLP decoder (https://arxiv.org/abs/2105.15203): project every level, fuse at the finest, classify.

    Levels are projected by a 1x1 convolution, followed by BatchNorm and ReLU (GPViT) or, with `linear_levels`, by
    nothing (HRViT). Nothing stands between linear projections and the fusing convolution, so their product can be
    computed first, which costs less than half in HRViT-b3.
    """

    def __init__(
        self,
        in_channels: list[int],
        hidden_size: int,
        num_labels: int,
        dropout_rate: float = 0.1,
        linear_levels: bool = False,
    ):
        super().__init__()
        self.linear_levels = linear_levels
        self.levels = nn.ModuleList(
            nn.Conv2d(channels, hidden_size, kernel_size=1) if linear_levels else ConvBNReLU(channels, hidden_size)
            for channels in in_channels
        )
        self.fusion = ConvBNReLU(len(in_channels) * hidden_size, hidden_size)
        self.classifier = PixelClassifier(hidden_size, num_labels, dropout_rate=dropout_rate)

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Maps (B, C_i, H_i, W_i), finest first -> logits (B, num_labels, H_0, W_0)."""
        return self.classifier(self.fuse(feature_maps))

    @with_shortcut(fuse_at_each_size)
    def fuse(self, feature_maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Maps, finest first -> (B, C, H_0, W_0)."""
        size = feature_maps[0].shape[-2:]
        levels = zip(self.levels, feature_maps, strict=True)
        return self.fusion(torch.cat([resize_bilinear(level(maps), size) for level, maps in levels], dim=1))


def build_decode_head(config, in_channels: list[int], linear_levels: bool = False) -> nn.Module:
    """The head that `config.decode_head_type` names, for maps of `in_channels` channels."""
    if config.num_labels < 1:
        raise ValueError(f"num_labels must be at least 1 for a decode head, got num_labels={config.num_labels}.")
    hidden_size = _hidden_size(config)
    if config.decode_head_type == "segformer":
        return SegformerHead(in_channels, hidden_size, config.num_labels, config.decoder_dropout_rate, linear_levels)
    head = UperNetHead(_upernet_config(config, hidden_size), in_channels)
    head.classifier = PixelClassifier(hidden_size, config.num_labels, dropout_rate=config.decoder_dropout_rate)
    return head


def _hidden_size(config) -> int:
    size = config.decoder_hidden_size
    if isinstance(size, dict):
        size = size.get(config.decode_head_type)
    return size or _DEFAULT_HIDDEN_SIZE[config.decode_head_type]


def build_auxiliary_head(config, in_channels: list[int], in_index: int) -> nn.Module | None:
    """The FCN head on map `in_index` that UPerNet is trained with; None for other heads."""
    if config.decode_head_type != "upernet" or not config.use_auxiliary_head:
        return None
    head = UperNetFCNHead(_upernet_config(config, config.auxiliary_hidden_size), in_channels, in_index=in_index)
    head.classifier = PixelClassifier(head.channels, config.num_labels, dropout_rate=config.decoder_dropout_rate)
    return head


def _upernet_config(config, hidden_size: int) -> UperNetConfig:
    return UperNetConfig(
        hidden_size=hidden_size,
        pool_scales=_POOL_SCALES,
        auxiliary_channels=config.auxiliary_hidden_size,
        auxiliary_num_convs=1,
        auxiliary_concat_input=False,
        num_labels=config.num_labels,
    )


def check_head_batch_statistics(decode_head: nn.Module, pixel_values: torch.Tensor) -> None:
    """Raises a ValueError for a batch of one in training with UPerNet, whose coarsest pool is a single pixel."""
    if isinstance(decode_head, UperNetHead):
        check_batch_statistics(decode_head, pixel_values.shape[0], pixel_values)


def checked_segmentation_labels(labels: torch.Tensor, pixel_values: torch.Tensor, config) -> torch.Tensor:
    """The labels as int64.

    Raises:
        ValueError: they aren't class ids (B, H, W) at the size of `pixel_values`, or there is but one class, which
            leaves nothing to learn.
    """
    if config.num_labels < 2:
        raise ValueError(f"labels need num_labels of at least 2, the background included, got {config.num_labels}.")
    batch, _, height, width = pixel_values.shape
    return checked_label_ids(labels, (batch, height, width), config.num_labels, config.semantic_loss_ignore_index)


def semantic_segmentation_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    ignore_index: int = 255,
    auxiliary_logits: torch.Tensor | None = None,
    auxiliary_loss_weight: float = 0.4,
    **kwargs,
) -> torch.Tensor:
    """Cross-entropy of (B, num_labels, h, w) logits, resized to the (B, H, W) labels, over the labelled pixels.

    Without a labelled pixel the loss is 0 (the mean of nothing would be NaN and spoil the weights). `kwargs` are
    what a Trainer passes to any loss; none is needed.
    """
    upsampled = resize_bilinear(at_least_float32(logits), labels.shape[-2:])
    total = F.cross_entropy(upsampled, labels, ignore_index=ignore_index, reduction="sum")
    loss = total / (labels != ignore_index).sum().clamp(min=1)
    if auxiliary_logits is not None:
        loss = loss + auxiliary_loss_weight * semantic_segmentation_loss(auxiliary_logits, labels, ignore_index)
    return loss


def init_decode_head(module: nn.Module) -> None:
    """Initialises a convolution as the official heads do: kaiming-normal (fan out), pixel classifiers normal(0.01).

    It looks at leaves only: transformers passes over modules without parameters of their own in out-of-tree models.
    """
    if not isinstance(module, nn.Conv2d):
        return
    if isinstance(module, PixelClassifier):
        init.normal_(module.weight, std=0.01)
    else:
        init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if module.bias is not None:
        init.zeros_(module.bias)
