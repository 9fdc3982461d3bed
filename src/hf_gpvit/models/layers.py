# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What both model families are built from: window reshaping, attention, stochastic depth, checks, initialisation.

Layout contract: token maps are channels last, (B, H, W, C); sequences are the same memory seen as (B, H * W, C).
Convolutions read and write that memory through `permute`, so no layout copy happens between them and the linears.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.activations import GELUActivation

from .compat import (
    ALL_ATTENTION_FUNCTIONS,
    RecordedModule,
    StridedConv2d,
    attention_implementation,
    is_captured,
    is_forward_mode,
    is_hooked,
    is_static,
    is_transformed,
    may_need_gradients,
    maybe_autocast,
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
    dtypes = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    with maybe_autocast(hidden_states.device.type, enabled=False):
        return module(hidden_states.to(next(dtypes, hidden_states.dtype)))


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or in float64 where it is that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def depthwise_channels_last(conv: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """`conv_channels_last` for depthwise convolutions, in their own precision."""
    return in_own_precision(conv, hidden_states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def pad_to_windows(hidden_states: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """Zero-pads a (B, H, W, ...) map at the bottom and right to multiples of `window` (height, width).

    Under dynamic shapes the padding is always applied (by amounts that may be zero): a branch on divisibility would
    cost one recompilation for each combination of odd and even sides.
    """
    height, width = hidden_states.shape[1:3]
    padded_height, padded_width = padded_size(height, width, window)
    if is_static(padded_height == height) and is_static(padded_width == width):
        return hidden_states
    channel_dims = hidden_states.ndim - 3
    return F.pad(hidden_states, (0, 0) * channel_dims + (0, padded_width - width, 0, padded_height - height))


def crop_map(hidden_states: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cuts a (B, H, W, ...) map at the bottom and right to `size` (height, width).

    What is left is copied: whether a view of it happened to be contiguous would become part of compiled graphs.
    """
    height, width = hidden_states.shape[1:3]
    if is_static(size[0] == height) and is_static(size[1] == width):
        return hidden_states
    return hidden_states[:, : size[0], : size[1]].clone(memory_format=torch.contiguous_format)


def padded_size(height: int, width: int, window: tuple[int, int]) -> tuple[int, int]:
    """The sides rounded up to multiples of `window`."""
    rows, columns = window_grid(height, width, window)
    return rows * window[0], columns * window[1]


def window_grid(height: int, width: int, window: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of windows that cover a map."""
    return ceil_div(height, window[0]), ceil_div(width, window[1])


def ceil_div(number: int, divisor: int) -> int:
    """`number` / `divisor` rounded up; a plain 1 where both are one symbol, which keeps shape arithmetic short."""
    return 1 if is_static(number == divisor) else (number + divisor - 1) // divisor


def partition_windows(hidden_states: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """(B, H, W, ...) -> (B * windows, window height * window width, ...), windows in row-major order.

    `window` must divide H and W. A view where windows span whole rows, one copy otherwise.
    """
    batch, height, width = hidden_states.shape[:3]
    rows, columns = window_grid(height, width, window)
    hidden_states = hidden_states.unflatten(2, (columns, window[1])).unflatten(1, (rows, window[0])).transpose(2, 3)
    return hidden_states.reshape(batch * rows * columns, window[0] * window[1], *hidden_states.shape[5:])


def merge_windows(windows: torch.Tensor, window: tuple[int, int], height: int, width: int) -> torch.Tensor:
    """Inverse of `pad_to_windows` and `partition_windows`: (B * windows, L, C) -> (B, height, width, C)."""
    rows, columns = window_grid(height, width, window)
    hidden_states = windows.unflatten(1, window).unflatten(0, (-1, rows, columns)).transpose(2, 3)
    return hidden_states.flatten(3, 4).flatten(1, 2)[:, :height, :width]


def window_padding_mask(hidden_states: torch.Tensor, window: tuple[int, int]) -> torch.Tensor | None:
    """Additive attention mask that hides the keys which `pad_to_windows` adds to a (B, H, W, C) map.

    Returns (B * windows, 1, 1, L) in the map's dtype, or None where `window` divides the map.
    """
    batch, height, width = hidden_states.shape[:3]
    padded_height, padded_width = padded_size(height, width, window)
    if is_static(padded_height == height) and is_static(padded_width == width):
        return None
    device = hidden_states.device
    row_is_padding = torch.arange(padded_height, device=device) >= height
    column_is_padding = torch.arange(padded_width, device=device) >= width
    is_padding = (row_is_padding[:, None] | column_is_padding).expand(batch, -1, -1)
    is_padding = partition_windows(is_padding, window)[:, None, None, :]
    mask = torch.zeros_like(is_padding, dtype=hidden_states.dtype)
    return mask.masked_fill(is_padding, torch.finfo(hidden_states.dtype).min)


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


# Of attention weights: as many as stay in a CPU's cache.
_MAX_SHORT_WEIGHTS = 2**22


def is_eager_float32_on_cpu(hidden_states: torch.Tensor) -> bool:
    """Whether what follows runs in float32 on a CPU as it is written; compilers and autocast choose for themselves."""
    is_float32_on_cpu = hidden_states.device.type == "cpu" and hidden_states.dtype == torch.float32
    return is_float32_on_cpu and is_full_precision(hidden_states) and not is_captured()


def is_full_precision(hidden_states: torch.Tensor) -> bool:
    """Whether what follows is computed in at least float32, and not in what autocast would make of it."""
    return hidden_states.dtype in (torch.float32, torch.float64) and not _is_autocast(hidden_states.device.type)


def _is_autocast(device_type: str) -> bool:
    # A device that has no autocast refuses to tell whether it is enabled; whether it has, torch 2.11 can't trace.
    is_compiling = torch.compiler.is_compiling()
    has_autocast = device_type != "meta" if is_compiling else torch.amp.is_autocast_available(device_type)
    return has_autocast and torch.is_autocast_enabled(device_type)


def is_short_attention(query: torch.Tensor, key: torch.Tensor) -> bool:
    """Whether `short_attention_forward` is faster than SDPA for (B, heads, L, D) queries and (B, heads, S, D) keys."""
    return is_eager_float32_on_cpu(query) and query.shape[:3].numel() * key.shape[2] <= _MAX_SHORT_WEIGHTS


def is_plain_inference() -> bool:
    """Whether nothing differentiates or transforms what runs, so that results may take the place of inputs."""
    return not may_need_gradients() and not is_forward_mode() and not is_transformed()


def short_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """As `eager_attention_forward`, by batched products and without weights to return.

    SDPA's kernel for CPUs goes block by block, which pays for long sequences; stripes are short.
    """
    batch = query.shape[0]
    query, key, value = (states.flatten(0, 1) for states in (query, key, value))
    if attention_mask is None:
        scores = torch.bmm(query * scaling, key.transpose(1, 2))
    else:
        mask = attention_mask.expand(-1, query.shape[0] // batch, -1, -1).flatten(0, 1)
        scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=scaling)
    weights = torch.softmax(scores, -1, out=scores) if is_plain_inference() else scores.softmax(-1)
    return (weights @ value).unflatten(0, (batch, -1)).transpose(1, 2), None


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
        if implementation == "sdpa" and is_short_attention(query, key):
            attention_interface = short_attention_forward
        output, weights = attention_interface(self, query, key, value, attention_mask, scaling=self.scaling)
        return output.flatten(-2), weights


class StripeAttention(MultiHeadAttention):
    """Attention within stripes of one direction: full height x `stripe_width`, or `stripe_width` x full width."""

    def __init__(self, config, num_heads: int, head_dim: int, stripe_width: int, vertical: bool):
        super().__init__(config, num_heads, head_dim)
        self.stripe_width = stripe_width
        self.vertical = vertical

    def stripe(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the stripes of a map."""
        return (height, self.stripe_width) if self.vertical else (self.stripe_width, width)


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


# Rows below which setting a convolution up costs more than it saves.
_MIN_ROWS = 64


class PointwiseLinear(nn.Linear):
    """A linear layer that CPUs compute by `pointwise_linear`.

    It is a linear layer to everything else: adapters, quantisation, state dicts.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., in_features) -> (..., out_features)."""
        return pointwise_linear(hidden_states, self.weight, self.bias)


def pointwise_linear(
    hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`F.linear`, on CPUs in float32 as a pointwise convolution: the same product by a faster library.

    PyTorch gives matrix products to MKL and convolutions to oneDNN. On CPUs that are not Intel's, MKL makes do with
    AVX2 where oneDNN takes AVX-512.
    """
    if not _is_faster_as_convolution(hidden_states, weight):
        return F.linear(hidden_states, weight, bias)
    out_features, in_features = weight.shape
    pixels = hidden_states.reshape(1, -1, 1, in_features).permute(0, 3, 1, 2)
    output = F.conv2d(pixels, weight[..., None, None], bias)
    return output.permute(0, 2, 3, 1).reshape(*hidden_states.shape[:-1], out_features)


def _is_faster_as_convolution(hidden_states: torch.Tensor, weight: torch.Tensor) -> bool:
    # tensor subclasses know linear layers only
    if not is_eager_float32_on_cpu(hidden_states) or type(weight) not in (torch.Tensor, nn.Parameter):
        return False
    has_choice = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    return has_choice and hidden_states.shape[:-1].numel() >= _MIN_ROWS and weight.dtype == torch.float32


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


class ConvBNReLU(ConvBN):
    """Convolution, BatchNorm, ReLU on NCHW maps; `stride` divides the size, rounding up."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return F.relu(super().forward(hidden_states))


_PLAIN_MODULES = (nn.Linear, PointwiseLinear, nn.Conv2d, StridedConv2d, nn.BatchNorm2d, ConvBNReLU, GELUActivation)


def may_compose_weights(*modules: nn.Module) -> bool:
    """Whether a product of these modules' weights may stand for calling one module after the other.

    Only where each is exactly PyTorch's linear or convolution (or the ConvBNReLU around one), without hooks, with
    plain floating-point weights of one type on one device. Adapters and quantised, parametrised, hooked or offloaded
    modules do more than their `weight` shows, or have it elsewhere.
    """
    weights = [weight for module in modules for weight in module.parameters(recurse=False)]
    kinds = {(weight.dtype, weight.device) for weight in weights}
    return len(kinds) == 1 and all(map(is_plain_module, modules)) and all(map(is_plain_weight, weights))


def joined_depthwise(small: nn.Conv2d, large: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of one depthwise 5x5 convolution: `small`, 3x3, on the first channels, `large` on the others.

    Zeros around a 3x3 kernel make it a 5x5 one.
    """
    return torch.cat([F.pad(small.weight, (1, 1, 1, 1)), large.weight]), torch.cat([small.bias, large.bias])


def activate(activation: nn.Module, hidden_states: torch.Tensor, *sources: nn.Module) -> torch.Tensor:
    """`activation(hidden_states)`, in place in inference where nobody else sees what `sources` have made.

    The hidden tokens of an MLP are the largest tensor of a model. A second one for each MLP costs up to a fifth of
    the time on CPUs, where memory that was given back to the system comes back page by page.
    """
    may_overwrite = is_plain_inference() and not torch.compiler.is_compiling()
    if may_overwrite and type(activation) is GELUActivation and all(map(is_plain_module, (activation, *sources))):
        return torch.ops.aten.gelu_(hidden_states)
    return activation(hidden_states)


def is_plain_module(module: nn.Module) -> bool:
    """Whether it is exactly one of `_PLAIN_MODULES`, without hooks."""
    return type(module) in _PLAIN_MODULES and not is_hooked(module)


def is_plain_weight(weight: torch.Tensor) -> bool:
    """Whether it is a floating-point parameter of PyTorch's own type, and here."""
    return type(weight) is nn.Parameter and weight.is_floating_point() and weight.device.type != "meta"


def check_pixel_values(pixel_values: torch.Tensor, num_channels: int) -> None:
    """Raises a ValueError that says what is wrong unless `pixel_values` is float (B, num_channels, H, W)."""
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"pixel_values must be a tensor from the image processor, got {type(pixel_values).__name__}.")
    shape = tuple(pixel_values.shape)
    if pixel_values.ndim != 4:
        raise ValueError(f"pixel_values must be (batch, {num_channels}, height, width), got shape {shape}.")
    if shape[1] != num_channels:
        raise ValueError(f"pixel_values must have config.num_channels={num_channels} channels, got shape {shape}.")
    if 0 in shape:
        raise ValueError(f"pixel_values must have at least one image of at least 1x1 pixel, got shape {shape}.")
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values must be floating point (normalised by the image processor), got {pixel_values.dtype}."
        )


def checked_label_ids(
    labels: torch.Tensor, shape: tuple[int, ...], num_labels: int, ignore_index: int
) -> torch.Tensor:
    """The class ids as int64, which the losses want.

    Raises:
        ValueError: they aren't integers of that shape in [0, num_labels) or `ignore_index`. The range is checked on
            CPU and outside compilation and torch.func's transforms only: elsewhere it would wait for the device, or
            there are no values to look at.
    """
    if not isinstance(labels, torch.Tensor):
        raise ValueError(f"labels must be a tensor of integer class ids, got {type(labels).__name__}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integer class ids (torch.int64), got {labels.dtype}.")
    if tuple(labels.shape) != shape:
        raise ValueError(f"labels must have shape {shape} to go with pixel_values, got {tuple(labels.shape)}.")
    labels = labels.long()
    if labels.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed():
        return labels
    invalid = labels[((labels < 0) | (labels >= num_labels)) & (labels != ignore_index)]
    if invalid.numel():
        raise ValueError(
            f"labels must be in [0, {num_labels - 1}] (num_labels={num_labels}) or {ignore_index} (ignored), "
            f"got {invalid.unique().tolist()[:10]}."
        )
    return labels


def checked_classification_labels(labels: torch.Tensor, pixel_values: torch.Tensor, config) -> torch.Tensor:
    """The labels as the loss of the problem type wants them.

    Raises:
        ValueError: they do not fit the batch and the problem type.
    """
    batch, num_labels = pixel_values.shape[0], config.num_labels
    is_float = isinstance(labels, torch.Tensor) and labels.is_floating_point()
    if config.problem_type == "single_label_classification" or (
        config.problem_type is None and num_labels > 1 and not is_float
    ):
        return checked_label_ids(labels, (batch,), num_labels, ignore_index=-100)
    shapes = [(batch, num_labels)] + ([(batch,)] if num_labels == 1 else [])
    if not is_float or tuple(labels.shape) not in shapes:
        is_tensor = isinstance(labels, torch.Tensor)
        got = f"{labels.dtype} of shape {tuple(labels.shape)}" if is_tensor else type(labels).__name__
        raise ValueError(
            f"labels must be a floating-point tensor of shape {shapes[0]} (num_labels={num_labels}, "
            f"problem_type={config.problem_type!r}), or integer class ids of shape ({batch},) for single-label "
            f"classification; got {got}."
        )
    return labels


def check_batch_statistics(module: nn.Module, values_per_channel: int, pixel_values: torch.Tensor) -> None:
    """Raises a ValueError where a BatchNorm of `module` in train mode would see one value per channel."""
    if values_per_channel != 1:
        return
    if any(isinstance(child, nn.BatchNorm2d) and child.training for child in module.modules()):
        batch, _, height, width = pixel_values.shape
        raise ValueError(
            f"BatchNorm can't be trained on one value per channel: batch size {batch} at {height}x{width} leaves only "
            "one. Use a larger batch or larger images, or call eval()."
        )


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
