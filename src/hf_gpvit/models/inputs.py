# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What models refuse, with a message that names it."""

from collections.abc import Mapping

import torch
from torch import nn

from .compat import is_captured, is_transformed, sizes_as_tensor


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
    labels: torch.Tensor, shape: tuple[int, ...], num_labels: int, ignore_index: int | None, name: str = "labels"
) -> torch.Tensor:
    """The class ids as int64, which the losses want; `name` is what they are called.

    Raises:
        ValueError: they aren't integers of that shape in [0, num_labels) or `ignore_index`. The range is checked on
            CPU and outside compilation and torch.func's transforms only: elsewhere it would wait for the device, or
            there are no values to look at.
    """
    if not isinstance(labels, torch.Tensor):
        raise ValueError(f"{name} must be a tensor of integer class ids, got {type(labels).__name__}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name} must be integer class ids (torch.int64), got {labels.dtype}.")
    if tuple(labels.shape) != shape:
        raise ValueError(f"{name} must have shape {shape} to go with pixel_values, got {tuple(labels.shape)}.")
    labels = labels.long()
    if labels.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed():
        return labels
    invalid = labels[(labels < 0) | (labels >= num_labels)]
    invalid = invalid if ignore_index is None else invalid[invalid != ignore_index]
    if invalid.numel():
        valid = f"in [0, {num_labels - 1}] (num_labels={num_labels})"
        valid += "" if ignore_index is None else f" or {ignore_index} (ignored)"
        raise ValueError(f"{name} must be {valid}, got {invalid.unique().tolist()[:10]}.")
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
        ValueError: the mask isn't (B, H, W), or what it leaves of an image is no rectangle at the top left. The latter
            is checked on CPU only.
    """
    batch, _, height, width = pixel_values.shape
    if pixel_mask is None:
        return batch_sizes(pixel_values)
    shape = tuple(pixel_mask.shape) if isinstance(pixel_mask, torch.Tensor) else type(pixel_mask).__name__
    if shape != (batch, height, width):
        raise ValueError(f"pixel_mask must have the shape {(batch, height, width)} of pixel_values, got {shape}.")
    is_image = pixel_mask.to(pixel_values.device) != 0
    sizes = torch.stack([is_image.any(dim=2).sum(dim=1), is_image.any(dim=1).sum(dim=1)], dim=1)
    if _can_look_at(sizes):
        _check_rectangles(is_image, sizes)
    return sizes


def _check_rectangles(is_image: torch.Tensor, sizes: torch.Tensor) -> None:
    rows, columns = (torch.arange(side) < sizes[:, axis, None] for axis, side in enumerate(is_image.shape[1:]))
    is_right = (is_image == (rows[:, :, None] & columns[:, None])).flatten(1).all(dim=1) & sizes.all(dim=1)
    wrong = (~is_right).nonzero()[:, 0].tolist()
    if wrong:
        height, width = sizes[wrong[0]].tolist()
        raise ValueError(
            f"pixel_mask must be 1 on a rectangle at the top left, the image, and 0 elsewhere; pixel_mask[{wrong[0]}] "
            f"has {is_image[wrong[0]].sum().item()} pixels of 1 in {height} rows and {width} columns."
        )


def checked_detection_labels(
    labels: list[Mapping[str, torch.Tensor]], pixel_values: torch.Tensor, num_labels: int, with_masks: bool
) -> list[Mapping[str, torch.Tensor]]:
    """The labels as they are.

    Raises:
        ValueError: they aren't one mapping for each image with `class_labels`, `boxes` and, `with_masks`, `masks` of
            as many objects; classes are none, boxes not (centre, size) relative to the image, outside of it or
            without area, or masks not as large as `pixel_values` or not of 0 and 1. Values are checked on CPU only.
    """
    if not isinstance(labels, (list, tuple)) or len(labels) != len(pixel_values):
        got = f"{len(labels)} of them" if isinstance(labels, (list, tuple)) else type(labels).__name__
        raise ValueError(f"labels must be a list of a dict for each of {len(pixel_values)} images, got {got}.")
    fields = ("class_labels", "boxes", "masks") if with_masks else ("class_labels", "boxes")
    for image, label in enumerate(labels):
        try:
            _check_tensors(label, fields)
            _check_objects(label, pixel_values, num_labels, with_masks)
        except ValueError as error:
            raise ValueError(f"labels of image {image} of the batch: {error}") from error
    return labels


def _check_tensors(label: Mapping[str, torch.Tensor], fields: tuple[str, ...]) -> None:
    if not isinstance(label, Mapping):
        raise ValueError(f"they must be a dict of {', '.join(fields)}, got {type(label).__name__}.")
    for field in fields:
        if field not in label:
            raise ValueError(f"{field} is missing; there must be {', '.join(fields)}, got {', '.join(label)}.")
        if not isinstance(label[field], torch.Tensor):
            raise ValueError(f"{field} must be a tensor, got {type(label[field]).__name__}.")


def _check_objects(
    label: Mapping[str, torch.Tensor], pixel_values: torch.Tensor, num_labels: int, with_masks: bool
) -> None:
    classes, boxes = label["class_labels"], label["boxes"]
    height, width = pixel_values.shape[-2:]
    number = classes.numel()
    checked_label_ids(classes, (number,), num_labels, ignore_index=None, name="class_labels")
    if tuple(boxes.shape) != (number, 4) or not boxes.is_floating_point():
        raise ValueError(
            f"boxes must be floating-point numbers of the shape {(number, 4)}, got {boxes.dtype} {tuple(boxes.shape)}."
        )
    if with_masks and tuple(label["masks"].shape) != (number, height, width):
        raise ValueError(
            f"masks must have the shape {(number, height, width)}, as pixel_values, got {tuple(label['masks'].shape)}."
        )
    if number and _can_look_at(boxes):
        _check_boxes(boxes, height, width)
    if number and with_masks and _can_look_at(label["masks"]):
        _check_masks(label["masks"])


def _check_boxes(boxes: torch.Tensor, height: int, width: int) -> None:
    """They may reach a pixel beyond the image, or as far as their type rounds."""
    rounding = torch.finfo(boxes.dtype).eps
    margin = boxes.new_tensor([1 / width, 1 / height], dtype=torch.float32).clamp(min=rounding)
    size = boxes.new_tensor([width, height], dtype=torch.float32)
    centres, half = boxes[:, :2].float(), boxes[:, 2:].float() / 2
    first, last = centres - half, centres + half
    is_right = (last * size > first * size) & (first >= -margin) & (last <= 1 + margin)
    wrong = (~is_right.all(dim=1)).nonzero()[:, 0]
    if wrong.numel():
        raise ValueError(
            f"boxes[{wrong[0].item()}] is {boxes[wrong[0]].tolist()}; boxes are centre (x, y), width and height "
            "relative to the image, greater than 0 in size and within it."
        )


def _check_masks(masks: torch.Tensor) -> None:
    least, most = masks.min().item(), masks.max().item()
    if not (least >= 0 and most <= 1):
        raise ValueError(f"masks must be of 0 and 1, got values from {least} to {most}.")


def _can_look_at(tensor: torch.Tensor) -> bool:
    """Whether values can be checked: it would wait for the device, or there are none to look at, elsewhere."""
    return tensor.device.type == "cpu" and not is_captured()
