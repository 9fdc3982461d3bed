# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""GPViT: a high-resolution, non-hierarchical vision transformer with group propagation (ICLR 2023).

Equations, sections and tables are those of https://arxiv.org/abs/2212.06795. Where paper and official code differ,
this is the code's model, since the published weights belong to it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithPooling,
    ImageClassifierOutput,
    SemanticSegmenterOutput,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring, can_return_tuple

from .compat import (
    OutputRecorder,
    RecordedModule,
    StridedConv2d,
    attention_implementation,
    capture_outputs,
    filter_output_hidden_states,
    is_hooked,
    is_static,
)
from .configuration_gpvit import GPViTConfig
from .decode_head import (
    build_auxiliary_head,
    build_decode_head,
    check_head_batch_statistics,
    checked_segmentation_labels,
    semantic_segmentation_loss,
)
from .layers import (
    ConvBNReLU,
    DropPath,
    MultiHeadAttention,
    PointwiseLinear,
    StripeAttention,
    activate,
    at_least_float32,
    ceil_div,
    channels_last_pixels,
    check_batch_statistics,
    check_pixel_values,
    checked_classification_labels,
    conv_channels_last,
    depthwise_channels_last,
    drop_path_schedule,
    in_own_precision,
    is_full_precision,
    may_compose_weights,
    merge_windows,
    pad_to_windows,
    partition_windows,
    pointwise_linear,
    window_padding_mask,
)
from .modeling_base import HighResolutionPreTrainedModel, SegmentorMixin


class GPViTKwargs(TransformersKwargs, total=False):
    """
    Attributes:
        output_group_attentions (`bool`, *optional*):
            Return the feature grouping weights of every GP Block as `group_attentions`.
        output_ungroup_attentions (`bool`, *optional*):
            Return the feature ungrouping weights of every GP Block as `ungroup_attentions`.
    """

    output_group_attentions: bool | None
    output_ungroup_attentions: bool | None


@dataclass
class AttentionOutputs:
    """
    attentions (`tuple(torch.Tensor)`, *optional*, returned when `output_attentions=True` is passed):
        Two (batch_size * stripes, heads, L, L) tensors per LePE layer, vertical stripes first, L the tokens of a
        stripe. Images follow each other; the stripes of one go from left to right or from top to bottom.
    group_attentions (`tuple(torch.Tensor)`, *optional*, returned when `output_group_attentions=True` is passed):
        One (batch_size, heads, num_group_tokens, sequence_length) tensor per GP Block: how much each group gathers
        from each token.
    ungroup_attentions (`tuple(torch.Tensor)`, *optional*, returned when `output_ungroup_attentions=True` is passed):
        One (batch_size, heads, sequence_length, num_group_tokens) tensor per GP Block: how much each token takes
        from each group.
    """

    attentions: tuple[torch.FloatTensor, ...] | None = None
    group_attentions: tuple[torch.FloatTensor, ...] | None = None
    ungroup_attentions: tuple[torch.FloatTensor, ...] | None = None


@auto_docstring(custom_intro="[`BaseModelOutputWithPooling`] and the attention weights of GP Blocks.")
@dataclass
class GPViTModelOutput(AttentionOutputs, BaseModelOutputWithPooling):
    __doc__ = AttentionOutputs.__doc__


@auto_docstring(custom_intro="[`BackboneOutput`] and the attention weights of GP Blocks.")
@dataclass
class GPViTBackboneOutput(AttentionOutputs, BackboneOutput):
    __doc__ = AttentionOutputs.__doc__


@auto_docstring(custom_intro="[`ImageClassifierOutput`] and the attention weights of GP Blocks.")
@dataclass
class GPViTImageClassifierOutput(AttentionOutputs, ImageClassifierOutput):
    __doc__ = f"""
    loss (`torch.Tensor` of shape `(1,)`, *optional*, returned when `labels` is given):
        Loss of the problem type.
    logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
        Scores before the softmax.{AttentionOutputs.__doc__}"""


@auto_docstring(custom_intro="[`SemanticSegmenterOutput`] and the attention weights of GP Blocks.")
@dataclass
class GPViTSemanticSegmenterOutput(AttentionOutputs, SemanticSegmenterOutput):
    __doc__ = f"""
    loss (`torch.Tensor` of shape `(1,)`, *optional*, returned when `labels` is given):
        Cross-entropy over the labelled pixels.
    logits (`torch.Tensor` of shape `(batch_size, num_labels, grid rows, grid columns)`):
        Scores before the softmax, at an eighth of the image's size rounded up.{AttentionOutputs.__doc__}"""


def recorded(outputs: GPViTModelOutput) -> dict[str, tuple[torch.Tensor, ...] | None]:
    """What the trunk recorded on request, to be handed on by the classes around it."""
    keys = ("hidden_states", "attentions", "group_attentions", "ungroup_attentions")
    return {key: getattr(outputs, key) for key in keys}


def token_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tokens that the stem, of stride 8, makes of an image."""
    return ceil_div(height, 8), ceil_div(width, 8)


class GPViTEmbeddings(nn.Module):
    """Convolutional stem of stride 8 and learned absolute positions (Section 3)."""

    def __init__(self, config: GPViTConfig):
        super().__init__()
        channels = config.stem_hidden_size
        self.num_channels = config.num_channels
        self.stem = nn.Sequential(
            ConvBNReLU(config.num_channels, channels, kernel_size=7, stride=2),
            *(ConvBNReLU(channels, channels, kernel_size=3) for _ in range(config.num_stem_convs)),
        )
        self.projection = StridedConv2d(channels, config.hidden_size, kernel_size=4, stride=4)
        size = config.image_size
        self.grid = token_grid(size, size) if isinstance(size, int) else token_grid(*size)
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], config.hidden_size))

    def interpolate_position_embeddings(self, grid: tuple[int, int]) -> torch.Tensor:
        """Positions for another token grid, by bicubic interpolation: (1, grid rows * grid columns, C)."""
        if is_static(grid[0] == self.grid[0]) and is_static(grid[1] == self.grid[1]):
            return self.position_embeddings
        positions = self.position_embeddings.unflatten(1, self.grid).permute(0, 3, 1, 2)
        resized = F.interpolate(at_least_float32(positions), size=grid, mode="bicubic", align_corners=False)
        return resized.to(positions.dtype).flatten(2).transpose(1, 2)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, num_channels, H, W) -> (B, N, C)."""
        grid = token_grid(*pixel_values.shape[-2:])
        pixel_values = channels_last_pixels(pixel_values, self.projection.weight.dtype)
        # The official code pads the stem's activation and not the image, which would change what BatchNorm shifts.
        hidden_states = pad_to_windows(self.stem(pixel_values).permute(0, 2, 3, 1), (4, 4))
        hidden_states = conv_channels_last(self.projection, hidden_states)
        return hidden_states.flatten(1, 2) + self.interpolate_position_embeddings(grid)


class GPViTMLP(nn.Module):
    def __init__(self, in_features: int, hidden_features: int, hidden_act: str):
        super().__init__()
        self.fc1 = PointwiseLinear(in_features, hidden_features)
        self.activation = ACT2FN[hidden_act]
        self.fc2 = PointwiseLinear(hidden_features, in_features)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(activate(self.activation, self.fc1(hidden_states), self.fc1))


class GPViTStripeAttention(StripeAttention):
    """Attention within stripes of one direction, plus the locally enhanced positional encoding (LePE).

    LePE is a depthwise convolution of the values that sees zeros beyond its stripe
    (https://arxiv.org/abs/2107.00652). It works on one half of the channels with one half of the heads.
    """

    def __init__(self, config: GPViTConfig, vertical: bool):
        channels = config.hidden_size // 2
        head_dim = config.hidden_size // config.num_attention_heads
        super().__init__(config, config.num_attention_heads // 2, head_dim, config.stripe_width, vertical)
        self.position_encoding = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, output_attentions: bool | None = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Maps (B, H, W, C/2) -> map (B, H, W, C/2), weights (B * stripes, heads, L, L) or None."""
        batch, height, width = query.shape[:3]
        stripe = self.stripe(height, width)
        mask = window_padding_mask(query, stripe)
        query, key, value = (
            partition_windows(pad_to_windows(states, stripe), stripe) for states in (query, key, value)
        )
        output, weights = self.attend(query, key, value, mask, output_weights=output_attentions)
        output = output + self.encode_positions(value.unflatten(1, stripe), batch)
        return merge_windows(output, stripe, height, width), weights

    def encode_positions(self, value: torch.Tensor, batch: int) -> torch.Tensor:
        """LePE of (B * stripes, h, w, C/2) values, as (B * stripes, h * w, C/2).

        The stripes of an image become one map with a row of zeros below each: the zeros that a stripe's own padding
        would have given. As many little images they would make the convolution's choice of kernel, and with it the
        compiled graph, depend on the number of stripes.
        """
        height = value.shape[1]
        value = F.pad(value, (0, 0, 0, 0, 0, 1)).unflatten(0, (batch, -1))
        positions = depthwise_channels_last(self.position_encoding, value.flatten(1, 2))
        return positions.unflatten(1, value.shape[1:3])[:, :, :height].flatten(0, 1).flatten(1, 2)


class GPViTLocalAttention(nn.Module):
    """LePE attention: vertical stripes for the first half of the channels, horizontal ones for the second."""

    def __init__(self, config: GPViTConfig):
        super().__init__()
        self.qkv = PointwiseLinear(config.hidden_size, 3 * config.hidden_size)
        self.vertical = GPViTStripeAttention(config, vertical=True)
        self.horizontal = GPViTStripeAttention(config, vertical=False)
        self.projection = PointwiseLinear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        qkv = self.qkv(hidden_states).unflatten(-1, (3, 2, -1))
        vertical, _ = self.vertical(*qkv[..., 0, :].unbind(-2), output_attentions=output_attentions)
        horizontal, _ = self.horizontal(*qkv[..., 1, :].unbind(-2), output_attentions=output_attentions)
        return self.projection(torch.cat([vertical, horizontal], dim=-1))


class GPViTLayer(RecordedModule):
    """What every layer of the trunk is: it takes tokens (B, N, C) and their grid, and returns tokens (B, N, C)."""


class GPViTLocalLayer(GradientCheckpointingLayer, GPViTLayer):
    """Transformer layer with LePE attention, ended by a depthwise convolution without norm or residual."""

    def __init__(self, config: GPViTConfig, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_size
        self.attention_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.attention = GPViTLocalAttention(config)
        self.mlp_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.mlp = GPViTMLP(channels, int(config.mlp_ratio * channels), config.hidden_act)
        self.drop_path = DropPath(drop_path_rate)
        self.convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels, bias=False)

    def forward(
        self, hidden_states: torch.Tensor, grid: tuple[int, int], output_attentions: bool | None = False, **kwargs
    ) -> torch.Tensor:
        """(B, N, C) -> (B, N, C), N = grid rows * grid columns."""
        hidden_states = hidden_states.unflatten(1, grid)
        attention = self.attention(self.attention_norm(hidden_states), output_attentions=output_attentions)
        hidden_states = hidden_states + self.drop_path(attention)
        hidden_states = hidden_states + self.drop_path(self.mlp(self.mlp_norm(hidden_states)))
        return depthwise_channels_last(self.convolution, hidden_states).flatten(1, 2)


class GPViTGroupAttention(MultiHeadAttention):
    """Attention between image and group tokens, with normed queries; keys and values are the subclass's."""

    def __init__(self, config: GPViTConfig):
        channels, num_heads = config.hidden_size, config.num_group_attention_heads
        super().__init__(config, num_heads, channels // num_heads)
        self.query_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """(B, L, C) -> (B, heads, L, head_dim)."""
        return states.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def scoring(self, groups: torch.Tensor, linear: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        """What turns image tokens into scores as `linear` and products with the groups' heads would.

        Groups (B, heads, M, head_dim) -> weight (B, heads * M, C), bias (B, heads * M).
        """
        groups, head_shape = groups * self.scaling, (self.num_heads, self.head_dim)
        weight = groups @ linear.weight.unflatten(0, head_shape)
        bias = groups @ linear.bias.unflatten(0, head_shape)[..., None]
        return weight.flatten(1, 2), bias.flatten(1)

    def may_compose(self, hidden_states: torch.Tensor, num_group_tokens: int, *linears: nn.Module) -> bool:
        """Whether `linears` had better be multiplied with the few group tokens than with the many image tokens.

        That takes heads * groups multiplications for each token and channel instead of channels + groups, and those
        of the weights, which a map of few tokens doesn't pay back. Not where scores would be rounded before the
        softmax, in half precision, nor where another attention implementation is asked for: the eager one computes
        as the paper writes it.
        """
        batch, length, channels = hidden_states.shape
        is_cheaper = self.num_heads * num_group_tokens < channels + num_group_tokens
        has_tokens = not is_static(batch * length < channels)
        is_chosen = attention_implementation(self.config) == "sdpa" and is_full_precision(hidden_states)
        return is_cheaper and has_tokens and is_chosen and may_compose_weights(*linears)


class GPViTGrouping(GPViTGroupAttention):
    """Feature grouping (Equation 2): every group token gathers a weighted sum of image tokens per head."""

    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        channels = config.hidden_size
        self.key_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.key = PointwiseLinear(channels, channels)

    def forward(
        self, group_tokens: torch.Tensor, hidden_states: torch.Tensor, output_group_attentions: bool | None = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(1, M, C), (B, N, C) -> grouped features (B, M, C), weights (B, heads, M, N) or None."""
        query, value = self.query_norm(group_tokens), self.key_norm(hidden_states)
        if not output_group_attentions and self.may_compose(value, group_tokens.shape[1], self.key):
            return self.gather(query, value), None
        query = query.expand(hidden_states.shape[0], -1, -1)
        return self.attend(query, self.key(value), value, output_weights=output_group_attentions)

    def gather(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """`attend(query, key(value), value)`, re-associated: (query W_key) value instead of query (W_key value)."""
        score_weight, score_bias = self.scoring(self.split_heads(query), self.key)
        scores = pointwise_linear(value, score_weight[0], score_bias[0]).unflatten(-1, (self.num_heads, -1))
        weights = scores.softmax(dim=1).permute(0, 2, 3, 1)
        return (weights @ self.split_heads(value)).transpose(1, 2).flatten(2)


class GPViTMixer(nn.Module):
    """Group propagation (Equations 3 and 4): an MLP-Mixer layer over the grouped features."""

    def __init__(self, config: GPViTConfig, num_group_tokens: int, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_size
        self.token_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.token_mlp = GPViTMLP(num_group_tokens, int(config.group_token_mlp_ratio * channels), config.hidden_act)
        self.channel_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.channel_mlp = GPViTMLP(channels, int(config.group_channel_mlp_ratio * channels), config.hidden_act)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """(B, M, C) -> (B, M, C)."""
        mixed = self.token_mlp(self.token_norm(groups).transpose(1, 2)).transpose(1, 2)
        groups = groups + self.drop_path(mixed)
        return groups + self.drop_path(self.channel_mlp(self.channel_norm(groups)))


class GPViTUngrouping(GPViTGroupAttention):
    """Feature ungrouping (Equation 5): every image token queries the updated groups."""

    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        channels = config.hidden_size
        self.key_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.query = PointwiseLinear(channels, channels)
        self.key = PointwiseLinear(channels, channels)
        self.value = PointwiseLinear(channels, channels)
        self.projection = PointwiseLinear(channels, channels)

    def forward(
        self, hidden_states: torch.Tensor, groups: torch.Tensor, output_ungroup_attentions: bool | None = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, N, C), (B, M, C) -> features (B, N, C), weights (B, heads, N, M) or None."""
        query, groups = self.query(self.query_norm(hidden_states)), self.key_norm(groups)
        output, weights = self.attend(
            query, self.key(groups), self.value(groups), output_weights=output_ungroup_attentions
        )
        return self.projection(output), weights

    def scatter(self, hidden_states: torch.Tensor, groups: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """`F.linear(forward(hidden_states, groups)[0], weight)`, re-associated: (B, N, C), (B, M, C) -> (B, N, C).

        Every linear layer of the image tokens, `weight` (C, C) included, is multiplied with keys or values of the
        groups instead.
        """
        groups = self.key_norm(groups)
        score_weight, score_bias = self.scoring(self.split_heads(self.key(groups)), self.query)
        scores = torch.baddbmm(score_bias[:, None], self.query_norm(hidden_states), score_weight.transpose(1, 2))
        weights = scores.unflatten(-1, (self.num_heads, -1)).softmax(dim=-1).flatten(2)
        output_weight = (weight @ self.projection.weight).unflatten(1, (self.num_heads, -1)).permute(1, 2, 0)
        value = (self.split_heads(self.value(groups)) @ output_weight).flatten(1, 2)
        return torch.baddbmm(weight @ self.projection.bias, weights, value)


class GPViTGroupPropagation(GradientCheckpointingLayer):
    """The GP Block of Figure 3 (b) up to its FFN: group, propagate, ungroup."""

    def __init__(self, config: GPViTConfig, num_group_tokens: int, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_size
        self.group_tokens = nn.Parameter(torch.zeros(1, num_group_tokens, channels))
        self.grouping = GPViTGrouping(config)
        self.mixer = GPViTMixer(config, num_group_tokens, drop_path_rate)
        self.ungrouping = GPViTUngrouping(config)
        self.projection = PointwiseLinear(2 * channels, channels)
        self.mlp_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.mlp = GPViTMLP(channels, int(config.mlp_ratio * channels), config.hidden_act)
        self.drop_path = DropPath(drop_path_rate)

    def forward(
        self,
        hidden_states: torch.Tensor,
        output_group_attentions: bool | None = False,
        output_ungroup_attentions: bool | None = False,
    ) -> torch.Tensor:
        """(B, N, C) -> (B, N, C)."""
        groups, _ = self.grouping(self.group_tokens, hidden_states, output_group_attentions)
        hidden_states = self.ungroup(hidden_states, self.mixer(groups), output_ungroup_attentions)
        return hidden_states + self.drop_path(self.mlp(self.mlp_norm(hidden_states)))

    def ungroup(
        self, hidden_states: torch.Tensor, groups: torch.Tensor, output_ungroup_attentions: bool | None = False
    ) -> torch.Tensor:
        """(B, N, C), (B, M, C) -> image tokens and what they take from the groups, projected together, (B, N, C)."""
        # The code's order, image tokens first; Equation 6 writes them last.
        if output_ungroup_attentions or not self._may_compose_ungrouping(hidden_states):
            ungrouped, _ = self.ungrouping(hidden_states, groups, output_ungroup_attentions)
            return self.projection(torch.cat([hidden_states, self.drop_path(ungrouped)], dim=-1))
        token_weight, group_weight = self.projection.weight.chunk(2, dim=1)
        ungrouped = self.drop_path(self.ungrouping.scatter(hidden_states, groups, group_weight))
        return pointwise_linear(hidden_states, token_weight, self.projection.bias) + ungrouped

    def _may_compose_ungrouping(self, hidden_states: torch.Tensor) -> bool:
        ungrouping = self.ungrouping
        linears = (ungrouping.query, ungrouping.projection, self.projection)
        num_group_tokens = self.group_tokens.shape[1]
        return not is_hooked(ungrouping) and ungrouping.may_compose(hidden_states, num_group_tokens, *linears)


class GPViTGroupLayer(GPViTLayer):
    """GP Block: group propagation, ended by a depthwise convolution, BatchNorm and ReLU (Equation 6).

    The BatchNorm stands outside what gradient checkpointing computes twice, so it counts each batch once.
    """

    def __init__(self, config: GPViTConfig, num_group_tokens: int, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_size
        self.propagation = GPViTGroupPropagation(config, num_group_tokens, drop_path_rate)
        self.convolution = ConvBNReLU(channels, channels, kernel_size=3, groups=channels)

    def forward(
        self,
        hidden_states: torch.Tensor,
        grid: tuple[int, int],
        output_group_attentions: bool | None = False,
        output_ungroup_attentions: bool | None = False,
        **kwargs,
    ) -> torch.Tensor:
        """(B, N, C) -> (B, N, C), N = grid rows * grid columns."""
        hidden_states = self.propagation(hidden_states, output_group_attentions, output_ungroup_attentions)
        return depthwise_channels_last(self.convolution, hidden_states.unflatten(1, grid)).flatten(1, 2)


class GPViTGroupPooler(GPViTGroupAttention):
    """Pooling by one learned query that attends to all tokens, with unprojected values (official code)."""

    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        self.group_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.key = PointwiseLinear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, N, C) -> (B, C)."""
        query = self.query_norm(self.group_token).expand(hidden_states.shape[0], -1, -1)
        pooled, _ = self.attend(query, self.key(hidden_states), hidden_states)
        return pooled[:, 0]


class GPViTMeanPooler(nn.Module):
    def __init__(self, config: GPViTConfig):
        super().__init__()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, N, C) -> (B, C)."""
        return hidden_states.mean(dim=1)


POOLERS = {"group": GPViTGroupPooler, "mean": GPViTMeanPooler}


class GPViTFeatureNorms(nn.ModuleDict):
    """Turns token sequences into feature maps, each through a LayerNorm of its stage.

    The last stage has none here: its norm is the trunk's final one.
    """

    def __init__(self, config: GPViTConfig):
        self_normed = [stage for stage in config.out_features if stage != config.stage_names[-1]]
        super().__init__({stage: nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) for stage in self_normed})
        self.config = config

    def forward(self, outputs: GPViTModelOutput, stages: list[str], grid: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        """Hidden states (B, N, C) of the trunk -> one (B, C, h, w) map for each of `stages`."""
        return tuple(self._normed(outputs, stage).unflatten(1, grid).permute(0, 3, 1, 2) for stage in stages)

    def _normed(self, outputs: GPViTModelOutput, stage: str) -> torch.Tensor:
        if stage == self.config.stage_names[-1]:
            return outputs.last_hidden_state
        return self[stage](outputs.hidden_states[self.config.stage_names.index(stage)])


@auto_docstring
class GPViTPreTrainedModel(HighResolutionPreTrainedModel):
    config: GPViTConfig
    base_model_prefix = "gpvit"
    _no_split_modules = ["GPViTEmbeddings", "GPViTLocalLayer", "GPViTGroupLayer"]
    _can_record_outputs = {
        "hidden_states": OutputRecorder(GPViTLayer),
        "attentions": OutputRecorder(GPViTStripeAttention, index=1),
        "group_attentions": OutputRecorder(GPViTGrouping, index=1),
        "ungroup_attentions": OutputRecorder(GPViTUngrouping, index=1),
    }

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, GPViTEmbeddings):
            init.trunc_normal_(module.position_embeddings, std=std)
        elif isinstance(module, GPViTGroupPropagation):
            init.trunc_normal_(module.group_tokens, std=std)
        elif isinstance(module, GPViTGroupPooler):
            init.zeros_(module.group_token)

    def get_input_embeddings(self) -> nn.Module:
        return self.base_model.embeddings

    @staticmethod
    def token_grid(height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens that an image of `height` x `width` pixels becomes."""
        return token_grid(height, width)

    @torch.no_grad()
    def group_maps(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What each group gathers from where (Figure 6): one (B, M, h, w) map per GP Block, averaged over heads.

        Every map sums to 1 over its h x w tokens. Works under any attention implementation.

        Raises:
            ValueError: the model is in train mode, where BatchNorm would count the images as a batch.
        """
        if self.training:
            raise ValueError("group_maps needs a model in eval mode, got training=True; call model.eval() first.")
        outputs = self.base_model(pixel_values, output_group_attentions=True)
        grid = token_grid(*pixel_values.shape[-2:])
        return tuple(weights.mean(dim=1).unflatten(-1, grid) for weights in outputs.group_attentions)


@auto_docstring(
    custom_intro="""
    The bare GPViT trunk: stem, LePE layers and GP Blocks, final LayerNorm and pooling.
    """
)
class GPViTModel(GPViTPreTrainedModel):
    def __init__(self, config: GPViTConfig, add_pooling_layer: bool = True):
        r"""
        add_pooling_layer (`bool`, *optional*, defaults to `True`):
            Whether to compute `pooler_output`.
        """
        super().__init__(config)
        config.validate_architecture()
        rates = drop_path_schedule(config.drop_path_rate, config.num_hidden_layers)
        num_group_tokens = dict(zip(config.group_layer_indices, config.num_group_tokens, strict=True))
        self.embeddings = GPViTEmbeddings(config)
        self.layers = nn.ModuleList(
            GPViTGroupLayer(config, num_group_tokens[index], rate)
            if index in num_group_tokens
            else GPViTLocalLayer(config, rate)
            for index, rate in enumerate(rates)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = POOLERS[config.pooling_type](config) if add_pooling_layer else None
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[GPViTKwargs]) -> GPViTModelOutput:
        check_pixel_values(pixel_values, self.config.num_channels)
        grid = token_grid(*pixel_values.shape[-2:])
        check_batch_statistics(self, pixel_values.shape[0] * grid[0] * grid[1], pixel_values)
        hidden_states = self.embeddings(pixel_values)
        for layer in self.layers:
            hidden_states = layer(hidden_states, grid, **kwargs)
        hidden_states = self.norm(hidden_states)
        pooled = self.pooler(hidden_states) if self.pooler is not None else None
        return GPViTModelOutput(last_hidden_state=hidden_states, pooler_output=pooled)


@auto_docstring(
    custom_intro="""
    GPViT as a backbone: NCHW feature maps at stride 8 of the stages named by `config.out_features`.
    """
)
class GPViTBackbone(BackboneMixin, GPViTPreTrainedModel):
    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        self.num_features = [config.hidden_size] * len(config.stage_names)
        self.gpvit = GPViTModel(config, add_pooling_layer=False)
        self.feature_norms = GPViTFeatureNorms(config)
        self.post_init()

    @can_return_tuple
    @filter_output_hidden_states
    @auto_docstring
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[GPViTKwargs]) -> GPViTBackboneOutput:
        r"""
        Example:

        ```python
        >>> import torch
        >>> from hf_gpvit import GPViTBackbone, GPViTConfig

        >>> backbone = GPViTBackbone(GPViTConfig.from_preset("gpvit-nano", out_features=["stage4", "stage8"]))
        >>> feature_maps = backbone(torch.randn(1, 3, 96, 120)).feature_maps
        >>> [tuple(feature_map.shape) for feature_map in feature_maps]
        [(1, 64, 12, 15), (1, 64, 12, 15)]
        ```"""
        built = {*self.feature_norms, self.stage_names[-1]}
        unknown = [stage for stage in self.out_features if stage not in built]
        if unknown:
            raise ValueError(
                f"out_features was changed to {unknown}; built were norms for {list(self.feature_norms)}."
            )
        outputs = self.gpvit(pixel_values, **kwargs)
        return GPViTBackboneOutput(
            feature_maps=self.feature_norms(outputs, self.out_features, token_grid(*pixel_values.shape[-2:])),
            **recorded(outputs),
        )


@auto_docstring(
    custom_intro="""
    GPViT with a linear classifier on its pooled tokens.
    """
)
class GPViTForImageClassification(GPViTPreTrainedModel):
    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.gpvit = GPViTModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels) if config.num_labels > 0 else nn.Identity()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        # The trunk initialises itself: the only linear that comes here is the classifier.
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=0.01)

    @can_return_tuple
    @auto_docstring
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[GPViTKwargs]
    ) -> GPViTImageClassifierOutput:
        r"""
        labels (`torch.Tensor` of shape `(batch_size,)`, *optional*):
            Class ids in `[0, config.num_labels - 1]` for the cross-entropy loss; -100 is ignored. With
            `config.problem_type` "regression" (or one label) or "multi_label_classification", float targets.
        """
        check_pixel_values(pixel_values, self.config.num_channels)
        if labels is not None:
            labels = checked_classification_labels(labels, pixel_values, self.config)
        outputs = self.gpvit(pixel_values, **kwargs)
        logits = in_own_precision(self.classifier, outputs.pooler_output)
        loss = self.loss_function(labels, logits, self.config) if labels is not None else None
        return GPViTImageClassifierOutput(
            loss=loss,
            logits=logits,
            **recorded(outputs),
        )


@auto_docstring(
    custom_intro="""
    GPViT with a SegFormer or UPerNet head (`config.decode_head_type`) on the stages of `config.out_features`.
    """
)
class GPViTForSemanticSegmentation(SegmentorMixin, GPViTPreTrainedModel):
    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        self.stages = list(config.out_features)
        in_channels = [config.hidden_size] * len(self.stages)
        self.num_labels = config.num_labels
        self.gpvit = GPViTModel(config, add_pooling_layer=False)
        self.feature_norms = GPViTFeatureNorms(config)
        self.decode_head = build_decode_head(config, in_channels)
        self.auxiliary_head = build_auxiliary_head(config, in_channels, in_index=len(in_channels) - 1)
        self.loss_function = semantic_segmentation_loss
        self.post_init()

    @can_return_tuple
    @filter_output_hidden_states
    @auto_docstring
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[GPViTKwargs]
    ) -> GPViTSemanticSegmenterOutput:
        r"""
        labels (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
            Class ids of the pixels of `pixel_values`, in `[0, config.num_labels - 1]` or
            `config.semantic_loss_ignore_index`. With UPerNet the loss includes the auxiliary head's.

        The logits have the size of the token grid, an eighth of the image's rounded up; the image processor's
        `post_process_semantic_segmentation` resizes them.
        """
        check_pixel_values(pixel_values, self.config.num_channels)
        check_head_batch_statistics(self.decode_head, pixel_values)
        if labels is not None:
            labels = checked_segmentation_labels(labels, pixel_values, self.config)
        outputs = self.gpvit(pixel_values, **kwargs)
        feature_maps = self.feature_norms(outputs, self.stages, token_grid(*pixel_values.shape[-2:]))
        logits = self.decode_head(feature_maps)
        loss = self._loss(logits, feature_maps, labels) if labels is not None else None
        return GPViTSemanticSegmenterOutput(
            loss=loss,
            logits=logits,
            **recorded(outputs),
        )


__all__ = [
    "GPViTBackbone",
    "GPViTForImageClassification",
    "GPViTForSemanticSegmentation",
    "GPViTModel",
    "GPViTPreTrainedModel",
]
