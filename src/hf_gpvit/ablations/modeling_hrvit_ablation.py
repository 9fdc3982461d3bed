# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""HRViT with some of its ideas taken out: the rows of Table 5.

What the paper puts in their places it does not say; these replacements give its numbers of parameters and, by the
steps between rows, of multiply-adds. With nothing taken out the weights have HRViT's names.
"""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..models.layers import MLP, PointwiseLinear, Windows, conv_channels_last
from ..models.modeling_hrvit import (
    HRViTAttention,
    HRViTBackbone,
    HRViTBlock,
    HRViTBranch,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTFusion,
    HRViTMixCFN,
    HRViTModel,
    HRViTModule,
    HRViTOutputBranch,
    HRViTPatchEmbedding,
    HRViTPreTrainedModel,
    HRViTShortcut,
    HRViTStripeAttention,
)
from .configuration_hrvit_ablation import HRViTAblationConfig


class Nothing(nn.Module):
    """In the place of a path that was taken out: it adds zero."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., C) -> zero, with as many dimensions."""
        return hidden_states.new_zeros((1,) * hidden_states.ndim)


class HRViTNeighborFusion(HRViTFusion):
    """Sparse fusion: paths between neighbouring resolutions alone; a new branch is born of the one before it."""

    @staticmethod
    def has_path(source: int, target: int) -> bool:
        return abs(source - target) == 1


class HRViTFullPatchEmbedding(nn.Module):
    """Patch embedding by one convolution of all channels, and LayerNorm."""

    def __init__(self, config: HRViTAblationConfig, in_channels: int, out_channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(out_channels, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C')."""
        return self.norm(conv_channels_last(self.convolution, hidden_states))


class HRViTUnsharedStripeAttention(HRViTStripeAttention):
    """Attention within stripes of one direction, with keys that are not the values."""

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, output_attentions: bool | None = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Maps (B, h, w, C/2) -> map (B, h, w, C/2), weights (B * stripes, heads, L, L) or None."""
        stripes = Windows(query.shape[1:3], self.window)
        mask = stripes.mask(query)
        query, key, value = map(stripes.split, (query, key, value))
        output, weights = self.attend(query, key, value, mask, output_weights=output_attentions)
        return stripes.join(output), weights


class HRViTAblationAttention(HRViTAttention):
    """HRViT's attention, whose parallel path and nonlinearities are parts that may do nothing."""

    def __init__(self, config: HRViTAblationConfig, branch: int):
        super().__init__(config, branch)
        if not config.use_parallel_convolution:
            self.convolution = Nothing()
        is_nonlinear = config.use_parallel_convolution and config.use_parallel_nonlinearity
        self.parallel_activation = nn.Hardswish() if is_nonlinear else nn.Identity()
        self.activation = nn.Hardswish() if config.use_attention_nonlinearity else nn.Identity()

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        states = self.project(self.norm(hidden_states))
        horizontal_states, vertical_states = zip(*(state.chunk(2, dim=-1) for state in states), strict=True)
        horizontal, _ = self.horizontal(*horizontal_states, output_attentions=output_attentions)
        vertical, _ = self.vertical(*vertical_states, output_attentions=output_attentions)
        output = torch.cat([horizontal, vertical], dim=-1)
        output = output + conv_channels_last(self.convolution, self.parallel_activation(states[-1]))
        return self.projection(self.activation(output))

    def project(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, h, w, C) -> queries and values, (B, h, w, C) each."""
        return self.query_value(hidden_states).chunk(2, dim=-1)


class HRViTUnsharedAttention(HRViTAblationAttention):
    """The same with a projection of keys."""

    stripe_class = HRViTUnsharedStripeAttention

    def __init__(self, config: HRViTAblationConfig, branch: int):
        super().__init__(config, branch)
        channels = config.hidden_sizes[branch]
        del self.query_value
        self.query_key_value = PointwiseLinear(channels, 3 * channels)

    def project(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, h, w, C) -> queries, keys and values, (B, h, w, C) each."""
        return self.query_key_value(hidden_states).chunk(3, dim=-1)


class HRViTMLP(GradientCheckpointingLayer, MLP):
    """Feed-forward network without convolutions, with the LayerNorm before it."""

    def __init__(self, config: HRViTAblationConfig, branch: int):
        channels = config.hidden_sizes[branch]
        super().__init__(channels, int(config.mlp_ratios[branch] * channels), config.hidden_act)
        self.norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        return super().forward(self.norm(hidden_states))


class HRViTAblationBlock(HRViTBlock):
    """HRViT's block of the parts that the config names."""

    def __init__(self, config: HRViTAblationConfig, branch: int, drop_path_rate: float):
        super().__init__(config, branch, drop_path_rate)
        if not config.use_attention_nonlinearity:
            self.batch_norm = nn.Identity()

    @staticmethod
    def attention_class(config: HRViTAblationConfig, branch: int) -> nn.Module:
        attention_class = HRViTAblationAttention if config.share_key_value else HRViTUnsharedAttention
        return attention_class(config, branch)

    @staticmethod
    def shortcut_class(config: HRViTAblationConfig, branch: int) -> nn.Module:
        return HRViTShortcut(config, branch) if config.use_diversity_shortcut else Nothing()

    @staticmethod
    def mlp_class(config: HRViTAblationConfig, branch: int) -> nn.Module:
        mlp_class = {"mixcfn": HRViTMixCFN, "mlp": HRViTMLP}[config.feed_forward_type]
        return mlp_class(config, branch)


class HRViTAblationBranch(HRViTBranch):
    block_class = HRViTAblationBlock

    @staticmethod
    def patch_embedding_class(config: HRViTAblationConfig, in_channels: int, out_channels: int) -> nn.Module:
        classes = {"separable": HRViTPatchEmbedding, "full": HRViTFullPatchEmbedding}
        return classes[config.patch_embedding_type](config, in_channels, out_channels)


class HRViTAblationOutputBranch(HRViTAblationBranch, HRViTOutputBranch):
    """One of the last module, which returns a feature map."""


class HRViTAblationModule(HRViTModule):
    branch_class = HRViTAblationBranch
    output_branch_class = HRViTAblationOutputBranch

    @staticmethod
    def fusion_class(config: HRViTAblationConfig, in_channels: list[int], out_channels: list[int]) -> nn.Module:
        classes = {"dense": HRViTFusion, "neighbors": HRViTNeighborFusion}
        return classes[config.fusion_paths](config, in_channels, out_channels)


class HRViTAblationPreTrainedModel(HRViTPreTrainedModel):
    config: HRViTAblationConfig
    _no_split_modules = ["HRViTEmbeddings", "HRViTFusion", "HRViTNeighborFusion", "HRViTAblationBlock"]
    _normed_layers = HRViTPreTrainedModel._normed_layers | {HRViTAblationBlock: "attention.projection"}


class HRViTAblationModel(HRViTAblationPreTrainedModel, HRViTModel):
    """The bare trunk."""

    module_class = HRViTAblationModule


class HRViTAblationBackbone(HRViTAblationPreTrainedModel, HRViTBackbone):
    """The trunk as a backbone: NCHW feature maps of the stages named by `config.out_features`."""

    trunk_class = HRViTAblationModel


class HRViTAblationForImageClassification(HRViTAblationPreTrainedModel, HRViTForImageClassification):
    """With HRViT's classification head."""

    trunk_class = HRViTAblationModel


class HRViTAblationForSemanticSegmentation(HRViTAblationPreTrainedModel, HRViTForSemanticSegmentation):
    """With a SegFormer or UPerNet head."""

    trunk_class = HRViTAblationModel


__all__ = [
    "HRViTAblationBackbone",
    "HRViTAblationForImageClassification",
    "HRViTAblationForSemanticSegmentation",
    "HRViTAblationModel",
    "HRViTAblationPreTrainedModel",
]
