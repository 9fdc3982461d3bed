# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit info` does."""

from argparse import Namespace

from transformers import BaseImageProcessor, PreTrainedModel

from ..costs import backbone_parameters, count_costs, count_plain_macs
from ..data.image_processors import size_after
from ..files import printable
from ..hub.cards import FEATURE_EXTRACTION
from ..models.configuration_base import check_field_names
from ..saved_models import class_and_config, class_for, is_preset, load_image_processor, preset_config, presets
from ..tasks import ImageClassification, Task, find_task, image_processor_for, task_called_by
from .ending import ending_errors, say


@ending_errors()
def run(options: Namespace, prog: str) -> None:
    """Prints what a model has and what a picture costs it."""
    model = _model(options.model, options.task, options.detector_type)
    height, width = _sides(options.image_size, options.model, model)
    costs = count_costs(model, height, width)
    task = task_called_by(type(model).__name__)
    workload = task.workload(model.config) if task else ""
    say(
        f"{printable(options.model)}: {_kind(model)}",
        f"task                        {_task(model)}",
        f"parameters of the backbone  {backbone_parameters(model.config):>14,}",
        f"parameters of all           {model.num_parameters():>14,}",
        f"weights                     {_mib(costs.weight_bytes)}",
        f"one picture of {height}x{width}{f', with {workload}' if workload else ''}:",
        f"multiply-adds               {_gmac(costs.macs)}",
        f"multiply-adds, plain order  {_gmac(count_plain_macs(model, height, width))}, as papers count them",
        f"activations at their peak   {_mib(costs.activation_bytes)}",
    )


def _kind(model: PreTrainedModel) -> str:
    name = type(model).__name__
    return f"{name} with {model.config.num_labels} labels" if model.head_names else name


def _task(model: PreTrainedModel) -> str:
    task = task_called_by(type(model).__name__)
    if task is None:
        return FEATURE_EXTRACTION
    detector_type = getattr(model.config, "detector_type", None)
    return f"{task.name}, {detector_type}" if detector_type else task.name


def _gmac(macs: int) -> str:
    return f"{macs / 1e9:>14.2f} GMAC"


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:>14.1f} MiB in float32"


def _model(name: str, task: str | None, detector_type: str | None) -> PreTrainedModel:
    if is_preset(name):
        return _of_preset(name, find_task(task) if task else ImageClassification, detector_type)
    for option, value in (("--task", task), ("--detector_type", detector_type)):
        if value is not None:
            raise ValueError(f"{option} is for presets, but {name} is none.")
    try:
        model_class, config = class_and_config(name)
    except OSError as error:
        raise OSError(
            f"model must be one of {', '.join(presets())}, or the folder or Hub name of a model, got {name!r}: {error}"
        ) from error
    return model_class(config)


def _of_preset(name: str, task: type[Task], detector_type: str | None) -> PreTrainedModel:
    model_class = class_for(type(preset_config(name)), task.auto_class)
    if model_class is None:
        known = [preset for preset, family in presets().items() if class_for(family, task.auto_class)]
        raise ValueError(f"--task {task.name} is for the presets {', '.join(known)}, got {name}.")
    fields = {} if detector_type is None else {"detector_type": detector_type}
    check_field_names(model_class.config_class, fields)
    return model_class(preset_config(name, model_class.config_class, num_labels=task.usual_num_labels, **fields))


def _sides(image_size: list[int] | None, name: str, model: PreTrainedModel) -> tuple[int, int]:
    if image_size is None and model.config.num_channels == 3:
        return size_after(_image_processor(name, model))
    if image_size is None:  # of other channels than pictures have
        size = model.config.image_size
        return (size, size) if isinstance(size, int) else tuple(size)
    if len(image_size) > 2 or min(image_size) < 1:
        raise ValueError(f"--image_size must be a side, or height and width, of at least 1 pixel, got {image_size}.")
    return image_size[0], image_size[-1]


def _image_processor(name: str, model: PreTrainedModel) -> BaseImageProcessor:
    """The one that was saved with a model; what it would be, where there is none."""
    if is_preset(name):
        return image_processor_for(model)
    try:
        return load_image_processor(name)
    except OSError:
        return image_processor_for(model)
