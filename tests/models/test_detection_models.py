# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Detectors as wholes: what they give in which mode, batches of several sizes, gradients, precision, and learning."""

import copy

import numpy as np
import pytest
import torch

import slow_detection as slow
from hf_gpvit.data.shapes import SCENE_NAMES, load_shapes
from hf_gpvit.models.configuration_gpvit_detection import GPViTDetectionConfig
from small_detectors import KINDS, random_labels, small_detector


ODD_SIZES = [(1, 1), (31, 45), (33, 50), (64, 32), (7, 130)]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def images(*size, batch=2):
    return torch.randn(batch, 3, *size)


def masks_of(size, *image_sizes):
    mask = torch.zeros(len(image_sizes), *size, dtype=torch.int64)
    for image, (height, width) in enumerate(image_sizes):
        mask[image, :height, :width] = 1
    return mask


@pytest.mark.parametrize("size", ODD_SIZES, ids=str)
def test_any_size(kind, size):
    model = small_detector(kind)
    outputs = model(images(*size), labels=random_labels(size, 2, 1))
    assert outputs.logits.shape == (2, 100, 5)
    assert outputs.pred_boxes.shape == (2, 100, 4)
    assert outputs.pixel_sizes.tolist() == [list(size)] * 2
    assert outputs.loss.isfinite()
    centres, sizes = outputs.pred_boxes.split(2, dim=-1)
    assert (centres - sizes / 2).min() >= -1e-6
    assert (centres + sizes / 2).max() <= 1 + 1e-6
    model.train()(images(*(max(side, 33) for side in size), batch=8))


def test_what_there_is_in_which_mode(kind):
    model = small_detector(kind)
    labels = random_labels((64, 64), 2, 3)
    losses = {"loss_class", "loss_box"}
    losses |= set() if kind == "retinanet" else {"loss_rpn_class", "loss_rpn_box"}
    losses |= {"loss_mask"} if kind == "masks" else set()
    found = {"logits", "pred_boxes", "pixel_sizes"} | ({"pred_masks"} if kind == "masks" else set())
    pixel_values = images(64, 64, batch=2)
    alone = model(pixel_values)
    assert set(alone.keys()) == found
    both = model(pixel_values, labels=labels)
    assert set(both.keys()) == found | {"loss", "loss_dict"}
    torch.testing.assert_close(both.pred_boxes, alone.pred_boxes)
    model.train()
    learning = model(images(64, 160, batch=2), labels=random_labels((64, 160), 2, 3))
    assert set(learning.keys()) == {"loss", "loss_dict", "pixel_sizes"}
    for outputs in (both, learning):
        assert set(outputs.loss_dict) == losses
        assert outputs.loss.item() == pytest.approx(sum(loss.item() for loss in outputs.loss_dict.values()))
    assert set(model(images(64, 160)).keys()) == found


def test_detections_are_sorted_and_the_rest_is_nothing(kind):
    model, pixel_values = small_detector(kind), images(96, 64)
    best = model(pixel_values).logits.sigmoid().amax(dim=-1)
    threshold = best[best > 0].median().item()
    model.config.score_threshold = threshold
    outputs = model(pixel_values)
    scores = outputs.logits.sigmoid()
    best = scores.amax(dim=-1)
    assert (best.diff(dim=1) <= 0).all()
    assert ((best == 0) | (best > threshold - 1e-6)).all()
    assert (scores.sum(dim=-1) == best).all()
    assert 0 < (best > 0).sum() < best.numel()
    assert not outputs.pred_boxes[best == 0].any()


def test_what_is_learned_from(kind):
    """Boxes in pixels, whatever the image's shape, and the parts of the batch that are images."""
    model, seen = small_detector(kind), []
    model.detector.register_forward_pre_hook(lambda module, args: seen.extend(args))
    labels = random_labels((64, 96), 1, 0)
    labels[0]["boxes"] = torch.tensor([[0.25, 0.5, 0.125, 0.75]])
    model(images(64, 96), pixel_mask=masks_of((64, 96), (64, 50), (30, 96)), labels=labels)
    scene, targets = seen
    assert [boxes.tolist() for boxes in targets.boxes] == [[[18, 8, 30, 56]], []]
    assert scene.image_sizes.tolist() == [[64, 50], [30, 96]]
    assert scene.size == (64, 96)


# --- batches of several sizes


@torch.no_grad()
def test_a_batch_equals_each_image_padded_to_its_size(kind):
    """Padding isn't hidden from attention, in the official code neither: it is the padded image that is looked at."""
    model = small_detector(kind)
    sizes, size = ((64, 96), (50, 70), (96, 33)), (96, 96)
    pixel_values, mask = torch.zeros(3, 3, *size), masks_of(size, *sizes)
    for image, (height, width) in enumerate(sizes):
        pixel_values[image, :, :height, :width] = images(height, width, batch=1)[0]
    together = model(pixel_values, pixel_mask=mask)
    for image, (height, width) in enumerate(sizes):
        alone = model(pixel_values[image : image + 1], pixel_mask=mask[image : image + 1])
        torch.testing.assert_close(together.logits[image].sigmoid(), alone.logits[0].sigmoid(), rtol=0, atol=1e-5)
        torch.testing.assert_close(together.pred_boxes[image], alone.pred_boxes[0], rtol=0, atol=1e-5)
        if kind == "masks":
            masks = together.pred_masks[image].sigmoid(), alone.pred_masks[0].sigmoid()
            torch.testing.assert_close(*masks, rtol=0, atol=1e-4)
        found = alone.logits[0].amax(dim=-1).sigmoid() > 0
        assert found.any()
        centres, halves = alone.pred_boxes[0, found].split(2, dim=-1)
        limit = torch.tensor([width / 96, height / 96])
        assert (centres + halves / 2 <= limit + 1e-6).all()


def test_padding_is_no_background(kind):
    """What stands in padding doesn't change the loss of an image: neither its anchors nor its proposals are used."""
    model = small_detector(kind, rpn_batch_size_per_image=10**4, rpn_positive_fraction=1.0)
    labels = random_labels((128, 128), 1)
    labels[0]["boxes"] = torch.tensor([[0.1, 0.1, 0.15, 0.12]])
    pixel_values = images(128, 128, batch=1)
    pixel_values[:, :, 32:] = pixel_values[:, :, :, 32:] = 0
    with_mask = model(pixel_values, pixel_mask=masks_of((128, 128), (32, 32)), labels=labels)
    without = model(pixel_values, labels=labels)
    name = "loss_class" if kind == "retinanet" else "loss_rpn_class"
    assert with_mask.loss_dict[name].item() != pytest.approx(without.loss_dict[name].item(), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_masks_of_other_types(dtype):
    model, pixel_values, mask = small_detector("boxes"), images(64, 64, batch=1), masks_of((64, 64), (40, 64))
    expected = model(pixel_values, pixel_mask=mask).pred_boxes
    torch.testing.assert_close(model(pixel_values, pixel_mask=mask.to(dtype)).pred_boxes, expected)


# --- gradients and precision


@pytest.mark.parametrize("numbers", [(0, 0), (3, 0)])
def test_every_parameter_has_a_gradient(kind, numbers):
    """Of 0 where there is nothing to learn from: processes that train together wait for all of them."""
    model = small_detector(kind).train()
    loss = model(images(96, 160), labels=random_labels((96, 160), *numbers)).loss
    loss.backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    boxes = [parameter.grad for name, parameter in model.named_parameters() if "detector" in name and "deltas" in name]
    assert any(grad.any() for grad in boxes) == (numbers != (0, 0))


def test_images_without_objects_leave_boxes_alone(kind):
    losses = small_detector(kind)(images(64, 64), labels=random_labels((64, 64), 0, 0)).loss_dict
    for name, loss in losses.items():
        assert (loss.item() == 0) == (name in ("loss_box", "loss_rpn_box", "loss_mask")), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_losses_and_boxes_are_float32(kind, dtype):
    model = small_detector(kind)
    pixel_values, labels = images(64, 64), random_labels((64, 64), 2, 1)
    expected = model(pixel_values, labels=labels)
    outputs = copy.deepcopy(model).to(dtype)(pixel_values.to(dtype), labels=labels)
    assert {loss.dtype for loss in outputs.loss_dict.values()} == {torch.float32}
    assert outputs.pred_boxes.dtype == outputs.logits.dtype == torch.float32
    for name in ("loss_class", "loss_rpn_class") if kind != "retinanet" else ("loss_class",):
        assert outputs.loss_dict[name].item() == pytest.approx(expected.loss_dict[name].item(), rel=0.3), name
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(pixel_values, labels=labels)
    assert {loss.dtype for loss in outputs.loss_dict.values()} == {torch.float32}
    assert outputs.pred_boxes.dtype == outputs.logits.dtype == torch.float32


def test_labels_of_other_types(kind):
    """Objects' order of fields, small integers and half precision make no difference."""
    model = small_detector(
        kind,
        rpn_batch_size_per_image=10**4,
        rpn_positive_fraction=1.0,
        box_batch_size_per_image=10**4,
        box_positive_fraction=1.0,
    )
    pixel_values, [label] = images(64, 64, batch=1), random_labels((64, 64), 3)
    label["boxes"] = (label["boxes"] * 64).round() / 64
    expected = model(pixel_values, labels=[label]).loss.item()
    other = {
        "masks": label["masks"].to(torch.uint8),
        "boxes": label["boxes"].double(),
        "class_labels": label["class_labels"].to(torch.int32),
        "area": None,
    }
    assert model(pixel_values, labels=(other,)).loss.item() == pytest.approx(expected, rel=1e-6)


# --- learning


def scene(seed, size):
    """One drawn scene: pixels (1, 3, size, size) and its label."""
    row = load_shapes(1, seed=seed, image_size=size)[0]
    pixels = torch.tensor(np.array(row["image"]), dtype=torch.float32).permute(2, 0, 1)
    ids = torch.tensor(np.array(row["annotation"]))
    boxes, categories = torch.tensor(row["objects"]["bbox"]), torch.tensor(row["objects"]["category"])
    corners = torch.arange(size) + 0.5
    x, y, width, height = boxes.T[:, :, None]
    across, down = (corners > x) & (corners < x + width), (corners > y) & (corners < y + height)
    masks = (ids == categories[:, None, None] + 1) & down[:, :, None] & across[:, None]
    label = {
        "class_labels": categories,
        "boxes": torch.cat([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], dim=1) / size,
        "masks": masks,
    }
    return ((pixels - 127) / 64)[None], label


def average_precision(outputs, label, size):
    """Of one image at an IoU of 0.5: mean over its classes of the area under precision by recall."""
    scores, classes = outputs.logits[0].sigmoid().max(dim=-1)
    found = [
        (corners, category)
        for corners, category, score in zip(
            outputs.pred_boxes[0].tolist(), classes.tolist(), scores.tolist(), strict=True
        )
        if score > 0
    ]
    precisions = []
    for category in set(label["class_labels"].tolist()):
        objects = [as_corners(box) for box in label["boxes"][label["class_labels"] == category].tolist()]
        precisions.append(class_precision([as_corners(box) for box, name in found if name == category], objects))
    return sum(precisions) / len(precisions)


def as_corners(box):
    x, y, width, height = box
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def class_precision(boxes, objects):
    """Boxes are the best first."""
    left, hits, total = list(objects), 0, 0.0
    for number, box in enumerate(boxes, start=1):
        best = max(left, key=lambda other: slow.iou(box, other), default=None)
        if best is not None and slow.iou(box, best) >= 0.5:
            left.remove(best)
            hits += 1
            total += hits / number
    return total / len(objects)


@pytest.mark.parametrize("kind", ["retinanet", pytest.param("masks", marks=pytest.mark.slow)])
def test_one_scene_is_learned_by_heart(kind):
    size = 96
    pixel_values, label = scene(seed=1, size=size)
    config = GPViTDetectionConfig.from_preset(
        "gpvit-nano",
        detector_type=KINDS[kind][1],
        num_labels=len(SCENE_NAMES),
        score_threshold=0.3,
        rpn_post_nms_top_n=50,
        box_batch_size_per_image=32,
    )
    model = KINDS[kind][0](config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(200):
        loss = model(pixel_values.expand(2, -1, -1, -1), labels=[label, label]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        if step % 20 == 19:
            model.eval()
            with torch.no_grad():
                precision = average_precision(model(pixel_values), label, size)
            model.train()
            if precision == 1:
                break
    assert precision == 1
