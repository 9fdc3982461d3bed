# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""RandAugment has the ranges, the deviation and the operations of the official recipes."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from hf_gpvit.data.rand_augment import OPERATIONS, RandAugment


FILL = (124, 116, 104)
# Arguments at level 0, at the recipes' level 9 and at level 10, and whether they are negated half of the time.
ARGUMENTS = {
    "Rotate": (0, 27, 30, True),
    "Posterize": (4, 0.4, 0, False),
    "Solarize": (256, 25.6, 0, False),
    "SolarizeAdd": (0, 99, 110, False),
    "Color": (0, 0.81, 0.9, True),
    "Contrast": (0, 0.81, 0.9, True),
    "Brightness": (0, 0.81, 0.9, True),
    "Sharpness": (0, 0.81, 0.9, True),
    "ShearX": (0, 0.27, 0.3, True),
    "ShearY": (0, 0.27, 0.3, True),
    "TranslateX": (0, 0.405, 0.45, True),
    "TranslateY": (0, 0.405, 0.45, True),
}
WITHOUT_ARGUMENT = {"AutoContrast", "Equalize", "Invert"}
NUM_DRAWS = 4000


@pytest.fixture(scope="module")
def draws():
    torch.manual_seed(0)
    policy = RandAugment(9, FILL)
    return [policy.make_params([])["operations"] for _ in range(NUM_DRAWS)]


def test_two_of_fifteen_operations_each_half_of_the_time(draws):
    numbers = Counter(map(len, draws))
    assert {number: numbers[number] / NUM_DRAWS for number in range(3)} == pytest.approx(
        {0: 0.25, 1: 0.5, 2: 0.25}, abs=0.03
    )
    names = Counter(name for operations in draws for name, _ in operations)
    assert set(names) == ARGUMENTS.keys() | WITHOUT_ARGUMENT == set(OPERATIONS)
    assert all(0.75 < 15 * number / NUM_DRAWS < 1.25 for number in names.values())
    pairs = [operations for operations in draws if len(operations) == 2]
    assert 0.03 < sum(first[0] == second[0] for first, second in pairs) / len(pairs) < 0.11


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_around_those_of_the_level_and_clipped(draws, name):
    start, usual, end, is_signed = ARGUMENTS[name]
    arguments = np.array([argument for operations in draws for drawn, argument in operations if drawn == name])
    negative = (arguments < 0).mean()
    assert 0.35 < negative < 0.65 if is_signed else negative == 0
    levels = 10 * (np.abs(arguments) - start) / (end - start)
    assert levels.mean() == pytest.approx(10 * (usual - start) / (end - start), abs=0.15)
    assert 0.4 < levels.std() < 0.6
    assert 6 < levels.min() < 8.5 and levels.max() <= 10 + 1e-5


def test_levels_end_at_ten(draws):
    """About one in 44 is drawn beyond, and none of a least magnitude is below 0."""
    levels = [100 * argument / 0.9 / 10 for operations in draws for name, argument in operations if name == "Color"]
    levels += [argument / 11 for operations in draws for name, argument in operations if name == "SolarizeAdd"]
    assert 0 < np.isclose(np.abs(levels), 10).mean() < 0.06
    policy = RandAugment(0, FILL)
    arguments = dict(pair for _ in range(500) for pair in policy.make_params([])["operations"])
    assert 0 <= arguments["SolarizeAdd"] < 30


def applied(name, argument, values):
    image = Image.fromarray(np.asarray(values, np.uint8))
    return np.asarray(OPERATIONS[name].apply(image, argument, FILL)).astype(int)


def test_colours_of_each_operation():
    levels = np.arange(256).repeat(3).reshape(16, 16, 3)
    assert (applied("Invert", 0, levels) == 255 - levels).all()
    assert (applied("Posterize", 0.4, levels) == levels // 128 * 128).all()
    assert (applied("Posterize", 0, levels) == 0).all()
    assert (applied("Solarize", 25.6, levels) == np.where(levels < 26, levels, 255 - levels)).all()
    assert (applied("SolarizeAdd", 99.9, levels) == np.where(levels < 128, levels + 99, levels)).all()
    assert np.abs(applied("Brightness", -0.81, levels) - 0.19 * levels).max() <= 1
    assert np.abs(applied("Contrast", -0.81, levels) - (0.19 * levels + 0.81 * 127.5)).max() <= 1.5
    narrow = 100 + levels // 8
    assert (applied("AutoContrast", 0, narrow).min(), applied("AutoContrast", 0, narrow).max()) == (0, 255)
    equalized = applied("Equalize", 0, np.tile(levels // 4, (4, 4, 1)))
    assert equalized.max() == 255 and equalized.mean() == pytest.approx(127.5, abs=10)
    red = applied("Color", -0.81, np.full((2, 2, 3), (255, 0, 0)))[0, 0]
    assert red.tolist() == pytest.approx([0.19 * 255 + 0.81 * 76, 0.81 * 76, 0.81 * 76], abs=1.5)
    spot = np.full((9, 9, 3), 100)
    spot[4, 4] = 200
    blurred, sharpened = (applied("Sharpness", change, spot)[4, 4, 0] for change in (-0.81, 0.81))
    assert blurred < 200 < sharpened


def test_shapes_of_each_operation():
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3))
    assert (applied("Rotate", 90, picture) == np.rot90(picture)).all()
    moved = applied("TranslateX", 0.25, picture)
    assert (moved[:, 12:] == picture[:, 2:30]).mean() > 0.99 and (moved[:, :8] == FILL).all()
    moved = applied("TranslateY", -0.25, picture)
    assert (moved[2:28] == picture[12:38]).mean() > 0.99 and (moved[32:] == FILL).all()


@pytest.mark.parametrize("name", ["ShearX", "ShearY"])
def test_shears_leave_the_first_row_or_column_where_it_is(name):
    stripe = np.zeros((40, 40, 3))
    stripe[:, 20:] = 255
    if name == "ShearY":
        stripe = stripe.swapaxes(0, 1)
    sheared = applied(name, 0.27, stripe)
    if name == "ShearY":
        sheared = sheared.swapaxes(0, 1)
    edges = [int(np.abs(np.diff(row)).argmax()) for row in sheared[:, 8:32, 0]]
    assert edges[0] == 11 and abs(edges[-1] - edges[0]) == pytest.approx(39 * 0.27, abs=1)


def test_turned_pictures_are_interpolated_bicubically():
    """Which overshoots at edges, and in pixels from outside there is the given colour."""
    edge = np.full((40, 40, 3), 60)
    edge[:, 20:] = 180
    turned = applied("Rotate", 27, edge)
    assert turned[10:30, 10:30].min() < 58 and turned[10:30, 10:30].max() > 182
    assert (turned[0, 0] == FILL).all()


def test_tensors_stay_tensors():
    torch.manual_seed(0)
    picture = tv_tensors.Image(torch.randint(256, (3, 20, 30), dtype=torch.uint8))
    results = [RandAugment(9, FILL)(picture) for _ in range(20)]
    assert all(result.shape == picture.shape and result.dtype == torch.uint8 for result in results)
    assert 2 <= sum(torch.equal(result, picture) for result in results) <= 10


# Names of timm's where they differ.
TIMM = {
    "Posterize": "PosterizeIncreasing",
    "Solarize": "SolarizeIncreasing",
    "Color": "ColorIncreasing",
    "Contrast": "ContrastIncreasing",
    "Brightness": "BrightnessIncreasing",
    "Sharpness": "SharpnessIncreasing",
    "TranslateX": "TranslateXRel",
    "TranslateY": "TranslateYRel",
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_that_of_timm(name):
    """At level 9, in both directions, but for pixels at the rounded edge of a sheared picture."""
    timm = pytest.importorskip("timm.data.auto_augment")
    assert {TIMM.get(name, name) for name in OPERATIONS} == set(timm._RAND_INCREASING_TRANSFORMS)
    hparams = {"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    operation = timm.AugmentOp(TIMM.get(name, name), prob=1.0, magnitude=9, hparams=hparams)
    values = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    _, argument, _, is_signed = ARGUMENTS.get(name, (0, 0, 0, False))
    ours = [applied(name, sign * argument, values) for sign in ((1, -1) if is_signed else (1,))]
    found = set()
    for _ in range(20):
        theirs = np.asarray(operation(Image.fromarray(values)))
        differing = [(theirs != values).any(-1).mean() for values in ours]
        assert min(differing) < 0.005
        found.add(int(np.argmin(differing)))
    assert len(found) == len(ours)
