# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Masks as runs, against pycocotools."""

import numpy as np
import pytest
import torch

from hf_gpvit.inference.rle import encode_mask, mask_area, unite


coco = pytest.importorskip("pycocotools.mask")


def by_coco(mask):
    return coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 3)])
@pytest.mark.parametrize("around", [0, 4])
def test_runs_of_masks_and_of_parts(share, size, around):
    """A part may lie anywhere, also as high as the picture."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        mask = torch.rand(size, generator=generator) < share
        assert encode_mask(mask) == by_coco(mask)
        for top, left in ((0, 0), (around, 2 * around), (0, around), (around, 0)):
            picture = torch.zeros(size[0] + top, size[1] + 2 * left, dtype=torch.bool)
            picture[top : top + size[0], left : left + size[1]] = mask
            encoded = encode_mask(mask, (left, top), picture.shape)
            assert encoded == by_coco(picture)
            assert mask_area(encoded) == mask_area(encoded | {"counts": encoded["counts"].decode()}) == mask.sum()


def test_unions():
    masks = torch.rand(4, 9, 11, generator=torch.Generator().manual_seed(0)) < 0.2
    assert unite([encode_mask(mask) for mask in masks]) == by_coco(masks.any(dim=0))
    assert unite([encode_mask(masks[0])]) == by_coco(masks[0])
