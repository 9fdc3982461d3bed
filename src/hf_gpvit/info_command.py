# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The commands `hf-gpvit presets` and `hf-gpvit info`."""

from argparse import Namespace
from collections.abc import Sequence

import torch
from transformers import AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel

from .command_line import command_parser, ending_errors
from .costs import count_costs
from .registration import MODEL_CLASSES, architecture_task
from .saved_models import AUTO_CLASSES, class_and_config, presets


# What the papers train presets on: ImageNet-1K and ADE20K.
_NUM_LABELS = {"image-classification": 1000, "semantic-segmentation": 150}
_SEGMENTATION_SIDE = 512


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
        model = _on_meta(MODEL_CLASSES[config_class][AutoModelForImageClassification], config)
        print(f"{preset:12} {'-'.join(map(str, widths)):>15} {backbone_parameters(model):19,}")


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
    parser.add_argument("--task", choices=_NUM_LABELS, help="of a preset; by default image-classification")
    parser.add_argument(
        "--image_size", type=int, nargs="+", help="height and width, or one side; by default the config's, or 512"
    )
    print(_info(parser.parse_args(arguments)))


def backbone_parameters(model: PreTrainedModel) -> int:
    """Number of parameters without pooling, classifier and decode heads."""
    return _on_meta(type(model.base_model), model.config, add_pooling_layer=False).num_parameters()


def _info(arguments: Namespace) -> str:
    model = _model(arguments.model, arguments.task)
    height, width = _sides(arguments.image_size, model)
    costs = count_costs(model, height, width)
    return "\n".join(
        [
            f"{arguments.model}: {_kind(model)}",
            f"parameters of the backbone  {backbone_parameters(model):>14,}",
            f"parameters of all           {model.num_parameters():>14,}",
            f"weights                     {_mib(costs.weight_bytes)}",
            f"one picture of {height}x{width}:",
            f"multiply-adds               {costs.macs / 1e9:>14.2f} GMAC",
            f"activations at their peak   {_mib(costs.activation_bytes)}",
        ]
    )


def _kind(model: PreTrainedModel) -> str:
    name = type(model).__name__
    return name if architecture_task(name) is None else f"{name} with {model.config.num_labels} labels"


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:>14.1f} MiB in float32"


def _model(name: str, task: str | None) -> PreTrainedModel:
    config_class = presets().get(name)
    if config_class is not None:
        task = task or "image-classification"
        return AUTO_CLASSES[task].from_config(config_class.from_preset(name, num_labels=_NUM_LABELS[task]))
    if task is not None:
        raise ValueError(f"--task is for presets, but {name} is none.")
    try:
        model_class, config = class_and_config(name)
    except OSError as error:
        raise OSError(
            f"model must be one of {', '.join(presets())}, or the folder or Hub name of a model, got {name!r}: {error}"
        ) from error
    return model_class(config)


def _on_meta(model_class: type[PreTrainedModel], config: PreTrainedConfig, **options) -> PreTrainedModel:
    with torch.device("meta"):
        return model_class(config, **options)


def _sides(image_size: list[int] | None, model: PreTrainedModel) -> tuple[int, int]:
    if image_size is None:
        is_segmentor = architecture_task(type(model).__name__) == "semantic-segmentation"
        image_size = _SEGMENTATION_SIDE if is_segmentor else model.config.image_size
    sides = [image_size] if isinstance(image_size, int) else list(image_size)
    if len(sides) > 2 or min(sides) < 1:
        raise ValueError(f"--image_size must be a side, or height and width, of at least 1 pixel, got {sides}.")
    return sides[0], sides[-1]
