# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Of NaN and infinite numbers nothing is said but where they come from."""

import numpy as np
import pytest
import torch
from PIL import Image

from families import FAMILIES, awake
from hf_gpvit.data import image_processor_for
from hf_gpvit.inference import (
    SegmentationSettings,
    classify,
    describe_picture,
    segment,
    segmentation_scores,
    sliding_window_logits,
)
from hf_gpvit.inference.finite import NotFiniteError, finite_logits


PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request):
    return request.param


def made(family, kind):
    torch.manual_seed(0)
    return awake(getattr(family, f"{kind}_class")(family.config(num_labels=3)))


def overflowing(model):
    """All weights are finite, and so is what all layers before the last linear one give."""
    [*_, (name, head)] = ((name, part) for name, part in model.named_modules() if hasattr(part, "out_features"))
    torch.nn.init.constant_(head.weight, 3e38)
    return name


@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_weight_is_named(family, kind, value):
    model = made(family, kind)
    name, weight = next((name, weight) for name, weight in model.named_parameters() if "norm" in name)
    with torch.no_grad():
        weight[0] = value
    with pytest.raises(NotFiniteError, match=f"the weight {name} is not"):
        describe_picture(model, image_processor_for(model, 40), PICTURE)


def test_the_first_layer_is_named(family):
    model = made(family, "classifier")
    name = overflowing(model)
    before = [len(module._forward_hooks) for module in model.modules()]
    with pytest.raises(NotFiniteError, match=rf"not what {name} \(Linear\) gives, computed in float32"):
        classify(model, image_processor_for(model, 40), [PICTURE])
    assert [len(module._forward_hooks) for module in model.modules()] == before


def test_the_image_processor_is_named(family):
    model = made(family, "classifier")
    image_processor = image_processor_for(model, 40)
    image_processor.image_std = [1e-45, 1.0, 1.0]
    with pytest.raises(NotFiniteError, match="the image processor's pixel_values are not, in float32"):
        describe_picture(model, image_processor, PICTURE)


def test_numbers_that_are_too_large_for_half_precision(family):
    model = made(family, "classifier").to(torch.float16)
    with pytest.raises(NotFiniteError, match="pixel_values are not, in float16"):
        finite_logits(model, torch.full((1, 3, 40, 40), 1e6))


@pytest.mark.parametrize(
    "settings",
    [
        SegmentationSettings(),
        SegmentationSettings(window_size=32),
        SegmentationSettings(flip=True, scales=(0.75, 1.0)),
    ],
)
@pytest.mark.parametrize("function", [segment, segmentation_scores])
def test_segmentation_in_any_way(settings, function):
    model = made(FAMILIES[0], "segmentor")
    image_processor = image_processor_for(model, 40)
    function(model, image_processor, PICTURE, settings)
    with torch.no_grad():
        model.decode_head.classifier.bias[1] = float("nan")
    with pytest.raises(ValueError, match=r"logits are not finite: the weight decode_head\.classifier\.bias is not"):
        function(model, image_processor, PICTURE, settings)


def test_one_window_is_enough():
    model = made(FAMILIES[0], "segmentor")
    pixel_values = torch.zeros(1, 3, 40, 90)
    pixel_values[..., -1, -1] = float("nan")
    with pytest.raises(NotFiniteError, match="pixel_values are not"):
        sliding_window_logits(model, pixel_values, 32)


def test_many_pictures():
    """It says in which part of the list one is."""
    model = made(FAMILIES[0], "classifier")
    torch.nn.init.constant_(model.classifier.bias, float("inf"))
    with pytest.raises(NotFiniteError, match=r"In images\[0:2\]: .* classifier\.bias is not"):
        classify(model, image_processor_for(model, 40), 3 * [PICTURE], batch_size=2)
