# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""RandAugment as both papers' models were trained with it, which is not torchvision's.

Levels go to 10 rather than to 30, every operation gets stronger with its level, the level varies, and there are Invert
and SolarizeAdd. Operations are torchvision's on PIL images, since it turns and shears tensors bilinearly at best.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tvF


NUM_OPERATIONS = 2
PROBABILITY = 0.5  # that a chosen operation is applied
MAX_MAGNITUDE = 10
DEVIATION = 0.5
SOLARIZED_BELOW = 128


class Operation(NamedTuple):
    """What may happen to a picture.

    Attributes:
        apply: (image, argument, fill) -> image, where `fill` is the colour of what comes from outside.
        start, end: The argument at level 0 and at level 10; between, it is proportional.
        is_signed: Whether the argument is negated half of the time.
    """

    apply: Callable[[Image.Image, float, Sequence[int]], Image.Image]
    start: float = 0.0
    end: float = 0.0
    is_signed: bool = False


def _moved(
    image: Image.Image, fill: Sequence[int], translate: Sequence[float] = (0, 0), shear: Sequence[float] = (0, 0)
) -> Image.Image:
    """By parts of width and height, sheared by tangents of angles about the top left corner."""
    pixels = [part * side for part, side in zip(translate, image.size, strict=True)]
    angles = [math.degrees(math.atan(tangent)) for tangent in shear]
    options = {"interpolation": InterpolationMode.BICUBIC, "fill": list(fill), "center": [0, 0]}
    return tvF.affine(image, angle=0, translate=pixels, scale=1, shear=angles, **options)


def _rotated(image: Image.Image, angle: float, fill: Sequence[int]) -> Image.Image:
    return tvF.rotate(image, angle, InterpolationMode.BICUBIC, fill=list(fill))


def _posterized(image: Image.Image, bits: float, fill: Sequence[int]) -> Image.Image:
    kept = 256 - 2 ** (8 - math.ceil(bits))  # level 10 leaves no bit, which Pillow's posterize refuses
    return image.point(lambda value: value & kept)


def _brightened_where_dark(image: Image.Image, amount: float, fill: Sequence[int]) -> Image.Image:
    return image.point(lambda value: value + int(amount) if value < SOLARIZED_BELOW else value)


OPERATIONS = {
    "AutoContrast": Operation(lambda image, *_: tvF.autocontrast(image)),
    "Equalize": Operation(lambda image, *_: tvF.equalize(image)),
    "Invert": Operation(lambda image, *_: tvF.invert(image)),
    "Rotate": Operation(_rotated, 0, 30, True),
    "Posterize": Operation(_posterized, 4, 0),
    "Solarize": Operation(lambda image, threshold, _: tvF.solarize(image, threshold), 256, 0),
    "SolarizeAdd": Operation(_brightened_where_dark, 0, 110),
    "Color": Operation(lambda image, change, _: tvF.adjust_saturation(image, 1 + change), 0, 0.9, True),
    "Contrast": Operation(lambda image, change, _: tvF.adjust_contrast(image, 1 + change), 0, 0.9, True),
    "Brightness": Operation(lambda image, change, _: tvF.adjust_brightness(image, 1 + change), 0, 0.9, True),
    "Sharpness": Operation(lambda image, change, _: tvF.adjust_sharpness(image, 1 + change), 0, 0.9, True),
    "ShearX": Operation(lambda image, tangent, fill: _moved(image, fill, shear=(tangent, 0)), 0, 0.3, True),
    "ShearY": Operation(lambda image, tangent, fill: _moved(image, fill, shear=(0, tangent)), 0, 0.3, True),
    "TranslateX": Operation(lambda image, part, fill: _moved(image, fill, translate=(part, 0)), 0, 0.45, True),
    "TranslateY": Operation(lambda image, part, fill: _moved(image, fill, translate=(0, part)), 0, 0.45, True),
}


class RandAugment(v2.Transform):
    """Two random operations, each applied half of the time, at a random level (arXiv:1909.13719).

    With a magnitude of 9 it is timm's "rand-m9-mstd0.5-inc1", with which DeiT is trained, and the policy of Swin, of
    which GPViT has it. The same operation may come twice.

    Args:
        magnitude: Mean of the levels, 0 to 10. They are normally distributed with a deviation of 0.5 and clipped.
        fill: Colour of what an operation moves into the picture, 0 to 255 for each channel.
    """

    def __init__(self, magnitude: float, fill: Sequence[int]):
        super().__init__()
        self.magnitude, self.fill = magnitude, tuple(fill)

    def make_params(self, flat_inputs: list) -> dict[str, Any]:
        """The operations to apply, as names of `OPERATIONS` and arguments."""
        indices = torch.randint(len(OPERATIONS), (NUM_OPERATIONS,)).tolist()
        chosen = [list(OPERATIONS)[index] for index in indices if torch.rand(()) < PROBABILITY]
        return {"operations": [(name, self._argument(OPERATIONS[name])) for name in chosen]}

    def _argument(self, operation: Operation) -> float:
        level = torch.normal(float(self.magnitude), DEVIATION, ()).clamp(0, MAX_MAGNITUDE).item()
        argument = operation.start + (operation.end - operation.start) * level / MAX_MAGNITUDE
        return -argument if operation.is_signed and torch.rand(()) < 0.5 else argument

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """(3, H, W) uint8 -> the same."""
        image = tvF.to_pil_image(inpt)
        for name, argument in params["operations"]:
            image = OPERATIONS[name].apply(image, argument, self.fill)
        return tvF.to_image(image)
