# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What the models need of transformers and torch that these do not promise to keep, and cures of their faults.

Published repositories carry this file and meet releases that nobody has seen yet. Every private name is taken by
`private`, with something to stand in for it: without the name a model is slower or lacks a feature, but it loads.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from transformers import AttentionInterface


def private(module: str, name: str, fallback: Any) -> Any:
    """`name` of `module`, or `fallback` where this release has no such thing."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return fallback


# Sizes, transforms and autocast.


def _autocast(device_type: str, enabled: bool) -> AbstractContextManager:
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=enabled)


maybe_autocast = private("transformers.utils.generic", "maybe_autocast", _autocast)

# Without it nothing about a symbolic size is known: what depends on it is computed in any case.
_statically_known_true = private(
    "torch.fx.experimental.symbolic_shapes", "statically_known_true", lambda condition: condition is True
)


def is_static(condition: bool | torch.SymBool | torch.Tensor) -> bool:
    """Whether a comparison of sizes holds whatever the symbolic ones among them are.

    `torch.jit.trace`, which knows no symbols, has tensors for sizes: what holds at the traced size is kept.
    """
    if isinstance(condition, torch.Tensor):
        return bool(condition)
    return _statically_known_true(condition)


def sizes_as_tensor(sizes: Iterable[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Sizes of tensors as the values of one; symbolic and traced ones stay what they are."""
    return torch.stack([torch.full((), size, dtype=dtype, device=device) for size in sizes])


# Whether a transform of torch.func runs: under vmap, tensors have neither a layout nor values to look at. Without a
# way to know, it may be so, which switches every faster way off.
is_transformed: Callable[[], bool] = private("torch._C", "_are_functorch_transforms_active", lambda: True)


def is_captured() -> bool:
    """Whether what runs becomes a graph, in which nothing may depend on values."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def may_need_gradients() -> bool:
    """Whether what runs is differentiated backwards, now or when a trace of it is replayed."""
    return torch.is_grad_enabled() or torch.jit.is_tracing()


def is_plain_inference() -> bool:
    """Whether nothing differentiates or transforms what runs, so that results may take the place of inputs.

    Forward derivatives have a level; without a way to know it, there may be some.
    """
    if torch.is_grad_enabled() or torch.jit.is_tracing() or getattr(forward_ad, "_current_level", 0) >= 0:
        return False
    return not is_transformed()


# Attention implementations by name.
ALL_ATTENTION_FUNCTIONS = private("transformers.modeling_utils", "ALL_ATTENTION_FUNCTIONS", AttentionInterface())


def attention_implementation(config) -> str:
    """The name that the config has for it; without a way to know, what needs no kernel."""
    return getattr(config, "_attn_implementation", "eager")


# Recording of outputs.


@dataclass
class _OutputRecorder:
    target_class: type[nn.Module]
    index: int = 0
    capture_initial_hidden_state: bool = True

    def __instancecheck__(self, module: nn.Module) -> bool:
        # backbones of transformers install hooks for it, as if it were the class itself; they never record
        return isinstance(module, self.target_class)


_recorded = ContextVar("recorded", default=None)


def _capture_outputs(tie_last_hidden_states: bool = True) -> Callable:
    """Decorates the `forward` of a trunk so that it gives what its `_can_record_outputs` names, when asked to."""

    def decorate(forward: Callable) -> Callable:
        @wraps(forward)
        def wrapped(self, *args, **kwargs):
            return_dict = kwargs.pop("return_dict", getattr(self.config, "return_dict", True))
            wanted = {
                key: recorder
                for key, recorder in self._can_record_outputs.items()
                if kwargs.get(f"output_{key}", getattr(self.config, f"output_{key}", False))
            }
            recorded, handles = {key: [] for key in wanted}, []
            for key, recorder in wanted.items():
                hook = _recording_hook(recorded, key, recorder)
                modules = [module for module in self.modules() if isinstance(module, recorder.target_class)]
                handles += [module.register_forward_hook(hook) for module in modules]
            token = _recorded.set(recorded)
            try:
                outputs = forward(self, *args, **kwargs)
            finally:
                _recorded.reset(token)
                for handle in handles:
                    handle.remove()
            for key, values in recorded.items():
                outputs[key] = tuple(values)
            return outputs if return_dict else outputs.to_tuple()

        return wrapped

    return decorate


def _recording_hook(recorded: dict[str, list], key: str, recorder: Any) -> Callable:
    def record(module: nn.Module, args: tuple, output: Any) -> None:
        if _recorded.get() is not recorded:  # another thread's call
            return
        if key == "hidden_states" and recorder.capture_initial_hidden_state and not recorded[key]:
            recorded[key].append(args[0])
        output = output[recorder.index] if isinstance(output, tuple) else output
        if output is not None:
            recorded[key].append(output)

    return record


def _filter_output_hidden_states(forward: Callable) -> Callable:
    """Decorates a `forward` that needs hidden states, to return them to those who ask for them only."""

    @wraps(forward)
    def wrapped(self, *args, **kwargs):
        is_wanted = kwargs.get("output_hidden_states", self.config.output_hidden_states)
        outputs = forward(self, *args, **kwargs | {"output_hidden_states": True})
        return outputs if is_wanted else type(outputs)(**{k: v for k, v in outputs.items() if k != "hidden_states"})

    return wrapped


_CAPTURING = "transformers.utils.output_capturing"
OutputRecorder = private(_CAPTURING, "OutputRecorder", _OutputRecorder)
capture_outputs = private(_CAPTURING, "capture_outputs", _capture_outputs)
if OutputRecorder is _OutputRecorder:  # which that one would not understand in full
    capture_outputs = _capture_outputs
filter_output_hidden_states = private(
    "transformers.backbone_utils", "filter_output_hidden_states", _filter_output_hidden_states
)
_install_hooks = private(_CAPTURING, "install_all_output_capturing_hooks", None)
_registry = private(_CAPTURING, "_CAN_RECORD_REGISTRY", None)


def install_recording(model: nn.Module) -> None:
    """Installs the hooks that record outputs, which transformers can't do while a model is being compiled.

    Without a way to do so, transformers installs them when they are needed first.
    """
    if _install_hooks is None or capture_outputs is _capture_outputs:
        return
    # models within it have theirs already, and a subclass comes here twice
    for module in model.modules():
        for key in [key for key, hook in module._forward_hooks.items() if is_recorder(hook)]:
            del module._forward_hooks[key]
    _install_hooks(model)


def register_recording(model: nn.Module) -> None:
    """Tells transformers what an unpickled model records, which it notes by class when it builds one."""
    if isinstance(_registry, dict):
        # not by assignment: from 5.24 on that takes the model, and makes the name of it
        dict.__setitem__(_registry, str(type(model)), model._can_record_outputs)
    model._output_capturing_hooks_installed = False


def is_recorder(hook: Callable) -> bool:
    """Whether it is a hook that records outputs."""
    return getattr(hook, "__module__", None) in (_CAPTURING, __name__)


# Hooks of modules, whoever they are for.

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_hooked(module: nn.Module) -> bool:
    """Whether others see or change what `module` computes; recording its outputs is none of that."""
    for kind in _HOOKS:
        hooks = getattr(module, kind, None)
        if hooks is None or (hooks and not all(map(is_recorder, hooks.values()))):
            return True
    # accelerate hooks a module by giving the instance another `forward`
    return "forward" in vars(module)


class RecordedModule(nn.Module):
    """A module whose outputs are recorded by forward hooks; transformers' are closures, which can't be pickled.

    They are left out of the pickle; the model that is unpickled installs them again.
    """

    def __getstate__(self) -> dict:
        state = dict(self.__dict__)
        hooks = state.get("_forward_hooks", {})
        state["_forward_hooks"] = type(hooks)({key: hook for key, hook in hooks.items() if not is_recorder(hook)})
        return state


# UPerNet.

_UPERNET = "transformers.models.upernet.modeling_upernet"


class _MissingHead(nn.Module):
    def __init__(self, *args, **kwargs):
        raise ImportError("This transformers has no UPerNet head; decode_head_type='segformer' needs none.")


class _MissingConvModule(nn.Module):
    pass


UperNetHead = private(_UPERNET, "UperNetHead", _MissingHead)
UperNetFCNHead = private(_UPERNET, "UperNetFCNHead", _MissingHead)
UperNetConvModule = private(_UPERNET, "UperNetConvModule", _MissingConvModule)


# Faults of half precision on CPUs.


class StridedConv2d(nn.Conv2d):
    """A convolution that, where it is strided, never gives a single column in half precision on a CPU.

    oneDNN's bfloat16 kernels for AMX read memory that nobody wrote where a strided convolution gives a single column:
    the result is NaN, or another one at each call, forwards and backwards (docs/compatibility.md). Zeros on the right
    make a second column, which is cut off again; what the first one sees does not change.

    Raises:
        ValueError: `padding` is no number, or `padding_mode` not "zeros": what would be on the right is not known.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if isinstance(self.padding, str) or self.padding_mode != "zeros":
            raise ValueError(
                f"StridedConv2d wants padding as numbers and padding_mode='zeros', got padding={self.padding!r} and "
                f"padding_mode={self.padding_mode!r}."
            )

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        if self.stride == (1, 1):
            return super().forward(feature_map)
        width, least, needed = feature_map.shape[-1], self._width_of_columns(1), self._width_of_columns(2)
        # what gives no column at all is refused as by any convolution
        if is_static(width >= needed) or is_static(width < least) or not self._is_half_on_cpu(feature_map):
            return super().forward(feature_map)
        width = int(width) if isinstance(width, torch.Tensor) else width  # torch.jit.trace's, for the traced size
        # torch 2.11 compiles no maximum of what is known
        missing = needed - width if is_static(width < needed) else torch.sym_max(needed - width, 0)
        columns = (width - least) // self.stride[1] + 1
        return super().forward(F.pad(feature_map, (0, missing)))[..., :columns]

    def _width_of_columns(self, columns: int) -> int:
        """The least width of a map that gives so many columns."""
        extent = self.dilation[1] * (self.kernel_size[1] - 1) + 1
        return (columns - 1) * self.stride[1] + extent - 2 * self.padding[1]

    def _is_half_on_cpu(self, feature_map: torch.Tensor) -> bool:
        return feature_map.device.type == "cpu" and (
            self.weight.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
        )


def keep_batch_norms_in_float32(model: nn.Module) -> None:
    """Makes every BatchNorm that was built in half precision float32, as models that are loaded have them.

    Running statistics move by a tenth of a difference, which half precision often rounds away.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean.dtype in (torch.bfloat16, torch.float16):
            module.float()
