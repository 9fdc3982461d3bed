# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a forward pass costs."""

import weakref
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from .inference.modes import evaluating
from .models.modeling_gpvit_adapter import GPViTAdapterBackbone
from .models.shortcuts import plain_forwards
from .registration import MODEL_CLASSES


def _attention_flops(query_shape, key_shape, value_shape, *args, **kwargs) -> int:
    return sdpa_flop_count(query_shape, key_shape, value_shape)


# SDPA on CPUs, which torch 2.11 leaves out
_COUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


@dataclass(frozen=True)
class Costs:
    """What `count_costs` finds.

    Attributes:
        macs: Multiply-adds of convolutions and matrix products, which is what papers count.
        weight_bytes: Size of parameters and buffers.
        activation_bytes: The most that tensors other than those hold at any time of the pass, the input included.
    """

    macs: int
    weight_bytes: int
    activation_bytes: int


def count_costs(model: PreTrainedModel, height: int, width: int) -> Costs:
    """Multiply-adds and memory of one picture in inference, counted while one of zeros runs through `model`.

    A pass is really made, because what models do may depend on the device: on the meta device HRViT doesn't compose
    the weights of its head. Memory is what operations hold in tensors: workspaces of kernels, and what allocators
    keep, come on top of it.

    Args:
        model: Model on any device but meta.
        height: Height of the picture in pixels.
        width: Its width.

    Raises:
        ValueError: The picture is smaller than the model takes.
    """
    weights = {tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())}
    pixel_values = torch.zeros(1, model.config.num_channels, height, width, dtype=model.dtype, device=model.device)
    live = _LiveBytes(weights)
    live.add(pixel_values)
    with evaluating(model):
        macs = _counted_pass(model, pixel_values, live).get_total_flops() // 2
    return Costs(macs, sum(storage.nbytes() for storage in weights), live.peak)


def count_plain_macs(model: PreTrainedModel, height: int, width: int) -> int:
    """Multiply-adds of one picture with every layer computed as it is written, as papers count them.

    Other than by `count_costs`, no weights are composed. Both products of attention count, and so do the tokens that
    fill stripes and windows up.

    Args:
        model: Model on any device; on meta nothing is computed, but detectors can't run there.
        height: Height of the picture in pixels.
        width: Its width.

    Raises:
        ValueError: The picture is smaller than the model takes.
    """
    return _plain_pass(model, height, width).get_total_flops() // 2


def count_attention_macs(model: PreTrainedModel, height: int, width: int) -> int:
    """Multiply-adds of both products of attention alone, as `count_plain_macs` has them.

    Args:
        model: Model on the meta device, where they are the only products of batches.
        height: Height of the picture in pixels.
        width: Its width.

    Raises:
        ValueError: `model` is on another device, or the picture is smaller than it takes.
    """
    if model.device.type != "meta":
        raise ValueError(f"model must be on the device meta to count its attention, but it is on {model.device}.")
    counts = _plain_pass(model, height, width).get_flop_counts()["Global"]
    return counts.get(torch.ops.aten.bmm, 0) // 2


def _plain_pass(model: PreTrainedModel, height: int, width: int) -> FlopCounterMode:
    pixel_values = torch.zeros(1, model.config.num_channels, height, width, dtype=model.dtype, device=model.device)
    with evaluating(model), plain_forwards():
        return _counted_pass(model, pixel_values)


def _counted_pass(
    model: PreTrainedModel, pixel_values: torch.Tensor, *modes: AbstractContextManager
) -> FlopCounterMode:
    with ExitStack() as stack:
        # the counter follows gradients, which it can't in inference mode; it also takes some operations apart, the
        # inner modes see them whole
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        flops = stack.enter_context(FlopCounterMode(display=False, custom_mapping=_COUNTED))
        for mode in modes:
            stack.enter_context(mode)
        model(pixel_values)
    return flops


def backbone_parameters(config: PreTrainedConfig) -> int:
    """Number of parameters of a model of this package without pooling and heads; with the pyramid of detectors."""
    trunk_class = MODEL_CLASSES[type(config)].get(AutoModel)
    with torch.device("meta"):
        if trunk_class is None:
            return GPViTAdapterBackbone(config).num_parameters()
        return trunk_class(config, add_pooling_layer=False).num_parameters()


class _LiveBytes(TorchDispatchMode):
    """Adds up the storages that operations make, and takes away those that are freed."""

    def __init__(self, ignored: set[torch.UntypedStorage]):
        super().__init__()
        self._ignored = {storage._cdata for storage in ignored}
        self._live = {}
        self._now = 0
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for output in tree_leaves(outputs):
            if isinstance(output, torch.Tensor):
                self.add(output)
        return outputs

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live or key in self._ignored:
            return
        self._live[key] = storage.nbytes()
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self._now -= self._live.pop(key)
