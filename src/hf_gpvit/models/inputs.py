# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What models refuse, with a message that names it."""

from collections.abc import Mapping

import torch
from torch import nn

from .compat import is_transformed, sizes_as_tensor


def check_pixel_values(pixel_values: torch.Tensor, num_channels: int) -> None:
    """Raises a ValueError that says what is wrong unless `pixel_values` is float (B, num_channels, H, W)."""
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"pixel_values must be a tensor from the image processor, got {type(pixel_values).__name__}.")
    shape = tuple(pixel_values.shape)
    if pixel_values.ndim != 4:
        raise ValueError(f"pixel_values must be (batch, {num_channels}, height, width), got shape {shape}.")
    if shape[1] != num_channels:
        raise ValueError(f"pixel_values must have config.num_channels={num_channels} channels, got shape {shape}.")
    if 0 in shape:
        raise ValueError(f"pixel_values must have at least one image of at least 1x1 pixel, got shape {shape}.")
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values must be floating point (normalised by the image processor), got {pixel_values.dtype}."
        )


def usual_ignore_index(num_labels: int) -> int:
    """Label of pixels without a class: 255 as everywhere in transformers; -100, as in torch, where 255 is a class."""
    return 255 if num_labels <= 255 else -100


def checked_label_ids(
    labels: torch.Tensor, shape: tuple[int, ...], num_labels: int, ignore_index: int
) -> torch.Tensor:
    """The class ids as int64, which the losses want.

    Raises:
        ValueError: they aren't integers of that shape in [0, num_labels) or `ignore_index`. The range is checked on
            CPU and outside compilation and torch.func's transforms only: elsewhere it would wait for the device, or
            there are no values to look at.
    """
    if not isinstance(labels, torch.Tensor):
        raise ValueError(f"labels must be a tensor of integer class ids, got {type(labels).__name__}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integer class ids (torch.int64), got {labels.dtype}.")
    if tuple(labels.shape) != shape:
        raise ValueError(f"labels must have shape {shape} to go with pixel_values, got {tuple(labels.shape)}.")
    labels = labels.long()
    if labels.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed():
        return labels
    invalid = labels[((labels < 0) | (labels >= num_labels)) & (labels != ignore_index)]
    if invalid.numel():
        raise ValueError(
            f"labels must be in [0, {num_labels - 1}] (num_labels={num_labels}) or {ignore_index} (ignored), "
            f"got {invalid.unique().tolist()[:10]}."
        )
    return labels


def checked_classification_labels(labels: torch.Tensor, pixel_values: torch.Tensor, config) -> torch.Tensor:
    """The labels as the loss of the problem type wants them.

    Raises:
        ValueError: they do not fit the batch and the problem type.
    """
    batch, num_labels = pixel_values.shape[0], config.num_labels
    is_float = isinstance(labels, torch.Tensor) and labels.is_floating_point()
    if config.problem_type == "single_label_classification" or (
        config.problem_type is None and num_labels > 1 and not is_float
    ):
        return checked_label_ids(labels, (batch,), num_labels, ignore_index=-100)
    shapes = [(batch, num_labels)] + ([(batch,)] if num_labels == 1 else [])
    if not is_float or tuple(labels.shape) not in shapes:
        is_tensor = isinstance(labels, torch.Tensor)
        got = f"{labels.dtype} of shape {tuple(labels.shape)}" if is_tensor else type(labels).__name__
        raise ValueError(
            f"labels must be a floating-point tensor of shape {shapes[0]} (num_labels={num_labels}, "
            f"problem_type={config.problem_type!r}), or integer class ids of shape ({batch},) for single-label "
            f"classification; got {got}."
        )
    return labels


def check_batch_statistics(module: nn.Module, values_per_channel: int, pixel_values: torch.Tensor) -> None:
    """Raises a ValueError where a BatchNorm of `module` in train mode would see one value per channel."""
    if values_per_channel != 1:
        return
    if any(isinstance(child, nn.BatchNorm2d) and child.training for child in module.modules()):
        batch, _, height, width = pixel_values.shape
        raise ValueError(
            f"BatchNorm can't be trained on one value per channel: batch size {batch} at {height}x{width} leaves only "
            "one. Use a larger batch or larger images, or call eval()."
        )


def batch_sizes(pixel_values: torch.Tensor) -> torch.Tensor:
    """(B, 2) int64: height and width of (B, C, H, W), for each of the batch."""
    return sizes_as_tensor(pixel_values.shape[-2:], torch.int64, pixel_values.device).repeat(pixel_values.shape[0], 1)


def checked_image_sizes(pixel_mask: torch.Tensor | None, pixel_values: torch.Tensor) -> torch.Tensor:
    """(B, 2) heights and widths of the images in a batch that is padded on the right and at the bottom.

    Raises:
        ValueError: the mask isn't (B, H, W), or nothing of an image is left. The latter is checked on CPU only.
    """
    batch, _, height, width = pixel_values.shape
    if pixel_mask is None:
        return batch_sizes(pixel_values)
    if tuple(pixel_mask.shape) != (batch, height, width):
        raise ValueError(
            f"pixel_mask must have the shape {(batch, height, width)} of pixel_values, got {tuple(pixel_mask.shape)}."
        )
    is_image = pixel_mask.to(pixel_values.device) != 0
    sizes = torch.stack([is_image.any(dim=2).sum(dim=1), is_image.any(dim=1).sum(dim=1)], dim=1)
    if _can_look_at(sizes) and sizes.min() < 1:
        raise ValueError(f"pixel_mask leaves nothing of an image; heights and widths are {sizes.tolist()}.")
    return sizes


def checked_detection_labels(
    labels: list[Mapping[str, torch.Tensor]], pixel_values: torch.Tensor, num_labels: int, with_masks: bool
) -> list[Mapping[str, torch.Tensor]]:
    """The labels as they are.

    Raises:
        ValueError: they aren't one mapping for each image with `class_labels`, `boxes` and, `with_masks`, `masks` of
            as many objects; classes are none, boxes not (centre, size) relative to the image, outside of it or
            without area, or masks not as large as `pixel_values`. Values are checked on CPU only.
    """
    if not isinstance(labels, (list, tuple)) or len(labels) != len(pixel_values):
        raise ValueError(
            f"labels must be a list of a dict for each of {len(pixel_values)} images, got {labels!r:.80}."
        )
    for image, label in enumerate(labels):
        try:
            _check_objects(label, pixel_values, num_labels, with_masks)
        except (KeyError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"labels of image {image} of the batch: {reason}") from error
    return labels


def _check_objects(
    label: Mapping[str, torch.Tensor], pixel_values: torch.Tensor, num_labels: int, with_masks: bool
) -> None:
    classes, boxes = label["class_labels"], label["boxes"]
    height, width = pixel_values.shape[-2:]
    number = classes.shape[0]
    checked_label_ids(classes, (number,), num_labels, ignore_index=0)
    if tuple(boxes.shape) != (number, 4) or not boxes.is_floating_point():
        raise ValueError(
            f"boxes must be floating-point numbers of the shape {(number, 4)}, got {boxes.dtype} {tuple(boxes.shape)}."
        )
    if with_masks and tuple(label["masks"].shape) != (number, height, width):
        raise ValueError(
            f"masks must have the shape {(number, height, width)}, as pixel_values, got {tuple(label['masks'].shape)}."
        )
    if number == 0 or not _can_look_at(boxes):
        return
    pixel = boxes.new_tensor([1 / width, 1 / height])
    first, last = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    is_right = (boxes[:, 2:] > 0) & (first >= -pixel) & (last <= 1 + pixel)
    wrong = (~is_right.all(dim=1)).nonzero()[:, 0]
    if wrong.numel():
        raise ValueError(
            f"box {wrong[0].item()} is {boxes[wrong[0]].tolist()}; boxes are centre (x, y), width and height "
            "relative to the image, greater than 0 in size and within it."
        )


def _can_look_at(tensor: torch.Tensor) -> bool:
    """Whether values can be checked: it would wait for the device, or there are none to look at, elsewhere."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.jit.is_tracing()
