# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit evaluate` does."""

import math
import os
from argparse import Namespace
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from transformers import PreTrainedModel

from ..data.loading import LoadedData, load_data
from ..data.masks import reduces_labels
from ..extras import import_extra
from ..files import check_can_be_written, printable, read_json, write_metrics
from ..inference import SegmentationSettings
from ..saved_models import load_image_processor, load_model, task_of
from ..tasks import TASKS, Task
from ..training import evaluate_model
from .ending import ending_errors, say


accelerate = import_extra("accelerate")


@ending_errors()
def run(options: Namespace, prog: str) -> None:
    """Evaluates a saved model, prints a table and writes the figures where it is told.

    Under `accelerate launch` or torchrun all processes share the work, and the first one prints and writes.
    """
    settings = SegmentationSettings.of(options)
    _check(options)
    origin = _noted_origin(Path(options.model))
    accelerator = accelerate.Accelerator()
    metrics, source = _evaluate(options, settings, accelerator)
    if accelerator.is_main_process:
        try:
            if options.output is not None:
                write_metrics(options.output, metrics | source | origin)
        finally:  # also where the disk is full: it was hours of work, perhaps
            say(metrics_table(metrics))
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
    names = list(map(printable, rows))
    width = max(map(len, names))
    return "\n".join(f"{name:<{width}}  {_cell(value):>7}" for name, value in zip(names, rows.values(), strict=True))


def _cell(value: float | str) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4f}"
    return str(value)


def _check(options: Namespace) -> None:
    """What would else be found after all the work."""
    if options.batch_size < 1:
        raise ValueError(f"--batch_size must be at least 1, got {options.batch_size}.")
    if options.output is None:
        return
    path = Path(options.output)
    if path.is_dir() or options.output.endswith(("/", os.sep)):
        raise ValueError(f"--output must be the name of a file, but {options.output} is a folder.")
    if path.exists() and not path.is_file():  # what is written takes its place
        raise ValueError(f"--output must be the name of a file, but {options.output} is a device or a pipe.")
    check_can_be_written(path)


def _evaluate(
    options: Namespace, settings: SegmentationSettings, accelerator: accelerate.Accelerator
) -> tuple[dict[str, float], dict[str, str]]:
    """The figures, and of which dataset and split they are."""
    task = TASKS[task_of(options.model, settings)]
    if options.reduce_labels is not None and task.settings_class is None:
        raise ValueError(f"--reduce_labels is for segmentation, but {options.model} is for {task.name}.")
    image_processor = load_image_processor(options.model)
    if options.reduce_labels is not None:
        image_processor.do_reduce_labels = options.reduce_labels
    model = load_model(options.model, task.name)
    # the main process first: it fills the cache of `datasets`, the others read it
    with accelerator.main_process_first():
        data = _load(options, task, _names_of(model), reduces_labels(image_processor))
    check_class_names(data.class_names, model)
    metrics = evaluate_model(
        model.to(accelerator.device),
        image_processor,
        data.test,
        settings=settings if task.settings_class else None,
        accelerator=accelerator,
        batch_size=options.batch_size,
        skip_corrupt=options.skip_corrupt,
    )
    return metrics, data.test_source


def _load(options: Namespace, task: type[Task], names_of_model: list[str], reduce_labels: bool) -> LoadedData:
    return load_data(
        options.dataset,
        task,
        name=options.dataset_name,
        train_split=None,
        eval_split=options.split,
        image_column=options.image_column,
        target_column=options.target_column,
        class_names=options.class_names,
        default_class_names=names_of_model,
        streaming=options.streaming,
        skip_corrupt=options.skip_corrupt,
        reduce_labels=reduce_labels,
    )


def _names_of(model: PreTrainedModel) -> list[str]:
    return [model.config.id2label[index] for index in range(model.config.num_labels)]
