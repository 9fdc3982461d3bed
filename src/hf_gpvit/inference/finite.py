# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing is said of a picture on the strength of NaN or infinite numbers."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

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
    inputs = _for_model(model, {"pixel_values": pixel_values})
    logits = model(**inputs).logits
    if not _is_finite(logits):
        raise NotFiniteError(f"The model's logits are not finite: {_origin(model, inputs)}.")
    return logits


def finite_detections(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> ModelOutput:
    """What a detector gives, in the mode that it is in.

    A NaN becomes no detection, which looks like an empty picture: so it is the layers behind the backbone that are
    asked, each time that they are run.

    Args:
        model: Of a task that finds objects.
        inputs: What its image processor makes of pictures, of any device and floating-point type.

    Raises:
        NotFiniteError: As `finite_logits`.
    """
    inputs = _for_model(model, inputs)
    checks = []

    def note(module, arguments, output) -> None:
        checks.extend(part.isfinite().all() for part in _tensors(output) if part.is_floating_point())

    with ExitStack() as handles:
        for module in _layers_behind_backbone(model):
            handles.enter_context(module.register_forward_hook(note))
        outputs = model(**inputs)
    if checks and not torch.stack(checks).all():
        raise NotFiniteError(f"The model's outputs are not finite: {_origin(model, inputs)}.")
    return outputs


def _for_model(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On its device, and floating-point numbers in its type."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }


def _layers_behind_backbone(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Modules with weights of their own."""
    return [
        module
        for name, module in model.named_modules()
        if "backbone" not in name.split(".") and next(module.parameters(recurse=False), None) is not None
    ]


def _origin(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> str:
    pixel_values = inputs["pixel_values"]
    kind = str(pixel_values.dtype).removeprefix("torch.")
    if not _is_finite(pixel_values):
        return f"the image processor's pixel_values are not, in {kind}"
    broken = next((name for name, weight in model.state_dict().items() if not _is_known_finite(weight)), None)
    if broken is not None:
        return f"the weight {printable(broken)} is not"
    return f"all weights are, but not what {_first_layer(model, inputs)} gives, computed in {kind}"


def _first_layer(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> str:
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
        model(**inputs)
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
