# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit info` does."""

from argparse import Namespace

from transformers import PreTrainedModel

from ..costs import backbone_parameters, count_costs, count_plain_macs
from ..data.image_processors import size_after
from ..files import printable
from ..saved_models import class_and_config, is_preset, preset_config, presets
from ..tasks import ImageClassification, find_task, image_processor_for
from .ending import ending_errors, say


@ending_errors()
def run(options: Namespace, prog: str) -> None:
    """Prints what a model has and what a picture costs it."""
    model = _model(options.model, options.task)
    height, width = _sides(options.image_size, model)
    costs = count_costs(model, height, width)
    say(
        f"{printable(options.model)}: {_kind(model)}",
        f"parameters of the backbone  {backbone_parameters(model.config):>14,}",
        f"parameters of all           {model.num_parameters():>14,}",
        f"weights                     {_mib(costs.weight_bytes)}",
        f"one picture of {height}x{width}:",
        f"multiply-adds               {_gmac(costs.macs)}",
        f"multiply-adds, plain order  {_gmac(count_plain_macs(model, height, width))}, as papers count them",
        f"activations at their peak   {_mib(costs.activation_bytes)}",
    )


def _kind(model: PreTrainedModel) -> str:
    name = type(model).__name__
    return f"{name} with {model.config.num_labels} labels" if model.head_names else name


def _gmac(macs: int) -> str:
    return f"{macs / 1e9:>14.2f} GMAC"


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:>14.1f} MiB in float32"


def _model(name: str, task: str | None) -> PreTrainedModel:
    if is_preset(name):
        found = find_task(task) if task else ImageClassification
        return found.auto_class.from_config(preset_config(name, num_labels=found.usual_num_labels))
    if task is not None:
        raise ValueError(f"--task is for presets, but {name} is none.")
    try:
        model_class, config = class_and_config(name)
    except OSError as error:
        raise OSError(
            f"model must be one of {', '.join(presets())}, or the folder or Hub name of a model, got {name!r}: {error}"
        ) from error
    return model_class(config)


def _sides(image_size: list[int] | None, model: PreTrainedModel) -> tuple[int, int]:
    if image_size is None and model.config.num_channels == 3:
        return size_after(image_processor_for(model))
    if image_size is None:  # of other channels than pictures have
        size = model.config.image_size
        return (size, size) if isinstance(size, int) else tuple(size)
    if len(image_size) > 2 or min(image_size) < 1:
        raise ValueError(f"--image_size must be a side, or height and width, of at least 1 pixel, got {image_size}.")
    return image_size[0], image_size[-1]
