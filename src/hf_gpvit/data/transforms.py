# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From a decoded picture to what a model is trained on.

Everything happens on uint8 tensors until the pixels are normalised, with the resizing and the arithmetic of
transformers' image processors: without augmentation, training sees exactly what evaluation and pipelines see.
"""

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tvF
from transformers import BaseImageProcessor
from transformers.image_transforms import get_size_with_aspect_ratio

from .masks import IGNORE_INDEX, as_bytes, reduces_labels
from .rand_augment import MAX_MAGNITUDE, RandAugment


CROP_ATTEMPTS = 10
ERASED_AREA = (0.02, 1 / 3)


class ClassificationTransform:
    """One picture to train a classifier on: random crop, flip, RandAugment, random erasing.

    Args:
        image_processor: The one that belongs to the model; its mean and standard deviation normalise the pixels.
        image_size: Side, or height and width, of the crops in pixels.
        crop_scale: Least and greatest part of the picture's area that a crop shows. Default (0.08, 1).
        rand_augment_magnitude: Mean level of RandAugment's two random operations, 0 to 10 (`RandAugment`). Default 0:
            none.
        flip: Probability of a horizontal flip. Default 0.5.
        random_erasing: Probability that a box is replaced by noise (arXiv:1708.04896). Default 0.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        image_size: int | tuple[int, int],
        crop_scale: tuple[float, float] = (0.08, 1.0),
        rand_augment_magnitude: int = 0,
        flip: float = 0.5,
        random_erasing: float = 0.0,
    ):
        check_range("crop_scale", crop_scale, 1.0)
        check_probability("flip", flip)
        check_probability("random_erasing", random_erasing)
        if not 0 <= rand_augment_magnitude <= MAX_MAGNITUDE:
            raise ValueError(f"rand_augment_magnitude must be 0 to {MAX_MAGNITUDE}, got {rand_augment_magnitude}.")
        augment = [
            # resized as the image processors of classifiers do it
            v2.RandomResizedCrop(image_size, crop_scale, interpolation=InterpolationMode.BICUBIC, antialias=True),
            v2.RandomHorizontalFlip(flip),
        ]
        if rand_augment_magnitude:
            # what an operation moves into the picture is of the mean colour, as if it weren't there
            fill = [round(255 * value) for value in image_processor.image_mean]
            augment.append(RandAugment(rand_augment_magnitude, fill))
        self.augment = v2.Compose(augment)
        finish = [normalizing_transform(image_processor)]
        if random_erasing:
            finish.append(v2.RandomErasing(random_erasing, scale=ERASED_AREA, value="random"))
        self.finish = v2.Compose(finish)

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB picture of any size -> (3, height, width) normalised float32."""
        return self.finish(planar(self.augment(tv_tensors.Image(image))))


class SegmentationTransform:
    """One picture and its class ids to train a segmentor on, as the mm toolkits' recipes do.

    The picture is resized with its ratio kept, cropped, flipped, distorted in colour, normalised, and padded on the
    right and at the bottom with 0 (`ignore_index` in the labels) where it is smaller than the crop.

    Args:
        image_processor: The one that belongs to the model; its mean and standard deviation normalise the pixels.
        crop_size: Side, or height and width, of what comes out, in pixels.
        resize_size: The picture is fitted into this shorter and longer side, times a random factor. Default 512 and
            2048.
        scale_range: Least and greatest factor. Default (0.5, 2).
        max_category_ratio: A crop with one class, or with more than this part of it of the same class, is drawn again,
            up to ten times; 1 takes the first one. Default 0.75.
        photometric_distortion: Whether brightness, contrast, saturation and hue change, each half of the time.
        flip: Probability of a horizontal flip. Default 0.5.
        ignore_index: Id of what is not to be learned. Default 255.

    Attributes:
        reduce_labels: Whether the ids of the dataset are to be reduced by one (`annotation_ids`): what the image
            processor says.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        crop_size: int | tuple[int, int],
        resize_size: tuple[int, int] = (512, 2048),
        scale_range: tuple[float, float] = (0.5, 2.0),
        max_category_ratio: float = 0.75,
        photometric_distortion: bool = True,
        flip: float = 0.5,
        ignore_index: int = IGNORE_INDEX,
    ):
        check_range("resize_size", resize_size)
        check_range("scale_range", scale_range)
        check_probability("max_category_ratio", max_category_ratio)
        check_probability("flip", flip)
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
        check_range("crop_size", sorted(self.crop_size))
        self.reduce_labels = reduces_labels(image_processor)
        self.ignore_index = ignore_index
        self.augment = v2.Compose(
            [
                RandomRatioResize(resize_size, scale_range),
                RandomCategoryCrop(self.crop_size, max_category_ratio, ignore_index),
                v2.RandomHorizontalFlip(flip),
            ]
        )
        distortion = [photometric_distortion_transform()] if photometric_distortion else []
        self.finish = v2.Compose([*distortion, normalizing_transform(image_processor)])

    def __call__(self, image: Image.Image, ids: Tensor) -> tuple[Tensor, Tensor]:
        """RGB picture and its (H, W) ids -> (3, height, width) float32, (height, width) int64."""
        # torchvision resizes uint8 without a detour through floats
        pixels, labels = self.augment(tv_tensors.Image(image), tv_tensors.Mask(as_bytes(ids)))
        height, width = pixels.shape[-2:]
        missing = (0, self.crop_size[1] - width, 0, self.crop_size[0] - height)
        pixel_values = self.finish(planar(pixels))
        return F.pad(pixel_values, missing), F.pad(labels.as_subclass(Tensor).long(), missing, value=self.ignore_index)


class RandomRatioResize(v2.Transform):
    """Fits pictures and masks into `size`, (shorter side, longer side), times a random factor, keeping the ratio.

    It takes the sizes and the interpolations that image processors with `shortest_edge` and `longest_edge` take.
    """

    def __init__(self, size: tuple[int, int], scale_range: tuple[float, float]):
        super().__init__()
        self.size, self.scale_range = size, scale_range

    def make_params(self, flat_inputs: list) -> dict:
        scale = torch.empty(1).uniform_(*self.scale_range).item()
        shorter, longer = (max(1, round(side * scale)) for side in self.size)
        height, width = get_size_with_aspect_ratio(tvF.get_size(flat_inputs[0]), shorter, longer)
        return {"size": (max(1, height), max(1, width))}

    def transform(self, inpt, params: dict):
        if isinstance(inpt, tv_tensors.Mask):
            # torchvision's kernel for masks is "nearest", which shifts them by up to half a pixel
            resized = tvF.resize_image(inpt[None], params["size"], InterpolationMode.NEAREST_EXACT)[0]
            return tv_tensors.Mask(resized)
        return tvF.resize(inpt, params["size"], InterpolationMode.BILINEAR, antialias=True)


class RandomCategoryCrop(v2.Transform):
    """A crop, smaller where the picture is smaller, that is drawn again while one class takes too much of it."""

    def __init__(self, size: tuple[int, int], max_category_ratio: float, ignore_index: int):
        super().__init__()
        self.size, self.max_category_ratio, self.ignore_index = size, max_category_ratio, ignore_index

    def make_params(self, flat_inputs: list) -> dict:
        mask = next(inpt for inpt in flat_inputs if isinstance(inpt, tv_tensors.Mask)).as_subclass(Tensor)
        height, width = (min(sides) for sides in zip(self.size, mask.shape, strict=True))
        for _ in range(CROP_ATTEMPTS):
            top, left = (
                torch.randint(whole - part + 1, ()).item()
                for whole, part in zip(mask.shape, (height, width), strict=True)
            )
            if self._is_varied(mask[top : top + height, left : left + width]):
                break
        return {"top": top, "left": left, "height": height, "width": width}

    def _is_varied(self, ids: Tensor) -> bool:
        if self.max_category_ratio == 1:
            return True
        counts = torch.bincount(ids[ids != self.ignore_index], minlength=1)
        most = counts.max()
        return bool(most < counts.sum() and most <= self.max_category_ratio * counts.sum())

    def transform(self, inpt, params: dict):
        return tvF.crop(inpt, **params)


def photometric_distortion_transform() -> v2.Transform:
    """Brightness, contrast (first or last of the others), saturation and hue, each changed half of the time.

    As the mm toolkits have it: brightness is added, contrast multiplies, and saturation is that of HSV. torchvision's
    RandomPhotometricDistort has other kinds of these, and swaps colour channels.
    """
    brightness, contrast, saturation, hue = (
        v2.RandomApply([change])
        for change in (
            RandomBrightness(32),
            v2.ColorJitter(brightness=(0.5, 1.5)),
            RandomSaturation((0.5, 1.5)),
            v2.ColorJitter(hue=18 / 180),
        )
    )
    orders = [v2.Compose([contrast, saturation, hue]), v2.Compose([saturation, hue, contrast])]
    return v2.Compose([brightness, v2.RandomChoice(orders)])


class RandomBrightness(v2.Transform):
    """Adds a random number to all values of a uint8 picture, between minus and plus `greatest`."""

    def __init__(self, greatest: float):
        super().__init__()
        self.greatest = greatest

    def make_params(self, flat_inputs: list) -> dict:
        return {"change": torch.empty(1).uniform_(-self.greatest, self.greatest).item()}

    def transform(self, inpt: Tensor, params: dict) -> Tensor:
        return (inpt + params["change"]).clamp_(0, 255).to(torch.uint8)


class RandomSaturation(v2.Transform):
    """Multiplies the saturation of HSV of a (3, H, W) uint8 picture by a random factor; it is 1 at most."""

    def __init__(self, factor_range: tuple[float, float]):
        super().__init__()
        self.factor_range = factor_range

    def make_params(self, flat_inputs: list) -> dict:
        return {"factor": torch.empty(1).uniform_(*self.factor_range).item()}

    def transform(self, inpt: Tensor, params: dict) -> Tensor:
        value = inpt.amax(0, keepdim=True).float()
        missing = value - inpt
        full = value / missing.amax(0, keepdim=True).clamp(min=1)  # the factor that makes a pixel's saturation 1
        return (value - missing * full.clamp(max=params["factor"])).round().to(torch.uint8)


def mixup_cutmix(
    pixel_values: Tensor, labels: Tensor, num_labels: int, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Mix each picture of a batch with the one before it: the whole (Mixup) or a box (CutMix), at random.

    Runs where the batch is; random numbers come from torch's CPU generator.

    Args:
        pixel_values: (B, 3, H, W).
        labels: (B,) class ids.
        num_labels: Number of classes.
        mixup_alpha: Of the beta distribution of Mixup's weights (arXiv:1710.09412); 0: CutMix alone. Default 0.8.
        cutmix_alpha: The same for CutMix's areas (arXiv:1905.04899); 0: Mixup alone. Default 1.

    Returns:
        (B, 3, H, W), and (B, num_labels) labels that sum to one.

    Raises:
        ValueError: An alpha is negative, or both are 0.
    """
    alphas = {"mixup_alpha": mixup_alpha, "cutmix_alpha": cutmix_alpha}
    if min(alphas.values()) < 0 or not any(alphas.values()):
        raise ValueError(f"mixup_alpha and cutmix_alpha must be at least 0, and one of them greater, got {alphas}.")
    kinds = [(v2.MixUp, mixup_alpha), (v2.CutMix, cutmix_alpha)]
    mixes = [kind(alpha=alpha, num_classes=num_labels) for kind, alpha in kinds if alpha]
    return v2.RandomChoice(mixes)(pixel_values, labels)


def normalizing_transform(image_processor: BaseImageProcessor) -> v2.Transform:
    """(3, H, W) uint8 -> float32, in the one step (and with the rounding) in which image processors do it."""
    mean, std = (
        (torch.tensor(values) * (1.0 / image_processor.rescale_factor)).tolist()
        for values in (image_processor.image_mean, image_processor.image_std)
    )
    return v2.Compose([v2.ToDtype(torch.float32), v2.Normalize(mean, std)])


def planar(image: Tensor) -> Tensor:
    """Plain tensor, channel after channel in memory: what comes from a PIL image has pixel after pixel."""
    return image.as_subclass(Tensor).contiguous()


def check_range(name: str, limits, greatest: float = float("inf")) -> None:
    if not 0 < limits[0] <= limits[1] <= greatest:
        wanted = f"at most {greatest}" if greatest < float("inf") else "ascending"
        raise ValueError(f"{name} must be two numbers greater than 0, {wanted}, got {tuple(limits)}.")


def check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}.")
