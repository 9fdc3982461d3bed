# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""GPViT as a pyramid of maps at strides 4 to 32, by a ViT-Adapter beside it.

The adapter is that of https://arxiv.org/abs/2205.08534 as GPViT's official detectors have it: tokens have stride 8
instead of 16, as the finest of the spatial features that are injected into them.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.processing_utils import Unpack
from transformers.utils import auto_docstring

from .compat import capture_outputs, maybe_autocast, sizes_as_tensor
from .configuration_gpvit_adapter import GPViTAdapterConfig
from .layers import ConvBNReLU, DropPath, PointwiseLinear, channels_last_pixels, crop_map
from .modeling_gpvit import (
    GPViTBackboneOutput,
    GPViTKwargs,
    GPViTModel,
    GPViTPreTrainedModel,
)
from .shortcuts import resize_bilinear


ADAPTER_NORM_EPS = 1e-6
Grid = tuple[int, int]


def reference_points(grids: list[Grid], device: torch.device) -> torch.Tensor:
    """Centres of the cells of all grids, one grid after the other: (N, 2) float32, (x, y) in units of the image."""
    centres = []
    for height, width in grids:
        y, x = ((torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side for side in (height, width))
        centres.append(torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).flatten(0, 1))
    return torch.cat(centres)


def as_map(tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
    """(B, h * w, C) -> (B, C, h, w).

    Dimensions are made before they are moved: the other way round the only image of a batch gets a stride with which
    torch 2.14 differentiates BatchNorm wrongly on CPUs.
    """
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


class GPViTDeformableAttention(nn.Module):
    """Each query looks at a few points of each map, where it wants to (https://arxiv.org/abs/2010.04159, eq. 3)."""

    def __init__(self, config: GPViTAdapterConfig, num_levels: int):
        super().__init__()
        channels, heads, points = config.hidden_size, config.num_deformable_heads, config.num_deformable_points
        self.num_heads, self.num_levels, self.num_points = heads, num_levels, points
        self.sampling_offsets = PointwiseLinear(channels, heads * num_levels * points * 2)
        self.attention_weights = PointwiseLinear(channels, heads * num_levels * points)
        self.value = PointwiseLinear(channels, channels)
        self.projection = PointwiseLinear(channels, channels)

    def forward(
        self, queries: torch.Tensor, features: torch.Tensor, points: torch.Tensor, grids: list[Grid]
    ) -> torch.Tensor:
        """Queries (B, N, C) that stand at the points (N, 2) look at maps, (B, sum of h * w, C) -> (B, N, C).

        Offsets are in cells of the map that is looked at. What lies outside of a map is 0.
        """
        levels = (self.num_heads, self.num_levels)
        offsets = self.sampling_offsets(queries).unflatten(-1, (*levels, self.num_points, 2)).float()
        weights = self.attention_weights(queries).unflatten(-1, (self.num_heads, -1)).float().softmax(dim=-1)
        weights = weights.unflatten(-1, (self.num_levels, self.num_points))
        maps = self.value(features).float().split([height * width for height, width in grids], dim=1)
        with maybe_autocast(queries.device.type, enabled=False):
            looks = (
                self._look(maps[level], grid, points, offsets[:, :, :, level], weights[:, :, :, level])
                for level, grid in enumerate(grids)
            )
            seen = sum(looks).unflatten(0, (-1, self.num_heads)).flatten(1, 2).transpose(1, 2)
        return self.projection(seen.to(queries.dtype))

    def _look(
        self, values: torch.Tensor, grid: Grid, points: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Map (B, h * w, C), offsets (B, N, heads, P, 2), weights (B, N, heads, P) -> (B * heads, C / heads, N)."""
        height, width = grid
        values = values.transpose(1, 2).unflatten(1, (self.num_heads, -1)).flatten(0, 1).unflatten(-1, grid)
        places = points[None, :, None, None] + offsets / sizes_as_tensor(
            (width, height), offsets.dtype, offsets.device
        )
        places = (2 * places - 1).transpose(1, 2).flatten(0, 1)
        weights = weights.transpose(1, 2).flatten(0, 1)[:, None]
        sampled = F.grid_sample(values, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        return (sampled * weights).sum(dim=-1)


class GPViTInjector(GradientCheckpointingLayer):
    """Spatial features into the tokens of GPViT (arXiv:2205.08534, eq. 1)."""

    def __init__(self, config: GPViTAdapterConfig):
        super().__init__()
        channels = config.hidden_size
        self.query_norm = nn.LayerNorm(channels, eps=ADAPTER_NORM_EPS)
        self.feature_norm = nn.LayerNorm(channels, eps=ADAPTER_NORM_EPS)
        self.attention = GPViTDeformableAttention(config, num_levels=3)
        self.layer_scale = nn.Parameter(torch.full((channels,), float(config.layer_scale_init_value)))

    def forward(
        self, hidden_states: torch.Tensor, features: torch.Tensor, points: torch.Tensor, grids: list[Grid]
    ) -> torch.Tensor:
        """Tokens (B, N, C) and features (B, M, C) -> tokens (B, N, C)."""
        injected = self.attention(self.query_norm(hidden_states), self.feature_norm(features), points, grids)
        return hidden_states + self.layer_scale * injected


class GPViTMultiScaleMLP(nn.Module):
    """An MLP whose hidden layer sees its neighbours on its own map, by one depthwise convolution for all maps."""

    def __init__(self, config: GPViTAdapterConfig):
        super().__init__()
        channels, hidden = config.hidden_size, int(config.hidden_size * config.adapter_mlp_ratio)
        self.fc1 = PointwiseLinear(channels, hidden)
        self.convolution = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.fc2 = PointwiseLinear(hidden, channels)

    def forward(self, features: torch.Tensor, grids: list[Grid]) -> torch.Tensor:
        """(B, M, C) -> (B, M, C), maps one after the other."""
        maps = self.fc1(features).split([height * width for height, width in grids], dim=1)
        convolved = [
            self.convolution(as_map(values, grid)).flatten(2).transpose(1, 2)
            for values, grid in zip(maps, grids, strict=True)
        ]
        return self.fc2(F.gelu(torch.cat(convolved, dim=1)))


class GPViTExtractor(GradientCheckpointingLayer):
    """Tokens of GPViT into the spatial features (arXiv:2205.08534, eqs. 2 and 3)."""

    def __init__(self, config: GPViTAdapterConfig):
        super().__init__()
        channels = config.hidden_size
        self.query_norm = nn.LayerNorm(channels, eps=ADAPTER_NORM_EPS)
        self.feature_norm = nn.LayerNorm(channels, eps=ADAPTER_NORM_EPS)
        self.attention = GPViTDeformableAttention(config, num_levels=1)
        self.mlp_norm = nn.LayerNorm(channels, eps=ADAPTER_NORM_EPS)
        self.mlp = GPViTMultiScaleMLP(config)
        self.drop_path = DropPath(config.drop_path_rate)  # one rate for all, in the official code too

    def forward(
        self, features: torch.Tensor, hidden_states: torch.Tensor, points: torch.Tensor, grids: list[Grid]
    ) -> torch.Tensor:
        """Features (B, M, C) and tokens (B, N, C) -> features (B, M, C)."""
        queries, tokens = self.query_norm(features), self.feature_norm(hidden_states)
        features = features + self.attention(queries, tokens, points, grids[:1])
        return features + self.drop_path(self.mlp(self.mlp_norm(features), grids))


class GPViTInteraction(nn.Module):
    """Injector, some layers of GPViT, extractors."""

    def __init__(self, config: GPViTAdapterConfig, layers: tuple[int, int], num_extractors: int):
        super().__init__()
        self.first, self.last = layers
        self.injector = GPViTInjector(config)
        self.extractors = nn.ModuleList(GPViTExtractor(config) for _ in range(num_extractors))

    def forward(
        self,
        hidden_states: torch.Tensor,
        features: torch.Tensor,
        layers: Callable[[torch.Tensor, int, int], torch.Tensor],
        points: torch.Tensor,
        grids: list[Grid],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, N, C), features (B, M, C) at the points (M, 2), of which the first N are the tokens'.

        `layers` takes tokens through those from one index to another: modules that were arguments would be moved by
        accelerate, as tensors are.
        """
        hidden_states = self.injector(hidden_states, features, points[: hidden_states.shape[1]], grids)
        hidden_states = layers(hidden_states, self.first, self.last)
        for extractor in self.extractors:
            features = extractor(features, hidden_states, points, grids)
        return hidden_states, features


class GPViTSpatialPrior(nn.Module):
    """Convolutions on the image itself: maps at strides 4 to 32 with the channels of GPViT (the spatial prior)."""

    def __init__(self, config: GPViTAdapterConfig):
        super().__init__()
        width = config.spatial_prior_hidden_size
        self.stem = nn.Sequential(
            ConvBNReLU(config.num_channels, width, kernel_size=3, stride=2),
            ConvBNReLU(width, width, kernel_size=3),
            ConvBNReLU(width, width, kernel_size=3),
        )
        widths = {"stage1": width, "stage2": 2 * width, "stage3": 4 * width, "stage4": 4 * width}
        stages = list(widths)
        self.downsampling = nn.ModuleDict(
            {
                stage: ConvBNReLU(widths[finer], widths[stage], kernel_size=3, stride=2)
                for finer, stage in zip(stages, stages[1:], strict=False)
            }
        )
        built = {
            stage: channels for stage, channels in widths.items() if stage != "stage1" or stage in config.out_features
        }
        self.projections = nn.ModuleDict(
            {stage: nn.Conv2d(channels, config.hidden_size, kernel_size=1) for stage, channels in built.items()}
        )

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, num_channels, H, W) -> (B, C, h, w) of each stage that is projected."""
        dtype = self.projections["stage2"].weight.dtype
        hidden_states = self.stem(channels_last_pixels(pixel_values, dtype))
        hidden_states = F.max_pool2d(hidden_states, kernel_size=3, stride=2, padding=1)
        maps = {"stage1": hidden_states}
        for stage, downsample in self.downsampling.items():
            hidden_states = maps[stage] = downsample(hidden_states)
        return {stage: projection(maps[stage]) for stage, projection in self.projections.items()}


class GPViTPyramid(nn.Module):
    """The maps of all stages: spatial features and tokens, added at the size of each."""

    def __init__(self, config: GPViTAdapterConfig):
        super().__init__()
        channels = config.hidden_size
        if "stage1" in config.out_features:
            self.upsampling = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
        self.norms = nn.ModuleDict({stage: nn.BatchNorm2d(channels) for stage in config.out_features})

    def forward(self, maps: dict[str, torch.Tensor], tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps (B, C, h, w) by stage, and the map of tokens -> (B, C, h, w) by stage of `config.out_features`."""
        if "stage1" in maps:
            height, width = maps["stage1"].shape[-2:]
            upsampled = self.upsampling(maps["stage2"]).permute(0, 2, 3, 1)
            upsampled = crop_map(upsampled, (height, width)).permute(0, 3, 1, 2)
            maps = maps | {"stage1": maps["stage1"] + upsampled}
        return {
            stage: norm(maps[stage] + resize_bilinear(tokens, maps[stage].shape[-2:]))
            for stage, norm in self.norms.items()
        }


class GPViTAdapterPreTrainedModel(GPViTPreTrainedModel):
    config: GPViTAdapterConfig
    _keep_in_fp32_modules_strict = ["batch_norm", "pyramid.norms"]
    base_model_prefix = "backbone"  # of detectors: their folders load into a backbone, and a backbone's into them
    _no_split_modules = [
        *("GPViTEmbeddings", "GPViTLocalLayer", "GPViTGroupLayer"),
        *("GPViTInjector", "GPViTExtractor"),
    ]
    _never_decaying = ("position_embeddings", "group_tokens", "group_token", "level_embeddings")

    def get_input_embeddings(self) -> nn.Module:
        return self.base_model.gpvit.embeddings

    def no_weight_decay(self) -> set[str]:
        """Full names of the parameters that never decay: positions, group tokens, levels, norms of the pyramid."""
        pyramids = [name for name, module in self.named_modules() if isinstance(module, GPViTPyramid)]
        norms = tuple(f"{name}.norms." for name in pyramids)
        return super().no_weight_decay() | {name for name, _ in self.named_parameters() if name.startswith(norms)}

    @torch.no_grad()
    def initialize_weights(self):
        super().initialize_weights()
        # of custom code, transformers passes over modules without parameters of their own
        for module in self.modules():
            self._init_part(module)

    def _init_part(self, module: nn.Module) -> None:
        """Initialises what is not left as other models have it; weights that were loaded stay."""
        if isinstance(module, (GPViTSpatialPrior, GPViTPyramid, GPViTMultiScaleMLP)):
            for convolution in module.modules():
                init_adapter_convolution(convolution)
        elif isinstance(module, GPViTDeformableAttention):
            init_deformable_attention(module)
        elif isinstance(module, GPViTInjector):
            init.constant_(module.layer_scale, float(self.config.layer_scale_init_value))
        elif isinstance(module, GPViTAdapterBackbone):
            init.normal_(module.level_embeddings)


def init_adapter_convolution(module: nn.Module) -> None:
    """Normal by the values that leave a channel, without bias (the official code)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            init.zeros_(module.bias)


def init_deformable_attention(module: GPViTDeformableAttention) -> None:
    """Each head looks in a direction of its own, its points one cell after the other, all weighing the same."""
    init.zeros_(module.sampling_offsets.weight)
    angles = torch.arange(module.num_heads, dtype=torch.float32) * (2 * math.pi / module.num_heads)
    directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
    directions = directions / directions.abs().max(dim=-1, keepdim=True).values
    steps = torch.arange(1, module.num_points + 1, dtype=torch.float32)
    offsets = directions[:, None, None] * steps[:, None]
    offsets = offsets.expand(-1, module.num_levels, -1, -1)
    init.copy_(module.sampling_offsets.bias, offsets.flatten())
    for linear in (module.attention_weights.weight, module.attention_weights.bias):
        init.zeros_(linear)
    for linear in (module.value, module.projection):
        init.xavier_uniform_(linear.weight)
        init.zeros_(linear.bias)


@auto_docstring(
    custom_intro="""
    GPViT with a ViT-Adapter as a backbone: NCHW feature maps at strides 4, 8, 16 and 32, or the last three.
    """
)
class GPViTAdapterBackbone(BackboneMixin, GPViTAdapterPreTrainedModel):
    trunk_class = GPViTModel

    def __init__(self, config: GPViTAdapterConfig):
        super().__init__(config)
        self.num_features = [config.hidden_size] * len(config.stage_names)
        self.gpvit = self.trunk_class(config, add_pooling_layer=False)
        self.gpvit.norm = nn.Identity()  # the pyramid has norms of its own
        self.spatial_prior = GPViTSpatialPrior(config)
        self.level_embeddings = nn.Parameter(torch.zeros(3, config.hidden_size))
        last = len(config.interaction_indexes) - 1
        self.interactions = nn.ModuleList(
            GPViTInteraction(config, layers, 1 + config.num_extra_extractors * (index == last))
            for index, layers in enumerate(config.interaction_indexes)
        )
        self.pyramid = GPViTPyramid(config)
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[GPViTKwargs]) -> GPViTBackboneOutput:
        r"""
        Example:

        ```python
        >>> import torch
        >>> from hf_gpvit import GPViTAdapterBackbone, GPViTAdapterConfig

        >>> backbone = GPViTAdapterBackbone(GPViTAdapterConfig.from_preset("gpvit-nano"))
        >>> feature_maps = backbone(torch.randn(2, 3, 96, 120)).feature_maps
        >>> [tuple(feature_map.shape) for feature_map in feature_maps]
        [(2, 64, 24, 30), (2, 64, 12, 15), (2, 64, 6, 8), (2, 64, 3, 4)]
        ```"""
        self._check_images(pixel_values, coarsest_stride=32)
        maps = self.spatial_prior(pixel_values)
        levels = [maps[stage] for stage in ("stage2", "stage3", "stage4")]
        grids = [tuple(level.shape[-2:]) for level in levels]
        points = reference_points(grids, pixel_values.device)
        features = torch.cat(
            [level.flatten(2).transpose(1, 2) + row for level, row in zip(levels, self.level_embeddings, strict=True)],
            dim=1,
        )
        hidden_states, _ = self.gpvit.embed(pixel_values)

        def layers(hidden_states: torch.Tensor, first: int, last: int) -> torch.Tensor:
            for layer in self.gpvit.layers[first : last + 1]:
                hidden_states = layer(hidden_states, grids[0], **kwargs)
            return hidden_states

        for interaction in self.interactions:
            hidden_states, features = interaction(hidden_states, features, layers, points, grids)
        coarse = features.split([height * width for height, width in grids], dim=1)
        for stage, feature, grid in zip(("stage2", "stage3", "stage4"), coarse, grids, strict=True):
            maps[stage] = as_map(feature, grid)
        pyramid = self.pyramid(maps, as_map(hidden_states, grids[0]))
        return GPViTBackboneOutput(feature_maps=tuple(pyramid[stage] for stage in self.out_features))


__all__ = ["GPViTAdapterBackbone", "GPViTAdapterPreTrainedModel"]
