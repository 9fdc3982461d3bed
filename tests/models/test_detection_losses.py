# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of detectors against loops over boxes on random cases, and what they learn from."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import slow_detection as slow
from hf_gpvit.models.detection_boxes import Matcher
from hf_gpvit.models.detection_losses import box_loss, focal_loss, mask_loss, retina_loss, rpn_loss
from hf_gpvit.models.modeling_gpvit_detection import (
    RegionDetector,
    RegionMaskDetector,
    RegionProposals,
    RetinaDetector,
    Scene,
    Targets,
)
from small_detectors import small_config


RPN, RETINA = (0.7, 0.3, 0.3), (0.5, 0.4, 0.0)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def tensor(values):
    return torch.from_numpy(np.asarray(values, np.float32))


def objects_of(random, number, side=64):
    """Boxes within an image, from one pixel to all of it."""
    sides = np.exp(random.uniform(0, np.log(side), (number, 2)))
    starts = random.uniform(0, 1, (number, 2)) * (side - sides)
    return np.concatenate([starts, starts + sides], axis=1).astype(np.float32).reshape(number, 4)


def batch_of(random, num_anchors=40):
    """Anchors of which some are close to objects, two images of which one may be empty, and what is used of them."""
    boxes = [objects_of(random, int(random.integers(0, 4))) for _ in range(2)]
    near = np.concatenate([*boxes, np.zeros((0, 4), np.float32)])
    near = near + random.normal(0, 1.5, near.shape).astype(np.float32) * (random.uniform() < 0.8)
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 0.5)
    anchors = np.concatenate([near, objects_of(random, num_anchors - len(near))])
    return boxes, anchors, random.uniform(size=(2, num_anchors)) < 0.8


def assert_losses(found, expected):
    for loss, value in zip(found.values(), expected, strict=True):
        assert loss.item() == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_rpn_loss(random):
    """60 batches, all anchors sampled."""
    for _ in range(60):
        boxes, anchors, usable = batch_of(random)
        logits, deltas = random.normal(0, 3, (2, 40)), random.normal(0, 1, (2, 40, 4))
        found = rpn_loss(
            *map(tensor, (logits, deltas, anchors)),
            torch.from_numpy(usable),
            list(map(tensor, boxes)),
            Matcher(*RPN),
            1000,
            1.0,
        )
        assert_losses(found, slow.rpn_losses(logits, deltas, anchors, usable, boxes, RPN))


def test_retina_loss(random):
    """60 batches; at least one object is counted for each image."""
    for _ in range(60):
        boxes, anchors, usable = batch_of(random)
        labels = [random.integers(0, 3, len(objects)) for objects in boxes]
        logits, deltas = random.normal(0, 3, (2, 40, 3)), random.normal(0, 1, (2, 40, 4))
        found = retina_loss(
            *map(tensor, (logits, deltas, anchors)),
            torch.from_numpy(usable),
            list(map(tensor, boxes)),
            list(map(torch.from_numpy, labels)),
            Matcher(*RETINA),
            0.25,
            2.0,
        )
        assert_losses(found, slow.retina_losses(logits, deltas, anchors, usable, boxes, labels, RETINA, 0.25, 2.0))


def test_losses_of_a_batch_are_divided_once():
    """Not the mean of the images' own means: an image with two objects counts twice."""
    anchors = torch.tensor([[0.0, 0, 8, 8], [20.0, 0, 28, 8]])
    boxes, labels = [anchors, anchors[:1]], [torch.tensor([0, 0]), torch.tensor([0])]
    deltas = torch.tensor([[[1.0, 0, 0, 0]] * 2, [[4.0, 0, 0, 0]] * 2])
    usable = torch.ones(2, 2, dtype=torch.bool)
    losses = retina_loss(torch.zeros(2, 2, 1), deltas, anchors, usable, boxes, labels, Matcher(*RETINA), 0.25, 2.0)
    assert losses["loss_box"].item() == pytest.approx((1 + 1 + 4) / 3)


def test_rpn_loss_is_divided_by_the_samples():
    """Two images with four samples each, of which one has an object, and the object's anchor is 3 off."""
    anchors = torch.tensor([[0.0, 0, 8, 8], *([20.0, 0, 28, 8] for _ in range(9))])
    deltas = torch.tensor([[[3.0, 0, 0, 0]] * 10] * 2)
    usable = torch.ones(2, 10, dtype=torch.bool)
    losses = rpn_loss(torch.zeros(2, 10), deltas, anchors, usable, [anchors[:1], anchors[:0]], Matcher(*RPN), 4, 0.5)
    assert losses["loss_rpn_box"].item() == pytest.approx(3 / 8)
    assert losses["loss_rpn_class"].item() == pytest.approx(math.log(2))


def test_losses_of_no_samples():
    """Nothing to learn from costs nothing, and leaves gradients of 0 rather than none."""
    logits, deltas = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    nowhere, nothing = torch.zeros(2, 3, dtype=torch.bool), [torch.zeros(0, 4)] * 2
    losses = rpn_loss(logits, deltas, torch.rand(3, 4), nowhere, nothing, Matcher(*RPN), 4, 0.5)
    no_regions = torch.zeros(0, 5, requires_grad=True), torch.zeros(0, 4, 4, requires_grad=True)
    losses |= box_loss(*no_regions, torch.zeros(0).long(), torch.zeros(0, 4))
    no_masks = torch.zeros(0, 5, 4, 4, requires_grad=True)
    losses |= mask_loss(no_masks, torch.zeros(0).long(), torch.zeros(0, 4, 4))
    assert [loss.item() for loss in losses.values()] == [0] * 5
    sum(losses.values()).backward()
    for outputs in (logits, deltas, *no_regions, no_masks):
        assert not outputs.grad.any()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_what_is_certain(gamma):
    """Its gradient is finite for logits that a sigmoid rounds to 0 and 1."""
    logits = torch.tensor([30.0, -30.0, 30.0, -30.0, 0.0], requires_grad=True)
    targets = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])
    loss = focal_loss(logits, targets, 0.25, gamma)
    pairs = zip(logits.tolist(), targets.tolist(), strict=True)
    expected = sum(slow.focal(logit, target, 0.25, gamma) for logit, target in pairs)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad.isfinite().all()


def test_box_loss(random):
    """80 cases, a few without any object."""
    for case in range(80):
        regions, boxes = objects_of(random, 12), objects_of(random, 3)
        labels = random.integers(0, 4, 3)
        matches = [] if case % 8 == 0 else random.integers(0, 3, int(random.integers(0, 7))).tolist()
        all_matches = matches + [slow.BACKGROUND] * (12 - len(matches))
        logits, deltas = random.normal(0, 3, (12, 5)), random.normal(0, 1, (12, 4, 4))
        targets = [slow.encode(boxes[index], regions[row], (0.1, 0.1, 0.2, 0.2)) for row, index in enumerate(matches)]
        classes = torch.tensor([labels[index] for index in matches] + [4] * (12 - len(matches)))
        found = box_loss(tensor(logits), tensor(deltas), classes, tensor(targets).reshape(-1, 4))
        assert_losses(found, slow.box_losses(logits, deltas, regions, all_matches, boxes, labels))


def test_mask_loss(random):
    """50 cases."""
    for number in range(50):
        number %= 5
        logits, labels = random.normal(0, 3, (number, 4, 6, 6)), random.integers(0, 4, number)
        targets = (random.uniform(size=(number, 6, 6)) < 0.5).astype(np.float32)
        found = mask_loss(tensor(logits), torch.from_numpy(labels), tensor(targets))
        assert_losses(found, [slow.mask_losses(logits, labels, targets)])


# --- what the second look is taught on


def region_detector(**overrides):
    """Everything is sampled unless `overrides` say otherwise."""
    everything = {"box_batch_size_per_image": 1000, "box_positive_fraction": 1.0}
    return RegionDetector(small_config("boxes", **everything | overrides))


def test_objects_join_the_regions_after_the_match():
    """The first region is the second object's best, though it shares more with the first."""
    objects = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 6]])
    regions = torch.tensor([[0.0, 0, 10, 9], [50.0, 50, 60, 60]])
    boxes, labels, matched = region_detector()._sample(regions, objects, torch.tensor([3, 1]))
    assert matched.tolist() == [0, 1, 1]
    assert labels.tolist() == [3, 1, 1, 5]
    torch.testing.assert_close(boxes, torch.cat([objects, regions]))


@pytest.mark.parametrize("number", [0, 1, 7])
def test_samples_of_regions(random, number):
    """A quarter of them at most is objects, which come first; classes are theirs."""
    detector = region_detector(box_batch_size_per_image=16, box_positive_fraction=0.25)
    objects, names = tensor(objects_of(random, number)), torch.arange(number) % 5
    regions = tensor(objects_of(random, 60))
    boxes, labels, matched = detector._sample(regions, objects, names)
    assert len(boxes) == len(labels) == 16
    assert len(matched) <= 4
    assert (number == 0) == (len(matched) == 0)
    assert (labels[: len(matched)] == names[matched]).all()
    assert (labels[len(matched) :] == 5).all()


def test_samples_without_any_region():
    objects = torch.tensor([[0.0, 0, 10, 10]])
    boxes, labels, matched = region_detector()._sample(objects[:0], objects, torch.tensor([2]))
    assert (boxes.tolist(), labels.tolist(), matched.tolist()) == (objects.tolist(), [2], [0])
    boxes, labels, matched = region_detector()._sample(objects[:0], objects[:0], torch.zeros(0).long())
    assert len(boxes) == len(labels) == len(matched) == 0


class GivenHead(nn.Module):
    """A head whose answer is drawn once it knows how many regions there are."""

    def __init__(self, *shapes):
        super().__init__()
        self.shapes = shapes

    def forward(self, regions):
        self.given = [torch.randn(len(regions), *shape) for shape in self.shapes]
        return self.given if len(self.given) > 1 else self.given[0]


def scene_and_targets(random, num_objects):
    maps = [tensor(random.normal(size=(2, 16, 64 // stride, 64 // stride))) for stride in (4, 8, 16, 32, 64)]
    scene = Scene((64, 64), torch.tensor([[64, 64]] * 2), maps, (4, 8, 16, 32, 64))
    targets = Targets(
        boxes=[tensor(objects_of(random, number)) for number in num_objects],
        labels=[torch.from_numpy(random.integers(0, 5, number)) for number in num_objects],
        masks=[torch.from_numpy(random.uniform(size=(number, 64, 64)) < 0.7) for number in num_objects],
    )
    return scene, targets


@pytest.mark.parametrize("num_objects", [(3, 2), (2, 0), (0, 0)])
def test_losses_of_regions(random, num_objects):
    """Of both images together, and masks of the objects alone."""
    scene, targets = scene_and_targets(random, num_objects)
    detector = RegionMaskDetector(small_config(box_batch_size_per_image=1000, box_positive_fraction=1.0))
    detector.box_head, detector.mask_head = GivenHead((6,), (5, 4)), GivenHead((5, 28, 28))
    proposed = np.stack([np.concatenate([objects_of(random, 9), np.zeros((1, 4), np.float32)]) for _ in range(2)])
    exists = torch.arange(10).expand(2, 10) < 9
    losses = detector.loss(scene, targets, tensor(proposed), exists)

    # objects of both images in one list, each region with its place in it
    boxes, labels = torch.cat(targets.boxes).numpy(), torch.cat(targets.labels).numpy()
    masks = torch.cat(targets.masks).numpy()
    regions, matches = [], []
    for image, number in enumerate(num_objects):
        own, first = targets.boxes[image].numpy(), sum(num_objects[:image])
        found = list(range(number)) + slow.match(proposed[image, :9], own, 0.5, 0.5, 0.5)
        everything = np.concatenate([own, proposed[image, :9]])
        order = sorted(range(len(found)), key=lambda index, found=found: found[index] < 0)
        regions += [everything[index] for index in order]
        matches += [first + found[index] if found[index] >= 0 else slow.BACKGROUND for index in order]
    logits, deltas = detector.box_head.given
    expected = slow.box_losses(logits, deltas, regions, matches, boxes, labels)
    assert_losses({name: losses[name] for name in ("loss_class", "loss_box")}, expected)

    objects = [(region, found) for region, found in zip(regions, matches, strict=True) if found >= 0]
    wanted = [slow.cut_mask(masks[found], region, 28) for region, found in objects]
    [mask_logits] = detector.mask_head.given
    assert len(mask_logits) == len(objects)
    expected = slow.mask_losses(mask_logits.tolist(), [labels[found] for _, found in objects], wanted)
    assert losses["loss_mask"].item() == pytest.approx(expected, rel=1e-3)


def test_losses_of_the_heads_know_the_padding(random):
    """Anchors in what a batch is padded with are no background: their logits don't matter."""
    for detector_class, kind in ((RegionProposals, "boxes"), (RetinaDetector, "retinanet")):
        config = small_config(kind, rpn_batch_size_per_image=10000, rpn_positive_fraction=1.0)
        detector = detector_class(config)
        strides = RetinaDetector.strides if kind == "retinanet" else RegionDetector.strides
        maps = [torch.zeros(1, 16, 96 // stride + 1, 96 // stride + 1) for stride in strides]
        scene = Scene((96, 96), torch.tensor([[30, 96]]), maps, strides)
        anchors = scene.anchors(config)
        usable = scene.usable(detector.anchors_per_cell)
        targets = Targets([tensor(objects_of(random, 2, 30))], [torch.tensor([0, 1])], None)
        shape = (5,) if kind == "retinanet" else ()
        losses = []
        for in_padding in (0.0, 50.0):
            logits = torch.zeros(1, usable.shape[1], *shape)
            logits[~usable] = in_padding
            sizes = [len(level) for level in anchors]
            deltas = torch.zeros(1, usable.shape[1], 4)
            losses.append(detector.loss(scene, targets, logits.split(sizes, 1), deltas.split(sizes, 1), anchors))
        assert 0 < usable.sum() < usable.numel()
        assert losses[0] == losses[1]
