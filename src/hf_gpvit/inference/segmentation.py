# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of pictures of any size: whole or in sliding windows, at several scales, flipped."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image
from transformers import BaseImageProcessor, BatchFeature, PreTrainedModel

from ..data.pictures import to_rgb
from ..models.shortcuts import at_least_float32, resize_bilinear
from .finite import finite_logits
from .modes import evaluating
from .pictures import check_resized_size
from .windows import WindowSettings, check_pixels, checked_stride, window_starts


# All windows of a picture have one size, so what they take in memory is the same for any picture.
WINDOWS_PER_BATCH = 4
# 512 MiB in float32: photos of 12 megapixels with 11 classes, or of 0.9 with ADE20K's 150, are one band.
MAX_BAND_VALUES = 2**27
# Of so many classes at a time the scores are resized on CPUs, in whose caches they stay until they are compared.
CLASSES_AT_ONCE = 8


@dataclass(frozen=True)
class SegmentationSettings(WindowSettings):
    """How a segmentor is used at test time. The default is what `pipeline` does: one pass over the whole picture.

    Attributes:
        window_size: Side in pixels of the square windows that slide over the picture as the image processor resized
            it. Default: the whole picture at once.
        window_stride: Pixels from one window to the next. Default: three quarters of `window_size`, such as
            Cityscapes' 768 of 1024.
        scales: Factors of the image processor's size, one pass each. Default: (1.0,).
        flip: Whether every pass is followed by one over the mirrored picture.
        size_divisor: Both sides are rounded up to multiples of it by a second resize, as in the official ADE20K
            evaluation, where it is 32. Default: none.

    Raises:
        ValueError: A field is out of range.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    size_divisor: int | None = None

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales must hold at least one factor, each greater than 0, got {self.scales}.")
        if self.size_divisor is not None:
            check_pixels("size_divisor", self.size_divisor)


def segmentation_inputs(
    image_processor: BaseImageProcessor, image: Image.Image, scale: float = 1.0, size_divisor: int | None = None
) -> BatchFeature:
    """`pixel_values` (1, num_channels, height, width) of a picture; by default just what the image processor gives.

    Args:
        image_processor: The one that belongs to the model.
        image: PIL image of any size and mode.
        scale: Factor of the image processor's size, or of the picture's where it doesn't resize. Default 1.
        size_divisor: What both sides are multiples of. The picture is resized as without it, and then once more with
            both sides rounded up, which stretches it a little; each time on 8-bit pixels with the image processor's
            `resample` (bilinear, unless set). The official code rounds the sides of the first resize where
            transformers cuts them off: for about one picture in 64 a side differs by one multiple. Default: none.

    Raises:
        ValueError: The picture is so thin that a side would shrink to nothing, or the other grow to gigabytes; or it
            can't be made RGB.
    """
    picture = to_rgb(image)
    check_resized_size(image_processor, picture, scale)
    options = {"return_tensors": "pt"}
    if scale != 1:
        options |= {"do_resize": True, "size": _scaled_size(image_processor, picture, scale)}
    try:
        if size_divisor is None:
            return image_processor(picture, **options)
        resized = image_processor(picture, do_rescale=False, do_normalize=False, **options)["pixel_values"]
    except RuntimeError as error:
        raise ValueError(
            f"image of {image.width}x{image.height} pixels can't be resized to the image processor's size: {error}"
        ) from error
    height, width = (math.ceil(side / size_divisor) * size_divisor for side in resized.shape[-2:])
    return image_processor(resized, do_resize=True, size={"height": height, "width": width}, return_tensors="pt")


def sliding_window_logits(
    model: PreTrainedModel, pixel_values: torch.Tensor, window_size: int, window_stride: int | None = None
) -> torch.Tensor:
    """Logits (B, num_labels, H, W) at the size of `pixel_values`, averaged where windows overlap; float32.

    A few windows at a time go through the model, so its activations don't grow with the picture; what grows is the
    result. The logits of a window are resized bilinearly to it. The last window of a row or column is shifted back
    inside; a side below `window_size` is covered at once, so a window that covers the picture gives the logits of the
    whole picture.

    Args:
        model: Model for semantic segmentation, in any mode, which it keeps.
        pixel_values: (B, num_channels, H, W) of any device and floating-point type.
        window_size: Side of the square windows in pixels.
        window_stride: Pixels from one window to the next, at most `window_size`. Default: three quarters of it.

    Raises:
        NotFiniteError: The model's logits are not finite.
        ValueError: `window_size` or `window_stride` is out of range, or `pixel_values` has not four dimensions.
    """
    stride = checked_stride(window_size, window_stride)
    if pixel_values.ndim != 4:
        raise ValueError(f"pixel_values must be (B, num_channels, H, W), got shape {tuple(pixel_values.shape)}.")
    batch, _, height, width = pixel_values.shape
    window = (min(window_size, height), min(window_size, width))
    tops, lefts = window_starts(height, window[0], stride), window_starts(width, window[1], stride)
    # (picture, rows, columns) of every window
    places = [
        (index, slice(top, top + window[0]), slice(left, left + window[1]))
        for index in range(batch)
        for top in tops
        for left in lefts
    ]
    logits = torch.zeros(batch, model.config.num_labels, height, width, device=model.device)
    with evaluating(model):
        for start in range(0, len(places), WINDOWS_PER_BATCH):
            some = places[start : start + WINDOWS_PER_BATCH]
            windows = torch.stack([pixel_values[index, :, rows, columns] for index, rows, columns in some])
            resized = resize_bilinear(at_least_float32(finite_logits(model, windows)), window)
            for (index, rows, columns), part in zip(some, resized, strict=True):
                logits[index, :, rows, columns] += part
        # how many windows cover a pixel is how many cover its row times how many cover its column
        logits /= _coverage(height, window[0], tops).to(logits.device)[:, None]
        logits /= _coverage(width, window[1], lefts).to(logits.device)
    return logits


def segmentation_scores(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    image: Image.Image,
    settings: SegmentationSettings | None = None,
) -> torch.Tensor:
    """Probabilities (num_labels, height, width) of the classes at the picture's own size, float32 on `model.device`.

    The logits of each pass (scale, flip) are resized to the picture, then comes the softmax, then the mean of the
    passes, as in mmsegmentation. All passes are kept until the end: 4 * num_labels bytes for each pixel of a pass, on
    top of as much for each pixel of the result. `segment`, which has the same arguments, does without the latter.
    """
    settings = settings or SegmentationSettings()
    size, pixel_values = prepare_segmentation(image_processor, image, settings)
    passes = [logits[0] for logits in _passes(model, pixel_values, settings)]
    scores = torch.empty(len(passes[0]), *size, device=passes[0].device)
    with torch.inference_mode():
        for start, stop in _bands(*scores.shape):
            scores[:, start:stop] = _mean_probabilities(passes, size, start, stop)
    return scores


def segment(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    image: Image.Image,
    settings: SegmentationSettings | None = None,
) -> torch.Tensor:
    """The class of every pixel: (height, width) int64 ids on the CPU, at the size of the picture when it is upright.

    With the default settings these are the ids of `pipeline("image-segmentation")`, that is of the image processor's
    `post_process_semantic_segmentation`: the logits are resized from the model's resolution to the picture's. With any
    other settings it is the official evaluation: logits are first resized to the size of `pixel_values` and then to
    the picture's; several passes are averaged after the softmax (`segmentation_scores`).

    Beyond 2**27 values (pixels times classes) the last resize goes by bands of rows, which is equal to rounding and
    keeps its memory at some 2 GB whatever the picture.

    Args:
        model: Model for semantic segmentation on any device and of any type, in any mode, which it keeps.
        image_processor: The one that belongs to `model`; with its `do_resize=False` the picture keeps its size, which
            is for windows.
        image: PIL image of any size and mode.
        settings: Windows, scales, flip. Default: `SegmentationSettings()`.

    Raises:
        ValueError: The picture is so thin that a side would shrink to nothing, or the model's logits are not finite.
    """
    [ids] = segment_prepared(model, [prepare_segmentation(image_processor, image, settings)], settings)
    return ids


class PreparedSegmentation(NamedTuple):
    """What a segmentor needs of a picture.

    Attributes:
        size: Height and width of the upright picture.
        pixel_values: (1, num_channels, height, width) of each scale.
    """

    size: tuple[int, int]
    pixel_values: list[torch.Tensor]


def prepare_segmentation(
    image_processor: BaseImageProcessor, image: Image.Image, settings: SegmentationSettings | None = None
) -> PreparedSegmentation:
    """The first half of `segment`, which needs no model."""
    picture, settings = to_rgb(image), settings or SegmentationSettings()
    inputs = [segmentation_inputs(image_processor, picture, scale, settings.size_divisor) for scale in settings.scales]
    return PreparedSegmentation((picture.height, picture.width), [scaled["pixel_values"] for scaled in inputs])


def segment_prepared(
    model: PreTrainedModel, prepared: Sequence[PreparedSegmentation], settings: SegmentationSettings | None = None
) -> Iterator[torch.Tensor]:
    """The other half: class ids (height, width) of one picture after the other, which may be much larger than inputs.

    With the default settings, those whose `pixel_values` have one size go through the model together. With others the
    logits are as large as `pixel_values` and there are windows to make batches of, so that is each picture by itself.
    """
    settings = settings or SegmentationSettings()
    passes = {}
    for place, picture in enumerate(prepared):
        if place not in passes:
            places = _of_one_size(prepared, place) if settings == SegmentationSettings() else [place]
            scales = zip(*(prepared[index].pixel_values for index in places), strict=True)
            batches = _passes(model, [torch.cat(pixel_values) for pixel_values in scales], settings)
            passes |= dict(zip(places, zip(*batches, strict=True), strict=True))
        yield _ids(passes.pop(place), picture.size)


def _of_one_size(prepared: Sequence[PreparedSegmentation], first: int) -> list[int]:
    """This picture, and those behind it whose `pixel_values` have its size; of one scale."""
    shapes = [picture.pixel_values[0].shape for picture in prepared]
    return [place for place in range(first, len(prepared)) if shapes[place] == shapes[first]]


def _ids(passes: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """(height, width) of the largest scores, on the CPU."""
    with torch.inference_mode():
        ids = torch.empty(size, dtype=torch.int64)
        for start, stop in _bands(len(passes[0]), *size):
            ids[start:stop] = _largest(passes, size, start, stop)
        return ids


def _scaled_size(image_processor: BaseImageProcessor, image: Image.Image, scale: float) -> dict[str, int]:
    size = {"height": image.height, "width": image.width}
    if image_processor.do_resize:
        size = dict(image_processor.size)
    return {side: max(round(scale * pixels), 1) for side, pixels in size.items()}


def _passes(
    model: PreTrainedModel, pixel_values: list[torch.Tensor], settings: SegmentationSettings
) -> list[torch.Tensor]:
    """Logits (B, num_labels, h, w) of each scale and flip, upright, each of a size of its own."""
    passes = []
    for scaled in pixel_values:
        passes.append(_logits(model, scaled, settings))
        if settings.flip:
            passes.append(_logits(model, scaled.flip(-1), settings).flip(-1))
    return passes


def _logits(model: PreTrainedModel, pixel_values: torch.Tensor, settings: SegmentationSettings) -> torch.Tensor:
    if settings == SegmentationSettings():
        with evaluating(model):
            return finite_logits(model, pixel_values)
    window_size = settings.window_size or max(pixel_values.shape[-2:])
    return sliding_window_logits(model, pixel_values, window_size, settings.window_stride)


def _coverage(side: int, window: int, starts: list[int]) -> torch.Tensor:
    """(side,) how many windows cover each place."""
    coverage = torch.zeros(side)
    for start in starts:
        coverage[start : start + window] += 1
    return coverage


def _bands(num_labels: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row, and the one after the last, of each band of at most `MAX_BAND_VALUES`."""
    rows = max(MAX_BAND_VALUES // (num_labels * width), 1)
    for start in range(0, height, rows):
        yield start, min(start + rows, height)


def _largest(passes: Sequence[torch.Tensor], size: tuple[int, int], start: int, stop: int) -> torch.Tensor:
    """Rows of the ids of the largest scores."""
    # torch's argmax over the first dimension takes up to 16 times as long on CPUs
    if len(passes) > 1:
        return _mean_probabilities(passes, size, start, stop).max(dim=0).indices
    [logits] = passes  # whose order a softmax would not change
    parts = logits.split(CLASSES_AT_ONCE if logits.device.type == "cpu" else len(logits))
    best, ids = _resized_rows(parts[0], size, start, stop).max(dim=0)
    for number, part in enumerate(parts[1:], start=1):
        values, others = _resized_rows(part, size, start, stop).max(dim=0)
        ids = torch.where(values > best, others + number * CLASSES_AT_ONCE, ids)
        best = torch.maximum(best, values)
    return ids


def _mean_probabilities(passes: Sequence[torch.Tensor], size: tuple[int, int], start: int, stop: int) -> torch.Tensor:
    """Rows of the mean softmax of the passes, each resized to `size`: (num_labels, stop - start, width)."""
    total = 0
    for logits in passes:
        total += at_least_float32(_resized_rows(logits, size, start, stop)).softmax(dim=0)
    return total / len(passes)


def _resized_rows(logits: torch.Tensor, size: tuple[int, int], start: int, stop: int) -> torch.Tensor:
    """Rows `start` to `stop` of logits (num_labels, h, w) resized bilinearly to `size`."""
    height, width = size
    if (start, stop) == (0, height):
        return resize_bilinear(logits[None], size)[0]
    # The vertical half of it by hand, since the rows of a band rarely begin where one of the logits' does.
    rows = torch.arange(start, stop, device=logits.device, dtype=torch.float32)
    source = ((rows + 0.5) * (logits.shape[1] / height) - 0.5).clamp(min=0)
    above = source.long()
    below = (above + 1).clamp(max=logits.shape[1] - 1)
    above_values, below_values = (at_least_float32(logits[:, index]) for index in (above, below))
    blended = torch.lerp(above_values, below_values, (source - above).to(above_values.dtype)[:, None])
    return resize_bilinear(blended[None], (stop - start, width))[0]
