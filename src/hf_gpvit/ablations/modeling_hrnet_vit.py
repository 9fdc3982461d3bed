# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""HRNet with the blocks of CSWin or MiT: our reading of the naive HRNet-ViT in Table 6 of HRViT's paper.

Stem, first stage and fusion are HRNetV2's (https://arxiv.org/abs/1908.07919); each of its other residual blocks is a
transformer block, behind one patch embedding for each branch of a module. The paper says no more than that residual
blocks are replaced: the rest is what its numbers of parameters leave.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from ..models.compat import OutputRecorder, StridedConv2d
from ..models.layers import (
    MLP,
    ConvBN,
    ConvBNReLU,
    DropPath,
    MultiHeadAttention,
    PointwiseLinear,
    Windows,
    conv_channels_last,
)
from ..models.modeling_hrvit import (
    HRViTBackbone,
    HRViTBottleneck,
    HRViTBranch,
    HRViTEmbeddings,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTFusion,
    HRViTModel,
    HRViTModule,
    HRViTOutputBranch,
    HRViTPreTrainedModel,
    HRViTUpsampling,
)
from .configuration_hrnet_vit import HRNetViTConfig
from .modeling_hrvit_ablation import HRViTFullPatchEmbedding, HRViTUnsharedStripeAttention


class HRNetViTBottleneck(HRViTBottleneck):
    """Residual bottleneck, whose shortcut has weights where it changes the number of channels."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels // 4)
        if in_channels == out_channels:
            self.shortcut = nn.Identity()


class HRNetViTEmbeddings(HRViTEmbeddings):
    """Stem of stride 4 and first stage of HRNet."""

    def __init__(self, config: HRNetViTConfig):
        super(HRViTEmbeddings, self).__init__()
        inner, outer = config.stem_hidden_sizes
        widths = [inner] + [outer] * config.num_stem_bottlenecks
        self.stem = nn.Sequential(
            ConvBNReLU(config.num_channels, inner, kernel_size=3, stride=2, bias=True),
            ConvBNReLU(inner, inner, kernel_size=3, stride=2, bias=True),
            *map(HRNetViTBottleneck, widths, widths[1:]),
        )


class HRNetViTDownsampling(nn.Module):
    """Path to a branch that is coarser by 2^steps: 3x3 convolutions of stride 2; the last changes channels."""

    def __init__(self, in_channels: int, out_channels: int, steps: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            *(ConvBNReLU(in_channels, in_channels, kernel_size=3, stride=2) for _ in range(steps - 1)),
            ConvBN(in_channels, out_channels, kernel_size=3, stride=2),
        )

    def forward(self, hidden_states: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, h, w, C) -> (B, *grid, C')."""
        return conv_channels_last(self.convolutions, hidden_states)


class HRNetViTUpsampling(HRViTUpsampling):
    """Path to a branch that is finer by 2^steps: channels first, then nearest neighbours."""

    def __init__(self, in_channels: int, out_channels: int, steps: int):
        super().__init__(in_channels, out_channels, steps)
        self.pointwise = ConvBN(in_channels, out_channels)


class HRNetViTFusion(HRViTFusion):
    """HRNet's fusion, in which a new branch is born."""

    downsampling_class = HRNetViTDownsampling
    upsampling_class = HRNetViTUpsampling

    def __init__(self, config: HRNetViTConfig, in_channels: list[int], out_channels: list[int]):
        super().__init__(config, in_channels, out_channels)
        self.activation = nn.ReLU()


class CSWinAttention(nn.Module):
    """Cross-shaped attention (https://arxiv.org/abs/2107.00652): each half of the channels in stripes of its own.

    Its positional encoding (LePE), a convolution of the values, sees the whole map, as HRViT's parallel path does;
    CSWin's own code cuts it at the borders of stripes.
    """

    def __init__(self, config: HRNetViTConfig, branch: int):
        super().__init__()
        channels = config.hidden_sizes[branch]
        self.qkv = PointwiseLinear(channels, 3 * channels)
        self.horizontal = HRViTUnsharedStripeAttention(config, branch, vertical=False)
        self.vertical = HRViTUnsharedStripeAttention(config, branch, vertical=True)
        self.position_encoding = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        self.projection = PointwiseLinear(channels, channels)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        query, key, value = self.qkv(hidden_states).chunk(3, dim=-1)
        horizontal_states, vertical_states = zip(*(s.chunk(2, dim=-1) for s in (query, key, value)), strict=True)
        horizontal, _ = self.horizontal(*horizontal_states, output_attentions=output_attentions)
        vertical, _ = self.vertical(*vertical_states, output_attentions=output_attentions)
        positions = conv_channels_last(self.position_encoding, value)
        return self.projection(torch.cat([horizontal, vertical], dim=-1) + positions)


class PoolingReduction(nn.Module):
    """Makes maps smaller by a mean, without weights."""

    def __init__(self, config: HRNetViTConfig, channels: int, ratio: int):
        super().__init__()
        self.ratio = ratio

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h / ratio, w / ratio, C), rounded up."""
        pooled = F.avg_pool2d(hidden_states.permute(0, 3, 1, 2), self.ratio, ceil_mode=True)
        return pooled.permute(0, 2, 3, 1)


class ConvolutionReduction(nn.Module):
    """Makes maps smaller by a convolution that doesn't overlap, and LayerNorm."""

    def __init__(self, config: HRNetViTConfig, channels: int, ratio: int):
        super().__init__()
        groups = channels if config.reduction_type == "depthwise" else 1
        self.ratio = ratio
        self.convolution = StridedConv2d(channels, channels, kernel_size=ratio, stride=ratio, groups=groups)
        self.norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h / ratio, w / ratio, C), rounded up."""
        hidden_states = Windows(hidden_states.shape[1:3], (self.ratio, self.ratio)).pad(hidden_states)
        return self.norm(conv_channels_last(self.convolution, hidden_states))


REDUCTIONS = {"pooling": PoolingReduction, "depthwise": ConvolutionReduction, "full": ConvolutionReduction}


class MapAttention(MultiHeadAttention):
    """Attention of every token of a map to every token of another, by projections made elsewhere."""

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, output_attentions: bool | None = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Maps (B, h, w, C), (B, h', w', C) twice -> map (B, h, w, C), weights (B, heads, h * w, h' * w') or None."""
        size = query.shape[1:3]
        query, key, value = (states.flatten(1, 2) for states in (query, key, value))
        output, weights = self.attend(query, key, value, output_weights=output_attentions)
        return output.unflatten(1, size), weights


class MiTAttention(nn.Module):
    """Attention with keys and values of a smaller map (https://arxiv.org/abs/2105.15203)."""

    def __init__(self, config: HRNetViTConfig, branch: int):
        super().__init__()
        channels, ratio = config.hidden_sizes[branch], config.reduction_ratios[branch]
        head_dim = min(config.attention_head_dim, channels // 2)
        self.query = PointwiseLinear(channels, channels)
        self.reduction = REDUCTIONS[config.reduction_type](config, channels, ratio) if ratio > 1 else nn.Identity()
        self.key_value = PointwiseLinear(channels, 2 * channels)
        self.attention = MapAttention(config, channels // head_dim, head_dim)
        self.projection = PointwiseLinear(channels, channels)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        key, value = self.key_value(self.reduction(hidden_states)).chunk(2, dim=-1)
        output, _ = self.attention(self.query(hidden_states), key, value, output_attentions=output_attentions)
        return self.projection(output)


class MixFFN(nn.Module):
    """Feed-forward network with a depthwise convolution (https://arxiv.org/abs/2105.15203)."""

    def __init__(self, in_features: int, hidden_features: int, hidden_act: str):
        super().__init__()
        self.fc1 = PointwiseLinear(in_features, hidden_features)
        self.convolution = nn.Conv2d(
            hidden_features, hidden_features, kernel_size=3, padding=1, groups=hidden_features
        )
        self.activation = ACT2FN[hidden_act]
        self.fc2 = PointwiseLinear(hidden_features, in_features)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        return self.fc2(self.activation(conv_channels_last(self.convolution, self.fc1(hidden_states))))


# Attention and feed-forward network of the blocks of each kind.
PARTS = {"cross_shaped": (CSWinAttention, MLP), "reduced": (MiTAttention, MixFFN)}


class HRNetViTBlock(GradientCheckpointingLayer):
    """Transformer block: attention, then a feed-forward network, each behind its LayerNorm."""

    def __init__(self, config: HRNetViTConfig, branch: int, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_sizes[branch]
        attention_class, mlp_class = PARTS[config.attention_type]
        self.attention_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.attention = attention_class(config, branch)
        self.mlp_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.mlp = mlp_class(channels, int(config.mlp_ratios[branch] * channels), config.hidden_act)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        attention = self.attention(self.attention_norm(hidden_states), output_attentions)
        hidden_states = hidden_states + self.drop_path(attention)
        return hidden_states + self.drop_path(self.mlp(self.mlp_norm(hidden_states)))


class HRNetViTBranch(HRViTBranch):
    patch_embedding_class = HRViTFullPatchEmbedding
    block_class = HRNetViTBlock


class HRNetViTOutputBranch(HRNetViTBranch, HRViTOutputBranch):
    """One of the last module, which returns a feature map."""


class HRNetViTModule(HRViTModule):
    fusion_class = HRNetViTFusion
    branch_class = HRNetViTBranch
    output_branch_class = HRNetViTOutputBranch


class HRNetViTPreTrainedModel(HRViTPreTrainedModel):
    config: HRNetViTConfig
    _no_split_modules = ["HRNetViTEmbeddings", "HRNetViTFusion", "HRNetViTBlock"]
    _can_record_outputs = HRViTPreTrainedModel._can_record_outputs | {
        "attentions": OutputRecorder(MultiHeadAttention, index=1)
    }


class HRNetViTModel(HRNetViTPreTrainedModel, HRViTModel):
    """The bare trunk: stem and modules of parallel branches."""

    embeddings_class = HRNetViTEmbeddings
    module_class = HRNetViTModule


class HRNetViTBackbone(HRNetViTPreTrainedModel, HRViTBackbone):
    """The trunk as a backbone: NCHW feature maps of the stages named by `config.out_features`."""

    trunk_class = HRNetViTModel


class HRNetViTForImageClassification(HRNetViTPreTrainedModel, HRViTForImageClassification):
    """With HRNet's classification head."""

    trunk_class = HRNetViTModel


class HRNetViTForSemanticSegmentation(HRNetViTPreTrainedModel, HRViTForSemanticSegmentation):
    """With a SegFormer or UPerNet head."""

    trunk_class = HRNetViTModel


__all__ = [
    "HRNetViTBackbone",
    "HRNetViTForImageClassification",
    "HRNetViTForSemanticSegmentation",
    "HRNetViTModel",
    "HRNetViTPreTrainedModel",
]
