# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Objects that windows see whole or cut are found once, from what made-up windows have found."""

import pytest
import torch

from hf_gpvit.inference.seams import Window, join_seams


SIZE = (200, 300)  # height, width
# Three windows side by side; neighbours have 40 pixels in common.
ROW = [Window(0, 0, 120, 200), Window(80, 0, 220, 200), Window(180, 0, 300, 200)]
# Two by two windows; neighbours have 40 pixels in common.
GRID = [Window(left, top, left + 170, top + 120) for top in (0, 80) for left in (0, 130)]


def seen(objects, windows, least=4):
    """What perfect windows find of objects (label, score, box): boxes cut at their borders, none of a few pixels."""
    rows = []
    for origin, window in enumerate(windows):
        for label, score, box in objects:
            cut = [*map(max, box[:2], window[:2]), *map(min, box[2:], window[2:])]
            if cut[2] - cut[0] >= least and cut[3] - cut[1] >= least:
                share = (cut[2] - cut[0]) * (cut[3] - cut[1]) / ((box[2] - box[0]) * (box[3] - box[1]))
                rows.append((origin, label, score * share, cut))
    return rows


def joined(rows, windows):
    """(label, score, box as a list, parts) of each that is left, from (window, label, score, box)."""
    origins, labels, scores, boxes = map(list, zip(*rows, strict=True))
    found = join_seams(
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels),
        torch.tensor(origins),
        windows,
        SIZE,
    )
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    return [(item.label, item.score, item.box.tolist(), item.parts) for item in found]


PLACES = {
    "in one window": [10, 20, 60, 70],
    "in the overlap": [85, 20, 115, 70],
    "whole in the first, cut in the second": [50, 20, 110, 70],
    "cut in the first, whole in the second": [90, 20, 170, 70],
    "at a border of both": [80, 20, 120, 70],
    "longer than the overlap, cut in both": [40, 20, 180, 70],
    "through all windows": [20, 50, 290, 150],
    "as large as the picture": [0, 0, 300, 200],
}


@pytest.mark.parametrize("windows", [ROW, GRID], ids=["row", "grid"])
@pytest.mark.parametrize("place", PLACES)
def test_one_object(windows, place):
    """Wherever it is, it is one, with the whole box; noise of the windows is no other one."""
    box = PLACES[place]
    rows = seen([(3, 0.9, box)], windows)
    [(label, score, found, _)] = joined(rows, windows)
    assert (label, found) == (3, box)
    assert score == pytest.approx(max(row[2] for row in rows))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = (torch.rand(len(rows), 4, generator=generator) * 4 - 2).tolist()
        noisy = []
        for (origin, label, score, sides), steps in zip(rows, noise, strict=True):
            window = windows[origin]
            moved = [side + step for side, step in zip(sides, steps, strict=True)]
            moved = [*map(max, moved[:2], window[:2]), *map(min, moved[2:], window[2:])]
            noisy.append((origin, label, score, moved))
        [(_, _, found, _)] = joined(noisy, windows)
        assert found == pytest.approx(box, abs=2.1)


def test_the_best_window_that_sees_it_whole():
    """Not the mean or the outermost of all, and not the better one that sees it cut."""
    rows = [(0, 1, 0.7, [84, 20, 112, 71]), (1, 1, 0.8, [85, 21, 113, 70])]
    assert joined(rows, ROW) == [(1, pytest.approx(0.8), [85, 21, 113, 70], [1])]
    rows = [(0, 1, 0.9, [90, 20, 120, 70]), (1, 1, 0.6, [91, 20, 160, 70])]
    assert joined(rows, ROW) == [(1, pytest.approx(0.9), [91, 20, 160, 70], [1])]


def test_parts_of_a_long_object_are_those_of_its_mask():
    rows = seen([(0, 0.9, [20, 50, 290, 150])], ROW)
    [(_, _, box, parts)] = joined(rows, ROW)
    assert (box, parts) == ([20, 50, 290, 150], [0, 1, 2])


def test_neighbours_stay_apart():
    """Objects side by side, one above the other, one within another, of two classes at one place."""
    objects = [
        (0, 0.9, [60, 20, 100, 60]),
        (0, 0.8, [100, 20, 140, 60]),
        (0, 0.7, [60, 60, 140, 100]),
        (0, 0.6, [62, 110, 210, 190]),
        (1, 0.5, [62, 110, 210, 190]),
        (0, 0.4, [95, 130, 115, 150]),
    ]
    for windows in (ROW, GRID):
        found = joined(seen(objects, windows), windows)
        assert sorted((label, box) for label, _, box, _ in found) == sorted((label, box) for label, _, box in objects)


def test_two_boxes_of_one_window_are_two_objects():
    """However much alike: the detector has taken them for two."""
    rows = [(0, 0, 0.9, [10, 20, 60, 70]), (0, 0, 0.8, [11, 20, 60, 70])]
    assert len(joined(rows, ROW)) == 2
    # people who overlap by most of what both windows see: each is one with itself
    first, second = [10, 20, 118, 100], [82, 20, 200, 100]
    rows = seen([(0, 0.9, first), (0, 0.9, second)], ROW)
    for order in (rows, rows[::-1], [*rows[:2], *rows[2:][::-1]]):
        found = joined(order, ROW)
        assert sorted(box for _, _, box, _ in found) == [first, second]


def test_a_sliver_beside_a_fuller_box_goes():
    """It agrees with nothing that the other window has found, but is within it."""
    whole = (0, 0, 0.9, [40, 20, 110, 100])
    sliver = (1, 0, 0.6, [80, 30, 90, 50])
    assert [item[2] for item in joined([whole, sliver], ROW)] == [whole[3]]
    # one of another class, one that isn't cut, or of a much worse box's remains stay
    for row in ((1, 1, 0.6, [80, 30, 90, 50]), (1, 0, 0.6, [90, 30, 100, 50]), (1, 0, 0.95, [80, 30, 90, 50])):
        others = (0, 0, 0.3 if row[2] > 0.9 else 0.9, whole[3])
        assert len(joined([others, row], ROW)) == 2


@pytest.mark.parametrize(
    ("boxes", "origins"),
    [
        (([0, 85, 40, 115], [0, 86, 41, 114]), (0, 2)),
        (([260, 85, 300, 115], [261, 86, 300, 114]), (1, 3)),
        (([135, 0, 165, 30], [136, 0, 164, 31]), (0, 1)),
        (([135, 170, 165, 200], [136, 171, 164, 200]), (2, 3)),
    ],
)
def test_the_border_of_the_picture_cuts_nothing(boxes, origins):
    """What ends there is whole."""
    rows = [(origin, 0, score, box) for origin, score, box in zip(origins, (0.7, 0.8), boxes, strict=True)]
    assert joined(rows, GRID) == [(0, pytest.approx(0.8), boxes[1], [1])]


def test_two_classes_at_one_place():
    """Also where each window has seen but one of them."""
    box = [85, 20, 115, 70]
    assert [row[0] for row in joined([(0, 0, 0.9, box), (1, 1, 0.8, box)], ROW)] == [0, 1]


def test_one_window_changes_nothing():
    window = [Window(0, 0, 300, 200)]
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(50, 2, 2, generator=generator).sort(dim=1).values * torch.tensor([300.0, 200.0])
    scores = torch.rand(50, generator=generator).sort(descending=True).values
    boxes = zip(scores.tolist(), corners.flatten(1).tolist(), strict=True)
    rows = [(0, index % 3, score, box) for index, (score, box) in enumerate(boxes)]
    found = joined(rows, window)
    assert [(label, box) for label, _, box, _ in found] == [(row[1], row[3]) for row in rows]
    assert [parts for *_, parts in found] == [[index] for index in range(50)]


def test_nothing_found():
    empty = torch.empty(0)
    assert join_seams(empty.reshape(0, 4), empty, empty.long(), empty.long(), ROW, SIZE) == []
