# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of detectors, in float32: sums over the whole batch by one number, as the official ones are."""

import torch
import torch.nn.functional as F

from .detection_boxes import UNIT_STDS, UNUSED, Matcher, encode_boxes, sample_matches


def rpn_loss(
    logits: torch.Tensor,
    deltas: torch.Tensor,
    anchors: torch.Tensor,
    usable: torch.Tensor,
    boxes: list[torch.Tensor],
    matcher: Matcher,
    batch_size_per_image: int,
    positive_fraction: float,
) -> dict[str, torch.Tensor]:
    """Binary cross-entropy and L1 of sampled anchors, both divided by their number.

    Args:
        logits, deltas: (B, A) and (B, A, 4).
        anchors: (A, 4).
        usable: (B, A), False for anchors that stand in what a batch was padded with.
        boxes: (N_i, 4) of each image.
        matcher, batch_size_per_image, positive_fraction: How anchors are chosen.
    """
    classes, regressions, number = logits.new_zeros(()), logits.new_zeros(()), 0
    for image, objects in enumerate(boxes):
        matches = match_usable(matcher, anchors, objects, usable[image])
        positive, negative = sample_matches(matches, batch_size_per_image, positive_fraction)
        chosen = torch.cat([positive, negative])
        is_object = torch.zeros_like(chosen, dtype=logits.dtype)
        is_object[: positive.shape[0]] = 1
        classes = classes + F.binary_cross_entropy_with_logits(logits[image, chosen], is_object, reduction="sum")
        targets = encode_boxes(objects[matches[positive]], anchors[positive], UNIT_STDS)
        regressions = regressions + (deltas[image, positive] - targets).abs().sum()
        number += chosen.shape[0]
    return {"loss_rpn_class": classes / max(number, 1), "loss_rpn_box": regressions / max(number, 1)}


def retina_loss(
    logits: torch.Tensor,
    deltas: torch.Tensor,
    anchors: torch.Tensor,
    usable: torch.Tensor,
    boxes: list[torch.Tensor],
    labels: list[torch.Tensor],
    matcher: Matcher,
    alpha: float,
    gamma: float,
) -> dict[str, torch.Tensor]:
    """Focal loss of all anchors and L1 of objects, divided by the number of objects; at least one for each image.

    Args:
        logits, deltas: (B, A, num_labels) and (B, A, 4).
        anchors, usable, boxes, matcher: As in `rpn_loss`.
        labels: (N_i,) of each image.
        alpha, gamma: Of the focal loss.
    """
    classes, regressions, number = logits.new_zeros(()), logits.new_zeros(()), 0
    for image, (objects, class_labels) in enumerate(zip(boxes, labels, strict=True)):
        matches = match_usable(matcher, anchors, objects, usable[image])
        used, positive = matches != UNUSED, (matches >= 0).nonzero()[:, 0]
        targets = torch.zeros_like(logits[image])
        targets[positive, class_labels[matches[positive]]] = 1
        classes = classes + focal_loss(logits[image, used], targets[used], alpha, gamma)
        encoded = encode_boxes(objects[matches[positive]], anchors[positive], UNIT_STDS)
        regressions = regressions + (deltas[image, positive] - encoded).abs().sum()
        number += max(positive.shape[0], 1)
    return {"loss_class": classes / number, "loss_box": regressions / number}


def match_usable(matcher: Matcher, anchors: torch.Tensor, boxes: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
    """(A,): what the matcher says of the anchors (A, 4) that are usable; the others are `UNUSED`, no object's best."""
    matches = torch.full(anchors.shape[:1], UNUSED, dtype=torch.int64, device=anchors.device)
    matches[usable] = matcher(anchors[usable], boxes)
    return matches


def focal_loss(logits: torch.Tensor, targets: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """Sum of binary cross-entropies of (A, num_labels), the nearly right counting little (arXiv:1708.02002, eq. 5)."""
    entropies = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    wrong = torch.where(targets == 1, -logits, logits).sigmoid()
    weights = torch.where(targets == 1, alpha, 1 - alpha)
    return (weights * wrong**gamma * entropies).sum()


def box_loss(
    logits: torch.Tensor, deltas: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Cross-entropy of regions, and L1 of those that are objects, both divided by the number of regions.

    Args:
        logits, deltas: (R, num_labels + 1) and (R, num_labels, 4).
        labels: (R,), num_labels for background.
        targets: (P, 4) encoded boxes of the regions that are objects, in their order.
    """
    positive = (labels < deltas.shape[1]).nonzero()[:, 0]
    number = max(labels.shape[0], 1)
    regressions = (deltas[positive, labels[positive]] - targets).abs().sum()
    return {
        "loss_class": F.cross_entropy(logits, labels, reduction="sum") / number,
        "loss_box": regressions / number,
    }


def mask_loss(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean binary cross-entropy of the masks of the right class: (P, num_labels, s, s), (P,), (P, s, s)."""
    chosen = logits[torch.arange(labels.shape[0], device=labels.device), labels]
    total = F.binary_cross_entropy_with_logits(chosen, targets, reduction="sum")
    return {"loss_mask": total / max(targets.numel(), 1)}
