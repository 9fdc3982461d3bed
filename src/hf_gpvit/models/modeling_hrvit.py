# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""HRViT: multi-scale high-resolution vision transformer (CVPR 2022).

Equations, sections and figures are those of https://arxiv.org/abs/2111.01236. Where paper and official code differ,
this is the code's model, since the published accuracies belong to it.
"""

from dataclasses import dataclass
from functools import reduce
from itertools import islice

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
    capture_outputs,
    filter_output_hidden_states,
)
from .configuration_hrvit import HRViTConfig, shortcut_factor
from .fusing import COMPOSED_MODULES, NORMED_LAYERS, FusedMixCFN
from .layers import (
    ConvBN,
    ConvBNReLU,
    DropPath,
    PointwiseLinear,
    StripeAttention,
    Windows,
    ceil_div,
    channels_last_pixels,
    conv_channels_last,
    crop_map,
    depthwise_channels_last,
    drop_path_schedule,
    in_own_precision,
)
from .modeling_base import ClassifierMixin, HighResolutionPreTrainedModel, SegmentorMixin
from .shortcuts import mix_at_once, mix_in_place, with_shortcut


class HRViTKwargs(TransformersKwargs, total=False):
    """
    Attributes:
        output_stem_states (`bool`, *optional*):
            Return the stem's feature map as `stem_states`.
    """

    output_stem_states: bool | None


@auto_docstring(custom_intro="[`BaseModelOutputWithPooling`] with feature maps as hidden states.")
@dataclass
class HRViTModelOutput(BaseModelOutputWithPooling):
    r"""
    last_hidden_state (`torch.Tensor` of shape `(batch_size, channels, height, width)`):
        Feature map of the coarsest branch, normed.
    pooler_output (`torch.Tensor` of shape `(batch_size, channels)`):
        Its mean.
    hidden_states (`tuple(torch.Tensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        The feature maps (batch_size, channels, height, width) of all branches, finest first, normed.
    attentions (`tuple(torch.Tensor)`, *optional*, returned when `output_attentions=True` is passed):
        Two (batch_size * stripes, heads, L, L) tensors per block, horizontal stripes first, L the tokens of a stripe.
        Modules, their branches and their blocks follow each other. Images follow each other; the stripes of one go
        from top to bottom or from left to right.
    stem_states (`tuple(torch.Tensor)`, *optional*, returned when `output_stem_states=True` is passed):
        The feature map (batch_size, channels, height, width) of the stem.
    """

    stem_states: tuple[torch.FloatTensor, ...] | None = None


def stage_channels(config: HRViTConfig) -> list[int]:
    """Channels of the stem and of every branch."""
    return [config.stem_hidden_sizes[-1], *config.hidden_sizes]


def stage_features(outputs: HRViTModelOutput, stages: list[str], stage_names: list[str]) -> tuple[torch.Tensor, ...]:
    """What the trunk recorded -> one (B, C, h, w) map for each of `stages`."""
    feature_maps = dict(zip(stage_names, outputs.stem_states + outputs.hidden_states, strict=True))
    return tuple(feature_maps[stage] for stage in stages)


class HRViTEmbeddings(RecordedModule):
    """Convolutional stem of stride 4 (Section 2.3)."""

    def __init__(self, config: HRViTConfig):
        super().__init__()
        inner, outer = config.stem_hidden_sizes
        self.stem = nn.Sequential(
            ConvBNReLU(config.num_channels, inner, kernel_size=3, stride=2, bias=True),
            ConvBNReLU(inner, outer, kernel_size=3, stride=2, bias=True),
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, num_channels, H, W) -> (B, C, H / 4, W / 4), rounded up."""
        return self.stem(channels_last_pixels(pixel_values, self.stem[0].convolution.weight.dtype))


class HRViTDownsampling(nn.Module):
    """Path of the fusion layer to a branch that is coarser by 2^steps: depthwise-separable (Figure 4)."""

    def __init__(self, in_channels: int, out_channels: int, steps: int):
        super().__init__()
        stride = 2**steps
        self.depthwise = ConvBN(in_channels, in_channels, kernel_size=stride + 1, stride=stride, groups=in_channels)
        self.pointwise = ConvBN(in_channels, out_channels, bias=True)

    def forward(self, hidden_states: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, h, w, C) -> (B, *grid, C')."""
        return conv_channels_last(self.pointwise, depthwise_channels_last(self.depthwise, hidden_states))


class HRViTUpsampling(nn.Module):
    """Path of the fusion layer to a branch that is finer by 2^steps: channels first, then nearest neighbours."""

    def __init__(self, in_channels: int, out_channels: int, steps: int):
        super().__init__()
        self.scale = 2**steps
        self.pointwise = ConvBN(in_channels, out_channels, bias=True)

    def forward(self, hidden_states: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, h, w, C) -> (B, *grid, C'): what goes beyond the finer grid is cut off."""
        height, width = hidden_states.shape[1:3]
        hidden_states = self.pointwise(hidden_states.permute(0, 3, 1, 2))
        hidden_states = F.interpolate(hidden_states, (height * self.scale, width * self.scale), mode="nearest")
        return crop_map(hidden_states.permute(0, 2, 3, 1), grid)


class HRViTFusion(nn.Module):
    """Dense cross-resolution fusion (Section 2.3): every output sums what all inputs send it.

    A branch reaches itself as it is. The closing activation is the code's, not the paper's.
    """

    downsampling_class = HRViTDownsampling
    upsampling_class = HRViTUpsampling

    def __init__(self, config: HRViTConfig, in_channels: list[int], out_channels: list[int]):
        super().__init__()
        self.paths = nn.ModuleList(
            nn.ModuleDict(
                {
                    str(source): self.downsampling_class(channels, outputs, target - source)
                    if source < target
                    else self.upsampling_class(channels, outputs, source - target)
                    for source, channels in enumerate(in_channels)
                    if self.has_path(source, target)
                }
            )
            for target, outputs in enumerate(out_channels)
        )
        self.activation = ACT2FN[config.hidden_act]

    @staticmethod
    def has_path(source: int, target: int) -> bool:
        """Whether layers lead from branch `source` to branch `target`: what variants of the fusion override."""
        return source != target

    def forward(self, hidden_states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Maps (B, h / 2^i, w / 2^i, C_i), finest first -> the same, or one more."""
        return tuple(self._fused(hidden_states, target) for target in range(len(self.paths)))

    def _fused(self, hidden_states: tuple[torch.Tensor, ...], target: int) -> torch.Tensor:
        height, width = hidden_states[0].shape[1:3]
        grid = (ceil_div(height, 2**target), ceil_div(width, 2**target))
        terms = [path(hidden_states[int(source)], grid) for source, path in self.paths[target].items()]
        return self.activation(reduce(torch.add, [*hidden_states[target : target + 1], *terms]))


class HRViTPatchEmbedding(nn.Module):
    """Efficient patch embedding: pointwise, then depthwise convolution, LayerNorm (Equation 6)."""

    def __init__(self, config: HRViTConfig, in_channels: int, out_channels: int):
        super().__init__()
        self.pointwise = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.depthwise = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, groups=out_channels)
        self.norm = nn.LayerNorm(out_channels, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C')."""
        hidden_states = conv_channels_last(self.pointwise, hidden_states)
        return self.norm(depthwise_channels_last(self.depthwise, hidden_states))


class HRViTStripeAttention(StripeAttention):
    """Attention within stripes of one direction, with the values as keys (Equation 4).

    It works on one half of the channels.
    """

    def __init__(self, config: HRViTConfig, branch: int, vertical: bool):
        channels = config.hidden_sizes[branch] // 2
        head_dim = min(config.attention_head_dim, channels)
        super().__init__(config, channels // head_dim, head_dim, config.stripe_widths[branch], vertical)

    def forward(
        self, query: torch.Tensor, value: torch.Tensor, output_attentions: bool | None = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Maps (B, h, w, C/2) -> map (B, h, w, C/2), weights (B * stripes, heads, L, L) or None."""
        stripes = Windows(query.shape[1:3], self.window)
        mask = stripes.mask(query)
        query, value = stripes.split(query), stripes.split(value)
        output, weights = self.attend(query, value, value, mask, output_weights=output_attentions)
        return stripes.join(output), weights


class HRViTAttention(GradientCheckpointingLayer):
    """HRViTAttn of Equation 3 up to its BatchNorm, with the LayerNorm before it (Figure 2 a).

    Horizontal stripes for the first half of the channels, vertical ones for the second; in parallel, a nonlinear
    convolution of the values as one whole map.
    """

    stripe_class = HRViTStripeAttention

    def __init__(self, config: HRViTConfig, branch: int):
        super().__init__()
        channels = config.hidden_sizes[branch]
        self.norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.query_value = PointwiseLinear(channels, 2 * channels)
        self.horizontal = self.stripe_class(config, branch, vertical=False)
        self.vertical = self.stripe_class(config, branch, vertical=True)
        self.convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        self.projection = PointwiseLinear(channels, channels)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        query, value = self.query_value(self.norm(hidden_states)).chunk(2, dim=-1)
        horizontal_query, vertical_query = query.chunk(2, dim=-1)
        horizontal_value, vertical_value = value.chunk(2, dim=-1)
        horizontal, _ = self.horizontal(horizontal_query, horizontal_value, output_attentions=output_attentions)
        vertical, _ = self.vertical(vertical_query, vertical_value, output_attentions=output_attentions)
        output = torch.cat([horizontal, vertical], dim=-1)
        output = output + conv_channels_last(self.convolution, F.hardswish(value))
        return self.projection(F.hardswish(output))


class HRViTShortcut(GradientCheckpointingLayer):
    """Diversity-enhanced shortcut: a channel projection by two Kronecker factors with an activation between.

    Equation 5, with the code's activation instead of Hardswish. Channel i * p + j stands at (i, j).
    """

    def __init__(self, config: HRViTConfig, branch: int):
        super().__init__()
        channels = config.hidden_sizes[branch]
        self.factor = shortcut_factor(channels)
        self.right = PointwiseLinear(self.factor, self.factor)
        self.activation = ACT2FN[config.hidden_act]
        self.left = PointwiseLinear(channels // self.factor, channels // self.factor)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        folded = hidden_states.unflatten(-1, (-1, self.factor))
        folded = self.activation(self.right(folded))
        return self.left(folded.transpose(-1, -2)).transpose(-1, -2).flatten(-2)


class HRViTMixCFN(GradientCheckpointingLayer):
    """Mixed-scale convolutional feed-forward network (Figure 3), with the LayerNorm before it."""

    def __init__(self, config: HRViTConfig, branch: int):
        super().__init__()
        channels = config.hidden_sizes[branch]
        hidden = int(config.mlp_ratios[branch] * channels)
        half = hidden // 2
        self.norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.fc1 = PointwiseLinear(channels, hidden)
        self.convolution3 = nn.Conv2d(half, half, kernel_size=3, padding=1, groups=half)
        self.convolution5 = nn.Conv2d(half, half, kernel_size=5, padding=2, groups=half)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = PointwiseLinear(hidden, channels)

    @with_shortcut(mix_in_place)
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        return self.fc2(self.activation(self.mix(self.fc1(self.norm(hidden_states)))))

    @with_shortcut(mix_at_once)
    def mix(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, hidden) -> the same: 3x3 on the first half of the channels, 5x5 on the second."""
        halves = zip(self.convolutions(), hidden_states.chunk(2, dim=-1), strict=True)
        return torch.cat([conv_channels_last(convolution, half) for convolution, half in halves], dim=-1)

    def convolutions(self) -> tuple[nn.Module, nn.Module]:
        return self.convolution3, self.convolution5


class HRViTAttentionBatchNorm(nn.BatchNorm2d):
    """The attention's BatchNorm, which starts at zero: a new block begins as its two shortcuts."""


class HRViTBlock(nn.Module):
    """Transformer block: attention beside the diversity-enhanced shortcut, then MixCFN.

    The BatchNorm stands outside what gradient checkpointing computes twice, so it counts each batch once.
    """

    attention_class = HRViTAttention
    shortcut_class = HRViTShortcut
    mlp_class = HRViTMixCFN

    def __init__(self, config: HRViTConfig, branch: int, drop_path_rate: float):
        super().__init__()
        self.attention = self.attention_class(config, branch)
        self.batch_norm = HRViTAttentionBatchNorm(config.hidden_sizes[branch])
        self.shortcut = self.shortcut_class(config, branch)
        self.mlp = self.mlp_class(config, branch)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        attention = conv_channels_last(self.batch_norm, self.attention(hidden_states, output_attentions))
        hidden_states = hidden_states + self.drop_path(attention + self.shortcut(hidden_states))
        return hidden_states + self.drop_path(self.mlp(hidden_states))


class HRViTBranch(nn.Module):
    """One resolution of a module: patch embedding, blocks, LayerNorm."""

    patch_embedding_class = HRViTPatchEmbedding
    block_class = HRViTBlock

    def __init__(self, config: HRViTConfig, branch: int, in_channels: int, drop_path_rates: list[float]):
        super().__init__()
        channels = config.hidden_sizes[branch]
        self.patch_embedding = self.patch_embedding_class(config, in_channels, channels)
        self.blocks = nn.ModuleList(self.block_class(config, branch, rate) for rate in drop_path_rates)
        self.norm = nn.LayerNorm(channels, eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C')."""
        hidden_states = self.patch_embedding(hidden_states)
        for block in self.blocks:
            hidden_states = block(hidden_states, output_attentions)
        return self.norm(hidden_states)


class HRViTOutputBranch(HRViTBranch, RecordedModule):
    """A branch of the last module: it returns one of the feature maps, (B, C, h, w)."""

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool | None = False) -> torch.Tensor:
        return super().forward(hidden_states, output_attentions).permute(0, 3, 1, 2)


class HRViTModule(nn.Module):
    """Fusion layer and parallel branches (Figure 1)."""

    fusion_class = HRViTFusion
    branch_class = HRViTBranch
    output_branch_class = HRViTOutputBranch

    def __init__(self, config: HRViTConfig, index: int, drop_path_rates: list[float]):
        super().__init__()
        num_blocks = config.num_blocks[index]
        if index == 0:
            in_channels = [config.stem_hidden_sizes[-1]]
        else:
            in_channels = list(config.hidden_sizes[: len(config.num_blocks[index - 1])])
        # Fusion keeps channels, and gives a new coarsest branch those of this module.
        fused_channels = [*in_channels, *config.hidden_sizes[len(in_channels) : len(num_blocks)]]
        is_last = index == len(config.num_blocks) - 1
        branch_class = self.output_branch_class if is_last else self.branch_class
        self.fusion = self.fusion_class(config, in_channels, fused_channels)
        self.branches = nn.ModuleList(
            branch_class(config, branch, channels, drop_path_rates[:depth])
            for branch, (channels, depth) in enumerate(zip(fused_channels, num_blocks, strict=True))
        )

    def forward(
        self, hidden_states: tuple[torch.Tensor, ...], output_attentions: bool | None = False, **kwargs
    ) -> tuple[torch.Tensor, ...]:
        """Maps of the branches, finest first -> the same, or one more."""
        fused = self.fusion(hidden_states)
        return tuple(branch(states, output_attentions) for branch, states in zip(self.branches, fused, strict=True))


class HRViTBottleneck(nn.Module):
    """Residual bottleneck that widens a feature map to four times its inner width, with a projected shortcut."""

    def __init__(self, in_channels: int, hidden_size: int):
        super().__init__()
        self.reduction = ConvBNReLU(in_channels, hidden_size)
        self.convolution = ConvBNReLU(hidden_size, hidden_size, kernel_size=3)
        self.expansion = ConvBN(hidden_size, 4 * hidden_size)
        self.shortcut = ConvBN(in_channels, 4 * hidden_size)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        widened = self.expansion(self.convolution(self.reduction(feature_map)))
        return F.relu(widened + self.shortcut(feature_map))


class HRViTClassificationHead(nn.Module):
    """Head of HRNetV2 (https://arxiv.org/abs/1904.04514): widen every map, add them from fine to coarse, classify."""

    def __init__(self, config: HRViTConfig):
        super().__init__()
        hidden_sizes = config.classifier_hidden_sizes
        widths = [4 * size for size in hidden_sizes]
        self.bottlenecks = nn.ModuleList(map(HRViTBottleneck, config.hidden_sizes, hidden_sizes))
        self.downsamplings = nn.ModuleList(
            ConvBNReLU(finer, coarser, kernel_size=3, stride=2, bias=True)
            for finer, coarser in zip(widths, widths[1:], strict=False)
        )
        self.projection = ConvBNReLU(widths[-1], config.classifier_output_size, bias=True)
        self.dropout = nn.Dropout(config.classifier_dropout_rate)
        self.linear = (
            nn.Linear(config.classifier_output_size, config.num_labels) if config.num_labels > 0 else nn.Identity()
        )

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Maps (B, C_i, h_i, w_i), finest first -> logits (B, num_labels)."""
        finest, *coarser = (widen(maps) for widen, maps in zip(self.bottlenecks, feature_maps, strict=True))
        merged = finest
        for downsample, feature_map in zip(self.downsamplings, coarser, strict=True):
            merged = feature_map + downsample(merged)
        pooled = self.projection(merged).mean(dim=(2, 3))
        return in_own_precision(self.linear, self.dropout(pooled))


@auto_docstring
class HRViTPreTrainedModel(HighResolutionPreTrainedModel):
    config: HRViTConfig
    base_model_prefix = "hrvit"
    _no_split_modules = ["HRViTEmbeddings", "HRViTFusion", "HRViTBlock"]
    _can_record_outputs = {
        "hidden_states": OutputRecorder(HRViTOutputBranch, capture_initial_hidden_state=False),
        "attentions": OutputRecorder(HRViTStripeAttention, index=1),
        "stem_states": OutputRecorder(HRViTEmbeddings),
    }
    _normed_layers = NORMED_LAYERS | {HRViTBlock: "attention.projection"}
    _composed_modules = COMPOSED_MODULES | {HRViTMixCFN: FusedMixCFN}

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, HRViTAttentionBatchNorm):
            init.zeros_(module.weight)

    def get_input_embeddings(self) -> nn.Module:
        return self.base_model.embeddings


@auto_docstring(
    custom_intro="""
    The bare HRViT trunk: stem and modules of parallel branches.
    """
)
class HRViTModel(HRViTPreTrainedModel):
    embeddings_class = HRViTEmbeddings
    module_class = HRViTModule

    def __init__(self, config: HRViTConfig, add_pooling_layer: bool = True):
        r"""
        add_pooling_layer (`bool`, *optional*, defaults to `True`):
            Whether to compute `pooler_output`.
        """
        super().__init__(config)
        config.validate_architecture()
        depths = [max(module) for module in config.num_blocks]
        rates = iter(drop_path_schedule(config.drop_path_rate, sum(depths)))
        self.embeddings = self.embeddings_class(config)
        self.layers = nn.ModuleList(
            self.build_layer(index, list(islice(rates, depth))) for index, depth in enumerate(depths)
        )
        self.add_pooling_layer = add_pooling_layer
        self.post_init()

    def build_layer(self, index: int, drop_path_rates: list[float]) -> HRViTModule:
        """Module `index` of the trunk, given the rates of its longest branch: what variants of the trunk override."""
        return self.module_class(self.config, index, drop_path_rates)

    def embed(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor]:
        """(B, num_channels, H, W) -> the maps that the first of `layers` takes: one, (B, H / 4, W / 4, C), rounded up.

        Raises:
            ValueError: `pixel_values` are no images for this model.
        """
        self._check_images(pixel_values, coarsest_stride=2 ** (len(self.config.hidden_sizes) + 1))
        return (self.embeddings(pixel_values).permute(0, 2, 3, 1),)

    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[HRViTKwargs]) -> HRViTModelOutput:
        hidden_states = self.embed(pixel_values)
        for layer in self.layers:
            hidden_states = layer(hidden_states, **kwargs)
        last_hidden_state = hidden_states[-1]
        pooled = last_hidden_state.mean(dim=(2, 3)) if self.add_pooling_layer else None
        return HRViTModelOutput(last_hidden_state=last_hidden_state, pooler_output=pooled)


@auto_docstring(
    custom_intro="""
    HRViT as a backbone: NCHW feature maps of the stages named by `config.out_features`.
    """
)
class HRViTBackbone(BackboneMixin, HRViTPreTrainedModel):
    trunk_class = HRViTModel

    def __init__(self, config: HRViTConfig):
        super().__init__(config)
        self.num_features = stage_channels(config)
        self.hrvit = self.trunk_class(config, add_pooling_layer=False)
        self.post_init()

    @can_return_tuple
    @filter_output_hidden_states
    @auto_docstring
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> BackboneOutput:
        r"""
        Example:

        ```python
        >>> import torch
        >>> from hf_gpvit import HRViTBackbone, HRViTConfig

        >>> backbone = HRViTBackbone(HRViTConfig.from_preset("hrvit-nano", out_features=["stage1", "stage4"]))
        >>> feature_maps = backbone(torch.randn(1, 3, 96, 120)).feature_maps
        >>> [tuple(feature_map.shape) for feature_map in feature_maps]
        [(1, 16, 24, 30), (1, 96, 3, 4)]
        ```"""
        outputs = self.hrvit(pixel_values, output_stem_states=True, **kwargs)
        return BackboneOutput(
            feature_maps=stage_features(outputs, self.out_features, self.stage_names),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


@auto_docstring(
    custom_intro="""
    HRViT with the classification head of HRNetV2 on the maps of all branches.
    """
)
class HRViTForImageClassification(ClassifierMixin, HRViTPreTrainedModel):
    trunk_class = HRViTModel

    def __init__(self, config: HRViTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.hrvit = self.trunk_class(config, add_pooling_layer=False)
        self.classifier = HRViTClassificationHead(config)
        self.post_init()

    @can_return_tuple
    @filter_output_hidden_states
    @auto_docstring
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> ImageClassifierOutput:
        r"""
        labels (`torch.Tensor` of shape `(batch_size,)`, *optional*):
            Class ids in `[0, config.num_labels - 1]` for the cross-entropy loss; -100 is ignored. With
            `config.problem_type` "regression" (or one label) or "multi_label_classification", float targets.
        """
        labels = self._checked_labels(pixel_values, labels)
        outputs = self.hrvit(pixel_values, **kwargs)
        logits = self.classifier(outputs.hidden_states)
        return ImageClassifierOutput(
            loss=self._loss(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


@auto_docstring(
    custom_intro="""
    HRViT with a SegFormer or UPerNet head (`config.decode_head_type`) on the stages of `config.out_features`.
    """
)
class HRViTForSemanticSegmentation(SegmentorMixin, HRViTPreTrainedModel):
    trunk_class = HRViTModel

    def __init__(self, config: HRViTConfig):
        super().__init__(config)
        self.stages = list(config.out_features)
        channels = dict(zip(config.stage_names, stage_channels(config), strict=True))
        in_channels = [channels[stage] for stage in self.stages]
        self.num_labels = config.num_labels
        self.hrvit = self.trunk_class(config, add_pooling_layer=False)
        self._build_heads(in_channels, auxiliary_in_index=max(len(in_channels) - 2, 0), linear_levels=True)
        self.post_init()

    @can_return_tuple
    @filter_output_hidden_states
    @auto_docstring
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> SemanticSegmenterOutput:
        r"""
        labels (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
            Class ids of the pixels of `pixel_values`, in `[0, config.num_labels - 1]` or
            `config.semantic_loss_ignore_index`. With UPerNet the loss includes the auxiliary head's.

        The logits have the size of the finest map, a quarter of the image's rounded up; the image processor's
        `post_process_semantic_segmentation` resizes them.
        """
        labels = self._checked_labels(pixel_values, labels)
        outputs = self.hrvit(pixel_values, output_stem_states=True, **kwargs)
        feature_maps = stage_features(outputs, self.stages, self.config.stage_names)
        logits = self.decode_head(feature_maps)
        return SemanticSegmenterOutput(
            loss=self._loss(logits, feature_maps, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = [
    "HRViTBackbone",
    "HRViTForImageClassification",
    "HRViTForSemanticSegmentation",
    "HRViTModel",
    "HRViTPreTrainedModel",
]
