# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What both model families are built from: windows, attention, MLP, stochastic depth, convolutions, initialisation.

Layout contract: token maps are channels last, (B, H, W, C); sequences are the same memory seen as (B, H * W, C).
Convolutions read and write that memory through `permute`, so no layout copy happens between them and the linears.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN

from .compat import (
    ALL_ATTENTION_FUNCTIONS,
    RecordedModule,
    StridedConv2d,
    attention_implementation,
    is_static,
    is_transformed,
    maybe_autocast,
)
from .shortcuts import (
    at_least_float32,
    attend_short,
    composable,
    mlp_in_place,
    product,
    with_shortcut,
)


def conv_channels_last(conv: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """Applies an NCHW convolution module to a (B, H, W, C) map and returns (B, H', W', C') without copies."""
    return conv(hidden_states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def channels_last_pixels(pixel_values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, C, H, W) pixels in `dtype`, channels last in memory; vmap, which knows no such layout, leaves theirs."""
    if is_transformed():
        return pixel_values.to(dtype)
    return pixel_values.to(dtype, memory_format=torch.channels_last)


def in_own_precision(module: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """Applies `module` in the precision of its parameters, under autocast too.

    For operations that cost little but would round all that follows: the depthwise convolutions through which the
    whole token stream passes (no residual goes around them), and classifiers.
    """
    dtype = next(filter(torch.is_floating_point, module.parameters()), hidden_states).dtype
    with maybe_autocast(hidden_states.device.type, enabled=False):
        return module(hidden_states.to(dtype))


def depthwise_channels_last(conv: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """`conv_channels_last` for depthwise convolutions, in their own precision."""
    return in_own_precision(conv, hidden_states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def crop_map(hidden_states: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cuts a (B, H, W, ...) map at the bottom and right to `size` (height, width).

    What is left is copied: whether a view of it happened to be contiguous would become part of compiled graphs.
    """
    height, width = hidden_states.shape[1:3]
    if is_static(size[0] == height) and is_static(size[1] == width):
        return hidden_states
    return hidden_states[:, : size[0], : size[1]].clone(memory_format=torch.contiguous_format)


def ceil_div(number: int, divisor: int) -> int:
    """`number` / `divisor` rounded up."""
    return (number + divisor - 1) // divisor


class Windows:
    """A map (B, H, W, ...) cut into windows of one size; what they lack at the bottom and right are zeros.

    Under dynamic shapes the padding is always applied (by amounts that may be zero): a branch on divisibility would
    cost one recompilation for each combination of odd and even sides.

    Args:
        size: Height and width of the map.
        window: Height and width of the windows, in row-major order; None is the whole side.
    """

    def __init__(self, size: tuple[int, int], window: tuple[int | None, int | None]):
        rows, height, below, fits_height = _cut(size[0], window[0])
        columns, width, beside, fits_width = _cut(size[1], window[1])
        self.size, self.window, self.grid, self.missing = size, (height, width), (rows, columns), (below, beside)
        self.fit = fits_height and fits_width

    def pad(self, states: torch.Tensor, value: float = 0.0) -> torch.Tensor:
        """(B, H, W, ...) -> the same with both sides multiples of the window's."""
        if self.fit:
            return states
        return F.pad(states, (0, 0) * (states.ndim - 3) + (0, self.missing[1], 0, self.missing[0]), value=value)

    def split(self, states: torch.Tensor, value: float = 0.0) -> torch.Tensor:
        """(B, H, W, ...) -> (B * windows, L, ...). A view where windows span whole rows, one copy otherwise."""
        states = states if self.fit else self.pad(states, value)
        (rows, columns), (height, width) = self.grid, self.window
        cut = states.unflatten(2, (columns, width)).unflatten(1, (rows, height)).transpose(2, 3)
        return cut.reshape(states.shape[0] * rows * columns, height * width, *states.shape[3:])

    def join(self, windows: torch.Tensor) -> torch.Tensor:
        """(B * windows, L, C) -> (B, H, W, C)."""
        joined = windows.unflatten(1, self.window).unflatten(0, (-1, *self.grid)).transpose(2, 3)
        return joined.flatten(3, 4).flatten(1, 2)[:, : self.size[0], : self.size[1]]

    def mask(self, states: torch.Tensor) -> torch.Tensor | None:
        """What hides the padded keys of (B, H, W, C): additive, (B * windows, 1, 1, L); None where there are none."""
        if self.fit:
            return None
        mask = states.new_zeros(states.shape[0], *self.size)
        return self.split(mask, value=torch.finfo(states.dtype).min)[:, None, None, :]


def _cut(side: int, window: int | None) -> tuple[int, int, int, bool]:
    """How many windows cover a side of a map, the window's side, what the last one lacks, and that this is nothing."""
    if window is None:
        return 1, side, 0, True
    number = ceil_div(side, window)
    return number, window, number * window - side, is_static(number * window == side)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention with its weights: (B, heads, L, D) queries -> (B, L, heads, D), (B, heads, L, S)."""
    scores = (query * scaling) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = at_least_float32(scores).softmax(dim=-1).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


class MultiHeadAttention(RecordedModule):
    """Scaled dot-product attention by the implementation that the config names; projections are the subclass's.

    Head h owns channels [h * head_dim, (h + 1) * head_dim).
    """

    is_causal = False

    def __init__(self, config, num_heads: int, head_dim: int):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.scaling = head_dim**-0.5

    @with_shortcut(attend_short)
    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_weights: bool | None = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, L, C), (B, S, C), (B, S, C) -> output (B, L, C), weights (B, heads, L, S).

        Weights are None unless the eager implementation runs, which `output_weights` asks for.
        """
        head_shape = (self.num_heads, self.head_dim)
        query, key, value = (states.unflatten(-1, head_shape).transpose(1, 2) for states in (query, key, value))
        implementation = "eager" if output_weights else attention_implementation(self.config)
        attention_interface = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        output, weights = attention_interface(self, query, key, value, attention_mask, scaling=self.scaling)
        return output.flatten(-2), weights


class StripeAttention(MultiHeadAttention):
    """Attention within stripes of one direction: full height x `stripe_width`, or `stripe_width` x full width.

    Attributes:
        window: Height and width of the stripes, as `Windows` takes them.
    """

    def __init__(self, config, num_heads: int, head_dim: int, stripe_width: int, vertical: bool):
        super().__init__(config, num_heads, head_dim)
        self.window = (None, stripe_width) if vertical else (stripe_width, None)


@composable
class PointwiseLinear(nn.Linear):
    """A linear layer that is a linear layer to everything else: adapters, quantisation, state dicts."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., in_features) -> (..., out_features)."""
        return product(hidden_states, self.weight, self.bias)


class MLP(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, in_features: int, hidden_features: int, hidden_act: str):
        super().__init__()
        self.fc1 = PointwiseLinear(in_features, hidden_features)
        self.activation = ACT2FN[hidden_act]
        self.fc2 = PointwiseLinear(hidden_features, in_features)

    @with_shortcut(mlp_in_place)
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., in_features) -> (..., in_features)."""
        return self.fc2(self.activation(self.fc1(hidden_states)))


class DropPath(nn.Module):
    """Stochastic depth: drops whole samples of a residual branch in training (https://arxiv.org/abs/1603.09382)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if self.rate == 0.0 or not self.training:
            return hidden_states
        keep_rate = 1.0 - self.rate
        shape = (hidden_states.shape[0],) + (1,) * (hidden_states.ndim - 1)
        return hidden_states * hidden_states.new_empty(shape).bernoulli_(keep_rate).div_(keep_rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def drop_path_schedule(rate: float, depth: int) -> list[float]:
    """Rates that grow linearly from 0 at the first of `depth` blocks to `rate` at the last."""
    return [rate * index / max(depth - 1, 1) for index in range(depth)]


class ConvBN(nn.Module):
    """Convolution and BatchNorm on NCHW maps; `stride` divides the size, rounding up."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ):
        super().__init__()
        self.convolution = StridedConv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=bias
        )
        self.batch_norm = nn.BatchNorm2d(out_channels)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.batch_norm(self.convolution(hidden_states))


@composable
class ConvBNReLU(ConvBN):
    """Convolution, BatchNorm, ReLU on NCHW maps; `stride` divides the size, rounding up."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return F.relu(super().forward(hidden_states))


@torch.no_grad()
def init_weights(module: nn.Module, std: float) -> None:
    """Initialisation common to the families: linears trunc-normal(std) with zero bias, convolutions as PyTorch does.

    Both official code bases keep PyTorch's own initialisation of convolutions and the usual 1/0 of norms.
    """
    if isinstance(module, nn.Linear):
        init.trunc_normal_(module.weight, std=std)
        if module.bias is not None:
            init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        if module.bias is not None:
            bound = 1 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.bias, -bound, bound)
