# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Anchors, boxes, matches, regions and what is left of them, against loops over boxes on random cases."""

import math

import numpy as np
import pytest
import torch
from torchvision import ops

import slow_detection as slow
from hf_gpvit.models.detection_boxes import (
    BACKGROUND,
    MAX_LOG_RATIO,
    UNUSED,
    Matcher,
    absolute_boxes,
    box_ious,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    grid_anchors,
    relative_boxes,
    sample_matches,
)
from hf_gpvit.models.detection_losses import match_usable
from hf_gpvit.models.detection_regions import cut_masks, keep_apart, region_features
from hf_gpvit.models.modeling_gpvit_detection import (
    Detections,
    RegionDetector,
    RegionMaskDetector,
    RegionProposals,
    RetinaDetector,
    Scene,
    best_boxes,
    best_scores,
    detect,
    scored_logits,
)
from small_detectors import small_config


THRESHOLDS = {"rpn": (0.7, 0.3, 0.3), "regions": (0.5, 0.5, 0.5), "retina": (0.5, 0.4, 0.0)}
UNIT, FINE = (1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)
# Decisions nearer to a threshold than rounding aren't compared.
MARGIN = 1e-4


@pytest.fixture
def random():
    return np.random.default_rng(0)


def tensor(values):
    return torch.from_numpy(np.asarray(values, np.float32))


def boxes_of(random, number, side=64, whole=False):
    """Some tiny, some huge, some at the borders; whole numbers tie often."""
    sides = np.exp(random.uniform(np.log(0.5), np.log(2 * side), (number, 2)))
    starts = random.uniform(-0.3, 1, (number, 2)) * side
    found = np.concatenate([starts, starts + sides], axis=1).astype(np.float32).reshape(number, 4)
    if whole:
        coarse = random.integers(0, 5, (number, 4)) * 8
        low, high = np.minimum(coarse[:, :2], coarse[:, 2:]), np.maximum(coarse[:, :2], coarse[:, 2:]) + 8
        found = np.concatenate([low, high], axis=1).astype(np.float32)
    return found


# --- anchors and coding


def test_anchors(random):
    """30 cases; ratios are heights to widths, and nothing is rounded."""
    for _ in range(30):
        grid, stride = tuple(random.integers(1, 5, 2).tolist()), int(2 ** random.integers(2, 8))
        scales = random.uniform(1, 9, random.integers(1, 4)).tolist()
        ratios = random.uniform(0.3, 3, random.integers(1, 4)).tolist()
        expected = slow.anchors(grid, stride, scales, ratios)
        found = grid_anchors(grid, stride, scales, ratios, torch.device("cpu"))
        torch.testing.assert_close(found, tensor(expected), rtol=1e-5, atol=1e-4)


def test_anchors_of_the_official_detectors():
    """By the numbers of the paper's detectors: 32 to 512 pixels, and octaves from four strides on."""
    regions, retina = small_config("boxes"), small_config("retinanet")
    [square] = grid_anchors((1, 1), 4, regions.anchor_scales, [1.0], torch.device("cpu"))
    assert square.tolist() == [-16, -16, 16, 16]
    wide, _, tall = grid_anchors((1, 1), 64, regions.anchor_scales, regions.anchor_ratios, torch.device("cpu"))
    assert (wide[2] - wide[0]).item() == pytest.approx(512 * math.sqrt(2))
    assert (tall[3] - tall[1]).item() == pytest.approx(512 * math.sqrt(2))
    sides = grid_anchors((1, 1), 8, retina.anchor_scales, [1.0], torch.device("cpu"))[:, 2] * 2
    assert sides.tolist() == pytest.approx([32, 32 * 2 ** (1 / 3), 32 * 2 ** (2 / 3)])


def test_coding(random):
    """100 cases of 8 boxes, with sides of anchors that are tiny and huge."""
    for case in range(100):
        stds = (UNIT, FINE)[case % 2]
        boxes, anchors = boxes_of(random, 8), boxes_of(random, 8)
        deltas = encode_boxes(tensor(boxes), tensor(anchors), stds)
        expected = [slow.encode(box, anchor, stds) for box, anchor in zip(boxes, anchors, strict=True)]
        torch.testing.assert_close(deltas, tensor(expected), rtol=1e-4, atol=1e-4)
        near = (deltas * tensor(stds))[:, 2:].abs().amax(dim=1) < MAX_LOG_RATIO
        again = decode_boxes(deltas, tensor(anchors), stds)
        torch.testing.assert_close(again[near], tensor(boxes)[near], rtol=1e-3, atol=1e-3)
        wild = tensor(random.normal(0, 6, (8, 4)))  # beyond the clamps
        expected = [slow.decode(row, anchor, stds) for row, anchor in zip(wild, anchors, strict=True)]
        torch.testing.assert_close(decode_boxes(wild, tensor(anchors), stds), tensor(expected), rtol=1e-4, atol=1e-2)


def test_sides_are_clamped_both_ways():
    anchor = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    for delta in (9.0, -9.0):
        [box] = decode_boxes(torch.tensor([[0.0, 0.0, delta, delta]]), anchor, UNIT)
        ratio = 62.5 if delta > 0 else 1 / 62.5
        assert (box[2] - box[0]).item() == pytest.approx(10 * ratio, rel=1e-5)
        assert (box[3] - box[1]).item() == pytest.approx(20 * ratio, rel=1e-5)


def test_clipping_and_relative_boxes(random):
    for _ in range(50):
        boxes = boxes_of(random, 6)
        height, width = random.integers(1, 90, 2).tolist()
        clipped = clip_boxes(tensor(boxes)[None], torch.tensor([[height, width]]))[0]
        torch.testing.assert_close(clipped, tensor([slow.clip(box, (height, width)) for box in boxes]))
        relative = relative_boxes(tensor(boxes), (height, width))
        x1, y1, x2, y2 = boxes.T
        expected = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
        torch.testing.assert_close(relative, tensor(np.stack(expected, axis=1)))
        torch.testing.assert_close(absolute_boxes(relative, (height, width)), tensor(boxes), rtol=1e-4, atol=1e-3)


def test_ious(random):
    for case in range(50):
        first, second = boxes_of(random, 5, whole=case % 2), boxes_of(random, 4, whole=case % 2)
        first[0, 2:] = first[0, :2]  # without area
        expected = [[slow.iou(box, other) for other in second] for box in first]
        torch.testing.assert_close(box_ious(tensor(first), tensor(second)), tensor(expected), rtol=0, atol=0)
    nothing = torch.zeros(1, 4)
    assert box_ious(nothing, nothing).tolist() == [[0]]


# --- matches


@pytest.mark.parametrize("kind", THRESHOLDS)
def test_matches(random, kind):
    """100 cases; boxes of whole numbers tie, and some anchors stand in padding."""
    seen = set()
    for case in range(100):
        places = boxes_of(random, int(random.integers(1, 30)), whole=case % 2)
        boxes = boxes_of(random, int(random.integers(0, 6)), whole=case % 4 != 2)
        if len(boxes) > 1 and case % 5 == 0:
            boxes[-1] = boxes[0]
        is_usable = random.uniform(size=len(places)) < (1 if case % 3 else 0.7)
        expected = slow.match_usable(places, boxes, is_usable, *THRESHOLDS[kind])
        found = match_usable(
            Matcher(*THRESHOLDS[kind]), tensor(places), tensor(boxes).reshape(-1, 4), torch.from_numpy(is_usable)
        )
        assert found.tolist() == expected, case
        seen |= set(np.minimum(expected, 0).tolist())
    assert {BACKGROUND, UNUSED, 0} <= seen


def test_matches_of_nothing():
    matcher = Matcher(0.7, 0.3, 0.3)
    places, boxes = torch.tensor([[0.0, 0, 8, 8]]), torch.tensor([[0.0, 0, 8, 8]])
    assert matcher(places, boxes[:0]).tolist() == [BACKGROUND]
    assert matcher(places[:0], boxes).tolist() == []
    assert matcher(places[:0], boxes[:0]).tolist() == []
    nowhere = torch.zeros(1, dtype=torch.bool)
    assert match_usable(matcher, places, boxes, nowhere).tolist() == [UNUSED]


def test_anchors_that_all_tie_go_to_the_later_object():
    places = torch.tensor([[0.0, 0, 8, 8]] * 3)
    boxes = torch.tensor([[0.0, 0, 8, 8], [0.0, 0, 8, 16], [0.0, 0, 8, 8]])
    assert Matcher(0.7, 0.3, 0.3)(places, boxes).tolist() == [2, 2, 2]


def test_an_object_that_nothing_overlaps():
    """RetinaNet's takes all anchors, which have 0 with it; the proposal network's none."""
    places, boxes = torch.tensor([[0.0, 0, 8, 8], [8.0, 0, 16, 8]]), torch.tensor([[50.0, 50, 60, 60]])
    assert Matcher(0.5, 0.4, 0.0)(places, boxes).tolist() == [0, 0]
    assert Matcher(0.7, 0.3, 0.3)(places, boxes).tolist() == [BACKGROUND] * 2


def test_thresholds_are_part_of_what_they_begin():
    places = torch.tensor([[0.0, 0, 8, 8], [0.0, 0, 16, 8], [0.0, 0, 32, 8], [0.0, 0, 40, 8]])
    [found] = Matcher(0.5, 0.25, 2.0)(places, places[:1]).unflatten(0, (1, 4))
    assert found.tolist() == [0, 0, UNUSED, BACKGROUND]


def test_the_detectors_match_as_they_should():
    config = small_config()
    assert RegionProposals(config).matcher == Matcher(0.7, 0.3, least=0.3)
    assert RegionDetector(config).matcher == Matcher(0.5, 0.5, least=0.5)
    assert RetinaDetector(small_config("retinanet")).matcher == Matcher(0.5, 0.4, least=0.0)
    assert RegionDetector.strides == (4, 8, 16, 32, 64)
    assert RetinaDetector.strides == (8, 16, 32, 64, 128)


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [(10, 40, (4, 12)), (2, 40, (2, 14)), (10, 3, (4, 3)), (0, 40, (0, 16)), (0, 0, (0, 0)), (1, 1, (1, 1))],
)
def test_samples(positives, negatives, expected):
    """At most a quarter of 16 are objects; the background fills up what they leave."""
    matches = torch.tensor([3] * positives + [BACKGROUND] * negatives + [UNUSED] * 9)
    matches = matches[torch.randperm(matches.shape[0])]
    positive, negative = sample_matches(matches, 16, 0.25)
    assert (positive.shape[0], negative.shape[0]) == expected
    assert (matches[positive] == 3).all()
    assert (matches[negative] == BACKGROUND).all()
    assert len({*positive.tolist(), *negative.tolist()}) == sum(expected)


def test_samples_are_drawn_at_random():
    matches = torch.full((100,), BACKGROUND)
    counts = torch.zeros(100)
    for _ in range(200):
        counts[sample_matches(matches, 25, 0.5)[1]] += 1
    assert 20 < counts.min() <= counts.max() < 80


def test_usable_anchors(random):
    """30 cases: cells that begin beyond an image's own padding to multiples of 32 aren't used."""
    strides = (4, 8, 16, 32, 64)
    for _ in range(30):
        side = random.integers(32, 160, 2)
        image_sizes = [(random.integers(1, side + 1)).tolist() for _ in range(2)]
        grids = [tuple(int(np.ceil(length / stride)) for length in side) for stride in strides]
        scene = Scene(tuple(side.tolist()), torch.tensor(image_sizes), [torch.zeros(1, 1, *g) for g in grids], strides)
        expected = [
            sum((slow.usable(grid, stride, size, 3) for grid, stride in zip(grids, strides, strict=True)), [])
            for size in image_sizes
        ]
        assert scene.usable(3).tolist() == expected


# --- what overlaps


def test_suppression(random):
    """100 cases, with equal scores (the first stays), beside torchvision's."""
    for case in range(100):
        number = int(random.integers(0, 25))
        boxes, groups = boxes_of(random, number, whole=case % 2), random.integers(0, 3, number)
        scores = random.permutation(number + 1)[:number].astype(np.float32)
        scores = scores // 2 if case % 4 == 0 else scores
        exists = random.uniform(size=number) < 0.8
        chosen = np.flatnonzero(exists)
        threshold = float(random.uniform(0.3, 0.8))
        kept, margin = slow.suppress(boxes[chosen], scores[chosen], groups[chosen], threshold)
        if margin < MARGIN:
            continue
        arguments = [tensor(boxes), tensor(scores), torch.from_numpy(groups)]
        found = keep_apart(*(value[None] for value in arguments), torch.from_numpy(exists)[None], threshold)[0]
        assert sorted(chosen[kept].tolist()) == found.nonzero()[:, 0].tolist(), case
        best = ops.batched_nms(*(value[chosen] for value in arguments), threshold)
        assert sorted(chosen[best.numpy()].tolist()) == found.nonzero()[:, 0].tolist()


def test_an_overlap_of_just_the_threshold_stays():
    boxes = torch.tensor([[[0.0, 0, 8, 8], [0.0, 0, 8, 16]]])
    scores, same, exists = torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2).long(), torch.ones(1, 2).bool()
    assert keep_apart(boxes, scores, same, exists, 0.5).tolist() == [[True, True]]
    assert keep_apart(boxes, scores, same, exists, 0.49).tolist() == [[True, False]]


def scene_of(config, strides, side, image_sizes):
    grids = [(math.ceil(side / stride), math.ceil(side / stride)) for stride in strides]
    maps = [torch.zeros(len(image_sizes), 1, *grid) for grid in grids]
    return Scene((side, side), torch.tensor(image_sizes), maps, strides)


def outputs_for(random, scene, config, *values, scale):
    cells = [feature_map.shape[-2] * feature_map.shape[-1] for feature_map in scene.maps]
    places = len(config.anchor_scales) * len(config.anchor_ratios)
    batch = len(scene.image_sizes)
    logits = [tensor(random.normal(-1, 2, (batch, number * places, *values))) for number in cells]
    deltas = [tensor(random.normal(0, scale, (batch, number * places, 4))) for number in cells]
    return logits, deltas, scene.anchors(config)


@pytest.mark.parametrize("training", [True, False])
def test_proposals(random, training):
    """25 batches of two images of different sizes each."""
    compared = 0
    for _ in range(25):
        config = small_config(
            rpn_pre_nms_top_n_train=12, rpn_pre_nms_top_n_test=7, rpn_post_nms_top_n=int(random.integers(5, 40))
        )
        proposals = RegionProposals(config).train(training)
        image_sizes = random.integers(1, 49, (2, 2)).tolist()
        scene = scene_of(config, (4, 8, 16, 32, 64), 48, image_sizes)
        logits, deltas, anchors = outputs_for(random, scene, config, scale=1)
        boxes, exists = proposals.propose(scene, logits, deltas, anchors)
        for image, size in enumerate(image_sizes):
            expected, margin = slow.propose(
                [level[image] for level in logits],
                [level[image] for level in deltas],
                anchors,
                size,
                12 if training else 7,
                config.rpn_post_nms_top_n,
                0.7,
            )
            if margin < MARGIN:
                continue
            compared += 1
            assert exists[image].tolist() == [True] * len(expected) + [False] * (boxes.shape[1] - len(expected))
            torch.testing.assert_close(
                boxes[image, : len(expected)], tensor(expected).reshape(-1, 4), rtol=1e-4, atol=1e-3
            )
            assert not boxes[image, len(expected) :].any()
    assert compared > 40


def assert_detections(detections, image, expected):
    boxes, scores, labels = detections.boxes[image], detections.scores[image], detections.labels[image]
    number = len(expected)
    assert (scores > 0).tolist() == [True] * number + [False] * (len(scores) - number)
    torch.testing.assert_close(scores[:number], tensor([score for _, score, _ in expected]))
    assert labels[:number].tolist() == [label for _, _, label in expected]
    wanted = tensor([box for box, _, _ in expected]).reshape(-1, 4)
    torch.testing.assert_close(boxes[:number], wanted, rtol=1e-4, atol=1e-3)
    assert not boxes[number:].any()
    assert not labels[number:].any()


def test_retina_detections(random):
    """25 batches of two images: pairs of an anchor and a class compete."""
    compared = 0
    for _ in range(25):
        config = small_config(
            "retinanet",
            num_labels=3,
            retina_pre_nms_top_n=int(random.integers(5, 40)),
            num_detections=int(random.integers(3, 60)),
            score_threshold=float(random.choice([0.05, 0.4])),
        )
        detector = RetinaDetector(config).eval()
        image_sizes = random.integers(1, 33, (2, 2)).tolist()
        scene = scene_of(config, detector.strides, 32, image_sizes)
        logits, deltas, anchors = outputs_for(random, scene, config, 3, scale=0.5)
        detections = detector.detections(scene, logits, deltas, anchors)
        assert detections.scores.shape == (2, config.num_detections)
        for image, size in enumerate(image_sizes):
            expected, margin = slow.retina_detections(
                [level[image].numpy() for level in logits], [level[image] for level in deltas], anchors, size, config
            )
            if margin >= MARGIN:
                compared += 1
                assert_detections(detections, image, expected)
    assert compared > 40


class GivenHead(torch.nn.Module):
    """A head that says what it is told."""

    def __init__(self, *given):
        super().__init__()
        self.given = given

    def forward(self, regions):
        return self.given if len(self.given) > 1 else self.given[0]


def test_region_detections(random):
    """25 batches of two images: each region has a box for each class."""
    compared = 0
    for _ in range(25):
        threshold = float(random.choice([0.05, 0.3, 0.0]))
        config = small_config(
            "boxes", num_labels=4, num_detections=int(random.integers(3, 50)), score_threshold=threshold
        )
        detector = RegionDetector(config).eval()
        image_sizes = random.integers(30, 65, (2, 2)).tolist()
        scene = scene_of(config, detector.strides, 64, image_sizes)
        scene.maps = [feature_map.expand(-1, config.fpn_hidden_size, -1, -1) for feature_map in scene.maps]
        regions = tensor(np.stack([boxes_of(random, 9), boxes_of(random, 9)]))
        exists = torch.arange(9) < torch.tensor([[9], [6]])
        logits, deltas = tensor(random.normal(0, 2, (18, 5))), tensor(random.normal(0, 1, (18, 4, 4)))
        detector.box_head = GivenHead(logits, deltas)
        detections = detector.detections(scene, regions, exists)
        for image, size in enumerate(image_sizes):
            number = exists[image].sum().item()
            own = slice(9 * image, 9 * image + number)
            expected, margin = slow.region_detections(
                logits[own], deltas[own], regions[image, :number].numpy(), size, config
            )
            if margin >= (MARGIN if threshold else 1e-6):
                compared += 1
                assert_detections(detections, image, expected)
    assert compared > 40


def test_one_region_may_be_several_classes():
    """As many as can score more than the threshold: the number of candidates is cut to that."""
    config = small_config("boxes", num_labels=3, score_threshold=0.3)
    detector = RegionDetector(config).eval()
    detector.box_head = GivenHead(torch.tensor([[1.0, 1, 1, -2]]), torch.zeros(1, 3, 4))
    scene = scene_of(config, detector.strides, 32, [[32, 32]])
    found = detector.detections(scene, torch.tensor([[[4.0, 4, 20, 20]]]), torch.ones(1, 1, dtype=torch.bool))
    assert found.labels[0, :3].sort().values.tolist() == [0, 1, 2]
    assert (found.scores > 0).sum() == 3


def test_masks_are_of_the_classes_that_are_found():
    detector = RegionMaskDetector(small_config(num_labels=3)).eval()
    by_class = torch.arange(12.0).reshape(4, 3, 1, 1).expand(-1, -1, 28, 28)
    detector.mask_head = GivenHead(by_class)
    scene = scene_of(detector.config, detector.strides, 32, [[32, 32]] * 2)
    detections = Detections(torch.zeros(2, 2, 4), torch.ones(2, 2), torch.tensor([[0, 2], [1, 1]]))
    assert detector.masks(scene, detections)[:, :, 0, 0].tolist() == [[0, 5], [7, 10]]


def test_detections_score_more_than_the_threshold():
    config = small_config(score_threshold=0.5, num_detections=4)
    boxes = torch.tensor([[[0.0, 0, 8, 8], [20.0, 0, 28, 8], [40.0, 0, 48, 8]]])
    found = detect(boxes, torch.tensor([[0.5, 0.75, 0.25]]), torch.tensor([[0, 1, 2]]), config)
    assert found.scores.tolist() == [[0.75, 0, 0, 0]]
    assert found.labels.tolist() == [[1, 0, 0, 0]]


def test_scored_logits():
    """Where nothing is, nothing scores: the stock post-processing takes the best of all (detection, class) pairs."""
    config = small_config(num_detections=3, num_labels=3)
    boxes = torch.tensor([[[0.0, 0, 8, 8], [20.0, 0, 28, 8]]])
    found = detect(boxes, torch.tensor([[0.25, 1.0]]), torch.tensor([[2, 1]]), config)
    assert scored_logits(found, 3).sigmoid().tolist() == [[[0, 1, 0], [0, 0, 0.25], [0, 0, 0]]]


def test_logits_are_finite_and_their_sigmoid_is_the_score():
    """Certainty and nothing at all too."""
    scores = torch.tensor([[1.0, 1 - 2**-24, 0.3, 1e-30, 0.0]])
    found = scored_logits(Detections(torch.zeros(1, 5, 4), scores, torch.tensor([[0, 1, 2, 1, 0]])), 3)
    assert found.isfinite().all()
    expected = torch.zeros(5, 3)
    expected[range(4), [0, 1, 2, 1]] = scores[0, :4]
    torch.testing.assert_close(found[0].sigmoid(), expected, rtol=1e-6, atol=0)
    assert found[0, 0, 0].sigmoid() == 1


def test_best_scores_of_fewer():
    """In their order, then what isn't there."""
    scores = torch.tensor([[0.25, 0.75]])
    values, places = best_scores(scores, 4)
    assert values.tolist() == [[0.75, 0.25, -math.inf, -math.inf]]
    assert places.tolist() == [[1, 0, 1, 1]]


def test_best_boxes_when_few_exist():
    boxes = torch.arange(12.0).reshape(1, 3, 4)
    found, exists = best_boxes(boxes, torch.tensor([[1.0, 3, 2]]), torch.tensor([[True, False, True]]), 2)
    assert exists.tolist() == [[True, True]]
    torch.testing.assert_close(found, boxes[:, [2, 0]])


# --- regions


def test_levels_of_regions():
    """A region of side 112 is the first of the second level; each doubling is a level."""
    sides = [1.0, 111.9, 112.1, 223.9, 224.1, 447.9, 448.1, 5000.0]
    regions = torch.tensor([[0.0, 0, side, side] for side in sides])
    maps = [torch.full((1, 1, 2, 2), float(number)) for number in range(4)]
    found = region_features(maps, [4000] * 4, [regions], 1).flatten().round().tolist()
    assert found == [slow.level(region) for region in regions.numpy()] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_region_features(random):
    """80 regions of two images, on the level for their size."""
    strides = (4, 8, 16, 32)
    maps = [tensor(random.normal(size=(2, 3, 160 // stride, 128 // stride))) for stride in strides]
    regions = [tensor(boxes_of(random, 40, side=side)) for side in (128, 400)]
    found = region_features(maps, strides, regions, 3)
    levels = []
    for number, region in enumerate(torch.cat(regions).numpy()):
        level = slow.level(region)
        levels.append(level)
        expected = slow.roi_align(maps[level][number // 40].double().numpy(), region, 1 / strides[level], 3)
        torch.testing.assert_close(found[number], tensor(expected), rtol=1e-4, atol=1e-4)
    assert set(levels) == {0, 1, 2, 3}
    in_pixels = ops.roi_align(maps[0], [regions[0][:1], regions[1][:1]], 3, 1 / 4, sampling_ratio=0, aligned=True)
    assert slow.level(regions[0][0].numpy()) == 0
    torch.testing.assert_close(found[0], in_pixels[0])


def test_masks_within_boxes(random):
    """60 cases: at least half of a cell is the object's."""
    masks = random.uniform(size=(3, 20, 24)) < 0.5
    boxes = boxes_of(random, 60, side=20)
    indices = random.integers(0, 3, 60)
    found = cut_masks(torch.from_numpy(masks), torch.from_numpy(indices), tensor(boxes), 4)
    assert set(found.unique().tolist()) == {0, 1}
    for number, (index, box) in enumerate(zip(indices, boxes, strict=True)):
        exact = slow.roi_align(masks[index].astype(float)[None], box, 1.0, 4)[0]
        is_clear = abs(exact - 0.5) > 1e-5
        assert (found[number].numpy() == slow.cut_mask(masks[index], box, 4))[is_clear].all()


def test_masks_that_fill_half_of_a_cell():
    mask = torch.zeros(1, 4, 4)
    mask[:, :, :2] = 1
    found = cut_masks(mask, torch.tensor([0]), torch.tensor([[0.0, 0, 4, 4]]), 1)
    assert found.tolist() == [[[1]]]
