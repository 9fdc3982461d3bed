# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What detectors are trained on: pixels, boxes and masks that go together, in the sizes that recipes name.

Pictures here are black but for coloured rectangles, the objects: where a box or a mask is wrong, its colour isn't.
"""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from hf_gpvit.data.detection_transforms import DetectionTransform, RandomPart, pad_to_batch
from hf_gpvit.data.objects import Objects
from hf_gpvit.models.detection_boxes import absolute_boxes
from hf_gpvit.models.image_processing_gpvit_detection import GPViTDetectionImageProcessor


MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]
PROCESSOR = GPViTDetectionImageProcessor(
    size={"shortest_edge": 100, "longest_edge": 166}, image_mean=MEAN, image_std=STD
)
SIZE = (100, 166)
# Ways of augmentation: the papers' 1x and 3x in an eighth of their size, and large-scale jitter.
WAYS = {
    "1x": {},
    "one side": {"train_sides": [80]},
    "3x": {"train_sides": range(60, 101, 4), "zoom_rate": 0.5, "crop_size": 128},
    "jitter": {"scale_range": (0.1, 2.0), "crop_size": 128},
}


def scene(height, width, boxes, with_masks=True, iscrowd=None):
    """A picture and its objects, the first one red and class 0, the next green and class 1, and so on."""
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    pixels, masks = np.zeros((height, width, 3), np.uint8), torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for number, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
        pixels[y1:y2, x1:x2] = 0
        pixels[y1:y2, x1:x2, number % 3] = 255
        masks[number, y1:y2, x1:x2] = True
    iscrowd = torch.zeros(len(boxes), dtype=torch.bool) if iscrowd is None else torch.tensor(iscrowd)
    areas, classes = masks.sum(dim=(1, 2)).float(), torch.arange(len(boxes))
    return Image.fromarray(pixels), Objects(boxes, classes, areas, iscrowd, masks if with_masks else None, 7)


THREE = [[10, 20, 70, 60], [80, 5, 130, 90], [140, 50, 200, 118]]


def seen(pixel_values):
    """The picture in 0 to 1 again."""
    return pixel_values * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]


@pytest.mark.parametrize(
    "size", [(97, 131), (240, 320), (33, 400), (61, 60)], ids=lambda size: "x".join(map(str, size))
)
def test_without_augmentation_it_is_what_the_processor_makes(size):
    generator = torch.Generator().manual_seed(0)
    height, width = size
    boxes = torch.tensor([[0, 0, 0.5, 0.4], [0.3, 0.2, 1, 1], [0.1, 0.5, 0.6, 0.9]]) * torch.tensor(
        [width, height] * 2
    )
    image, target = scene(height, width, boxes.tolist())
    noise = torch.randint(0, 255, (height, width, 3), generator=generator, dtype=torch.uint8)
    image = Image.fromarray(noise.numpy())
    pixel_values, labels = DetectionTransform(PROCESSOR, SIZE, flip=0)(image, target)
    batch = pad_to_batch([{"pixel_values": pixel_values, "labels": labels, "num_corrupt": 0}])
    runs = [torch.unique_consecutive(mask.T.flatten(), return_counts=True) for mask in target.masks]
    annotations = [
        {
            "category_id": number,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "segmentation": {"size": [height, width], "counts": [0] * values[0].item() + counts.tolist()},
        }
        for number, ((x1, y1, x2, y2), (values, counts)) in enumerate(zip(boxes.tolist(), runs, strict=True))
    ]
    expected = PROCESSOR(image, {"image_id": 1, "annotations": annotations}, return_tensors="pt")
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    assert torch.equal(batch["pixel_mask"].long(), expected["pixel_mask"])
    [labels], [expected] = batch["labels"], expected["labels"]
    assert torch.equal(labels["class_labels"], expected["class_labels"])
    assert torch.equal(labels["masks"], expected["masks"])
    torch.testing.assert_close(labels["boxes"], expected["boxes"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_boxes_and_masks_stay_on_their_objects(way):
    image, target = scene(120, 210, THREE)
    transform = DetectionTransform(PROCESSOR, SIZE, **WAYS[way])
    torch.manual_seed(0)
    num_seen = 0
    for _ in range(30):
        pixel_values, labels = transform(image, target)
        size = tuple(pixel_values.shape[-2:])
        boxes = absolute_boxes(labels["boxes"], size)
        assert labels["masks"].dtype == torch.bool and labels["masks"].shape == (len(boxes), *size)
        assert boxes.min() > -1e-3 and (boxes < torch.tensor([*size[::-1]] * 2) + 1e-3).all()
        for name, box, mask in zip(labels["class_labels"].tolist(), boxes, labels["masks"], strict=True):
            left, top, right, bottom = box.round().int().tolist()
            if min(right - left, bottom - top) < 8:  # blurred as a whole
                continue
            num_seen += 1
            inside, around = torch.zeros(2, *size, dtype=torch.bool)
            inside[top + 2 : bottom - 2, left + 2 : right - 2] = True
            around[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = True
            assert seen(pixel_values)[name][inside].min() > 0.9
            assert mask[inside].all() and not mask[~around].any()
    assert num_seen > 20


def test_one_side_to_train_at():
    DetectionTransform(PROCESSOR, SIZE, train_sides=[60])


def test_sizes_of_training():
    """One of the shorter sides, the longer one limited; parts of a picture become as large as the whole."""
    image, target = scene(240, 320, [[100, 100, 200, 200]])
    torch.manual_seed(0)
    transform = DetectionTransform(PROCESSOR, SIZE, train_sides=[60, 80, 100])
    sizes = {tuple(transform(image, target)[0].shape[1:]) for _ in range(30)}
    assert sizes == {(60, 80), (80, 107), (100, 133)}
    wide, its_objects = scene(40, 320, [[100, 10, 200, 30]])
    assert DetectionTransform(PROCESSOR, SIZE)(wide, its_objects)[0].shape == (3, 21, 166)
    # ratios of what is cut out differ from the picture's
    transform = DetectionTransform(PROCESSOR, SIZE, zoom_rate=1.0, crop_size=128)
    sizes = {tuple(transform(image, target)[0].shape[1:]) for _ in range(30)}
    assert len(sizes) > 5 and all(max(size) <= 128 and 60 <= min(size) <= 100 for size in sizes)


def test_parts_are_as_large_as_asked_for():
    image = torch.zeros(1, 60, 30)
    part = RandomPart((20, 40), (50, 45))
    torch.manual_seed(0)
    heights, widths = zip(*(part(image).shape[1:] for _ in range(200)), strict=True)
    assert (min(heights), max(heights), set(widths)) == (20, 50, {30})


def test_half_of_the_pictures_are_mirrored():
    image, target = scene(100, 160, [[0, 0, 40, 100]])
    transform = DetectionTransform(PROCESSOR, SIZE)
    torch.manual_seed(0)
    lefts = [transform(image, target)[1]["boxes"][0, 0].item() for _ in range(100)]
    assert {round(left, 3) for left in lefts} == {0.125, 0.875}
    assert 35 < sum(left < 0.5 for left in lefts) < 65


def test_what_is_not_learned():
    """Crowds, and objects of which less than a pixel is there, before or afterwards."""
    boxes = [[10, 10, 60, 60], [20, 70, 90, 95], [5, 5, 5.5, 30], [100, 20, 101, 21]]
    image, target = scene(100, 160, boxes, iscrowd=[False, True, False, False])
    _, labels = DetectionTransform(PROCESSOR, SIZE, flip=0)(image, target)
    assert labels["class_labels"].tolist() == [0, 3]
    _, labels = DetectionTransform(PROCESSOR, (50, 83), flip=0)(image, target)
    assert labels["class_labels"].tolist() == [0] and len(labels["masks"]) == 1
    everything = target._replace(iscrowd=torch.ones(4, dtype=torch.bool))
    for way in WAYS.values():
        _, labels = DetectionTransform(PROCESSOR, SIZE, **way)(image, everything)
        assert labels["boxes"].shape == (0, 4) and labels["masks"].shape[0] == 0


def test_without_masks_there_are_none():
    image, target = scene(100, 160, THREE[:1], with_masks=False)
    assert set(DetectionTransform(PROCESSOR, SIZE)(image, target)[1]) == {"class_labels", "boxes"}


@pytest.mark.parametrize("way", WAYS)
def test_any_picture(way):
    """Of a pixel, a line, or grey; random numbers are torch's, and workers get the transform by pickling it."""
    transform = pickle.loads(
        pickle.dumps(DetectionTransform(PROCESSOR, SIZE, photometric_distortion=True, **WAYS[way]))
    )
    for height, width in ((1, 1), (1, 300), (300, 1), (31, 33)):
        image, target = scene(height, width, [[0, 0, width, height]])
        torch.manual_seed(3)
        pixel_values, _ = transform(image, target)
        torch.manual_seed(3)
        assert torch.equal(pixel_values, transform(image, target)[0])
        assert pixel_values.shape[0] == 3 and pixel_values.is_contiguous() and pixel_values.isfinite().all()


def test_batches_are_padded():
    torch.manual_seed(0)
    samples = []
    for number, (height, width) in enumerate([(40, 70), (65, 31)]):
        boxes = torch.tensor([[0.5, 0.5, 1.0, 1.0]]).repeat(number, 1)
        labels = {"class_labels": torch.arange(number), "boxes": boxes, "masks": torch.ones(number, height, width) > 0}
        samples.append({"pixel_values": torch.randn(3, height, width), "labels": labels, "num_corrupt": number})
    batch = pad_to_batch(samples)
    assert batch["pixel_values"].shape == (2, 3, 96, 96)
    assert batch["num_corrupt"].tolist() == [0, 1]
    for index, sample in enumerate(samples):
        height, width = sample["pixel_values"].shape[1:]
        assert torch.equal(batch["pixel_values"][index, :, :height, :width], sample["pixel_values"])
        assert batch["pixel_values"][index].count_nonzero() == sample["pixel_values"].count_nonzero()
        assert batch["pixel_mask"][index, :height, :width].all() and batch["pixel_mask"][index].sum() == height * width
    empty, full = batch["labels"]
    assert empty["boxes"].shape == (0, 4) and empty["masks"].shape == (0, 96, 96)
    assert absolute_boxes(full["boxes"], (96, 96)).round().tolist() == [[0, 0, 31, 65]]
    assert torch.equal(full["masks"][0], batch["pixel_mask"][1])
    assert pad_to_batch(samples[:1], size_divisor=1)["pixel_values"].shape == (1, 3, 40, 70)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resize_size": (200, 100)}, "resize_size must be two numbers greater than 0, ascending"),
        ({"train_sides": [0, 80]}, "train_sides must be"),
        ({"crop_size": -1}, "crop_size must be"),
        ({"zoom_rate": 1.5}, "zoom_rate must be in"),
        ({"flip": -0.1}, "flip must be in"),
        ({"scale_range": (1, 2)}, r"scale_range needs a crop_size, got scale_range=\(1, 2\) alone"),
        ({"scale_range": (0, 2), "crop_size": 64}, "scale_range must be"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        DetectionTransform(PROCESSOR, **fields)
