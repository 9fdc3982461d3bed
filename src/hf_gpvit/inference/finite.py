# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing is said of a picture on the strength of NaN or infinite numbers."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from transformers import PreTrainedModel

from ..files import printable


class NotFiniteError(ValueError):
    """A model made NaN or infinite numbers of a picture; the message says where they come from."""


def finite_logits(model: PreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor:
    """The logits that `model` gives, in the mode that it is in.

    Args:
        model: Of a task that has logits.
        pixel_values: (B, num_channels, H, W) of any device and floating-point type.

    Raises:
        NotFiniteError: There is a NaN or an infinite number in them. It names the first that has one: the image
            processor, a weight, or a layer, for which the model runs once more.
    """
    pixel_values = pixel_values.to(model.device, model.dtype)
    logits = model(pixel_values=pixel_values).logits
    if not _is_finite(logits):
        raise NotFiniteError(f"The model's logits are not finite: {_origin(model, pixel_values)}.")
    return logits


def _origin(model: PreTrainedModel, pixel_values: torch.Tensor) -> str:
    kind = str(pixel_values.dtype).removeprefix("torch.")
    if not _is_finite(pixel_values):
        return f"the image processor's pixel_values are not, in {kind}"
    broken = next((name for name, weight in model.state_dict().items() if not _is_known_finite(weight)), None)
    if broken is not None:
        return f"the weight {printable(broken)} is not"
    return f"all weights are, but not what {_first_layer(model, pixel_values)} gives, computed in {kind}"


def _first_layer(model: PreTrainedModel, pixel_values: torch.Tensor) -> str:
    """The first module, the innermost of several, whose output is not finite; the model where none is found."""
    found = []

    def watch(name: str, module: torch.nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_, inputs, output) -> None:
            if not found and not all(map(_is_finite, _tensors(output))):
                found.append(f"{printable(name) or 'the whole'} ({type(module).__name__})")

        return module.register_forward_hook(note)

    with ExitStack() as handles:
        for name, module in model.named_modules():
            handles.enter_context(watch(name, module))
        model(pixel_values=pixel_values)
    return found[0] if found else f"the whole ({type(model).__name__})"


def _is_finite(values: torch.Tensor) -> bool:
    return not values.is_floating_point() or bool(values.isfinite().all())


def _is_known_finite(weight: torch.Tensor) -> bool:
    try:
        return _is_finite(weight)
    except RuntimeError:  # of a type that torch only stores, or offloaded
        return True


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, (Mapping, list, tuple)):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(part)
