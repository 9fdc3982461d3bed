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
    capture_outputs,
    filter_output_hidden_states,
    is_static,
)
from .configuration_gpvit import GPViTConfig
from .layers import (
    MLP,
    ConvBNReLU,
    DropPath,
    MultiHeadAttention,
    PointwiseLinear,
    StripeAttention,
    Windows,
    ceil_div,
    channels_last_pixels,
    conv_channels_last,
    depthwise_channels_last,
    drop_path_schedule,
    in_own_precision,
)
from .modeling_base import ClassifierMixin, HighResolutionPreTrainedModel, SegmentorMixin
from .shortcuts import (
    at_least_float32,
    composable,
    encode_positions_at_once,
    group_by_weights,
    ungroup_by_weights,
    with_shortcut,
)


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


PATCH_SIZE = 8  # stride of the stem


def token_grid(height: int, width: int, patch_size: int = PATCH_SIZE) -> tuple[int, int]:
    """Rows and columns of tokens that a stem of stride `patch_size` makes of an image."""
    return ceil_div(height, patch_size), ceil_div(width, patch_size)


class GPViTEmbeddings(nn.Module):
    """Convolutional stem of stride `patch_size` and learned absolute positions (Section 3)."""

    def __init__(self, config: GPViTConfig, patch_size: int = PATCH_SIZE):
        super().__init__()
        channels = config.stem_hidden_size
        self.num_channels = config.num_channels
        self.stem = nn.Sequential(
            ConvBNReLU(config.num_channels, channels, kernel_size=7, stride=2),
            *(ConvBNReLU(channels, channels, kernel_size=3) for _ in range(config.num_stem_convs)),
        )
        self.projection = StridedConv2d(channels, config.hidden_size, patch_size // 2, stride=patch_size // 2)
        self.projected = (patch_size // 2, patch_size // 2)  # pixels of the stem that become a token
        self.patch_size = patch_size
        size = config.image_size
        self.grid = token_grid(*((size, size) if isinstance(size, int) else size), patch_size)
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
        grid = token_grid(*pixel_values.shape[-2:], self.patch_size)
        pixel_values = channels_last_pixels(pixel_values, self.projection.weight.dtype)
        # The official code pads the stem's activation and not the image, which would change what BatchNorm shifts.
        hidden_states = self.stem(pixel_values).permute(0, 2, 3, 1)
        hidden_states = Windows(hidden_states.shape[1:3], self.projected).pad(hidden_states)
        hidden_states = conv_channels_last(self.projection, hidden_states)
        return hidden_states.flatten(1, 2) + self.interpolate_position_embeddings(grid)


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
        stripes = Windows(query.shape[1:3], self.window)
        mask = stripes.mask(query)
        query, key, value = map(stripes.split, (query, key, value))
        output, weights = self.attend(query, key, value, mask, output_weights=output_attentions)
        return stripes.join(output + self.encode_positions(value, stripes)), weights

    @with_shortcut(encode_positions_at_once)
    def encode_positions(self, value: torch.Tensor, stripes: Windows) -> torch.Tensor:
        """LePE of (B * stripes, h * w, C/2) values, each stripe a map of its own."""
        return self.convolve(value.unflatten(1, stripes.window)).flatten(1, 2)

    def convolve(self, value: torch.Tensor) -> torch.Tensor:
        """Maps (B, H, W, C/2) -> (B, H, W, C/2)."""
        return depthwise_channels_last(self.position_encoding, value)


class GPViTLocalAttention(nn.Module):
    """LePE attention: vertical stripes for the first half of the channels, horizontal ones for the second."""

    stripe_class = GPViTStripeAttention

    def __init__(self, config: GPViTConfig):
        super().__init__()
        self.qkv = PointwiseLinear(config.hidden_size, 3 * config.hidden_size)
        self.vertical = self.stripe_class(config, vertical=True)
        self.horizontal = self.stripe_class(config, vertical=False)
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

    attention_class = GPViTLocalAttention
    mlp_class = MLP

    def __init__(self, config: GPViTConfig, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_size
        self.attention_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.attention = self.attention_class(config)
        self.mlp_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.mlp = self.mlp_class(channels, int(config.mlp_ratio * channels), config.hidden_act)
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


@composable
class GPViTGrouping(GPViTGroupAttention):
    """Feature grouping (Equation 2): every group token gathers a weighted sum of image tokens per head."""

    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        channels = config.hidden_size
        self.key_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.key = PointwiseLinear(channels, channels)

    @with_shortcut(group_by_weights)
    def forward(
        self, group_tokens: torch.Tensor, hidden_states: torch.Tensor, output_group_attentions: bool | None = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(1, M, C), (B, N, C) -> grouped features (B, M, C), weights (B, heads, M, N) or None."""
        query, value = self.query_norm(group_tokens), self.key_norm(hidden_states)
        query = query.expand(hidden_states.shape[0], -1, -1)
        return self.attend(query, self.key(value), value, output_weights=output_group_attentions)


class GPViTMixer(nn.Module):
    """Group propagation (Equations 3 and 4): an MLP-Mixer layer over the grouped features."""

    mlp_class = MLP

    def __init__(self, config: GPViTConfig, num_group_tokens: int, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_size
        self.token_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.token_mlp = self.mlp_class(
            num_group_tokens, int(config.group_token_mlp_ratio * channels), config.hidden_act
        )
        self.channel_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.channel_mlp = self.mlp_class(channels, int(config.group_channel_mlp_ratio * channels), config.hidden_act)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """(B, M, C) -> (B, M, C)."""
        mixed = self.token_mlp(self.token_norm(groups).transpose(1, 2)).transpose(1, 2)
        groups = groups + self.drop_path(mixed)
        return groups + self.drop_path(self.channel_mlp(self.channel_norm(groups)))


@composable
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


class GPViTGroupPropagation(GradientCheckpointingLayer):
    """The GP Block of Figure 3 (b) up to its FFN: group, propagate, ungroup."""

    grouping_class = GPViTGrouping
    mixer_class = GPViTMixer
    ungrouping_class = GPViTUngrouping
    mlp_class = MLP

    def __init__(self, config: GPViTConfig, num_group_tokens: int, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_size
        self.group_tokens = nn.Parameter(torch.zeros(1, num_group_tokens, channels))
        self.grouping = self.grouping_class(config)
        self.mixer = self.mixer_class(config, num_group_tokens, drop_path_rate)
        self.ungrouping = self.ungrouping_class(config)
        self.projection = PointwiseLinear(2 * channels, channels)
        self.mlp_norm = nn.LayerNorm(channels, eps=config.group_layer_norm_eps)
        self.mlp = self.mlp_class(channels, int(config.mlp_ratio * channels), config.hidden_act)
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

    @with_shortcut(ungroup_by_weights)
    def ungroup(
        self, hidden_states: torch.Tensor, groups: torch.Tensor, output_ungroup_attentions: bool | None = False
    ) -> torch.Tensor:
        """(B, N, C), (B, M, C) -> image tokens and what they take from the groups, projected together, (B, N, C)."""
        # The code's order, image tokens first; Equation 6 writes them last.
        ungrouped, _ = self.ungrouping(hidden_states, groups, output_ungroup_attentions)
        return self.projection(torch.cat([hidden_states, self.drop_path(ungrouped)], dim=-1))


class GPViTGroupLayer(GPViTLayer):
    """GP Block: group propagation, ended by a depthwise convolution, BatchNorm and ReLU (Equation 6).

    The BatchNorm stands outside what gradient checkpointing computes twice, so it counts each batch once.
    """

    propagation_class = GPViTGroupPropagation

    def __init__(self, config: GPViTConfig, num_group_tokens: int, drop_path_rate: float):
        super().__init__()
        channels = config.hidden_size
        self.propagation = self.propagation_class(config, num_group_tokens, drop_path_rate)
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
    decaying_norms = ("gpvit.norm",)
    _never_decaying = ("position_embeddings", "group_tokens", "group_token")
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
        grid = self.token_grid(*pixel_values.shape[-2:])
        return tuple(weights.mean(dim=1).unflatten(-1, grid) for weights in outputs.group_attentions)


@auto_docstring(
    custom_intro="""
    The bare GPViT trunk: stem, LePE layers and GP Blocks, final LayerNorm and pooling.
    """
)
class GPViTModel(GPViTPreTrainedModel):
    embeddings_class = GPViTEmbeddings
    local_layer_class = GPViTLocalLayer
    group_layer_class = GPViTGroupLayer

    def __init__(self, config: GPViTConfig, add_pooling_layer: bool = True):
        r"""
        add_pooling_layer (`bool`, *optional*, defaults to `True`):
            Whether to compute `pooler_output`.
        """
        super().__init__(config)
        config.validate_architecture()
        rates = drop_path_schedule(config.drop_path_rate, config.num_hidden_layers)
        self.embeddings = self.embeddings_class(config)
        self.layers = nn.ModuleList(self.build_layer(index, rate) for index, rate in enumerate(rates))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = POOLERS[config.pooling_type](config) if add_pooling_layer else None
        self.post_init()

    def build_layer(self, index: int, drop_path_rate: float) -> GPViTLayer:
        """Layer `index` of the trunk, a GP Block or a local one: what variants of the trunk override."""
        if index not in self.config.group_layer_indices:
            return self.local_layer_class(self.config, drop_path_rate)
        num_group_tokens = self.config.num_group_tokens[self.config.group_layer_indices.index(index)]
        return self.group_layer_class(self.config, num_group_tokens, drop_path_rate)

    def embed(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """(B, num_channels, H, W) -> the tokens (B, N, C) that the first of `layers` takes, and their grid.

        Raises:
            ValueError: `pixel_values` are no images for this model.
        """
        self._check_images(pixel_values, coarsest_stride=self.embeddings.patch_size)
        return self.embeddings(pixel_values), self.token_grid(*pixel_values.shape[-2:])

    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[GPViTKwargs]) -> GPViTModelOutput:
        hidden_states, grid = self.embed(pixel_values)
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
    trunk_class = GPViTModel
    feature_norms_class = GPViTFeatureNorms

    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        self.num_features = [config.hidden_size] * len(config.stage_names)
        self.gpvit = self.trunk_class(config, add_pooling_layer=False)
        self.feature_norms = self.feature_norms_class(config)
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
            feature_maps=self.feature_norms(outputs, self.out_features, self.token_grid(*pixel_values.shape[-2:])),
            **recorded(outputs),
        )


@auto_docstring(
    custom_intro="""
    GPViT with a linear classifier on its pooled tokens.
    """
)
class GPViTForImageClassification(ClassifierMixin, GPViTPreTrainedModel):
    trunk_class = GPViTModel

    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.gpvit = self.trunk_class(config)
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
        labels = self._checked_labels(pixel_values, labels)
        outputs = self.gpvit(pixel_values, **kwargs)
        logits = in_own_precision(self.classifier, outputs.pooler_output)
        return GPViTImageClassifierOutput(
            loss=self._loss(logits, labels),
            logits=logits,
            **recorded(outputs),
        )


@auto_docstring(
    custom_intro="""
    GPViT with a SegFormer or UPerNet head (`config.decode_head_type`) on the stages of `config.out_features`.
    """
)
class GPViTForSemanticSegmentation(SegmentorMixin, GPViTPreTrainedModel):
    trunk_class = GPViTModel
    feature_norms_class = GPViTFeatureNorms

    def __init__(self, config: GPViTConfig):
        super().__init__(config)
        self.stages = list(config.out_features)
        in_channels = [config.hidden_size] * len(self.stages)
        self.num_labels = config.num_labels
        self.gpvit = self.trunk_class(config, add_pooling_layer=False)
        self.feature_norms = self.feature_norms_class(config)
        self._build_heads(in_channels, auxiliary_in_index=len(in_channels) - 1)
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
        labels = self._checked_labels(pixel_values, labels)
        outputs = self.gpvit(pixel_values, **kwargs)
        feature_maps = self.feature_norms(outputs, self.stages, self.token_grid(*pixel_values.shape[-2:]))
        logits = self.decode_head(feature_maps)
        return GPViTSemanticSegmenterOutput(
            loss=self._loss(logits, feature_maps, labels),
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
