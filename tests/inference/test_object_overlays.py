# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of objects: what is drawn, where, in which colours, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from hf_gpvit.inference import Detected, object_overlays, overlay_objects
from hf_gpvit.inference.rle import encode_mask


NAMES = {0: "cell", 1: "$ a_b $"}
PALETTE = [(250, 0, 0), (0, 0, 250)]
GREY = Image.new("RGB", (200, 120), (120, 120, 120))
BOXES = torch.tensor([[20.0, 30, 80, 100], [110, 40, 170, 90]])


def found(masks=None, scores=(0.91, 0.5), labels=(0, 1), boxes=BOXES):
    return Detected(GREY, torch.tensor(scores), torch.tensor(labels), boxes, masks)


def ellipses():
    y, x = torch.meshgrid(torch.arange(120), torch.arange(200), indexing="ij")
    return torch.stack(
        [((x - 50) / 25) ** 2 + ((y - 65) / 30) ** 2 < 1, ((x - 140) / 20) ** 2 + ((y - 65) / 20) ** 2 < 1]
    )


def pixels(image):
    return np.asarray(image).astype(int)


def is_near(values, color, tolerance=40):
    return np.abs(values - np.array(color)).max(axis=-1) < tolerance


@pytest.fixture
def drawn(monkeypatch):
    """Every tag with its place."""
    tags, places = [], []
    tags_of, places_of = object_overlays._tags, object_overlays._places
    monkeypatch.setattr(object_overlays, "_tags", lambda *arguments: tags.append(tags_of(*arguments)) or tags[-1])
    monkeypatch.setattr(
        object_overlays, "_places", lambda *arguments: places.append(places_of(*arguments)) or places[-1]
    )
    return lambda: list(zip(tags[-1], places[-1], strict=True))


def test_boxes_and_tags(drawn):
    drawing = pixels(overlay_objects(GREY, found(), NAMES, PALETTE))
    assert drawing.shape == (120, 200, 3)
    assert np.array_equal(pixels(GREY), np.full((120, 200, 3), 120))
    for (left, top, right, bottom), color in zip(BOXES.int().tolist(), PALETTE, strict=True):
        for edge in (
            drawing[bottom - 1 : bottom + 1, left + 5 : right - 5],
            drawing[top + 5 : bottom - 5, left - 1 : left + 1].swapaxes(0, 1),
        ):
            assert is_near(edge, color, 90).any(axis=0).all()
        assert is_near(drawing[top + 8 : bottom - 8, left + 8 : right - 8], (120, 120, 120), 1).all()
    (first, place), (second, other) = drawn()
    assert (first, second) == ("cell 91%", "$ a_b $ 50%")
    assert place.bottom <= 30 and other.bottom <= 40
    assert is_near(drawing[int(place.top) + 2, int(place.left) + 2 : int(place.right) - 2], PALETTE[0]).mean() > 0.5


def test_masks_of_either_form():
    """Truth has them as bool, predictions as runs; in the class's colour, with a line along the border."""
    masks = ellipses()
    runs = overlay_objects(GREY, found([encode_mask(mask) for mask in masks]), NAMES, PALETTE, alpha=0.5)
    truth = SimpleNamespace(boxes=BOXES, class_labels=torch.tensor([0, 1]), masks=masks)
    drawing, of_truth = pixels(runs), pixels(overlay_objects(GREY, truth, NAMES, PALETTE, alpha=0.5))
    assert np.array_equal(drawing[65, 30:70], of_truth[65, 30:70])
    assert is_near(drawing[65, 40], (185, 60, 60), 2) and is_near(drawing[65, 26], PALETTE[0], 2)
    assert is_near(drawing[65, 140], (60, 60, 185), 2)
    assert is_near(drawing[65, 100], (120, 120, 120), 1)


def test_the_best_is_on_top():
    masks = ellipses()[[0, 0]]
    both = found([encode_mask(mask) for mask in masks], labels=(1, 0), boxes=BOXES[[0, 0]])
    assert is_near(pixels(overlay_objects(GREY, both, NAMES, PALETTE, alpha=1.0))[65, 40], PALETTE[1], 2)


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_another_size(scale, drawn):
    masks = [encode_mask(mask) for mask in ellipses()]
    drawing = overlay_objects(GREY, found(masks), NAMES, PALETTE, scale=scale)
    assert drawing.size == (200 * scale, 120 * scale)
    assert not is_near(pixels(drawing)[int(65 * scale), int(40 * scale)], (120, 120, 120), 20)
    assert is_near(pixels(drawing)[int(90 * scale) - 1, int(110 * scale) : int(160 * scale)], PALETTE[1], 90).any()


def test_truth_has_no_scores(drawn):
    overlay_objects(GREY, SimpleNamespace(boxes=BOXES, class_labels=torch.tensor([0, 0]), masks=None), NAMES)
    assert [tag for tag, _ in drawn()] == ["cell", "cell"]


def test_tags_hide_no_other_tags(drawn):
    """They stay in the picture; in a crowd the worse objects have none."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * torch.tensor([150.0, 80.0])
    boxes = torch.cat([corners, corners + 40], dim=1)
    crowd = found(scores=[0.9 - index / 100 for index in range(60)], labels=[0] * 60, boxes=boxes)
    overlay_objects(GREY, crowd, NAMES)
    places = [place for _, place in drawn()]
    shown = [place for place in places if place is not None]
    assert places[0] is not None and 5 < len(shown) < 60
    for index, place in enumerate(shown):
        assert place.left >= 0 and place.top >= 0 and place.right <= 200 and place.bottom <= 120
        area = (place.right - place.left) * (place.bottom - place.top)
        assert sum(place.common_area(other) for other in shown[:index]) <= 0.25 * area


def test_names_that_can_not_be_drawn(drawn):
    overlay_objects(GREY, found(), {0: "\ue000", 1: "a" * 40 + "\n"})
    assert [tag for tag, _ in drawn()] == ["\\ue000 (0) 91%", "a" * 24 + "... (1) 50%"]


def test_nothing_to_draw():
    nothing = found(masks=[], scores=[], labels=[], boxes=torch.empty(0, 4))
    drawing = overlay_objects(GREY, nothing, NAMES)
    assert np.array_equal(pixels(drawing), pixels(GREY)) and drawing is not GREY


def test_boxes_without_a_size():
    overlay_objects(GREY, found(boxes=torch.tensor([[0.0, 0, 0, 0], [199.0, 119, 200, 120]])), NAMES)
    overlay_objects(Image.new("L", (1, 1)), found(boxes=torch.zeros(2, 4)), NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "photo.png"}, "image must be a PIL image, got str"),
        ({"alpha": 2}, r"alpha must be in \[0, 1\], got 2"),
        ({"scale": 0}, "scale must be greater than 0, got 0"),
        ({"id2label": {0: "cell"}}, r"objects must be of the classes in id2label, got class_labels \[1\]"),
        ({"palette": [(0, 0, 0)]}, r"palette must have shape \(2, 3\)"),
    ],
)
def test_arguments_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        overlay_objects(**{"image": GREY, "objects": found(), "id2label": NAMES} | change)
