# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What a forward pass costs, counted without running it."""

import weakref
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel


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
    """Multiply-adds and memory of one picture in inference.

    Memory is what PyTorch's operations hold in tensors: workspaces of kernels, and what allocators keep, come on top
    of it, and a backend that fuses attention needs less.

    Args:
        model: Model on the meta device, where a pass takes no memory and computes nothing; its dtype counts.
        height: Height of the picture in pixels.
        width: Its width.

    Raises:
        ValueError: The model has weights, or the picture is smaller than the model takes.
    """
    if model.device.type != "meta":
        raise ValueError(f"model must be on the meta device, got one on {model.device}.")
    weights = {tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())}
    pixel_values = torch.empty(1, model.config.num_channels, height, width, dtype=model.dtype, device="meta")
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(pixel_values)
    with torch.no_grad(), _LiveBytes(weights) as live:
        live.add(pixel_values)
        model(pixel_values)
    return Costs(flops.get_total_flops() // 2, sum(storage.nbytes() for storage in weights), live.peak)


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
