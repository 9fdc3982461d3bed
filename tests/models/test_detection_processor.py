# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures and annotations into detectors, and detections back into pictures."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image
from transformers import AutoImageProcessor, RfDetrImageProcessor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, SizeDict

from elsewhere import without
from hf_gpvit import GPViTDetectionConfig, GPViTDetectionImageProcessor, GPViTForInstanceSegmentation
from hf_gpvit.models.detection_masks import decode_segmentation, paste_mask
from hf_gpvit.models.image_processing_gpvit_detection import resized_size


SMALL = {"shortest_edge": 40, "longest_edge": 64}


def picture(height, width, seed=0):
    return Image.fromarray(np.random.RandomState(seed).randint(256, size=(height, width, 3), dtype=np.uint8))


def annotation(*objects, image_id=7):
    return {"image_id": image_id, "annotations": list(objects)}


def thing(bbox, category_id=1, **more):
    return {"bbox": bbox, "category_id": category_id, "area": bbox[2] * bbox[3], "iscrowd": 0} | more


# --- sizes and pixels


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((480, 640), (800, 1067)),
        ((427, 640), (800, 1199)),
        ((500, 375), (1067, 800)),
        ((640, 359), (1333, 748)),
        ((3000, 4000), (800, 1067)),
        ((100, 1000), (133, 1333)),
        ((800, 1333), (800, 1333)),
        ((1, 1), (800, 800)),
        ((1, 5000), (1, 1333)),
    ],
)
def test_official_resize_rule(before, after):
    assert resized_size(*before, SizeDict(shortest_edge=800, longest_edge=1333)) == after


@pytest.mark.parametrize(
    ("size", "after"),
    [
        ({"max_height": 60, "max_width": 60}, (30, 60)),
        ({"max_height": 20, "max_width": 60}, (20, 40)),
        ({"height": 33, "width": 44}, (33, 44)),
        ({"shortest_edge": 25}, (25, 50)),
        ({"longest_edge": 25}, (13, 25)),
    ],
)
def test_other_sizes(size, after):
    """Among them that of transformers' run_object_detection.py."""
    features = GPViTDetectionImageProcessor(size=size, do_pad=False)(picture(50, 100), return_tensors="pt")
    assert features["pixel_values"].shape[-2:] == after
    assert "pixel_mask" not in features


def test_size_that_says_nothing_of_sides():
    with pytest.raises(ValueError, match=r"shortest_edge and longest_edge.*got \{'min_pixels': 9, 'max_pixels': 99\}"):
        GPViTDetectionImageProcessor(size={"min_pixels": 9, "max_pixels": 99})(picture(5, 5), return_tensors="pt")


def test_default_is_the_official_test_time_preprocessing():
    features = GPViTDetectionImageProcessor()([picture(48, 64), picture(64, 48)], return_tensors="pt")
    assert features["pixel_values"].shape == (2, 3, 1088, 1088)
    assert features["pixel_mask"].sum(dim=(1, 2)).tolist() == [800 * 1067] * 2
    assert features["pixel_mask"][0, :800, :1067].all()
    assert features["pixel_mask"][1, :1067, :800].all()


def test_pixels_are_normalised_and_padded_with_zeros():
    image = picture(40, 50)
    features = GPViTDetectionImageProcessor(size=SMALL)(image, return_tensors="pt")
    expected = (np.asarray(image) / 255 - IMAGENET_DEFAULT_MEAN) / IMAGENET_DEFAULT_STD
    pixels = features["pixel_values"][0].permute(1, 2, 0)
    assert pixels.shape == (64, 64, 3)
    torch.testing.assert_close(pixels[:40, :50], torch.from_numpy(expected).float(), rtol=0, atol=1e-5)
    assert not pixels[40:].any()
    assert not pixels[:, 50:].any()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_any_mode(mode):
    features = GPViTDetectionImageProcessor(size=SMALL)(picture(20, 30).convert(mode), return_tensors="pt")
    assert features["pixel_values"].shape == (1, 3, 64, 64)


def test_pad_size_holds_for_all():
    processor = GPViTDetectionImageProcessor(size=SMALL, pad_size={"height": 64, "width": 70})
    for size in ((20, 30), (30, 20), (9, 70)):
        features = processor(picture(*size), return_tensors="pt")
        assert features["pixel_values"].shape == (1, 3, 64, 70)
        assert features["pixel_mask"].shape == (1, 64, 70)


@pytest.mark.parametrize("fields", [{}, {"size": SMALL, "size_divisor": 16, "return_segmentation_masks": False}])
def test_saved_and_loaded(fields, tmp_path):
    processor = GPViTDetectionImageProcessor(**fields)
    processor.save_pretrained(tmp_path)
    saved = (tmp_path / "preprocessor_config.json").read_bytes()
    for loaded in (
        AutoImageProcessor.from_pretrained(tmp_path),
        GPViTDetectionImageProcessor.from_pretrained(tmp_path),
    ):
        assert type(loaded) is GPViTDetectionImageProcessor
        assert json.loads(loaded.to_json_string()) == json.loads(saved) == json.loads(processor.to_json_string())
        loaded.save_pretrained(tmp_path)
        assert (tmp_path / "preprocessor_config.json").read_bytes() == saved
    assert {**json.loads(saved), **fields} == json.loads(saved)


def test_auto_class_makes_it_from_the_model_config(tmp_path):
    GPViTDetectionConfig().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size_divisor": 64}')
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(processor) is GPViTDetectionImageProcessor
    assert processor.size_divisor == 64


# --- annotations


def test_labels_are_relative_to_the_padded_batch():
    """Of two pictures, 2 and 1.6 times as large afterwards, in a batch of 64 x 64."""
    objects = [thing([2, 4, 10, 6], 3), thing([0, 0, 30, 20], 0)]
    features = GPViTDetectionImageProcessor(size=SMALL)(
        [picture(20, 30), picture(40, 20)],
        annotations=[annotation(*objects, image_id=11), annotation(image_id=12)],
        return_tensors="pt",
    )
    first, second = features["labels"]
    assert first["class_labels"].tolist() == [3, 0]
    expected = torch.tensor([[14, 14, 20, 12], [30, 20, 60, 40]]) / 64
    torch.testing.assert_close(first["boxes"], expected)
    assert first["area"].tolist() == [60 * 4, 600 * 4]
    assert [first[name].tolist() for name in ("image_id", "orig_size", "size")] == [[11], [20, 30], [64, 64]]
    assert first["iscrowd"].tolist() == [0, 0]
    assert "masks" not in first
    assert second["boxes"].shape == (0, 4)
    assert second["class_labels"].dtype == first["class_labels"].dtype == torch.int64
    assert second["image_id"].tolist() == [12]


def test_area_and_crowd_need_not_be_there():
    [label] = GPViTDetectionImageProcessor(do_resize=False)(
        picture(32, 32),
        annotations=annotation(
            {"bbox": (1, 2, 3, 4), "category_id": np.int64(2)}, {"bbox": np.ones(4), "category_id": 3.0}
        ),
        return_tensors="pt",
    )["labels"]
    assert label["area"].tolist() == [12, 1]
    assert label["class_labels"].tolist() == [2, 3]


def test_crowds_slivers_and_what_is_outside_are_left_out():
    objects = [
        thing([1, 1, 20, 20], 0, iscrowd=1),
        thing([1, 1, 0.9, 20], 1),
        thing([1, 1, 20, 0], 2),
        thing([1, 1, -5, 5], 3),
        thing([-9, 3, 9, 9], 4),
        thing([32, 3, 9, 9], 5),
        thing([3, 40, 9, 9], 6),
        thing([-4, 28, 10, 10], 7),
        thing([31, 0, 1, 1], 8),
    ]
    processor = GPViTDetectionImageProcessor(do_resize=False)
    [label] = processor(picture(32, 32), annotations=annotation(*objects), return_tensors="pt")["labels"]
    assert label["class_labels"].tolist() == [7, 8]
    torch.testing.assert_close(label["boxes"] * 32, torch.tensor([[3.0, 30, 6, 4], [31.5, 0.5, 1, 1]]))


WRONG = {
    "annotations must be one for each of 1 pictures, got 2": [annotation(), annotation()],
    r"annotations of picture 0: 'annotations' is missing": {"image_id": 3},
    r"annotations of picture 0: 'image_id' is missing": {"annotations": []},
    r"annotations of picture 0: image_id must be an integer, got 'cat.png'": annotation(image_id="cat.png"),
    r"picture 0: object 1: 'bbox' is missing": annotation(thing([1, 1, 5, 5]), {"category_id": 1}),
    r"picture 0: object 0: 'category_id' is missing": annotation({"bbox": [1, 1, 5, 5]}),
    r"object 0: category_id must be an integer, got 'cat'": annotation(thing([1, 1, 5, 5], "cat")),
    r"object 0: category_id must be an integer, got '1'": annotation(thing([1, 1, 5, 5], "1")),
    r"object 0: category_id must be an integer, got 1.5": annotation(thing([1, 1, 5, 5], 1.5)),
    r"object 0: category_id must be an integer, got nan": annotation(thing([1, 1, 5, 5], math.nan)),
    r"object 0: category_id must be an integer, got None": annotation(thing([1, 1, 5, 5], None)),
    r"object 0: bbox must be x, y, width and height in pixels": annotation(
        {"bbox": [1, 1, 5], "category_id": 1, "area": 5}
    ),
    r"object 0: bbox must be .* got \[1.0, nan, 5.0, 5.0\]": annotation(thing([1, math.nan, 5, 5])),
    r"object 0: .*must be a string or a real number": annotation(
        {"bbox": [[1, 1], 5, 5, 5], "category_id": 1, "area": 5}
    ),
    r"picture 0: segmentation must be polygons or RLE.*got 'abc'": annotation(thing([1, 1, 5, 5], segmentation="abc")),
    r"picture 0: a polygon must be x and y in turn": annotation(thing([1, 1, 5, 5], segmentation=[[1, 1, 6, 1, 6]])),
    r"picture 0: a polygon must have finite": annotation(
        thing([1, 1, 5, 5], segmentation=[[1, 1, 6, 1, 6, math.inf]])
    ),
    r"picture 0: size of RLE must be that of the picture, \[32, 32\], got \[32, 31\]": annotation(
        thing([1, 1, 5, 5], segmentation={"size": [32, 31], "counts": [32 * 32]})
    ),
    r"picture 0: counts of RLE must be runs of 1024 pixels in all, got 9": annotation(
        thing([1, 1, 5, 5], segmentation={"size": [32, 32], "counts": [4, 5]})
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_annotations_are_named(message):
    processor = GPViTDetectionImageProcessor(do_resize=False)
    with pytest.raises(ValueError, match=message):
        processor(picture(32, 32), annotations=WRONG[message], return_tensors="pt")


# --- masks of annotations


def test_masks_follow_their_pictures():
    """A square and a crowd, which takes no part, doubled and padded."""
    square = [[2, 4, 12, 4, 12, 10, 2, 10]]
    objects = [
        thing([1, 1, 9, 9], iscrowd=1, segmentation={"size": [20, 30], "counts": [0, 600]}),
        thing([2, 4, 10, 6], segmentation=square),
    ]
    processor = GPViTDetectionImageProcessor(size=SMALL)
    [label] = processor(picture(20, 30), annotations=annotation(*objects), return_tensors="pt")["labels"]
    expected = torch.zeros(1, 64, 64, dtype=torch.bool)
    expected[0, 8:20, 4:24] = True
    assert torch.equal(label["masks"], expected)


def test_masks_when_asked_or_when_there():
    with_mask, without_mask = thing([1, 1, 5, 5], segmentation=[[1, 1, 6, 1, 6, 6]]), thing([1, 1, 5, 5])
    processor = GPViTDetectionImageProcessor(do_resize=False)

    def labels(*objects, asked=None):
        options = {"return_tensors": "pt", "return_segmentation_masks": asked}
        [label] = processor(picture(32, 32), annotations=annotation(*objects), **options)["labels"]
        return label

    assert labels(with_mask)["masks"].shape == (1, 32, 32)
    assert labels()["masks"].shape == (0, 32, 32)
    assert "masks" not in labels(with_mask, without_mask)
    assert "masks" not in labels(with_mask, asked=False)
    with pytest.raises(ValueError, match="picture 0: segmentation must be polygons or RLE in COCO's format, got None"):
        labels(with_mask, without_mask, asked=True)


# 6 x 3 pixels and one by itself; from the rows, and from pycocotools
BLOCK = np.zeros((7, 9), dtype=bool)
BLOCK[1:4, 2:8] = BLOCK[5, 0] = True
RUNS = [5, 1, 9, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4, 3, 10]


@pytest.mark.parametrize("counts", [RUNS, "5192K0000000006", b"5192K0000000006", np.array(RUNS)], ids=type)
def test_runs(counts):
    assert np.array_equal(decode_segmentation({"size": [7, 9], "counts": counts}, (7, 9)), BLOCK)


def is_inside(x, y, corners):
    """By the sum of the angles under which the sides are seen."""
    angles = np.arctan2(corners[:, 1] - y, corners[:, 0] - x)
    turns = np.angle(np.exp(1j * (np.roll(angles, -1) - angles)))
    return round(turns.sum() / (2 * np.pi)) % 2 == 1


def test_polygons_by_the_centres_of_pixels():
    generator = np.random.RandomState(0)
    for _ in range(20):
        height, width = generator.randint(3, 25, 2)
        polygons = [generator.uniform(-3, 28, (generator.randint(3, 8), 2)) for _ in range(generator.randint(1, 3))]
        expected = np.array(
            [
                [any(is_inside(x + 0.5, y + 0.5, polygon) for polygon in polygons) for x in range(width)]
                for y in range(height)
            ]
        )
        found = decode_segmentation([polygon.flatten().tolist() for polygon in polygons], (height, width))
        assert np.array_equal(found, expected)


def test_polygons_of_many_sides():
    """Of which more than 255 cross a row within a pixel."""
    zigzag = [(2 + 0.1 * (index % 2), 1 + 2 * (index % 2)) for index in range(601)]
    outline = [*zigzag, (6, 1), (6, 3)]
    found = decode_segmentation([np.array(outline).flatten().tolist()], (5, 8))
    expected = np.array([[is_inside(x + 0.5, y + 0.5, np.array(outline)) for x in range(8)] for y in range(5)])
    assert expected.any()
    assert np.array_equal(found, expected)


def test_polygons_of_less_than_a_triangle_are_empty():
    assert not decode_segmentation([[1, 1, 8, 8], [3, 3], []], (9, 9)).any()


def test_masks_as_in_pycocotools():
    """Where that is installed; its polygons are drawn on a grid of fifths of a pixel."""
    coco = pytest.importorskip("pycocotools.mask")
    generator = np.random.RandomState(0)
    for _ in range(50):
        mask = generator.rand(*generator.randint(1, 60, 2)) < generator.rand()
        runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert np.array_equal(decode_segmentation(runs, mask.shape), mask)
        angles = np.sort(generator.rand(12)) * 2 * np.pi
        polygon = (100 + np.stack([np.cos(angles), np.sin(angles)], -1) * generator.uniform(50, 90, (12, 1))).flatten()
        expected = coco.decode(coco.frPyObjects([polygon.tolist()], 200, 200))[..., 0] > 0
        assert (decode_segmentation([polygon.tolist()], (200, 200)).numpy() != expected).mean() < 0.003


# --- detections


def outputs_of(scores, labels, boxes, pixel_sizes=None, pred_masks=None, num_labels=4):
    """As of the model: lists of numbers, of each picture as many."""
    scores, labels = torch.tensor(scores), torch.tensor(labels)
    logits = torch.full((*scores.shape, num_labels), -math.inf)
    logits.scatter_(2, labels[..., None], scores.logit()[..., None])
    more = {"pixel_sizes": torch.tensor(pixel_sizes)} if pixel_sizes is not None else {}
    return SimpleNamespace(logits=logits, pred_boxes=torch.tensor(boxes), pred_masks=pred_masks, **more)


def test_boxes_of_the_original_pictures():
    """20 x 30 became 40 x 60, 10 x 40 became 16 x 64; both were padded to 64 x 96."""
    outputs = outputs_of(
        scores=[[0.9, 0.6, 0.0], [0.8, 0.2, 0.0]],
        labels=[[1, 0, 0], [3, 2, 0]],
        boxes=[
            [[30 / 96, 20 / 64, 60 / 96, 40 / 64], [0.1, 0.2, 0.1, 0.2], [0, 0, 0, 0]],
            [[32 / 96, 4 / 64, 16 / 96, 8 / 64], [0.1, 0.2, 0.1, 0.2], [0, 0, 0, 0]],
        ],
        pixel_sizes=[[64, 96], [64, 96]],
    )
    processor = GPViTDetectionImageProcessor(size=SMALL)
    for target_sizes in ([(20, 30), (10, 40)], torch.tensor([[20, 30], [10, 40]])):
        first, second = processor.post_process_object_detection(outputs, 0.5, target_sizes)
        torch.testing.assert_close(first["scores"], torch.tensor([0.9, 0.6]))
        assert first["labels"].tolist() == [1, 0]
        expected = torch.tensor([[0, 0, 30, 20], [0.05 * 48, 0.1 * 32, 0.15 * 48, 0.3 * 32]])
        torch.testing.assert_close(first["boxes"], expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(second["boxes"], torch.tensor([[15.0, 0, 25, 5]]), rtol=0, atol=1e-4)
        assert second["labels"].tolist() == [3]
    for result in processor.post_process_object_detection(outputs, 0.0, target_sizes):
        assert len(result["scores"]) == 2  # what is filled up scores 0
    assert [len(result["boxes"]) for result in processor.post_process_object_detection(outputs, 0, top_k=1)] == [1, 1]


def test_boxes_without_targets_or_padding():
    outputs = outputs_of([[0.9]], [[1]], [[[0.5, 0.25, 0.5, 0.5]]])
    processor = GPViTDetectionImageProcessor(size=SMALL)
    [relative] = processor.post_process_object_detection(outputs)
    torch.testing.assert_close(relative["boxes"], torch.tensor([[0.25, 0, 0.75, 0.5]]))
    # without pixel_sizes, as scripts put the outputs together, they are as large as the picture
    [stock] = processor.post_process_object_detection(outputs, target_sizes=[(20, 40)])
    torch.testing.assert_close(stock["boxes"], torch.tensor([[10.0, 0, 30, 10]]))


def test_wrong_target_sizes_are_named():
    outputs = outputs_of([[0.9]], [[1]], [[[0.5, 0.5, 1, 1]]], pixel_sizes=[[64, 32]])
    processor = GPViTDetectionImageProcessor(size=SMALL)
    with pytest.raises(ValueError, match="target_sizes must be one for each of 1 pictures, got 2"):
        processor.post_process_object_detection(outputs, target_sizes=[(9, 9), (9, 9)])
    with pytest.raises(ValueError, match=r"one of \[20, 60\] becomes \[21, 64\], but the model saw \[64, 32\]"):
        processor.post_process_object_detection(outputs, target_sizes=[(20, 60)])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = GPViTDetectionConfig.from_preset(
        "gpvit-nano", num_labels=4, rpn_post_nms_top_n=30, num_detections=20, score_threshold=0.0
    )
    return GPViTForInstanceSegmentation(config).eval()


def test_stock_post_processing_returns_the_same(model):
    """Where nothing is padded: that of RF-DETR, bit for bit."""
    processor = GPViTDetectionImageProcessor(size={"height": 64, "width": 96})
    features = processor([picture(30, 50), picture(70, 41)], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**features)
    stock = RfDetrImageProcessor()
    for target_sizes in ([(30, 50), (70, 41)], torch.tensor([[30, 50], [70, 41]])):
        ours = processor.post_process_object_detection(outputs, 0.1, target_sizes)
        theirs = stock.post_process_object_detection(outputs, 0.1, target_sizes)
        for own, other in zip(ours, theirs, strict=True):
            assert len(own["boxes"]) > 3
            assert own.keys() == other.keys()
            assert all(torch.equal(own[name], other[name]) for name in own)


def test_boxes_of_the_model_in_a_batch_of_two_sizes(model):
    """All by hand in float64, and within the pictures."""
    processor = GPViTDetectionImageProcessor(size=SMALL)
    sizes = [(30, 50), (70, 41)]
    with torch.no_grad():
        outputs = model(**processor([picture(*size) for size in sizes], return_tensors="pt"))
    results = processor.post_process_object_detection(outputs, 0.0, sizes)
    for image, ((height, width), result) in enumerate(zip(sizes, results, strict=True)):
        number = len(result["boxes"])
        assert number > 3
        scale = min(64 / max(height, width), 40 / min(height, width))
        ratio_y, ratio_x = (int(side * scale + 0.5) / side for side in (height, width))
        x, y, box_width, box_height = (outputs.pred_boxes[image, :number].double() * 64).unbind(-1)
        corners = [x - box_width / 2, y - box_height / 2, x + box_width / 2, y + box_height / 2]
        expected = torch.stack(corners, dim=-1) / torch.tensor([ratio_x, ratio_y, ratio_x, ratio_y])
        torch.testing.assert_close(result["boxes"].double(), expected, rtol=0, atol=1e-3)
        assert (result["boxes"].amax(dim=0) <= torch.tensor([width, height] * 2) + 1e-3).all()
        scores = outputs.logits[image].sigmoid().amax(dim=-1)[:number]
        torch.testing.assert_close(result["scores"], scores, rtol=0, atol=1e-6)


# --- masks of detections


def slowly_pasted(mask, box, size, threshold):
    """Pixel by pixel: the mask, of cells of 0 around it, interpolated between the centres of its cells."""
    side = len(mask)
    cells = np.pad(mask, 1)
    pasted = np.zeros(size, dtype=bool)
    for row in range(size[0]):
        for column in range(size[1]):
            x = (column + 0.5 - box[0]) / (box[2] - box[0]) * side + 0.5
            y = (row + 0.5 - box[1]) / (box[3] - box[1]) * side + 0.5
            if not (0 <= x < side + 1 and 0 <= y < side + 1):
                continue
            left, top = int(x), int(y)
            part_x, part_y = x - left, y - top
            upper = cells[top, left] * (1 - part_x) + cells[top, left + 1] * part_x
            lower = cells[top + 1, left] * (1 - part_x) + cells[top + 1, left + 1] * part_x
            pasted[row, column] = upper * (1 - part_y) + lower * part_y >= threshold
    return pasted


@pytest.mark.parametrize("threshold", [0.5, 0.1, 0.9])
def test_pasted_masks(threshold):
    """Boxes of all sizes, partly outside, smaller than a pixel, larger than the picture."""
    generator = np.random.RandomState(0)
    for _ in range(25):
        mask = generator.rand(28, 28)
        sides = 10 ** generator.uniform(-0.5, 2, 2)
        corner = generator.uniform(-20, 40, 2)
        box = np.concatenate([corner, corner + sides])
        found = paste_mask(torch.from_numpy(mask), torch.from_numpy(box), (30, 40), threshold)
        assert np.array_equal(found, slowly_pasted(mask, box, (30, 40), threshold))


def squares(*values):
    """Logits of masks (1, N, 28, 28) of one value each."""
    return torch.tensor(values).float()[None, :, None, None].expand(-1, -1, 28, 28)


# Two whole boxes of 10 x 10 pixels that overlap by half, one hidden by the first but for a fifth, one empty.
OVERLAPPING = outputs_of(
    scores=[[0.9, 0.8, 0.7, 0.6]],
    labels=[[1, 2, 3, 0]],
    boxes=[[[0.5, 0.5, 0.5, 0.5], [0.75, 0.5, 0.5, 0.5], [0.45, 0.5, 0.5, 0.5], [0.2, 0.2, 0.2, 0.2]]],
    pixel_sizes=[[20, 20]],
    pred_masks=squares(99, 99, 99, -99),
)


def test_map_of_instances():
    processor = GPViTDetectionImageProcessor(do_resize=False)
    [result] = processor.post_process_instance_segmentation(
        OVERLAPPING, target_sizes=[(20, 20)], overlap_mask_area_threshold=0.3
    )
    expected = torch.full((20, 20), -1, dtype=torch.int32)
    expected[5:15, 10:20] = 1
    expected[5:15, 5:15] = 0
    assert torch.equal(result["segmentation"], expected)
    assert [(segment["id"], segment["label_id"]) for segment in result["segments_info"]] == [(0, 1), (1, 2)]
    assert [segment["score"] for segment in result["segments_info"]] == pytest.approx([0.9, 0.8])
    [result] = processor.post_process_instance_segmentation(OVERLAPPING, overlap_mask_area_threshold=0)
    expected[5:15, 4] = 2
    assert torch.equal(result["segmentation"], expected)
    [result] = processor.post_process_instance_segmentation(OVERLAPPING, threshold=0.95)
    assert (result["segmentation"] == -1).all()
    assert result["segments_info"] == []


def test_whole_masks_are_those_of_the_boxes():
    processor = GPViTDetectionImageProcessor(do_resize=False)
    [result] = processor.post_process_instance_segmentation(
        OVERLAPPING, target_sizes=torch.tensor([[20, 20]]), return_binary_maps=True
    )
    assert result["segmentation"].dtype == torch.bool
    assert result["segmentation"].sum(dim=(1, 2)).tolist() == [100, 100, 100, 0]
    assert [segment["label_id"] for segment in result["segments_info"]] == [1, 2, 3, 0]
    [boxes] = processor.post_process_object_detection(OVERLAPPING, target_sizes=[(20, 20)])
    assert [segment["score"] for segment in result["segments_info"]] == boxes["scores"].tolist()
    [result] = processor.post_process_instance_segmentation(OVERLAPPING, threshold=0.95, return_binary_maps=True)
    assert result["segmentation"].shape == (0, 20, 20)


def test_masks_of_the_original_pictures(model):
    """Of a batch of two sizes: each pasted into its box there, pixel by pixel."""
    processor = GPViTDetectionImageProcessor(size=SMALL)
    sizes = [(30, 50), (70, 41)]
    with torch.no_grad():
        outputs = model(**processor([picture(*size) for size in sizes], return_tensors="pt"))
    boxes = processor.post_process_object_detection(outputs, 0.1, sizes)
    results = processor.post_process_instance_segmentation(
        outputs, 0.1, target_sizes=sizes, return_binary_maps=True, top_k=5
    )
    for image, size in enumerate(sizes):
        masks = results[image]["segmentation"]
        assert len(masks) == 5
        for index, mask in enumerate(masks):
            probabilities = outputs.pred_masks[image, index].sigmoid().double().numpy()
            box = boxes[image]["boxes"][index].double().numpy()
            different = slowly_pasted(probabilities, box, size, 0.5) != mask.numpy()
            assert different.sum() <= 1  # by rounding


def test_masks_need_a_probability_and_a_model_with_masks():
    processor = GPViTDetectionImageProcessor()
    for threshold in (0, -1.0, 1.5):
        with pytest.raises(ValueError, match=r"mask_threshold must be a probability in \(0, 1\]"):
            processor.post_process_instance_segmentation(OVERLAPPING, mask_threshold=threshold)
    with pytest.raises(ValueError, match="outputs must have pred_masks, which GPViTForInstanceSegmentation gives"):
        processor.post_process_instance_segmentation(outputs_of([[0.9]], [[1]], [[[0.5, 0.5, 1, 1]]], [[9, 9]]))


# --- without torchvision

WITHOUT_TORCHVISION = (
    without("torchvision")
    + """
import torch
import hf_gpvit

pixel_values = torch.randn(1, 3, 32, 32)
config = hf_gpvit.GPViTConfig.from_preset("gpvit-nano", num_labels=3)
for model_class in (hf_gpvit.GPViTForImageClassification, hf_gpvit.GPViTForSemanticSegmentation):
    assert model_class(config).eval()(pixel_values).logits.shape[:2] == (1, 3)
adapter = hf_gpvit.GPViTAdapterBackbone(hf_gpvit.GPViTAdapterConfig.from_preset("gpvit-nano"))
assert len(adapter.eval()(pixel_values).feature_maps) == 4

detection = hf_gpvit.GPViTDetectionConfig.from_preset("gpvit-nano")
for make in (
    lambda: hf_gpvit.GPViTForObjectDetection(detection),
    lambda: hf_gpvit.GPViTForInstanceSegmentation(detection),
    hf_gpvit.GPViTDetectionImageProcessor,
):
    try:
        make()
    except ImportError as error:
        assert "requires the Torchvision library" in str(error), error
    else:
        raise AssertionError(make)
"""
)


@pytest.mark.skipif(Version(transformers.__version__) < Version("5.18"), reason="its AutoImageProcessor needs it")
def test_only_detectors_need_torchvision():
    subprocess.run([sys.executable, "-c", WITHOUT_TORCHVISION], check=True)
