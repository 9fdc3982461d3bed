# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From a model and pictures to a folder of predictions."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.utils.logging import tqdm

from .data.pictures import UnreadablePictureError
from .files import atomic_folder, check_replaceable, printable
from .inference.classification import classification_inputs, classification_scores, classify
from .inference.pictures import find_pictures, load_picture
from .inference.segmentation import SegmentationSettings, segment
from .inference.visualize import color_palette, label_set_palette, overlay_segmentation
from .registration import architecture_task
from .saved_models import load_image_processor, load_model, task_of


# Few enough that large photos fit in memory.
_BATCH_SIZE = 8
# Overlays are to be looked at: larger ones are scaled down to this side.
_OVERLAY_SIDE = 2048


def predict_pictures(
    model: str | os.PathLike,
    pictures: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    settings: SegmentationSettings | None = None,
    top_k: int = 5,
    device: str | torch.device | None = None,
) -> list[dict[str, Any]]:
    """Write what a classifier or a segmentor says about pictures into a folder.

    The folder gets `predictions.json`, which holds what this function returns. A segmentor also gives for each picture
    `<name>.png`, its class ids as a PNG with a palette (16-bit grey beyond 256 classes), and `<name>-overlay.jpg` to
    look at, of at most 2048 pixels a side; `find_pictures` says what names are. The folder appears whole or not at
    all; what was at `output_dir` before is moved to `output_dir-1`, ...

    Args:
        model: Folder or Hub name of a model with its image processor; its architecture says the task.
        pictures: Files and folders, which are searched recursively.
        output_dir: Folder to write, outside of the folders in `pictures`.
        settings: How to segment. Default: as `pipeline` does.
        top_k: Number of labels that are kept of a classifier. Default 5.
        device: Default: the accelerator, if there is one.

    Returns:
        For each picture, in order, `{"file": path}` and
        - `predictions`: `[{"label", "score"}, ...]` of a classifier, the best first;
        - `mask`, `overlay` (paths in the folder) and `shares`, `[{"label", "share"}, ...]` of all pixels, the largest
          first, of a segmentor;
        - or `error`, one line that names the file, where it can't be read or is too thin. The others go on.

    Raises:
        ValueError: There are no pictures, an argument is out of range, or the model is broken or has another task.
        OSError: A path or the model does not exist.
        ImportError: matplotlib, which draws the legends of overlays, is missing.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}.")
    device = _checked_device(device)
    names = find_pictures(pictures)
    _check_output(Path(output_dir), pictures)
    task = task_of(model, settings)
    image_processor = load_image_processor(model)
    loaded = load_model(model, task).to(device)
    with atomic_folder(output_dir) as folder:
        if task == "image-classification":
            records = list(_classified(loaded, image_processor, names, top_k))
        else:
            records = list(_segmented(loaded, image_processor, names, settings, folder))
        text = json.dumps(records, indent=2, ensure_ascii=False)
        # bytes of a file's name that are no UTF-8 become the escapes that JSON has for them
        (folder / "predictions.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    return records


def describe_picture(
    model: PreTrainedModel, image_processor: BaseImageProcessor, image: Image.Image, top_k: int = 5
) -> list[dict[str, Any]]:
    """What a model says about one picture.

    Args:
        model: Model for image classification or semantic segmentation.
        image_processor: The one that belongs to `model`.
        image: PIL image of any size and mode.
        top_k: Number of labels of a classifier. Default 5.

    Returns:
        `[{"label", "score"}, ...]` of a classifier, the best first; `[{"label", "share"}, ...]` of all pixels of a
        segmentor, the largest first.
    """
    if architecture_task(type(model).__name__) == "semantic-segmentation":
        return _shares(segment(model, image_processor, image).numpy(), model.config.id2label)
    [scores] = classify(model, image_processor, [image])
    return _best(scores, model, top_k)


def _checked_device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"device must be one that torch has here, such as cpu, got {str(device)!r}: {error}"
        ) from error


def _check_output(output_dir: Path, pictures: Sequence[str | os.PathLike]) -> None:
    check_replaceable(output_dir)
    for path in map(Path, pictures):
        if path.is_dir() and output_dir.resolve().is_relative_to(path.resolve()):
            raise ValueError(
                f"output_dir must be outside of the folders of pictures, else its masks are pictures the next time, "
                f"got {output_dir} in {path}."
            )


def _classified(
    model: PreTrainedModel, image_processor: BaseImageProcessor, names: Mapping[Path, str], top_k: int
) -> Iterator[dict[str, Any]]:
    files = iter(tqdm(names, desc="Predicting"))
    while batch := list(islice(files, _BATCH_SIZE)):
        # what waits here is as large as the model takes it: eight pictures of full size may be gigabytes
        inputs = {file: _inputs(image_processor, file) for file in batch}
        pixel_values = [values for values in inputs.values() if isinstance(values, torch.Tensor)]
        scores = iter(classification_scores(model, torch.cat(pixel_values)) if pixel_values else ())
        for file, values in inputs.items():
            if isinstance(values, torch.Tensor):
                yield {"file": file.as_posix(), "predictions": _best(next(scores), model, top_k)}
            else:
                yield values


def _inputs(image_processor: BaseImageProcessor, file: Path) -> torch.Tensor | dict[str, str]:
    """`pixel_values` of a picture, or the record of why there are none."""
    try:
        return classification_inputs(image_processor, load_picture(file))
    except ValueError as error:
        return _failure(file, error)


def _best(scores: torch.Tensor, model: PreTrainedModel, top_k: int) -> list[dict[str, Any]]:
    best = scores.topk(min(top_k, model.config.num_labels))
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [{"label": model.config.id2label[index], "score": score} for index, score in found]


def _segmented(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    names: Mapping[Path, str],
    settings: SegmentationSettings | None,
    folder: Path,
) -> Iterator[dict[str, Any]]:
    id2label = model.config.id2label
    palette = color_palette(max(id2label) + 1, label_set_palette(id2label))

    def record(file: Path, name: str) -> dict[str, Any]:
        try:
            image = load_picture(file)
            ids = segment(model, image_processor, image, settings).numpy()
        except ValueError as error:
            return _failure(file, error)
        paths = {"mask": f"{name}.png", "overlay": f"{name}-overlay.jpg"}
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _mask(ids, palette).save(folder / paths["mask"])
        _overlay(image, ids, id2label, palette).save(folder / paths["overlay"], quality=90)
        return {"file": file.as_posix()} | paths | {"shares": _shares(ids, id2label)}

    for file in tqdm(names, desc="Predicting"):
        yield record(file, names[file])


def _failure(file: Path, error: ValueError) -> dict[str, str]:
    message = " ".join(line.strip() for line in str(error).splitlines())
    if not isinstance(error, UnreadablePictureError):  # which names the file
        message = f"{printable(file)}: {message}"
    return {"file": file.as_posix(), "error": message}


def _mask(ids: np.ndarray, palette: np.ndarray) -> Image.Image:
    if len(palette) > 256:
        return Image.fromarray(ids.astype(np.uint16))
    mask = Image.fromarray(ids.astype(np.uint8))
    mask.putpalette(palette.tobytes())
    return mask


def _overlay(image: Image.Image, ids: np.ndarray, id2label: Mapping[int, str], palette: np.ndarray) -> Image.Image:
    shown = image.copy()
    shown.thumbnail((_OVERLAY_SIDE, _OVERLAY_SIDE))
    shown_ids = Image.fromarray(ids.astype(np.int32)).resize(shown.size, Image.Resampling.NEAREST)
    # no id is ignored: -1 is none
    return overlay_segmentation(shown, np.asarray(shown_ids), id2label, palette, ignore_index=-1)


def _shares(ids: np.ndarray, id2label: Mapping[int, str]) -> list[dict[str, Any]]:
    counts = np.bincount(ids.ravel())
    order = np.argsort(-counts, kind="stable")
    return [
        {"label": id2label[index], "share": counts[index].item() / ids.size}
        for index in order.tolist()
        if counts[index]
    ]
