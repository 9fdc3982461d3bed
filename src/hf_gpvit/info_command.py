# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The commands `hf-gpvit presets` and `hf-gpvit info`."""

from argparse import Namespace
from collections.abc import Sequence

import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from .command_line import command_parser, ending_errors
from .costs import count_costs
from .data.image_processors import size_after
from .registration import MODEL_CLASSES
from .saved_models import class_and_config, presets
from .tasks import TASKS, ImageClassification, image_processor_for, task_called_by


# Of presets.
DEFAULT_TASK = ImageClassification


@ending_errors()
def presets_command(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Prints every preset with its channels (of each branch, where there are several) and backbone parameters."""
    command_parser("The model variants, their channels and the parameters of their backbones.", prog).parse_args(
        arguments
    )
    print(f"{'preset':12} {'channels':>15} {'backbone parameters':>19}")
    for preset, config_class in presets().items():
        config = config_class.from_preset(preset)
        widths = getattr(config, "hidden_sizes", None) or [config.hidden_size]
        print(f"{preset:12} {'-'.join(map(str, widths)):>15} {backbone_parameters(config):19,}")


@ending_errors()
def info_command(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Prints what a model has and what a picture costs it, as the command line says."""
    parser = command_parser(
        "Parameters, multiply-adds and memory of a model, counted while one picture runs through it on the CPU, with\n"
        "random weights.\n\n"
        "    %(prog)s gpvit-l1\n"
        "    %(prog)s gpvit-l1 --task semantic-segmentation --image_size 512 2048\n"
        "    %(prog)s path/to/model",
        prog,
    )
    parser.add_argument("model", help="preset, folder or Hub name")
    parser.add_argument("--task", choices=TASKS, help=f"of a preset; by default {DEFAULT_TASK.name}")
    parser.add_argument(
        "--image_size", type=int, nargs="+", help="height and width, or one side; by default the config's, or 512"
    )
    print(_info(parser.parse_args(arguments)))


def backbone_parameters(config: PreTrainedConfig) -> int:
    """Number of parameters without pooling, classifier and decode heads."""
    with torch.device("meta"):
        return MODEL_CLASSES[type(config)][AutoModel](config, add_pooling_layer=False).num_parameters()


def _info(arguments: Namespace) -> str:
    model = _model(arguments.model, arguments.task)
    height, width = _sides(arguments.image_size, model)
    costs = count_costs(model, height, width)
    return "\n".join(
        [
            f"{arguments.model}: {_kind(model)}",
            f"parameters of the backbone  {backbone_parameters(model.config):>14,}",
            f"parameters of all           {model.num_parameters():>14,}",
            f"weights                     {_mib(costs.weight_bytes)}",
            f"one picture of {height}x{width}:",
            f"multiply-adds               {costs.macs / 1e9:>14.2f} GMAC",
            f"activations at their peak   {_mib(costs.activation_bytes)}",
        ]
    )


def _kind(model: PreTrainedModel) -> str:
    name = type(model).__name__
    return name if task_called_by(name) is None else f"{name} with {model.config.num_labels} labels"


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:>14.1f} MiB in float32"


def _model(name: str, task: str | None) -> PreTrainedModel:
    config_class = presets().get(name)
    if config_class is not None:
        found = TASKS[task] if task else DEFAULT_TASK
        return found.auto_class.from_config(config_class.from_preset(name, num_labels=found.usual_num_labels))
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
    if image_size is None:
        return size_after(image_processor_for(model))
    if len(image_size) > 2 or min(image_size) < 1:
        raise ValueError(f"--image_size must be a side, or height and width, of at least 1 pixel, got {image_size}.")
    return image_size[0], image_size[-1]
