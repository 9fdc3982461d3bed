# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Detection in pictures of any size: whole, or through windows whose detections are joined over the seams."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel

from ..data.pictures import to_rgb
from .finite import finite_detections
from .modes import evaluating
from .pictures import check_resized_size
from .rle import encode_mask, unite
from .seams import Window, join_seams
from .windows import WindowSettings, checked_stride, window_starts


# Of so many detections at a time whole masks are made, which are as large as the picture or the window.
MASKS_AT_ONCE = 8


class Detected(NamedTuple):
    """A prediction, on the CPU, in pixels of the upright picture, the best first.

    Attributes:
        image: The picture, in RGB and upright.
        scores: (N,) float32.
        class_labels: (N,) int64.
        boxes: (N, 4) float32 x1, y1, x2, y2.
        masks: COCO's RLE {"size": [h, w], "counts": bytes} of each; None without.
        threshold: What is shown of it scores more. Default 0.5.
    """

    image: Image.Image
    scores: torch.Tensor
    class_labels: torch.Tensor
    boxes: torch.Tensor
    masks: list[dict[str, Any]] | None
    threshold: float = 0.5

    def shown(self) -> "Detected":
        """The detections above the threshold: the first ones."""
        number = int((self.scores > self.threshold).sum())
        return self._replace(
            scores=self.scores[:number],
            class_labels=self.class_labels[:number],
            boxes=self.boxes[:number],
            masks=None if self.masks is None else self.masks[:number],
        )


@dataclass(frozen=True)
class DetectionSettings(WindowSettings):
    """How a detector is used at test time. The default is one look at the whole picture.

    Attributes:
        window_size: Side of square windows in pixels of the picture itself. The image processor makes of each window
            what it makes of a picture, so that smaller windows show objects larger. Default: the whole picture at
            once.
        window_stride: Pixels from one window to the next. Default: three quarters of `window_size`. An object that is
            not larger than the overlap is whole in some window.
        threshold: What is shown of the detections scores more, in pictures, tables and files. `detect` gives all of
            them, as evaluation counts them. Default 0.5.

    Raises:
        ValueError: A field is out of range.
    """

    threshold: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be a score in [0, 1], got {self.threshold}.")


def detect(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    image: Image.Image,
    settings: DetectionSettings | None = None,
) -> Detected:
    """All objects that a model finds in a picture, with what it thinks of each.

    By default these are the detections of the image processor's `post_process_object_detection`, and the masks of its
    `post_process_instance_segmentation`, at any score. With windows each of them is seen alone, one after the other,
    so that memory doesn't grow with the picture, and what they find is joined over the seams:

    - An object that several windows see, whole or cut, is found once. If a window sees it whole, box and mask are the
      best of such windows.
    - One that no window sees whole, since it is larger than the overlap, has the box around all of its parts and the
      union of their masks, as far as neighbours agree on it in what both see. Of one that is much larger than a
      window, windows may see too little to know it: take larger windows for those.
    - The score is that of the best window.

    A window that covers the picture gives just what the picture does without windows.

    Args:
        model: Model for object detection or instance segmentation on any device and of any type, in any mode, which
            it keeps.
        image_processor: The one that belongs to `model`.
        image: PIL image of any size and mode.
        settings: Windows, and what is shown. Default: `DetectionSettings()`.

    Raises:
        NotFiniteError: The model makes NaN or infinite numbers of the picture, which no detection would tell.
        ValueError: The picture can't be made RGB, or is so thin that resizing it would take gigabytes.
    """
    return detect_prepared(model, image_processor, prepare_detection(image_processor, image, settings), settings)


class PreparedDetection(NamedTuple):
    """What a detector needs of a picture.

    Attributes:
        image: The picture, in RGB and upright.
        inputs: What the image processor makes of it whole; None where windows are seen, of which there may be many.
    """

    image: Image.Image
    inputs: dict[str, torch.Tensor] | None


def prepare_detection(
    image_processor: BaseImageProcessor, image: Image.Image, settings: DetectionSettings | None = None
) -> PreparedDetection:
    """The first half of `detect`, which needs no model."""
    image = to_rgb(image)
    is_whole = settings is None or settings.window_size is None
    return PreparedDetection(image, _inputs(image_processor, image) if is_whole else None)


def detect_prepared(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    prepared: PreparedDetection,
    settings: DetectionSettings | None = None,
) -> Detected:
    """The other half."""
    image, settings = prepared.image, settings or DetectionSettings()
    size = (image.height, image.width)
    windows = _windows(size, settings)
    found = []
    for window in windows:
        inputs = prepared.inputs or _inputs(image_processor, image.crop(window))
        found.append(_look(model, image_processor, inputs, window, size))
    boxes, scores, labels = (torch.cat([part[place] for part in found]) for place in range(3))
    origins = torch.cat([torch.full_like(part[2], index) for index, part in enumerate(found)])
    objects = join_seams(boxes, scores, labels, origins, windows, size)
    masks = None
    if found[0].masks is not None:
        parts = [mask for part in found for mask in part.masks]
        masks = [unite([parts[place] for place in item.parts]) for item in objects]
    return Detected(
        image,
        torch.tensor([item.score for item in objects]),
        torch.tensor([item.label for item in objects], dtype=torch.int64),
        torch.stack([item.box for item in objects]) if objects else boxes,
        masks,
        settings.threshold,
    )


class _Found(NamedTuple):
    """What a window shows, in pixels of the picture."""

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    masks: list[dict[str, Any]] | None


def _windows(size: tuple[int, int], settings: DetectionSettings) -> list[Window]:
    """Row after row."""
    height, width = size
    if settings.window_size is None:
        return [Window(0, 0, width, height)]
    stride = checked_stride(settings.window_size, settings.window_stride)
    rows, columns = min(settings.window_size, height), min(settings.window_size, width)
    return [
        Window(left, top, left + columns, top + rows)
        for top in window_starts(height, rows, stride)
        for left in window_starts(width, columns, stride)
    ]


def _look(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    inputs: dict[str, torch.Tensor],
    window: Window,
    size: tuple[int, int],
) -> _Found:
    left, top, right, bottom = window
    width, height = right - left, bottom - top
    with evaluating(model):
        outputs = finite_detections(model, inputs)
        options = {"threshold": 0.0, "target_sizes": [(height, width)]}
        if getattr(outputs, "pred_masks", None) is None:
            [found] = image_processor.post_process_object_detection(outputs, **options)
            masks = None
        else:
            found, masks = _with_masks(image_processor, outputs, options, window[:2], size)
    boxes = found["boxes"].float().cpu()
    boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height] * 2))
    shift = boxes.new_tensor(window[:2] * 2)
    return _Found(boxes + shift, found["scores"].float().cpu(), found["labels"].cpu(), masks)


def _inputs(image_processor: BaseImageProcessor, picture: Image.Image) -> dict[str, torch.Tensor]:
    check_resized_size(image_processor, picture)
    try:
        return dict(image_processor(picture, return_tensors="pt"))
    except RuntimeError as error:
        raise ValueError(
            f"image of {picture.width}x{picture.height} pixels can't be resized to the image processor's size: {error}"
        ) from error


def _with_masks(
    image_processor: BaseImageProcessor,
    outputs: Any,
    options: dict[str, Any],
    corner: tuple[int, int],
    size: tuple[int, int],
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Detections of a window, and their masks in the picture; whole ones are made of a few at a time."""
    found, masks = [], []
    for start in range(0, outputs.logits.shape[1], MASKS_AT_ONCE):
        some = _some_of(outputs, slice(start, start + MASKS_AT_ONCE))
        found += image_processor.post_process_object_detection(some, **options)
        [maps] = image_processor.post_process_instance_segmentation(some, return_binary_maps=True, **options)
        masks += [encode_mask(mask, corner, size) for mask in maps["segmentation"]]
    joined = {name: torch.cat([part[name] for part in found]) for name in ("scores", "labels", "boxes")}
    return joined, masks


def _some_of(outputs: Any, places: slice) -> SimpleNamespace:
    """Outputs of a model with some of the detections."""
    parts = {name: getattr(outputs, name)[:, places] for name in ("logits", "pred_boxes", "pred_masks")}
    return SimpleNamespace(**parts, pixel_sizes=outputs.pixel_sizes)
