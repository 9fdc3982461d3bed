# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From a decoded picture and its objects to what a detector is trained on, and batches of pictures of any sizes.

Pixels, boxes and masks go through torchvision's transforms together. Without augmentation, training sees exactly what
the image processor of detectors makes of a picture.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tvF
from transformers import BaseImageProcessor
from transformers.image_utils import SizeDict

from ..models.detection_boxes import relative_boxes
from ..models.image_processing_gpvit_detection import resized_size
from .objects import Objects
from .transforms import check_probability, check_range, normalizing_transform, photometric_distortion_transform, planar


# Of a picture that is zoomed into, in units of the usual shorter side: what it becomes first, and how much of that is
# cut out. With a side of 800, these are the 400, 500 or 600 pixels, and 384 to 600 of them, of the papers' detectors.
ZOOM_SIDES = (0.5, 0.625, 0.75)
ZOOM_CROP = (0.48, 0.75)


class DetectionTransform:
    """One picture and its objects to train a detector on: resized in its ratio, cropped, flipped, distorted in colour.

    Objects of which less than a pixel is left are left out, and so are crowds. There may be none in the end.

    Args:
        image_processor: The one that belongs to the model; its mean and standard deviation normalise the pixels.
        resize_size: Limits in pixels of the shorter and the longer side. Default (800, 1333).
        train_sides: Limits of the shorter side, of which one is taken at random. Default: that of `resize_size`.
        zoom_rate: Probability that the picture is first replaced by a part of it, about as large as a quarter of it or
            more, as the papers' detectors see half of the pictures in their longest training. Default 0.
        scale_range: Least and greatest factor of a large-scale jitter (arXiv:2012.07177) instead of all that: the
            picture is fitted into a square of `crop_size`, times a random factor. Default: none.
        crop_size: Side of a random crop at the end; what is smaller stays as it is. Default: none.
        photometric_distortion: Whether brightness, contrast, saturation and hue change, each half of the time.
            Default False.
        flip: Probability of a horizontal flip. Default 0.5.

    Raises:
        ValueError: A number is out of its range, or `scale_range` is given without `crop_size`.
    """

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        resize_size: tuple[int, int] = (800, 1333),
        train_sides: Sequence[int] | None = None,
        zoom_rate: float = 0.0,
        scale_range: tuple[float, float] | None = None,
        crop_size: int | None = None,
        photometric_distortion: bool = False,
        flip: float = 0.5,
    ):
        check_range("resize_size", resize_size)
        sides = tuple(train_sides or resize_size[:1])
        check_range("train_sides", (min(sides), max(sides)))
        check_range("crop_size", (crop_size or 1, crop_size or 1))
        check_probability("zoom_rate", zoom_rate)
        check_probability("flip", flip)
        if scale_range is None:
            resize = _resize(*resize_size, sides, zoom_rate)
        elif crop_size is None:
            raise ValueError(f"scale_range needs a crop_size, got scale_range={tuple(scale_range)} alone.")
        else:
            check_range("scale_range", scale_range)
            resize = LargeScaleJitter((crop_size, crop_size), tuple(scale_range))
        crop = [] if crop_size is None else [RandomPart((crop_size, crop_size))]
        sanitize = [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(labels_getter=itemgetter("class_labels"))]
        self.augment = v2.Compose([*sanitize, resize, *crop, v2.RandomHorizontalFlip(flip), *sanitize])
        distortion = [photometric_distortion_transform()] if photometric_distortion else []
        self.finish = v2.Compose([*distortion, normalizing_transform(image_processor)])

    def __call__(self, image: Image.Image, target: Objects) -> tuple[Tensor, dict[str, Tensor]]:
        """RGB picture and its objects -> (3, H, W) normalised float32 of its own size, and labels as models take them.

        These are `class_labels` (N,), `boxes` (N, 4) as centre (x, y) and size relative to (H, W), and where the
        target has masks, `masks` (N, H, W) bool.
        """
        is_learned = ~target.iscrowd
        boxes = tv_tensors.BoundingBoxes(
            target.boxes[is_learned], format="XYXY", canvas_size=(image.height, image.width)
        )
        sample = {"image": tv_tensors.Image(image), "boxes": boxes, "class_labels": target.class_labels[is_learned]}
        if target.masks is not None:
            # torchvision resizes uint8 without a detour through floats
            sample["masks"] = tv_tensors.Mask(target.masks[is_learned].to(torch.uint8))
        sample = self.augment(sample)
        pixel_values = self.finish(planar(sample["image"]))
        boxes = relative_boxes(sample["boxes"].as_subclass(Tensor), tuple(pixel_values.shape[-2:]))
        labels = {"class_labels": sample["class_labels"], "boxes": boxes}
        if target.masks is not None:
            labels["masks"] = sample["masks"].as_subclass(Tensor).bool()
        return pixel_values, labels


def _resize(shorter: int, longer: int, sides: Sequence[int], zoom_rate: float) -> v2.Transform:
    """To one of the shorter sides, `longer` at most; of a part of the picture with the probability `zoom_rate`."""
    resize = RandomSideResize(sides, longer)
    if not zoom_rate:
        return resize
    first = RandomSideResize([round(part * shorter) for part in ZOOM_SIDES], longer)
    part = RandomPart(*((round(part * shorter),) * 2 for part in ZOOM_CROP))
    return v2.RandomChoice([resize, v2.Compose([first, part, resize])], [1 - zoom_rate, zoom_rate])


class RandomSideResize(v2.Transform):
    """Resizes pictures, boxes and masks to one of these shorter sides, or less where the longer would be too long.

    It takes the sizes that the image processor of detectors takes.
    """

    def __init__(self, sides: Sequence[int], longest: int):
        super().__init__()
        self.sides, self.longest = tuple(sides), longest

    def make_params(self, flat_inputs: list) -> dict[str, Any]:
        side = self.sides[torch.randint(len(self.sides), ()).item()]
        limits = SizeDict(shortest_edge=side, longest_edge=self.longest)
        return {"size": resized_size(*v2.query_size(flat_inputs), limits)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return tvF.resize(inpt, params["size"], InterpolationMode.BILINEAR, antialias=True)


class LargeScaleJitter(v2.ScaleJitter):
    """torchvision's, of which no side of a thin picture becomes nothing."""

    def make_params(self, flat_inputs: list) -> dict[str, Any]:
        height, width = super().make_params(flat_inputs)["size"]
        return {"size": (max(1, height), max(1, width))}


class RandomPart(v2.Transform):
    """A random crop of pictures, boxes and masks whose sides are random too; what is smaller is left whole.

    Args:
        least, greatest: Height and width. Default of `greatest`: `least`.
    """

    def __init__(self, least: tuple[int, int], greatest: tuple[int, int] | None = None):
        super().__init__()
        self.least, self.greatest = least, greatest or least

    def make_params(self, flat_inputs: list) -> dict[str, int]:
        whole = v2.query_size(flat_inputs)
        ranges = zip(whole, self.least, self.greatest, strict=True)
        height, width = (_randint(min(side, least), min(side, greatest)) for side, least, greatest in ranges)
        top, left = _randint(0, whole[0] - height), _randint(0, whole[1] - width)
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        return tvF.crop(inpt, **params)


def _randint(least: int, greatest: int) -> int:
    return torch.randint(least, greatest + 1, ()).item()


def pad_to_batch(samples: list[dict[str, Any]], size_divisor: int = 32) -> dict[str, Any]:
    """A batch of samples whose pictures have sizes of their own, as the image processor of detectors makes it.

    Args:
        samples: `pixel_values` (3, H_i, W_i), `labels` as `DetectionTransform` gives them, and `num_corrupt`.
        size_divisor: What the batch's sides are multiples of. Default 32.

    Returns:
        `pixel_values` (B, 3, H, W) padded with 0 on the right and at the bottom, `pixel_mask` (B, H, W) bool, True
        where there is a picture, `labels`, a list with boxes and masks of what was padded, and `num_corrupt` (B,).
    """
    sizes = [tuple(sample["pixel_values"].shape[-2:]) for sample in samples]
    height, width = (-(-max(sides) // size_divisor) * size_divisor for sides in zip(*sizes, strict=True))
    pixel_mask = torch.zeros(len(samples), height, width, dtype=torch.bool)
    for mask, (own_height, own_width) in zip(pixel_mask, sizes, strict=True):
        mask[:own_height, :own_width] = True
    return {
        "pixel_values": torch.stack([_padded(sample["pixel_values"], height, width) for sample in samples]),
        "pixel_mask": pixel_mask,
        "labels": [
            _padded_labels(sample["labels"], size, height, width) for sample, size in zip(samples, sizes, strict=True)
        ],
        "num_corrupt": torch.tensor([sample["num_corrupt"] for sample in samples]),
    }


def _padded(image: Tensor, height: int, width: int) -> Tensor:
    """(..., h, w) -> (..., height, width)."""
    return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]))


def _padded_labels(labels: dict[str, Tensor], size: tuple[int, int], height: int, width: int) -> dict[str, Tensor]:
    ratio = labels["boxes"].new_tensor([size[1] / width, size[0] / height])
    padded = labels | {"boxes": labels["boxes"] * ratio.repeat(2)}
    if "masks" in labels:
        padded["masks"] = _padded(labels["masks"], height, width)
    return padded
