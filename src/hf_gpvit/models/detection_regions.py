# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What detectors need of torchvision: non-maximum suppression, and features and masks within boxes.

All shapes that come out follow from those that go in, so that a detector compiles and exports as one graph.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


try:
    from torchvision import ops
except ImportError:  # `requires_backends` says so where a detector is made
    ops = None

NUM_REGION_LEVELS = 4
FINEST_SIDE = 56  # of boxes that the finest level is for


def keep_apart(
    boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, exists: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Which of the boxes that exist stay when none may overlap a better one of its image and group.

    Args:
        boxes: (B, N, 4) float32.
        scores, groups, exists: (B, N) float32, int64 and bool.
        threshold: Greatest intersection over union that may be.

    Returns:
        (B, N) bool.
    """
    if torch.compiler.is_compiling():
        return torch.ops.hf_gpvit.keep_apart(boxes, scores, groups, exists, threshold)
    kept = []
    for image in range(boxes.shape[0]):
        [index] = exists[image].nonzero(as_tuple=True)
        best = ops.batched_nms(boxes[image, index], scores[image, index], groups[image, index], threshold)
        kept.append(torch.zeros_like(groups[image]).scatter(0, index[best], 1) > 0)
    return torch.stack(kept)


@torch.library.custom_op("hf_gpvit::keep_apart", mutates_args=())
def _keep_apart(
    boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, exists: torch.Tensor, threshold: float
) -> torch.Tensor:
    """The same as an operator, because the number of those that stay is unknown to a compiled graph."""
    return keep_apart(boxes, scores, groups, exists, threshold)


@_keep_apart.register_fake
def _(boxes, scores, groups, exists, threshold):
    return torch.empty_like(exists)


def region_features(
    maps: Sequence[torch.Tensor], strides: Sequence[int], regions: list[torch.Tensor] | torch.Tensor, side: int
) -> torch.Tensor:
    """What the maps have within boxes, each taken from the level for its size (arXiv:1612.03144, eq. 1).

    A box has no size on the other levels, where it costs nothing and gives 0, so that all levels can be added.

    Args:
        maps, strides: (B, C, h, w) of the pyramid, fine to coarse; levels beyond the fourth have no regions.
        regions: (R_i, 4) boxes of each image, or (B, R, 4).
        side: Of the regions that come out.

    Returns:
        (sum of R_i, C, side, side), in the type of the maps.
    """
    images, boxes = _with_images(regions).split([1, 4], dim=1)
    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    levels = (sides / FINEST_SIDE + 1e-6).log2().floor().clamp(0, NUM_REGION_LEVELS - 1)
    features = sum(
        ops.roi_align(
            maps[level].float(),
            torch.cat([images, boxes * (levels == level)[:, None]], dim=1),
            output_size=side,
            spatial_scale=1 / strides[level],
            sampling_ratio=0,
            aligned=True,
        )
        for level in range(NUM_REGION_LEVELS)
    )
    return features.to(maps[0].dtype)


def _with_images(regions: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
    """(sum of R_i, 5): boxes, each after the index of its image; of (B, R, 4) whatever the size of the batch."""
    if isinstance(regions, torch.Tensor):
        images = torch.arange(regions.shape[0], dtype=regions.dtype, device=regions.device)
        return torch.cat([images[:, None, None].expand_as(regions[..., :1]), regions], dim=-1).flatten(0, 1)
    return torch.cat([F.pad(boxes, (1, 0), value=image) for image, boxes in enumerate(regions)])


def cut_masks(masks: torch.Tensor, indices: torch.Tensor, boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Within each of the boxes (P, 4) the mask of its object, (N, H, W) and (P,): (P, side, side) of 0 and 1."""
    places = torch.cat([indices[:, None].to(boxes.dtype), boxes], dim=1)
    cut = ops.roi_align(masks[:, None].to(boxes.dtype), places, output_size=side, sampling_ratio=0, aligned=True)
    return (cut[:, 0] >= 0.5).to(boxes.dtype)
