# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""How good a model is on a labelled dataset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.utils.logging import tqdm

from ..data.pictures import UnreadablePictureError, picture_name
from ..data.rows import RowReader
from ..data.workers import ready_batches
from ..extras import import_extra
from ..processes import of_all_processes, share_of
from ..tasks import task_of_model


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
    batch_size: int | None = None,
    num_workers: int = 0,
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
        batch_size: Pictures that the model sees at once, as far as they have one size. Detectors, and segmentors with
            settings, see one at a time. Default: 32 of a classifier, 8 of a segmentor.
        num_workers: Processes that read and prepare pictures for this one meanwhile; a stream is read by this process
            itself. Default: none.
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
    if accelerator is not None:
        model = accelerator.unwrap_model(model)
        _check_weights_are_whole(model)
    model = getattr(model, "_orig_mod", model)  # of torch.compile: sizes differ from picture to picture
    task = task_of_model(model)
    if settings is not None and type(settings) is not task.settings_class:
        expected = task.settings_class.__name__ if task.settings_class else "None"
        raise ValueError(f"settings must be {expected} for a {type(model).__name__}, got {settings}.")
    reader = task.reader(model.config, image_processor, dataset.split)
    prepare = partial(task.prepare, image_processor, settings=settings)
    samples = _samples(dataset, reader, prepare, accelerator)
    batches = ready_batches(samples, task.batch_size if batch_size is None else batch_size, num_workers)
    metric = task.metric(model.config) if metric is None else metric
    num_evaluated = num_corrupt = 0
    for batch in _with_progress(batches, samples, accelerator):
        read = [sample for sample in batch if not _is_corrupt(sample, skip_corrupt)]
        num_evaluated += len(read)
        num_corrupt += len(batch) - len(read)
        if read:
            _count(partial(task.predict, model, image_processor, settings=settings), partial(task.count, metric), read)
    metric.state = of_all_processes(metric.state, accelerator)
    counts = torch.tensor([num_evaluated, num_corrupt])
    num_evaluated, num_corrupt = of_all_processes(counts, accelerator).tolist()
    if num_evaluated == 0:
        raise ValueError(f"The dataset has no samples to evaluate on ({num_corrupt} corrupt ones were left out).")
    return metric.figures() | ({"num_corrupt": num_corrupt} if skip_corrupt else {})


class _Sample(NamedTuple):
    """A row: its number, its name, what the model needs of its picture, and its target."""

    position: int
    name: str
    inputs: Any
    target: Any


def _count(predict: Callable[[Sequence], Iterable], count: Callable[..., None], samples: Sequence[_Sample]) -> None:
    """Predicts a batch and counts it; errors name the picture."""
    positions, _, inputs, targets = zip(*samples, strict=True)
    try:
        count(predict(inputs), targets, positions)
    except ValueError:
        for sample in samples:
            _named(sample.name, lambda alone: list(predict([alone])), sample.inputs)
        raise


def _named(name: str, function: Callable, *arguments: Any) -> Any:
    """What the function gives; its errors name the picture."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ValueError(f"The {name}: {error}") from error


def _is_corrupt(sample: _Sample | ValueError, skip_corrupt: bool) -> bool:
    """Whether there is a picture that can't be read in place of a sample; whatever must not be skipped is raised."""
    if not isinstance(sample, ValueError):
        return False
    if skip_corrupt and isinstance(sample, UnreadablePictureError):
        return True
    raise sample


def _with_progress(
    batches: Iterable[list], samples: _Rows | _Stream, accelerator: Accelerator | None
) -> Iterator[list]:
    """The batches, and in the main process how far they are."""
    total = None if isinstance(samples, _Stream) else len(samples)
    is_hidden = accelerator is not None and not accelerator.is_main_process
    with tqdm(total=total, desc="Evaluating", unit=" pictures", disable=is_hidden) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def _samples(
    dataset: datasets.Dataset | datasets.IterableDataset,
    reader: RowReader,
    prepare: Callable[[Image.Image], Any],
    accelerator: Accelerator | None,
) -> _Rows | _Stream:
    """The share of a process in a dataset."""
    kind = _Rows if isinstance(dataset, datasets.Dataset) else _Stream
    return kind(reader.undecoded(dataset), partial(_sample, reader, prepare), *share_of(accelerator))


def _sample(reader: RowReader, prepare: Callable, position: int, row: dict) -> _Sample | ValueError:
    """The sample, or why it can't be had: the process that counts says what comes of it."""
    place = f"row {position}"
    try:
        image, target = reader.read(row, place)
        name = picture_name(row["image"], "image", place)
        return _Sample(position, name, _named(name, prepare, image), target)
    except ValueError as error:
        return error


class _Rows(torch.utils.data.Dataset):
    """Every `count`-th row, from number `rank` on, as `read` makes it of its number and what it holds."""

    def __init__(self, dataset: datasets.Dataset, read: Callable[[int, dict], Any], rank: int, count: int):
        self.dataset, self.read = dataset, read
        self.positions = range(rank, len(dataset), count)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Any:
        position = self.positions[index]
        return self.read(position, self.dataset[position])


class _Stream(torch.utils.data.IterableDataset):
    """The same of a stream."""

    def __init__(self, dataset: datasets.IterableDataset, read: Callable[[int, dict], Any], rank: int, count: int):
        self.dataset, self.read, self.rank, self.count = dataset, read, rank, count

    def __iter__(self) -> Iterator[Any]:
        for position, row in itertools.islice(enumerate(self.dataset), self.rank, None, self.count):
            yield self.read(position, row)


def _check_weights_are_whole(model: PreTrainedModel) -> None:
    # shards of FSDP2 know their mesh, of FSDP1 and DeepSpeed stage 3 nothing is left in them
    if any(hasattr(weight, "device_mesh") or weight.numel() == 0 for weight in model.parameters()):
        raise ValueError(
            "The weights are shared out among processes, which then must all see equally many pictures: evaluate a "
            "saved model."
        )
