# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The command `hf-gpvit evaluate`, which is also scripts/evaluate_model.py."""

import math
import os
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from transformers import PreTrainedModel

from ..command_line import add_segmentation_arguments, command_parser, ending_errors, segmentation_settings
from ..data.loading import LoadedData, load_data
from ..extras import import_extra
from ..files import read_json, write_metrics
from ..inference import SegmentationSettings
from ..saved_models import load_image_processor, load_model, task_of
from ..tasks import TASKS, Task
from .evaluation import evaluate_model


accelerate = import_extra("accelerate")

DESCRIPTION = """How good a saved classifier or segmentor is on a labelled dataset.

    %(prog)s --model outputs/quickstart --dataset shapes
    %(prog)s --model path/to/model --dataset path/to/photos --output metrics.json
    accelerate launch --module hf_gpvit_cli evaluate --model path/to/ade20k-model --dataset path/to/parquet \\
        --split validation --class_names ade20k --window_size 640 --scales 0.75 1 1.25 --flip

The dataset's classes must be the model's, in the same order; annotations whose classes have no names are taken to have
the model's. A folder of pictures without a test part is tested on a fifth of them, with `--split train+test` on all.
With several processes, each picture still counts once.
"""


@ending_errors()
def evaluate_command(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Evaluates a saved model as the command line says, prints a table and writes the figures where it is told.

    Under `accelerate launch` or torchrun all processes share the work, and the first one prints and writes. Mistakes
    and broken data end the process with one message and the exit code 1.

    Args:
        arguments: The options. Default: this process's.
        prog: Name of the program that `--help` shows. Default: the script's.
    """
    arguments = _parser(prog).parse_args(arguments)
    settings = segmentation_settings(arguments)
    _check(arguments)
    origin = _noted_origin(Path(arguments.model))
    accelerator = accelerate.Accelerator()
    metrics, source = _evaluate(arguments, settings, accelerator)
    if accelerator.is_main_process:
        print(metrics_table(metrics))
        if arguments.output is not None:
            write_metrics(arguments.output, metrics | source | origin)
    accelerator.end_training()


def _noted_origin(model: Path) -> dict[str, str]:
    """What the training of a saved model has noted of its first weights, which another evaluation doesn't change."""
    file = model / "metrics.json"
    noted = read_json(file) if file.is_file() else {}
    return {"base_model": noted["base_model"]} if "base_model" in noted else {}


def check_class_names(names: Sequence[str], model: PreTrainedModel) -> None:
    """Raises a ValueError that shows the first difference unless `names` are the model's, in the order of its ids."""
    own = _names_of(model)
    for index, (given, expected) in enumerate(zip_longest(names, own)):
        if given != expected:
            in_dataset, in_model = ("none" if name is None else repr(name) for name in (given, expected))
            raise ValueError(
                f"The dataset's classes must be the model's, but class {index} is {in_dataset} in the dataset, which "
                f"has {len(names)} classes, and {in_model} in the model, which has {len(own)}. If only the names "
                "differ, give the model's as class_names."
            )


def metrics_table(metrics: dict[str, float]) -> str:
    """A line per figure, and one per class of a segmentor; "-" for classes that don't occur."""
    prefix = "iou/"
    figures = {name: value for name, value in metrics.items() if not name.startswith(prefix)}
    classes = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    tables = [figures] + ([{"class": "IoU"} | classes] if classes else [])
    return "\n\n".join(map(_table, tables))


def _table(rows: dict[str, float | str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {_cell(value):>7}" for name, value in rows.items())


def _cell(value: float | str) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4f}"
    return str(value)


def _parser(prog: str | None) -> ArgumentParser:
    parser = command_parser(DESCRIPTION, prog)
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with its image processor")
    parser.add_argument(
        "--dataset", required=True, help="'shapes', a folder of pictures or of parquet files, or a name on the Hub"
    )
    parser.add_argument("--dataset_name", help="configuration of parquet files or of a dataset on the Hub")
    parser.add_argument(
        "--split",
        "--eval_split",
        help="such as 'validation[:500]' or 'train+test'; by default the first of test, validation and val",
    )
    parser.add_argument("--image_column", default="image", help="column of the pictures")
    parser.add_argument("--target_column", help="column of the classes or annotations; by default label or annotation")
    parser.add_argument(
        "--class_names", nargs="+", help="names in the order of their ids, or one label set: ade20k, camvid, ..."
    )
    parser.add_argument("--batch_size", type=int, default=32, help="pictures that a classifier sees at once")
    parser.add_argument("--skip_corrupt", action="store_true", help="leave out pictures that can't be read")
    parser.add_argument("--streaming", action="store_true", help="read parquet files and the Hub while evaluating")
    parser.add_argument("--output", help="JSON file to write the figures to, with dataset and split")
    add_segmentation_arguments(parser)
    parser.add_argument(
        "--reduce_labels",
        action=BooleanOptionalAction,
        help="annotations have 0 for no class, and classes from 1 on; by default what the image processor says",
    )
    return parser


def _check(arguments: Namespace) -> None:
    """What would else be found after all the work."""
    if arguments.batch_size < 1:
        raise ValueError(f"--batch_size must be at least 1, got {arguments.batch_size}.")
    if arguments.output is not None and os.path.isdir(arguments.output):
        raise ValueError(f"--output must be the name of a file, but {arguments.output} is a folder.")
    if arguments.output is not None:
        _check_writable(Path(arguments.output).absolute())


def _check_writable(path: Path) -> None:
    """That the folder of a file can be written to, or made."""
    folder = next(folder for folder in path.parents if folder.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise PermissionError(f"--output must be where files can be written, but {folder} is not, got {path}.")


def _evaluate(
    arguments: Namespace, settings: SegmentationSettings, accelerator: accelerate.Accelerator
) -> tuple[dict[str, float], dict[str, str]]:
    """The figures, and of which dataset and split they are."""
    task = TASKS[task_of(arguments.model, settings)]
    if arguments.reduce_labels is not None and task.settings_class is None:
        raise ValueError(f"--reduce_labels is for segmentation, but {arguments.model} is for {task.name}.")
    image_processor = load_image_processor(arguments.model)
    if arguments.reduce_labels is not None:
        image_processor.do_reduce_labels = arguments.reduce_labels
    model = load_model(arguments.model, task.name)
    # the main process first: it fills the cache of `datasets`, the others read it
    with accelerator.main_process_first():
        data = _load(arguments, task, _names_of(model))
    check_class_names(data.class_names, model)
    metrics = evaluate_model(
        model.to(accelerator.device),
        image_processor,
        data.test,
        settings=settings if task.settings_class else None,
        accelerator=accelerator,
        batch_size=arguments.batch_size,
        skip_corrupt=arguments.skip_corrupt,
    )
    return metrics, data.test_source


def _load(arguments: Namespace, task: type[Task], names_of_model: list[str]) -> LoadedData:
    return load_data(
        arguments.dataset,
        task,
        name=arguments.dataset_name,
        train_split=None,
        eval_split=arguments.split,
        image_column=arguments.image_column,
        target_column=arguments.target_column,
        class_names=arguments.class_names,
        default_class_names=names_of_model,
        streaming=arguments.streaming,
        skip_corrupt=arguments.skip_corrupt,
    )


def _names_of(model: PreTrainedModel) -> list[str]:
    return [model.config.id2label[index] for index in range(model.config.num_labels)]
