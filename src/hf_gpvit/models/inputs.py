# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What models refuse, with a message that names it."""

import torch
from torch import nn

from .compat import is_transformed


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
