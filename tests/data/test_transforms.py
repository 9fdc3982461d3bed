# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What the training transform gives: crops that masks follow, normalised as the image processor does."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from hf_gpvit.data import image_processor_for
from hf_gpvit.data.transforms import TrainTransform, annotation_ids


MASK_MODES = ("L", "P", "I;16", "I")
COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], np.uint8)
IDS = (0, 7, 30, 255)


@pytest.fixture
def processors(family):
    """Of a classifier and of a segmentor."""
    classes = (family.classifier_class, family.segmentor_class)
    return [image_processor_for(model_class(family.config()), 32) for model_class in classes]


def noise(width, height, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def annotation(ids, mode):
    picture = Image.fromarray(np.asarray(ids).astype({"I;16": np.uint16, "I": np.int32}.get(mode, np.uint8)))
    if mode == "P":
        # colours that are not the ids
        picture.putpalette([255 - index // 3 for index in range(768)])
    assert picture.mode == mode
    return picture


def colored(width, height, mode, seed=1):
    """Blocks of four classes: a picture whose colours say the class, and its annotation."""
    blocks = np.random.default_rng(seed).integers(0, len(IDS), (-(-height // 16), -(-width // 16)))
    classes = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return Image.fromarray(COLORS[classes]), annotation(np.array(IDS)[classes], mode)


def denormalised(processor, pixel_values):
    mean, std = torch.tensor([processor.image_mean, processor.image_std])[..., None, None]
    return pixel_values * std + mean


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
@pytest.mark.parametrize("size", [(50, 40), (200, 31), (1, 1), (3, 90)])
def test_pictures_of_any_mode_and_size(processors, mode, size):
    picture = noise(*size, "RGBA").convert("L").convert(mode) if mode == "LA" else noise(*size, mode)
    for processor in processors:
        batch = TrainTransform(processor, 24)({"image": [picture, noise(30, 30)], "label": [4, 0]})
        assert batch.keys() == {"pixel_values", "labels"}
        assert batch["labels"] == [4, 0]
        for values in batch["pixel_values"]:
            assert type(values) is torch.Tensor
            assert values.shape == (3, 24, 24) and values.dtype == torch.float32
            values = denormalised(processor, values)
            assert values.min() > -1e-4 and values.max() < 1 + 1e-4


@pytest.mark.parametrize("mode", MASK_MODES)
@pytest.mark.parametrize("size", [(50, 40), (1, 1), (3, 90)])
def test_masks(processors, mode, size):
    mask = annotation(np.resize(IDS, size[::-1]), mode)
    batch = TrainTransform(processors[1], 24)({"image": [noise(*size)], "annotation": [mask]})
    assert batch.keys() == {"pixel_values", "labels"}
    assert batch["pixel_values"][0].shape == (3, 24, 24)
    [labels] = batch["labels"]
    assert type(labels) is torch.Tensor
    assert labels.shape == (24, 24) and labels.dtype == torch.int64
    assert set(labels.unique().tolist()) <= set(np.unique(np.asarray(mask)).tolist())


@pytest.mark.parametrize("mode", MASK_MODES)
def test_masks_follow_their_pictures(processors, mode):
    """Colours say what the mask must be, wherever the crop is and whether or not it is flipped."""
    pictures, masks = zip(*(colored(150, 100, mode, seed) for seed in range(20)), strict=True)
    transform = TrainTransform(processors[1], 64, scale=(0.2, 1.0))
    batch = transform({"image": list(pictures), "annotation": list(masks)})
    colors = torch.from_numpy(COLORS).float() / 255
    seen = set()
    for values, labels in zip(batch["pixel_values"], batch["labels"], strict=True):
        distances = (denormalised(processors[1], values).permute(1, 2, 0)[:, :, None] - colors).abs().amax(-1)
        classes = torch.tensor(IDS)[distances.argmin(-1)]
        pure = distances.amin(-1) < 0.05  # not where the resize mixed two of them
        assert pure.float().mean() > 0.5
        assert (classes == labels)[pure].float().mean() > 0.95
        assert (classes == labels).float().mean() > 0.8  # small crops of tiny blocks have many edges
        seen |= set(labels.unique().tolist())
    assert seen == set(IDS)


def test_whole_picture_as_the_image_processor_sees_it(processors):
    """A square picture shown in whole and at its own size is what the processor makes of it, or its mirror image."""
    picture, mask = colored(64, 64, "L")
    ids = annotation_ids(mask)
    for processor in processors:
        expected = processor(picture, do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"][0]
        transform = TrainTransform(processor, 64, scale=(1.0, 1.0))
        batch = transform({"image": [picture] * 20, "annotation": [mask] * 20})
        kept = [torch.equal(labels, ids) for labels in batch["labels"]]
        assert {True, False} == set(kept)
        for values, labels, as_is in zip(batch["pixel_values"], batch["labels"], kept, strict=True):
            if not as_is:
                values, labels = values.flip(-1), labels.flip(-1)
            assert torch.equal(labels, ids)
            torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)


def test_flips_half_of_the_pictures(processors):
    picture = Image.new("RGB", (32, 32), "black")
    picture.paste("white", (16, 0, 32, 32))
    transform = TrainTransform(processors[0], 32, scale=(1.0, 1.0))
    values = torch.stack(transform({"image": [picture] * 200, "label": [0] * 200})["pixel_values"])
    brighter_left = values[..., 0].mean((1, 2)) > values[..., -1].mean((1, 2))
    assert 60 < brighter_left.sum() < 140


def test_scale_is_the_part_of_the_picture_shown(processors):
    """The ids of a mask count its columns, so labels tell how much of them a crop shows."""
    mask = annotation(np.tile(np.arange(200), (200, 1)), "L")
    for scale, least, greatest in (((0.04, 0.05), 30, 60), ((0.9, 1.0), 140, 200)):
        transform = TrainTransform(processors[1], 200, scale)
        for labels in transform({"image": [noise(200, 200)] * 10, "annotation": [mask] * 10})["labels"]:
            assert least <= len(labels.unique()) <= greatest


def test_ignored_pixels_stay_ignored(processors):
    mask = annotation(np.full((20, 30), 255), "L")
    [labels] = TrainTransform(processors[1], 24)({"image": [noise(30, 20)], "annotation": [mask]})["labels"]
    assert (labels == 255).all()


def test_as_transform_of_a_dataset(processors):
    """Decoded again on every access, with another crop each time."""
    picture, mask = colored(60, 50, "L")
    dataset = Dataset.from_dict({"image": [picture] * 3, "annotation": [mask] * 3})
    dataset = dataset.with_transform(TrainTransform(processors[1], 16))
    rows = [dataset[index] for index in (0, 1, 2, 0, 1, 2)]
    assert all(row["pixel_values"].shape == (3, 16, 16) and row["labels"].shape == (16, 16) for row in rows)
    assert len({row["pixel_values"].numpy().tobytes() for row in rows}) > 1


@pytest.mark.parametrize("mode", MASK_MODES)
def test_annotation_ids(mode):
    largest = 65535 if mode.startswith("I") else 255
    values = np.array([[0, 1, 2], [254, 255, largest]])
    ids = annotation_ids(annotation(values, mode))
    assert ids.dtype == torch.int64
    assert ids.tolist() == values.tolist()
