# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What GPViT's paper compares it with (https://arxiv.org/abs/2212.06795, Tables 6, 7, 9 and 10).

Each layer of the trunk is a part of its own, chosen when a model is built; the forwards are GPViT's. The paper says
little about these parts: what is read into it is what agrees with its numbers of parameters and multiply-adds.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from ..models.compat import OutputRecorder, StridedConv2d
from ..models.layers import (
    MLP,
    DropPath,
    MultiHeadAttention,
    PointwiseLinear,
    Windows,
    conv_channels_last,
    crop_map,
)
from ..models.modeling_gpvit import (
    GPViTBackbone,
    GPViTEmbeddings,
    GPViTFeatureNorms,
    GPViTForImageClassification,
    GPViTForSemanticSegmentation,
    GPViTGroupLayer,
    GPViTGroupPropagation,
    GPViTLayer,
    GPViTLocalAttention,
    GPViTLocalLayer,
    GPViTModel,
    GPViTModelOutput,
    GPViTPreTrainedModel,
    GPViTStripeAttention,
    token_grid,
)
from .configuration_gpvit_ablation import GPViTAblationConfig


# --- stems


class GPViTConvolutionStem(GPViTEmbeddings):
    """GPViT's stem for patches of any even size."""

    def __init__(self, config: GPViTAblationConfig):
        super().__init__(config, config.patch_size)


class GPViTPatchStem(GPViTConvolutionStem):
    """One convolution of patches that don't overlap."""

    def __init__(self, config: GPViTAblationConfig):
        super().__init__(config)
        size = config.patch_size
        self.stem = nn.Identity()
        self.projection = StridedConv2d(config.num_channels, config.hidden_size, size, stride=size)
        self.projected = (size, size)


STEMS = {"convolution": GPViTConvolutionStem, "patch": GPViTPatchStem}


class GPViTClassTokenEmbeddings(nn.Module):
    """A learned token, with a position of its own, before those of a stem."""

    def __init__(self, config: GPViTAblationConfig):
        super().__init__()
        self.stem = STEMS[config.stem_type](config)
        self.patch_size = config.patch_size
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1, config.hidden_size))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, num_channels, H, W) -> (B, 1 + N, C)."""
        hidden_states = self.stem(pixel_values)
        class_token = (self.class_token + self.position_embeddings).expand(hidden_states.shape[0], -1, -1)
        return torch.cat([class_token.to(hidden_states.dtype), hidden_states], dim=1)


class GPViTClassTokenPooler(nn.Module):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, 1 + N, C) -> (B, C)."""
        return hidden_states[:, 0]


# --- attention


class GPViTSelfAttention(MultiHeadAttention):
    """Attention among the tokens of sequences."""

    def __init__(self, config: GPViTAblationConfig):
        super().__init__(config, config.num_attention_heads, config.hidden_size // config.num_attention_heads)

    def forward(
        self, qkv: torch.Tensor, attention_mask: torch.Tensor | None = None, output_attentions: bool | None = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, L, 3 * C) -> (B, L, C), weights (B, heads, L, L) or None."""
        return self.attend(*qkv.chunk(3, dim=-1), attention_mask, output_weights=output_attentions)


class GPViTFullAttention(nn.Module):
    """Attention among all tokens."""

    def __init__(self, config: GPViTAblationConfig):
        super().__init__()
        self.qkv = PointwiseLinear(config.hidden_size, 3 * config.hidden_size)
        self.attention = GPViTSelfAttention(config)
        self.projection = PointwiseLinear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, ..., C) -> (B, ..., C)."""
        tokens = hidden_states.flatten(1, -2)
        attended, _ = self.attention(self.qkv(tokens), output_attentions=output_attentions)
        return self.projection(attended).reshape(hidden_states.shape)


class GPViTWindowAttention(nn.Module):
    """Attention within windows, with a learned bias for each relative position (https://arxiv.org/abs/2103.14030).

    As in Swin, the last windows are filled up with zeros, which are tokens like all others.
    """

    def __init__(self, config: GPViTAblationConfig):
        super().__init__()
        self.window = (config.window_size, config.window_size)
        self.qkv = PointwiseLinear(config.hidden_size, 3 * config.hidden_size)
        self.attention = GPViTSelfAttention(config)
        self.projection = PointwiseLinear(config.hidden_size, config.hidden_size)
        steps = 2 * config.window_size - 1
        self.relative_positions = nn.Parameter(torch.zeros(steps, steps, config.num_attention_heads))

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        size = hidden_states.shape[1:3]
        padded = Windows(size, self.window).pad(hidden_states)
        return crop_map(self.attend_within_windows(padded, output_attentions), size)

    def attend_within_windows(self, padded: torch.Tensor, output_attentions: bool | None) -> torch.Tensor:
        """Map (B, H, W, C) of whole windows -> (B, H, W, C)."""
        windows = Windows(padded.shape[1:3], self.window)
        qkv, bias = self.qkv(windows.split(padded)), self.score_bias(windows)
        bias = bias[None].expand(qkv.shape[0] // bias.shape[0], -1, -1, -1, -1).flatten(0, 1)
        attended, _ = self.attention(qkv, bias.to(qkv.dtype), output_attentions=output_attentions)
        return windows.join(self.projection(attended))

    def score_bias(self, windows: Windows) -> torch.Tensor:
        """What is added to the scores of each window of an image, (windows, heads, L, L), or to all, (1, ...)."""
        return self.position_bias()

    def position_bias(self) -> torch.Tensor:
        """The learned biases by the steps from key to query, (1, heads, L, L)."""
        height, width = (torch.arange(side, device=self.relative_positions.device) for side in self.window)
        rows = height[:, None] - height + len(height) - 1
        columns = width[:, None] - width + len(width) - 1
        bias = self.relative_positions[rows[:, None, :, None], columns[None, :, None, :]]
        return bias.flatten(2, 3).flatten(0, 1).permute(2, 0, 1)[None]


class GPViTShiftedWindowAttention(GPViTWindowAttention):
    """Attention within windows that are moved by `shift`, and go on at the other end of the map.

    What meets there stays apart, by scores that are less by 100.
    """

    def __init__(self, config: GPViTAblationConfig):
        super().__init__(config)
        self.shift = config.window_size // 2

    def attend_within_windows(self, padded: torch.Tensor, output_attentions: bool | None) -> torch.Tensor:
        """Map (B, H, W, C) of whole windows -> (B, H, W, C)."""
        rolled = padded.roll((-self.shift, -self.shift), dims=(1, 2))
        return super().attend_within_windows(rolled, output_attentions).roll((self.shift, self.shift), dims=(1, 2))

    def score_bias(self, windows: Windows) -> torch.Tensor:
        """Position biases, less by 100 between tokens of different regions, (windows, heads, L, L)."""
        rows, columns = map(self.regions, windows.size)
        regions = windows.split((3 * rows[:, None] + columns)[None])
        apart = regions[:, None, :, None] != regions[:, None, None, :]
        return self.position_bias() - 100 * apart

    def regions(self, side: int) -> torch.Tensor:
        """Of each position along a side of the rolled map: 0, 1 in the last window, 2 where it goes on, (side,)."""
        positions = torch.arange(side, device=self.relative_positions.device)
        return (positions >= side - self.window[0]).int() + (positions >= side - self.shift).int()


# --- layers


class GPViTAttentionLayer(GPViTLocalLayer):
    """Transformer layer that is ended by a depthwise convolution, or by nothing."""

    def __init__(self, config: GPViTAblationConfig, drop_path_rate: float):
        super().__init__(config, drop_path_rate)
        if not config.use_closing_convolution:
            self.convolution = nn.Identity()


class GPViTLePELayer(GPViTAttentionLayer):
    attention_class = GPViTLocalAttention


class GPViTWindowLayer(GPViTAttentionLayer):
    attention_class = GPViTWindowAttention


class GPViTShiftedWindowLayer(GPViTAttentionLayer):
    attention_class = GPViTShiftedWindowAttention


class GPViTFullLayer(GPViTAttentionLayer):
    attention_class = GPViTFullAttention


class GPViTClassTokenLayer(GPViTFullLayer):
    """Transformer layer on tokens that are no map, since a class token is among them."""

    def forward(
        self, hidden_states: torch.Tensor, grid: tuple[int, int], output_attentions: bool | None = False, **kwargs
    ) -> torch.Tensor:
        """(B, 1 + N, C) -> (B, 1 + N, C)."""
        return super().forward(hidden_states, (1, hidden_states.shape[1]), output_attentions, **kwargs)


class GPViTClosingNorm(nn.LayerNorm):
    """Norm at the end of a residual branch, which starts at zero."""


class GPViTConvolutionLayer(GradientCheckpointingLayer, GPViTLayer):
    """Two 3x3 convolutions with a residual around them, as they follow windows in https://arxiv.org/abs/2203.16527."""

    def __init__(self, config: GPViTAblationConfig, drop_path_rate: float):
        super().__init__()
        channels, eps = config.hidden_size, config.layer_norm_eps
        self.first = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.first_norm = nn.LayerNorm(channels, eps=eps)
        self.activation = ACT2FN[config.hidden_act]
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.second_norm = GPViTClosingNorm(channels, eps=eps)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, hidden_states: torch.Tensor, grid: tuple[int, int], **kwargs) -> torch.Tensor:
        """(B, N, C) -> (B, N, C), N = grid rows * grid columns."""
        convolved = self.first_norm(conv_channels_last(self.first, hidden_states.unflatten(1, grid)))
        convolved = self.activation(convolved)
        convolved = self.second_norm(conv_channels_last(self.second, convolved))
        return hidden_states + self.drop_path(convolved).flatten(1, 2)


# --- propagation between groups


class GPViTNoPropagation(nn.Module):
    """Groups go from grouping to ungrouping as they are."""

    def __init__(self, config: GPViTAblationConfig, num_group_tokens: int, drop_path_rate: float):
        super().__init__()

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """(B, M, C) -> (B, M, C)."""
        return groups


class GPViTGroupSelfAttention(MultiHeadAttention):
    """Attention among groups."""

    def __init__(self, config: GPViTAblationConfig):
        channels, num_heads = config.hidden_size, config.num_group_attention_heads
        super().__init__(config, num_heads, channels // num_heads)
        self.qkv = PointwiseLinear(channels, 3 * channels)
        self.projection = PointwiseLinear(channels, channels)

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """(B, M, C) -> (B, M, C)."""
        attended, _ = self.attend(*self.qkv(groups).chunk(3, dim=-1))
        return self.projection(attended)


class GPViTResidualBranch(nn.Module):
    """What a module makes of its normed input, added to the input."""

    def __init__(self, config: GPViTAblationConfig, module: nn.Module, drop_path_rate: float):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.group_layer_norm_eps)
        self.module = module
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """(B, M, C) -> (B, M, C)."""
        return groups + self.drop_path(self.module(self.norm(groups)))


class GPViTAttentionPropagation(nn.Sequential):
    """Transformer layers over the grouped features, with or without feed-forward networks."""

    def __init__(self, config: GPViTAblationConfig, num_group_tokens: int, drop_path_rate: float):
        channels, hidden = config.hidden_size, int(config.group_channel_mlp_ratio * config.hidden_size)
        modules = []
        for _ in range(config.group_propagation_depth):
            modules.append(GPViTGroupSelfAttention(config))
            if config.use_group_propagation_mlp:
                modules.append(MLP(channels, hidden, config.hidden_act))
        super().__init__(*(GPViTResidualBranch(config, module, drop_path_rate) for module in modules))


class GPViTUnmixedBlock(GPViTGroupPropagation):
    mixer_class = GPViTNoPropagation


class GPViTAttentionBlock(GPViTGroupPropagation):
    mixer_class = GPViTAttentionPropagation


class GPViTUnmixedGroupLayer(GPViTGroupLayer):
    propagation_class = GPViTUnmixedBlock


class GPViTAttentionGroupLayer(GPViTGroupLayer):
    propagation_class = GPViTAttentionBlock


# --- models

LAYERS = {
    "lepe_attention": GPViTLePELayer,
    "window_attention": GPViTWindowLayer,
    "shifted_window_attention": GPViTShiftedWindowLayer,
    "full_attention": GPViTFullLayer,
    "convolution": GPViTConvolutionLayer,
}
GROUP_LAYERS = {"mixer": GPViTGroupLayer, "none": GPViTUnmixedGroupLayer, "attention": GPViTAttentionGroupLayer}


class GPViTAblationFeatureNorms(GPViTFeatureNorms):
    """`GPViTFeatureNorms` of a trunk that may have a class token."""

    def __init__(self, config: GPViTAblationConfig):
        super().__init__(config)
        self.num_class_tokens = int(config.use_class_token)

    def _normed(self, outputs: GPViTModelOutput, stage: str) -> torch.Tensor:
        return super()._normed(outputs, stage)[:, self.num_class_tokens :]


class GPViTEnlargedFeatureNorms(GPViTAblationFeatureNorms):
    """Feature maps for decode heads, `decoder_input_scale` times as large as the grid of tokens."""

    def forward(self, outputs: GPViTModelOutput, stages: list[str], grid: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        """Hidden states (B, N, C) of the trunk -> one (B, C, scale * h, scale * w) map for each of `stages`."""
        size = [side * self.config.decoder_input_scale for side in grid]
        return tuple(
            F.interpolate(feature_map, size=size, mode="bilinear", align_corners=False)
            for feature_map in super().forward(outputs, stages, grid)
        )


class GPViTAblationPreTrainedModel(GPViTPreTrainedModel):
    config: GPViTAblationConfig
    _never_decaying = (*GPViTPreTrainedModel._never_decaying, "class_token", "relative_positions")
    _no_split_modules = [
        *("GPViTConvolutionStem", "GPViTPatchStem", "GPViTClassTokenEmbeddings"),
        *(layer_class.__name__ for layer_class in (*LAYERS.values(), *GROUP_LAYERS.values(), GPViTClassTokenLayer)),
    ]
    _can_record_outputs = GPViTPreTrainedModel._can_record_outputs | {
        "attentions": OutputRecorder((GPViTStripeAttention, GPViTSelfAttention), index=1)
    }

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, GPViTWindowAttention):
            init.trunc_normal_(module.relative_positions, std=std)
        elif isinstance(module, GPViTClassTokenEmbeddings):
            init.trunc_normal_(module.class_token, std=std)
            init.trunc_normal_(module.position_embeddings, std=std)
        elif isinstance(module, GPViTClosingNorm):
            init.zeros_(module.weight)
            init.zeros_(module.bias)  # which transformers does for LayerNorm alone, by its name

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens that an image of `height` x `width` pixels becomes."""
        return token_grid(height, width, self.config.patch_size)


class GPViTAblationModel(GPViTAblationPreTrainedModel, GPViTModel):
    """The bare trunk of a variant of GPViT: stem, layers of `config.layer_types`, final LayerNorm and pooling."""

    def __init__(self, config: GPViTAblationConfig, add_pooling_layer: bool = True):
        super().__init__(config, add_pooling_layer)
        if add_pooling_layer and config.use_class_token:
            self.pooler = GPViTClassTokenPooler()

    @staticmethod
    def embeddings_class(config: GPViTAblationConfig) -> nn.Module:
        return GPViTClassTokenEmbeddings(config) if config.use_class_token else STEMS[config.stem_type](config)

    def build_layer(self, index: int, drop_path_rate: float) -> GPViTLayer:
        """Layer `index` of the trunk, of the type that the config has for it."""
        config, layer_type = self.config, self.config.layer_types[index]
        if layer_type == "group_propagation":
            num_group_tokens = config.num_group_tokens[config.group_layer_indices.index(index)]
            return GROUP_LAYERS[config.group_propagation_type](config, num_group_tokens, drop_path_rate)
        layer_class = GPViTClassTokenLayer if config.use_class_token else LAYERS[layer_type]
        return layer_class(config, drop_path_rate)


class GPViTAblationBackbone(GPViTAblationPreTrainedModel, GPViTBackbone):
    """A variant of GPViT as a backbone: NCHW feature maps of the stages named by `config.out_features`."""

    trunk_class = GPViTAblationModel
    feature_norms_class = GPViTAblationFeatureNorms


class GPViTAblationForImageClassification(GPViTAblationPreTrainedModel, GPViTForImageClassification):
    """A variant of GPViT with a linear classifier on its pooled tokens."""

    trunk_class = GPViTAblationModel


class GPViTAblationForSemanticSegmentation(GPViTAblationPreTrainedModel, GPViTForSemanticSegmentation):
    """A variant of GPViT with a SegFormer or UPerNet head (`config.decode_head_type`)."""

    trunk_class = GPViTAblationModel

    @staticmethod
    def feature_norms_class(config: GPViTAblationConfig) -> GPViTFeatureNorms:
        is_enlarged = config.decoder_input_scale > 1
        return GPViTEnlargedFeatureNorms(config) if is_enlarged else GPViTAblationFeatureNorms(config)


__all__ = [
    "GPViTAblationBackbone",
    "GPViTAblationForImageClassification",
    "GPViTAblationForSemanticSegmentation",
    "GPViTAblationModel",
    "GPViTAblationPreTrainedModel",
]
