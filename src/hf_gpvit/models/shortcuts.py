# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Faster ways to the same results, each beside the forward whose place it takes.

The models are written as the papers draw them. `with_shortcut` names for a method what may be computed in its place:
a function of the same arguments that gives None wherever it is no gain, or where it would change what others see.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce, wraps

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import GELUActivation

from .compat import (
    StridedConv2d,
    attention_implementation,
    is_captured,
    is_hooked,
    is_plain_inference,
    is_static,
    is_transformed,
    may_need_gradients,
    maybe_autocast,
)


# The switch: False takes every forward as it is written.
ENABLED = True


def with_shortcut(shortcut: Callable) -> Callable[[Callable], Callable]:
    """Decorates a method: what `shortcut` gives for the same arguments is its result, unless that is None."""

    def decorate(method: Callable) -> Callable:
        @wraps(method)
        def wrapped(*args, **kwargs):
            output = shortcut(*args, **kwargs) if ENABLED else None
            return method(*args, **kwargs) if output is None else output

        # code of its own: compilers count recompilations by it
        wrapped.__code__ = wrapped.__code__.replace(co_name=method.__name__)
        return wrapped

    return decorate


@contextmanager
def plain_forwards() -> Iterator[None]:
    """Every forward as it is written, in all threads."""
    global ENABLED
    before, ENABLED = ENABLED, False
    try:
        yield
    finally:
        ENABLED = before


# --- of all models


# Of attention weights: as many as stay in a CPU's cache.
_MAX_SHORT_WEIGHTS = 2**22


def attend_short(attention, query, key, value, attention_mask=None, output_weights=False):
    """Stripes by batched products: SDPA's kernel for CPUs goes block by block, which pays for long sequences."""
    if output_weights or not is_eager_float32_on_cpu(query) or attention_implementation(attention.config) != "sdpa":
        return None
    batch, length, _ = query.shape
    if batch * length * attention.num_heads * key.shape[1] > _MAX_SHORT_WEIGHTS:
        return None
    head_shape = (attention.num_heads, attention.head_dim)
    query = query.unflatten(-1, head_shape).transpose(1, 2).flatten(0, 1)
    key = key.unflatten(-1, head_shape).transpose(1, 2).flatten(0, 1).transpose(1, 2)
    value = value.unflatten(-1, head_shape).transpose(1, 2).flatten(0, 1)
    if attention_mask is None:
        scores = torch.bmm(query * attention.scaling, key)
    else:
        mask = attention_mask.expand(-1, attention.num_heads, -1, -1).flatten(0, 1)
        scores = torch.baddbmm(mask, query, key, alpha=attention.scaling)
    weights = torch.softmax(scores, -1, out=scores) if is_plain_inference() else scores.softmax(-1)
    return (weights @ value).unflatten(0, (batch, -1)).transpose(1, 2).flatten(-2), None


def mlp_in_place(mlp, hidden_states):
    """The hidden tokens of an MLP are the largest tensor of a model: in inference the activation overwrites them.

    A second one for each MLP costs up to a fifth of the time on CPUs, where memory that was given back to the system
    comes back page by page.
    """
    if not may_overwrite(mlp.activation, mlp.fc1):
        return None
    return mlp.fc2(torch.ops.aten.gelu_(mlp.fc1(hidden_states)))


# Rows below which setting a convolution up costs more than it saves.
_MIN_ROWS = 64
# PyTorch gives matrix products to MKL and convolutions to oneDNN. On CPUs that are not Intel's, MKL makes do with AVX2
# where oneDNN takes AVX-512.
_HAS_CHOICE = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()


def product_by_convolution(hidden_states, weight, bias):
    """`F.linear` as a pointwise convolution, on CPUs in float32: the same product by a faster library."""
    # tensor subclasses know linear layers only
    if not _HAS_CHOICE or weight.dtype != torch.float32 or type(weight) not in (torch.Tensor, nn.Parameter):
        return None
    if not is_eager_float32_on_cpu(hidden_states) or hidden_states.shape[:-1].numel() < _MIN_ROWS:
        return None
    pixels = hidden_states.reshape(1, -1, 1, weight.shape[1]).permute(0, 3, 1, 2)
    output = F.conv2d(pixels, weight[..., None, None], bias)
    return output.permute(0, 2, 3, 1).reshape(*hidden_states.shape[:-1], -1)


@with_shortcut(product_by_convolution)
def product(hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(..., in_features) -> (..., out_features), as `F.linear`."""
    return F.linear(hidden_states, weight, bias)


# --- of LePE


def encode_positions_at_once(attention, value, stripes):
    """The stripes of an image as one map with a row of zeros below each: those that a stripe's own padding would give.

    As many little images they would make the convolution's choice of kernel, and with it the compiled graph, depend
    on the number of stripes.
    """
    height, number = stripes.window[0], stripes.grid[0] * stripes.grid[1]
    value = F.pad(value.unflatten(1, stripes.window), (0, 0, 0, 0, 0, 1)).unflatten(0, (-1, number))
    positions = attention.convolve(value.flatten(1, 2))
    return positions.unflatten(1, (number, height + 1))[:, :, :height].flatten(0, 1).flatten(1, 2)


# --- of GP Blocks


def group_by_weights(grouping, group_tokens, hidden_states, output_group_attentions=False):
    """(query W_key) value instead of query (W_key value): (1, M, C), (B, N, C) -> (B, M, C)."""
    if output_group_attentions or type(grouping) not in _PLAIN_MODULES:
        return None
    if not _are_groups_few(grouping, hidden_states, group_tokens.shape[1], grouping.key):
        return None
    query, value = grouping.query_norm(group_tokens), grouping.key_norm(hidden_states)
    score_weight, score_bias = _scoring(grouping, _heads(grouping, query), grouping.key)
    scores = product(value, score_weight[0], score_bias[0]).unflatten(-1, (grouping.num_heads, -1))
    weights = scores.softmax(dim=1).permute(0, 2, 3, 1)
    return (weights @ _heads(grouping, value)).transpose(1, 2).flatten(2), None


def ungroup_by_weights(propagation, hidden_states, groups, output_ungroup_attentions=False):
    """Linear layers of image tokens multiply keys or values of the groups: (B, N, C), (B, M, C) -> (B, N, C)."""
    ungrouping, projection = propagation.ungrouping, propagation.projection
    if output_ungroup_attentions or not are_plain_modules(ungrouping):
        return None
    linears = (ungrouping.query, ungrouping.projection, projection)
    if not _are_groups_few(ungrouping, hidden_states, groups.shape[1], *linears):
        return None
    token_weight, group_weight = projection.weight.chunk(2, dim=1)
    groups = ungrouping.key_norm(groups)
    score_weight, score_bias = _scoring(ungrouping, _heads(ungrouping, ungrouping.key(groups)), ungrouping.query)
    scores = torch.baddbmm(score_bias[:, None], ungrouping.query_norm(hidden_states), score_weight.transpose(1, 2))
    weights = scores.unflatten(-1, (ungrouping.num_heads, -1)).softmax(dim=-1).flatten(2)
    output_weight = (group_weight @ ungrouping.projection.weight).unflatten(1, (ungrouping.num_heads, -1))
    value = (_heads(ungrouping, ungrouping.value(groups)) @ output_weight.permute(1, 2, 0)).flatten(1, 2)
    ungrouped = torch.baddbmm(group_weight @ ungrouping.projection.bias, weights, value)
    return product(hidden_states, token_weight, projection.bias) + propagation.drop_path(ungrouped)


def _are_groups_few(attention, hidden_states, num_group_tokens, *linears) -> bool:
    """Whether `linears` had better be multiplied with the few group tokens than with the many image tokens.

    That takes heads * groups multiplications for each token and channel instead of channels + groups, and those of
    the weights, which a map of few tokens doesn't pay back. Not where scores would be rounded before the softmax, in
    half precision, nor where another attention implementation is asked for: the eager one computes as the paper
    writes it.
    """
    batch, length, channels = hidden_states.shape
    is_cheaper = attention.num_heads * num_group_tokens < channels + num_group_tokens
    has_tokens = not is_static(batch * length < channels)
    is_chosen = attention_implementation(attention.config) == "sdpa" and is_full_precision(hidden_states)
    return is_cheaper and has_tokens and is_chosen and may_compose_weights(*linears)


def _heads(attention, states):
    """(B, L, C) -> (B, heads, L, head_dim)."""
    return states.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)


def _scoring(attention, groups, linear):
    """What turns image tokens into scores as `linear` and products with the groups' heads would.

    Groups (B, heads, M, head_dim) -> weight (B, heads * M, C), bias (B, heads * M).
    """
    groups, head_shape = groups * attention.scaling, (attention.num_heads, attention.head_dim)
    weight = groups @ linear.weight.unflatten(0, head_shape)
    bias = groups @ linear.bias.unflatten(0, head_shape)[..., None]
    return weight.flatten(1, 2), bias.flatten(1)


# --- of HRViT


def mix_in_place(mlp, hidden_states):
    """`mlp_in_place`, where the hidden tokens come from convolutions."""
    if not may_overwrite(mlp.activation, mlp.fc1, *mlp.convolutions()):
        return None
    return mlp.fc2(torch.ops.aten.gelu_(mlp.mix(mlp.fc1(mlp.norm(hidden_states)))))


def mix_at_once(mlp, hidden_states):
    """One 5x5 depthwise convolution, cheaper than taking the halves apart and together.

    In inference only: gradients for the zeros in its weight would cost more than that saves.
    """
    if may_need_gradients():
        return None
    convolutions = mlp.convolutions()
    if not may_compose_weights(*convolutions):
        return None
    weight, bias = joined_depthwise(*convolutions)
    pixels = hidden_states.permute(0, 3, 1, 2)
    return F.conv2d(pixels, weight, bias, padding=2, groups=len(bias)).permute(0, 2, 3, 1)


def joined_depthwise(small: nn.Conv2d, large: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of one depthwise 5x5 convolution: `small`, 3x3, on the first channels, `large` on the others.

    Zeros around a 3x3 kernel make it a 5x5 one.
    """
    return torch.cat([F.pad(small.weight, (1, 1, 1, 1)), large.weight]), torch.cat([small.bias, large.bias])


# --- of the SegFormer head


def fuse_at_each_size(head, feature_maps):
    """fusion.convolution(concat_i(resize(P_i f_i + b_i))), re-associated: sum_i resize(F_i P_i f_i) + F_i b_i.

    Both convolutions are pointwise and the resizing is per channel, with weights that sum to one: so every level can
    be fused at its own size, by one convolution. The BatchNorm follows; in eval mode it is in the weights. What adds
    and activates works in place, since these maps are the largest tensors of a model.
    """
    if not head.linear_levels or not may_compose_weights(*head.levels, head.fusion, head.fusion.convolution):
        return None
    size, batch_norm = feature_maps[0].shape[-2:], head.fusion.batch_norm
    is_plain = are_plain_modules(batch_norm)
    is_constant = is_plain and not batch_norm.training and batch_norm.running_var is not None
    with maybe_autocast(feature_maps[0].device.type, enabled=False):
        weights, bias = composed_weights(head)
        if is_constant:
            scale = batch_norm.weight * torch.rsqrt(batch_norm.running_var + batch_norm.eps)
            weights = [scale[:, None] * weight for weight in weights]
            bias = scale * (bias - batch_norm.running_mean) + batch_norm.bias
        dtype = head.fusion.convolution.weight.dtype
        weights, bias = [weight.to(dtype) for weight in weights], bias.to(dtype)
    biases = [bias] + [None] * (len(weights) - 1)
    fused = [
        resize_bilinear(F.conv2d(maps, weight[..., None, None], bias), size)
        for maps, weight, bias in zip(feature_maps, weights, biases, strict=True)
    ]
    fused = reduce(torch.Tensor.add_, fused)
    # hooks of the norm may keep its output
    return F.relu(fused if is_constant else batch_norm(fused), inplace=is_plain)


def composed_weights(head) -> tuple[list[torch.Tensor], torch.Tensor]:
    """F_i P_i (C, C_i) for each level, and the sum of F_i b_i (C,) with the fusing bias, in at least float32."""
    fusion = head.fusion.convolution
    parts = at_least_float32(fusion.weight).flatten(1).chunk(len(head.levels), dim=1)
    pairs = list(zip(parts, head.levels, strict=True))
    weights = [part @ at_least_float32(level.weight).flatten(1) for part, level in pairs]
    biases = [part @ at_least_float32(level.bias) for part, level in pairs]
    return weights, reduce(torch.add, biases if fusion.bias is None else [fusion.bias, *biases])


def resize_bilinear(feature_map: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear resize (align_corners=False) of a (B, C, H, W) map; a map of that size passes as it is."""
    if feature_map.shape[-2:] == size:
        return feature_map
    return F.interpolate(feature_map, size=size, mode="bilinear", align_corners=False)


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or in float64 where it is that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


# --- of detectors


def masks_of_found(detector, scene, detections):
    """Only of detections that there are, which are often few of as many as there may be."""
    found = detections.scores > 0
    if is_captured() or found.device.type == "meta" or is_transformed():
        return None
    regions = [boxes[exists] for boxes, exists in zip(detections.boxes, found, strict=True)]
    logits = detector.mask_logits(scene, regions, detections.labels[found])
    masks = logits.new_zeros(*found.shape, *logits.shape[1:])
    masks[found] = logits
    return masks


# --- where they may be taken


def is_eager_float32_on_cpu(hidden_states: torch.Tensor) -> bool:
    """Whether what follows runs in float32 on a CPU as it is written: not compiled, traced or in autocast."""
    if hidden_states.dtype != torch.float32 or hidden_states.device.type != "cpu":
        return False
    return not is_captured() and not torch.is_autocast_enabled("cpu")


def is_full_precision(hidden_states: torch.Tensor) -> bool:
    """Whether what follows is computed in at least float32, and not in what autocast would make of it."""
    device_type = hidden_states.device.type
    # A device that has no autocast refuses to tell whether it is enabled; whether it has, torch 2.11 can't trace.
    is_compiling = torch.compiler.is_compiling()
    has_autocast = device_type != "meta" if is_compiling else torch.amp.is_autocast_available(device_type)
    is_autocast = has_autocast and torch.is_autocast_enabled(device_type)
    return hidden_states.dtype in (torch.float32, torch.float64) and not is_autocast


def may_overwrite(activation: nn.Module, *sources: nn.Module) -> bool:
    """Whether nobody else sees what `sources` have made and `activation` changes."""
    if not is_plain_inference() or torch.compiler.is_compiling() or type(activation) is not GELUActivation:
        return False
    return are_plain_modules(activation, *sources)


_PLAIN_MODULES = {nn.Linear, nn.Conv2d, StridedConv2d, nn.BatchNorm2d, GELUActivation}


def composable(module_class: type[nn.Module]) -> type[nn.Module]:
    """Decorates a class that does no more with its weights than shortcuts know."""
    _PLAIN_MODULES.add(module_class)
    return module_class


def may_compose_weights(*modules: nn.Module) -> bool:
    """Whether a product of these modules' weights may stand for calling one module after the other.

    Only where each is exactly PyTorch's linear or convolution (or a `composable` class), without hooks, with plain
    floating-point weights of one type on one device. Adapters and quantised, parametrised, hooked or offloaded modules
    do more than their `weight` shows, or have it elsewhere.
    """
    weights = [weight for module in modules for weight in module.parameters(recurse=False)]
    kinds = {(weight.dtype, weight.device) for weight in weights}
    return len(kinds) == 1 and are_plain_modules(*modules) and are_plain_weights(*weights)


def are_plain_modules(*modules: nn.Module) -> bool:
    """Whether each is exactly of a class that shortcuts know, without hooks."""
    for module in modules:  # noqa: SIM110 - a generator would cost as much as what it asks
        if type(module) not in _PLAIN_MODULES or is_hooked(module):
            return False
    return True


def are_plain_weights(*weights: torch.Tensor) -> bool:
    """Whether each is a floating-point parameter of PyTorch's own type, and here."""
    for weight in weights:  # noqa: SIM110
        if type(weight) is not nn.Parameter or not weight.is_floating_point() or weight.device.type == "meta":
            return False
    return True
