# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""How good a model is on a labelled dataset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.utils.logging import tqdm

from ..data.pictures import UnreadablePictureError, picture_name
from ..data.rows import RowReader
from ..extras import import_extra
from ..inference.finite import NotFiniteError
from ..tasks import Task, task_of_model


if TYPE_CHECKING:
    from accelerate import Accelerator

datasets = import_extra("datasets")


def evaluate_model(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    dataset: datasets.Dataset | datasets.IterableDataset,
    *,
    settings: Any = None,
    accelerator: Accelerator | None = None,
    batch_size: int = 32,
    skip_corrupt: bool = False,
    metric: Any = None,
) -> dict[str, float]:
    """Accuracy of a classifier, IoU of a segmentor, precision of a detector, in eval mode.

    Afterwards the model is in the mode it was in.

    Args:
        model: Model of one of `hf_gpvit.tasks.TASKS`, wrapped by `accelerator.prepare` or not.
        image_processor: The one that belongs to `model`.
        dataset: Dataset, streaming or not, with the columns `image` (pictures of any size and mode), and `label`
            (class ids), `annotation` (pictures of class ids, as large as `image`; the image processor's
            `do_reduce_labels` holds for them) or `objects` (boxes and masks, see `hf_gpvit.data.objects`). Pictures
            may be decoded or not. Each process needs the whole dataset.
        settings: How the model sees a picture: `SegmentationSettings` of a segmentor, `DetectionSettings` of a
            detector. Default: whole, as `pipeline` shows it.
        accelerator: Its processes share the work, process r of n taking the samples r, r + n, ..., and their counts
            are put together: each sample counts once, whatever n, and each process gets the same result. The weights
            must not be sharded (FSDP, DeepSpeed stage 3). Default: this process does all.
        batch_size: Pictures that a classifier sees at once; other models see one at a time. Default 32.
        skip_corrupt: Leave out samples with a picture that can't be read, and report how many as `num_corrupt`.
        metric: A count of nothing yet, as the task's `metric` gives it, which has in the end what all processes have
            counted: of a detector, all that was found. Default: a new one.

    Returns:
        What decides which model is best comes first. Classification: `accuracy` and, of five classes or more,
        `top5_accuracy`. Segmentation: `mean_iou`, `mean_accuracy`, `overall_accuracy`, and `iou/<class>` for each
        class, with predictions resized to the annotations; see `hf_gpvit.metrics.MeanIoU`. Detection: COCO's figures,
        `map` above all, and `map/<class>`; instance segmentation: the same of masks and of boxes, `segm_map` first;
        see `hf_gpvit.metrics.MeanAveragePrecision`.

    Raises:
        ValueError: A picture can't be read, a label or an id in an annotation is no class of the model, or an
            annotation is not as large as its picture, or the model makes NaN or infinite numbers of one; the message
            names row and file. Or the dataset lacks a column or has no samples, `batch_size` is less than 1,
            `settings` are those of another task, or the weights are sharded.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if accelerator is not None:
        model = accelerator.unwrap_model(model)
        _check_weights_are_whole(model)
    model = getattr(model, "_orig_mod", model)  # of torch.compile: sizes differ from picture to picture
    task = task_of_model(model)
    if settings is not None and type(settings) is not task.settings_class:
        expected = task.settings_class.__name__ if task.settings_class else "None"
        raise ValueError(f"settings must be {expected} for a {type(model).__name__}, got {settings}.")
    reader = task.reader(model.config, image_processor, dataset.split)
    samples = _Samples(dataset, reader, accelerator, skip_corrupt)
    metric = task.metric(model.config) if metric is None else metric
    prepare = partial(task.prepare, model, image_processor, settings=settings)
    # what waits for its batch is what the task makes of a picture: in full size it may take gigabytes
    prepared = ((position, name, _named(name, prepare, image), target) for position, name, image, target in samples)
    while batch := list(itertools.islice(prepared, task.batch_size or batch_size)):
        positions, names, inputs, targets = zip(*batch, strict=True)
        task.count(metric, _predictions(task, model, names, inputs), targets, positions)
    metric.state = _of_all_processes(metric.state, accelerator)
    counts = torch.tensor([samples.num_evaluated, samples.num_corrupt])
    num_evaluated, num_corrupt = _of_all_processes(counts, accelerator).tolist()
    if num_evaluated == 0:
        raise ValueError(f"The dataset has no samples to evaluate on ({num_corrupt} corrupt ones were left out).")
    return metric.figures() | ({"num_corrupt": num_corrupt} if skip_corrupt else {})


def _predictions(task: type[Task], model: PreTrainedModel, names: Sequence[str], inputs: Sequence) -> Sequence:
    """What the task gives for a batch; its errors name the picture."""
    try:
        return task.predict(model, inputs)
    except NotFiniteError:
        for name, alone in zip(names, inputs, strict=True):
            _named(name, task.predict, model, [alone])
        raise


def _named(name: str, function: Callable, *arguments: Any) -> Any:
    """What the function gives; its errors name the picture."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ValueError(f"The {name}: {error}") from error


class _Samples:
    """The share of a process in a dataset: for each sample its row number, its name, the picture and its target."""

    def __init__(self, dataset, reader: RowReader, accelerator: Accelerator | None, skip_corrupt: bool):
        self.dataset = reader.undecoded(dataset)
        self.reader, self.skip_corrupt = reader, skip_corrupt
        self.rank, self.num_processes, self.show_progress = 0, 1, True
        if accelerator is not None:
            self.rank, self.num_processes = accelerator.process_index, accelerator.num_processes
            self.show_progress = accelerator.is_main_process
        self.num_evaluated = self.num_corrupt = 0

    def __iter__(self) -> Iterator[tuple[int, str, Image.Image, Any]]:
        for position, row in self._rows():
            place = f"row {position}"
            try:
                image, target = self.reader.read(row, place)
            except UnreadablePictureError:
                if not self.skip_corrupt:
                    raise
                self.num_corrupt += 1
                continue
            self.num_evaluated += 1
            yield position, picture_name(row["image"], "image", place), image, target

    def _rows(self) -> Iterator[tuple[int, dict]]:
        if isinstance(self.dataset, datasets.Dataset):
            positions = range(self.rank, len(self.dataset), self.num_processes)
            rows, total = zip(positions, self.dataset.select(positions), strict=True), len(positions)
        else:
            rows, total = itertools.islice(enumerate(self.dataset), self.rank, None, self.num_processes), None
        return iter(tqdm(rows, total=total, desc="Evaluating", disable=not self.show_progress))


def _of_all_processes(counted: torch.Tensor | list, accelerator: Accelerator | None) -> torch.Tensor | list:
    """The sum of the tensors of all processes, or all that is in their lists."""
    if accelerator is None or accelerator.num_processes == 1:
        return counted
    if isinstance(counted, torch.Tensor):
        return accelerator.reduce(counted.to(accelerator.device), "sum").cpu()
    return import_extra("accelerate.utils").gather_object(counted)


def _check_weights_are_whole(model: PreTrainedModel) -> None:
    # shards of FSDP2 know their mesh, of FSDP1 and DeepSpeed stage 3 nothing is left in them
    if any(hasattr(weight, "device_mesh") or weight.numel() == 0 for weight in model.parameters()):
        raise ValueError(
            "The weights are shared out among processes, which then must all see equally many pictures: evaluate a "
            "saved model."
        )
