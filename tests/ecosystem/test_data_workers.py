# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Image processors in the workers of a DataLoader."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from hf_gpvit.data import image_processor_for


class Pictures(Dataset):
    """Noise of two sizes, processed by whoever asks."""

    def __init__(self, processor, masks):
        self.processor = processor
        self.masks = masks

    def __len__(self):
        return 4

    def __getitem__(self, index):
        picture = np.random.default_rng(index).integers(0, 256, (48, 48 + 16 * (index // 2), 3), dtype=np.uint8)
        options = {"segmentation_maps": picture[..., 0] % 5} if self.masks else {}
        return {key: value[0] for key, value in self.processor(picture, return_tensors="pt", **options).items()}


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_give_what_the_main_process_gives(family, method):
    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    for index in (2, 3):
        model = family.models(**family.shallow)[index]
        pictures = Pictures(image_processor_for(model, image_size=40), masks=index == 3)
        loader = DataLoader(pictures, batch_size=2, num_workers=2, multiprocessing_context=method)
        for number, batch in enumerate(loader):
            expected = [pictures[2 * number], pictures[2 * number + 1]]
            for key, value in batch.items():
                assert torch.equal(value, torch.stack([sample[key] for sample in expected]))
            assert torch.isfinite(model(batch["pixel_values"]).logits).all()
