# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Models for inference only, with as few operations as their weights allow.

Norms that are affine maps in eval mode become part of the layer before them, and layers between which nothing stands
become one.
"""

import copy
from functools import reduce

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval, parametrize

from .compat import UperNetConvModule, is_hooked
from .decode_head import SegformerHead
from .layers import ConvBN, ConvBNReLU, conv_channels_last
from .shortcuts import (
    are_plain_weights,
    composed_weights,
    joined_depthwise,
    may_compose_weights,
    mix_in_place,
    resize_bilinear,
    with_shortcut,
)


# Modules with a BatchNorm called `batch_norm`, and where in them the layer is that it follows.
NORMED_LAYERS = {ConvBN: "convolution", ConvBNReLU: "convolution", UperNetConvModule: "conv"}


class FusedSegformerHead(nn.Module):
    """A `SegformerHead` with linear levels, its projections multiplied with the fusing convolution for good.

    The BatchNorm of `head` must be folded already.
    """

    def __init__(self, head: SegformerHead):
        super().__init__()
        fusion = head.fusion.convolution
        _check_composable(fusion, *head.levels)
        weights, bias = composed_weights(head)
        weights = [weight[..., None, None].to(fusion.weight.dtype) for weight in weights]
        biases = [bias.to(fusion.weight.dtype)] + [None] * (len(weights) - 1)
        self.levels = nn.ModuleList(map(_convolution, weights, biases))
        self.classifier = head.classifier

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Maps (B, C_i, H_i, W_i), finest first -> logits (B, num_labels, H_0, W_0)."""
        size = feature_maps[0].shape[-2:]
        levels = zip(self.levels, feature_maps, strict=True)
        fused = reduce(torch.Tensor.add_, [resize_bilinear(level(feature_map), size) for level, feature_map in levels])
        return self.classifier(F.relu(fused, inplace=True))


class FusedMixCFN(nn.Module):
    """An `HRViTMixCFN` with one depthwise convolution instead of two.

    That is cheaper than taking the halves of the channels apart and together.
    """

    def __init__(self, mlp: nn.Module):
        super().__init__()
        _check_composable(*mlp.convolutions())
        weight, bias = joined_depthwise(*mlp.convolutions())
        self.norm = mlp.norm
        self.fc1 = mlp.fc1
        self.convolution = _convolution(weight, bias, padding=2, groups=len(weight))
        self.activation = mlp.activation
        self.fc2 = mlp.fc2

    @with_shortcut(mix_in_place)
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        return self.fc2(self.activation(self.mix(self.fc1(self.norm(hidden_states)))))

    def mix(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, h, w, hidden) -> the same."""
        return conv_channels_last(self.convolution, hidden_states)

    def convolutions(self) -> tuple[nn.Module]:
        return (self.convolution,)


def composed_segformer_head(head: SegformerHead) -> nn.Module:
    """The head with fewer convolutions, or `head` itself where a norm stands between or after them."""
    is_folded = isinstance(head.fusion.batch_norm, nn.Identity)
    return FusedSegformerHead(head) if head.linear_levels and is_folded else head


# Modules to be replaced once BatchNorm is folded, and what makes their replacement.
COMPOSED_MODULES = {SegformerHead: composed_segformer_head}


@torch.no_grad()
def fused_copy(model: nn.Module, normed_layers: dict[type, str], composed_modules: dict[type, type]) -> nn.Module:
    """A copy of `model` in eval mode and without gradients: BatchNorms folded, then modules replaced.

    Raises:
        ValueError: the weights of a module are not all that it computes with.
    """
    _check_plain(model)
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        for path in _values_by_type(module, normed_layers):
            _fold_batch_norm(module, path)
    for name, module in list(model.named_modules()):
        for compose in _values_by_type(module, composed_modules):
            model.set_submodule(name, compose(module))
    return model.eval().requires_grad_(False)


def _values_by_type(module: nn.Module, values: dict[type, object]) -> list:
    return [value for module_class, value in values.items() if type(module) is module_class]


def _check_plain(model: nn.Module) -> None:
    for name, module in model.named_modules():
        obstacle = _obstacle(module)
        if obstacle:
            raise ValueError(
                f"{type(model).__name__} can't be fused for inference: {name or 'the model'} {obstacle}. Fuse a model "
                "on its device, with adapters merged and unloaded, before it is quantised, hooked or offloaded."
            )


def _obstacle(module: nn.Module) -> str | None:
    if is_hooked(module):
        return "has hooks or another forward (as accelerate's offloading gives it)"
    if parametrize.is_parametrized(module):
        return "has parametrised weights"
    if hasattr(module, "base_layer"):
        return "has an adapter"
    if not are_plain_weights(*module.parameters(recurse=False)):
        return "has quantised or offloaded weights"
    return None


def _fold_batch_norm(module: nn.Module, path: str) -> None:
    """Makes `module.batch_norm` a part of the layer at `path`; a norm by the statistics of its input stays."""
    batch_norm = module.batch_norm
    if not isinstance(batch_norm, (nn.BatchNorm2d, nn.SyncBatchNorm)) or batch_norm.running_var is None:
        return
    layer = module.get_submodule(path)
    _check_composable(layer)
    fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    # in place: UPerNet's pooling blocks call what stands in lists of their own
    module.set_submodule(path, fuse(layer, batch_norm))
    module.batch_norm = nn.Identity()


def _check_composable(*layers: nn.Module) -> None:
    if not may_compose_weights(*layers):
        kinds = ", ".join(type(layer).__name__ for layer in layers)
        raise ValueError(f"Only PyTorch's own layers, of one precision, can be fused for inference, got {kinds}.")


def _convolution(weight: torch.Tensor, bias: torch.Tensor | None, padding: int = 0, groups: int = 1) -> nn.Conv2d:
    channels, kernel_size = len(weight), tuple(weight.shape[-2:])
    convolution = nn.Conv2d(
        weight.shape[1] * groups,
        channels,
        kernel_size,
        padding=padding,
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    convolution.weight = nn.Parameter(weight)
    convolution.bias = None if bias is None else nn.Parameter(bias)
    return convolution
