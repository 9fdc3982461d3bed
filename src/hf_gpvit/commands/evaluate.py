# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit evaluate` does."""

import math
import os
from argparse import Namespace
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..data.loading import LoadedData, load_data
from ..data.masks import reduces_labels
from ..extras import import_extra
from ..files import check_can_be_written, json_lines, printable, read_json, write_metrics, write_whole
from ..saved_models import load_image_processor, load_model, task_of
from ..tasks import TASKS, Task
from ..training import evaluate_model
from .ending import ending_errors, say
from .settings import check_option, check_ranges, settings_of


accelerate = import_extra("accelerate")

# What the table calls figures of classes.
_COLUMNS = {"iou": "IoU", "map": "mAP", "segm_map": "mask mAP", "bbox_map": "box mAP"}


@ending_errors()
def run(options: Namespace, prog: str) -> None:
    """Evaluates a saved model, prints a table and writes figures and detections where it is told.

    Under `accelerate launch` or torchrun all processes share the work, and the first one prints and writes.
    """
    _check_files(options)
    check_ranges(options)
    task = TASKS[task_of(options.model)]
    settings = _checked_settings(options, task)
    origin = _noted_origin(Path(options.model))
    accelerator = accelerate.Accelerator()
    metrics, source, results = _evaluate(options, task, settings, accelerator)
    if accelerator.is_main_process:
        try:
            if options.output is not None:
                write_metrics(options.output, metrics | source | origin)
            if options.save_json is not None:
                write_whole(options.save_json, json_lines(results))
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
    """A line per figure, and one per class where classes have figures; "-" for what doesn't occur.

    Figures of classes have a "/" in their names: what is before it is a column of its own.
    """
    of_classes = {}
    for name, value in metrics.items():
        column, _, of = name.partition("/")
        if of:
            of_classes.setdefault(of, {})[column] = value
    tables = [[[name, value] for name, value in metrics.items() if "/" not in name]]
    if of_classes:
        columns = next(iter(of_classes.values()))
        header = ["class", *(_COLUMNS.get(column, column) for column in columns)]
        tables.append([header, *([name, *values.values()] for name, values in of_classes.items())])
    return "\n\n".join(map(_table, tables))


def _table(rows: list[list[float | str]]) -> str:
    """Names on the left, and columns of figures as wide as the widest of them."""
    cells = [[printable(name), *map(_cell, values)] for name, *values in rows]
    first, *others = (max(map(len, column)) for column in zip(*cells, strict=True))
    widths = [max(width, 7) for width in others]
    return "\n".join(
        "  ".join([f"{name:<{first}}", *(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))])
        for name, *values in cells
    )


def _cell(value: float | str) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4f}"
    return str(value)


def _check_files(options: Namespace) -> None:
    """What would else be found after all the work."""
    files = {"--output": options.output, "--save_json": options.save_json}
    for option, name in files.items():
        if name is not None:
            _check_file(option, name)
    if options.output is not None and options.save_json is not None and _same(*files.values()):
        raise ValueError(f"--output and --save_json must be two files, got {options.save_json} for both.")


def _check_file(option: str, name: str) -> None:
    path = Path(name)
    if path.is_dir() or name.endswith(("/", os.sep)):
        raise ValueError(f"{option} must be the name of a file, but {name} is a folder.")
    if path.exists() and not path.is_file():  # what is written takes its place
        raise ValueError(f"{option} must be the name of a file, but {name} is a device or a pipe.")
    check_can_be_written(path)


def _same(first: str, second: str) -> bool:
    return Path(first).absolute() == Path(second).absolute()


def _checked_settings(options: Namespace, task: type[Task]) -> Any:
    """How the model sees a picture; a ValueError for options that are not for its task."""
    if options.reduce_labels is not None:
        check_option(options, "reduce_labels", task, lambda other: hasattr(other.recipe_class, "reduce_labels"))
    if options.save_json is not None:
        check_option(options, "save_json", task, lambda other: other.coco_results is not None)
    return settings_of(options, task)


def _evaluate(
    options: Namespace, task: type[Task], settings: Any, accelerator: accelerate.Accelerator
) -> tuple[dict[str, float], dict[str, str], Iterable[dict[str, Any]]]:
    """The figures, of which dataset and split they are, and what was detected."""
    image_processor = load_image_processor(options.model)
    if options.reduce_labels is not None:
        image_processor.do_reduce_labels = options.reduce_labels
    model = load_model(options.model, task.name)
    # the main process first: it fills the cache of `datasets`, the others read it
    with accelerator.main_process_first():
        data = _load(options, task, _names_of(model), reduces_labels(image_processor))
    check_class_names(data.class_names, model)
    metric = task.metric(model.config)
    metrics = evaluate_model(
        model.to(accelerator.device),
        image_processor,
        data.test,
        settings=settings,
        accelerator=accelerator,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        skip_corrupt=options.skip_corrupt,
        metric=metric,
    )
    return metrics, data.test_source, task.coco_results(metric, data.category_ids) if task.coco_results else ()


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
