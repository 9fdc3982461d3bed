# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From a model and pictures to a folder of predictions."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.utils.logging import tqdm

from .data.pictures import UnreadablePictureError
from .data.workers import ready_batches
from .extras import import_extra
from .files import atomic_folder, check_replaceable, json_text, one_line, printable
from .inference.pictures import (
    DETECTIONS,
    DETECTIONS_TABLE,
    PREDICTIONS,
    PREDICTIONS_TABLE,
    find_pictures,
    load_picture,
)
from .inference.windows import WindowSettings
from .processes import of_all_processes, share_of
from .saved_models import load_image_processor, load_model, task_of
from .tasks import TASKS, Task, task_of_model


if TYPE_CHECKING:
    from accelerate import Accelerator


def predict_pictures(
    model: str | os.PathLike,
    pictures: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    settings: WindowSettings | Callable[[type[Task]], WindowSettings | None] | None = None,
    top_k: int = 5,
    device: str | torch.device | None = None,
    *,
    overwrite: bool = False,
    batch_size: int | None = None,
    num_workers: int = 0,
    accelerator: Accelerator | None = None,
    report: Callable[[float], None] | None = None,
) -> list[dict[str, Any]]:
    """Write what a classifier, a segmentor or a detector says about pictures into a folder.

    The folder gets `predictions.json`, which holds what this function returns. A classifier and a segmentor also give
    `predictions.csv`, with the columns file, label, and score or share. A segmentor gives for each picture
    `<name>.png`, its class ids as a PNG with a palette (16-bit grey beyond 256 classes), and `<name>-overlay.jpg` to
    look at, of at most 2048 pixels a side; `find_pictures` says what names are. A detector gives the latter too, and
    for all pictures `detections.json`, a COCO file whose annotations have scores, and `detections.csv`. The folder
    appears whole or not at all; former predictions at `output_dir` are moved to `output_dir-1`, ..., and a folder with
    anything else in it is refused.

    Args:
        model: Folder or Hub name of a model with its image processor; its architecture says the task.
        pictures: Files and folders, which are searched recursively.
        output_dir: Folder to write, outside of the folders in `pictures`.
        settings: How it sees a picture: `SegmentationSettings` of a segmentor, `DetectionSettings` of a detector; or
            what makes them for a task of `hf_gpvit.tasks.TASKS`, once the model has said which it is. Default: as
            `pipeline` does.
        top_k: Number of labels that are kept of a classifier. Default 5.
        device: Default: the accelerator, if there is one.
        overwrite: Move aside whatever is at `output_dir`. Default: only predictions, with nothing else in it.
        batch_size: Pictures that the model sees at once, as far as they have one size. Detectors, and segmentors with
            settings, see one at a time. Default: 32 of a classifier, 8 of a segmentor.
        num_workers: Processes that read and prepare pictures for this one meanwhile. Default: none.
        accelerator: Its processes, which see one file system, share the work, process r of n taking the pictures r,
            r + n, ...; all return the same, and the first one writes what is said of all. Default: this process does
            all.
        report: Is told at the end how many pictures there were in a second, without the time to load the model.

    Returns:
        For each picture, in order, `{"file": path}` and
        - `predictions`: `[{"label", "score"}, ...]` of a classifier, the best first;
        - `mask`, `overlay` (paths in the folder) and `shares`, `[{"label", "share"}, ...]` of all pixels, the largest
          first, of a segmentor;
        - `overlay` (path in the folder), `size` (width and height of the upright picture) and `detections`,
          `[{"label", "score", "box": [x1, y1, x2, y2], "label_id"}, ...]` in its pixels, the best first, with masks
          also `segmentation` (COCO's RLE), of a detector, as far as they score more than the settings' `threshold`;
        - or `error`, one line that names the file, where it can't be read or is too thin, or the model makes NaN or
          infinite numbers of it. The others go on.

    Raises:
        ValueError: There are no pictures, an argument is out of range, or the model is broken or has another task.
        ChildProcessError: A worker was killed.
        OSError: A path or the model does not exist, or `output_dir` holds something else.
        ImportError: matplotlib, which draws overlays, is missing, or faster-coco-eval, which packs masks of objects.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}.")
    device = _checked_device(device or (accelerator and accelerator.device))
    names = find_pictures(pictures)
    _check_output(Path(output_dir), pictures, overwrite)
    if callable(settings):
        settings = settings(TASKS[task_of(model)])
    task = TASKS[task_of(model, settings)]
    image_processor = load_image_processor(model)
    rank, count = share_of(accelerator)
    files = list(names)[rank::count]
    prepared = _Prepared(files, task, partial(task.prepare, image_processor, settings=settings))
    batches = ready_batches(prepared, task.batch_size if batch_size is None else batch_size, num_workers)
    loaded = load_model(model, task.name).to(device)
    predict = partial(task.predict, loaded, image_processor, settings=settings)
    with _folder_of_all(output_dir, overwrite, accelerator) as folder:
        start = time.perf_counter()
        tell = partial(_told, predict, task.writer(loaded.config, folder, top_k), names)
        told = {}
        hidden = {"disable": True} if rank > 0 else {}  # else the environment says (TQDM_DISABLE)
        with tqdm(total=len(files), desc="Predicting", unit=" pictures", **hidden) as bar:
            for batch in batches:
                told |= tell(batch)
                bar.update(len(batch))
        told = dict(of_all_processes(list(told.items()), accelerator))
        records = [{"file": file.as_posix()} | told[file] for file in names]
        if report is not None:
            report(len(records) / (time.perf_counter() - start))
        if rank == 0:
            task.conclude(loaded.config, folder, records)
            # bytes of a file's name that are no UTF-8 become the escapes that JSON has for them
            (folder / PREDICTIONS).write_text(json_text(records), encoding="utf-8", errors="backslashreplace")
    return records


def describe_picture(
    model: PreTrainedModel, image_processor: BaseImageProcessor, image: Image.Image, top_k: int = 5
) -> list[dict[str, Any]]:
    """What a model says about one picture.

    Args:
        model: Model of one of `hf_gpvit.tasks.TASKS`.
        image_processor: The one that belongs to `model`.
        image: PIL image of any size and mode.
        top_k: Number of labels of a classifier. Default 5.

    Returns:
        `[{"label", "score"}, ...]` of a classifier, the best first; `[{"label", "share"}, ...]` of all pixels of a
        segmentor, the largest first; `[{"label", "score", "box", "label_id"}, ...]` of a detector, with masks also
        `segmentation`, of the objects that score more than 0.5, the best first.
    """
    task = task_of_model(model)
    [prediction] = task.predict(model, image_processor, [task.prepare(image_processor, image)])
    return task.describe(prediction, model.config, top_k)


def _checked_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"device must be one that torch has here, such as cpu, got {str(device)!r}: {error}"
        ) from error


def _check_output(output_dir: Path, pictures: Sequence[str | os.PathLike], overwrite: bool) -> None:
    for path in map(Path, pictures):
        if path.is_dir() and output_dir.resolve().is_relative_to(path.resolve()):
            raise ValueError(
                f"output_dir must be outside of the folders of pictures, else its masks are pictures the next time, "
                f"got {output_dir} in {path}."
            )
    check_replaceable(output_dir, overwrite, _written)


def _written(folder: Path) -> Iterator[str]:
    """Names of the files that a former prediction has left in a folder; none where there was no such thing."""
    try:
        records = json.loads((folder / PREDICTIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(records, list) and all(isinstance(record, dict) and "file" in record for record in records):
        yield PREDICTIONS
        found = any("detections" in record for record in records)
        yield from (DETECTIONS, DETECTIONS_TABLE) if found else (PREDICTIONS_TABLE,)
        written = (str(record[key]) for record in records for key in ("mask", "overlay") if key in record)
        yield from (escape(name) if "*" in name else name for name in written)  # whoever has written it: no pattern


@contextmanager
def _folder_of_all(output_dir: str | os.PathLike, overwrite: bool, accelerator: Accelerator | None) -> Iterator[Path]:
    """The folder that the first process makes; what the others write must be there before that leaves the block."""
    if accelerator is None or accelerator.num_processes == 1:
        with atomic_folder(output_dir, overwrite, _written) as folder:
            yield folder
        return
    broadcast = import_extra("accelerate.utils").broadcast_object_list
    if not accelerator.is_main_process:
        [folder] = broadcast([None])
        yield Path(folder)
        return
    with atomic_folder(output_dir, overwrite, _written) as folder:
        broadcast([os.fspath(folder)])
        yield folder


class _Prepared(torch.utils.data.Dataset):
    """For each file what the model needs of it and what is drawn on, or why it can't be predicted."""

    def __init__(self, files: Sequence[Path], task: type[Task], prepare: Callable[[Image.Image], Any]):
        self.files, self.task, self.prepare = files, task, prepare

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Path, Any, Image.Image | None]:
        file = self.files[index]
        try:
            image = load_picture(file)
            return file, self.prepare(image), self.task.shown(image)
        except ValueError as error:
            return file, error, None


def _told(
    predict: Callable[[list[Any]], Iterable],
    write: Callable[[Any, str, Image.Image | None], dict[str, Any]],
    names: dict[Path, str],
    batch: list[tuple[Path, Any, Image.Image | None]],
) -> dict[Path, dict[str, Any]]:
    """What predictions.json says of each file, beside its name; what is drawn is written."""
    inputs = [prepared for _, prepared, _ in batch if not isinstance(prepared, ValueError)]
    predictions = _predictions(predict, inputs)
    told = {}
    for file, prepared, shown in batch:
        found = prepared if isinstance(prepared, ValueError) else next(predictions)
        told[file] = _failure(file, found) if isinstance(found, ValueError) else write(found, names[file], shown)
    return told


def _predictions(predict: Callable[[list[Any]], Iterable], prepared: list[Any]) -> Iterator[Any]:
    """What the task gives for each picture, or the ValueError of one of which nothing can be said."""
    if not prepared:
        return
    num_done = 0
    try:
        for found in predict(prepared):
            yield found
            num_done += 1
    except ValueError as error:
        if len(prepared) == 1:
            yield error
            return
        for alone in prepared[num_done:]:
            yield from _predictions(predict, [alone])


def _failure(file: Path, error: ValueError) -> dict[str, str]:
    message = one_line(error)
    if not isinstance(error, UnreadablePictureError):  # which names the file
        message = f"{printable(file)}: {message}"
    return {"error": message}
