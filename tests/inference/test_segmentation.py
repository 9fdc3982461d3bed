# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation against transformers' own route, and windows, scales and flips against plain restatements."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as transforms
from transformers import SegformerImageProcessor, pipeline

from families import awake
from hf_gpvit.data import image_processor_for
from hf_gpvit.inference import (
    SegmentationSettings,
    segment,
    segmentation,
    segmentation_inputs,
    segmentation_scores,
    sliding_window_logits,
)
from hf_gpvit.inference.segmentation import prepare_segmentation, segment_prepared


SIZES = [(40, 40), (57, 33), (24, 80), (9, 7)]
MODES = ("RGB", "L", "RGBA", "P")
# every kind of settings that isn't the default
OTHERS = [
    SegmentationSettings(window_size=20, window_stride=9),
    SegmentationSettings(flip=True),
    SegmentationSettings(scales=(0.5, 1, 1.5)),
    SegmentationSettings(size_divisor=16),
    SegmentationSettings(24, None, (0.7, 1.3), True, 8),
]


def noise(width, height, mode="RGB", seed=0):
    """Coarse noise, so that neighbouring pixels go together as in pictures."""
    values = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


class Segmentor(nn.Module):
    """A segmentor of two lines: a subclass says what it does. It records the shapes that it is given."""

    def __init__(self, num_labels=4):
        super().__init__()
        self.config = SimpleNamespace(num_labels=num_labels)
        self.classifier = nn.Conv2d(3, num_labels, kernel_size=1)
        self.shapes = []

    device = property(lambda self: self.classifier.weight.device)
    dtype = property(lambda self: self.classifier.weight.dtype)

    def forward(self, pixel_values):
        assert not self.training and not torch.is_grad_enabled()
        self.shapes.append(tuple(pixel_values.shape))
        return SimpleNamespace(logits=self.logits(pixel_values))


class Local(Segmentor):
    """Sees one pixel at a time."""

    def logits(self, pixel_values):
        return self.classifier(pixel_values)


class Global(Segmentor):
    """Sees the whole window in every pixel, where it is in it, and at half the resolution."""

    def logits(self, pixel_values):
        logits = self.classifier(F.avg_pool2d(pixel_values, 2, ceil_mode=True))
        position = torch.linspace(0, 1, logits.shape[-1]) + torch.linspace(0, 1, logits.shape[-2])[:, None]
        return logits * position + pixel_values.mean(dim=(1, 2, 3))[:, None, None, None]


def resized(logits, size):
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


# --- sliding windows


@pytest.mark.parametrize("window_size", [57, 64, 1000])
def test_window_that_covers_the_picture_is_the_whole_picture(family, window_size):
    model = family.segmentor_class(family.config()).eval()
    pixel_values = torch.randn(2, 3, 43, 57)
    with torch.no_grad():
        expected = resized(model(pixel_values).logits, (43, 57))
    torch.testing.assert_close(sliding_window_logits(model, pixel_values, window_size), expected)


@pytest.mark.parametrize(
    "size, window_size, window_stride",
    [
        ((37, 53), 16, None),
        ((37, 53), 16, 16),
        ((37, 53), 16, 5),
        ((37, 53), 40, 39),
        ((5, 3), 1, 1),
        ((64, 64), 32, 32),
    ],
)
def test_windows_of_a_local_model_make_the_whole(size, window_size, window_stride):
    model = Local()
    pixel_values = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = model.classifier(pixel_values)
    logits = sliding_window_logits(model, pixel_values, window_size, window_stride)
    torch.testing.assert_close(logits, expected)


def restated(model, pixel_values, window_size, stride):
    """Windows one by one, the counts pixel by pixel."""
    batch, _, height, width = pixel_values.shape
    total, count = np.zeros((batch, 4, height, width)), np.zeros((height, width))
    top = 0
    while True:
        bottom = min(top + window_size, height)
        left = 0
        while True:
            right = min(left + window_size, width)
            place = (slice(max(bottom - window_size, 0), bottom), slice(max(right - window_size, 0), right))
            window = pixel_values[..., place[0], place[1]]
            with torch.no_grad():
                logits = resized(model.eval().logits(window), window.shape[-2:])
            total[..., place[0], place[1]] += logits.numpy()
            count[place] += 1
            if right == width:
                break
            left += stride
        if bottom == height:
            break
        top += stride
    return total / count


@pytest.mark.parametrize("size", [(41, 67), (30, 18), (16, 50), (24, 24)])
@pytest.mark.parametrize("window_size, window_stride", [(16, None), (16, 7), (17, 17), (20, 1)])
def test_windows_are_averaged(size, window_size, window_stride):
    model = Global()
    pixel_values = torch.randn(2, 3, *size)
    logits = sliding_window_logits(model, pixel_values, window_size, window_stride)
    default = {16: 12}
    expected = restated(model, pixel_values, window_size, window_stride or default[window_size])
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_what_the_model_sees_at_a_time_does_not_grow():
    shapes = []
    for side in (40, 100, 300):
        model = Local()
        sliding_window_logits(model, torch.randn(3, 3, side, side + 5), 32)
        assert {shape[1:] for shape in model.shapes} == {(3, 32, 32)}
        shapes.append(max(model.shapes))
    assert len(set(shapes)) == 1
    assert shapes[0][0] <= 8


def test_half_precision_is_resized_and_averaged_in_single(family):
    model = family.segmentor_class(family.config()).to(torch.bfloat16).eval()
    pixel_values = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        expected = resized(model(pixel_values.bfloat16()).logits.float(), (40, 56))
    logits = sliding_window_logits(model, pixel_values, 56)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("function", [segment, segmentation_scores])
@pytest.mark.parametrize("settings", [SegmentationSettings(), *OTHERS[:2]])
def test_modes_stay_as_they_were(family, function, settings):
    """Also of modules that are frozen in eval mode, and after a failure."""
    model = family.segmentor_class(family.config()).train()
    model.decode_head.fusion.eval()
    before = {name: module.training for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    function(model, image_processor_for(model, 32), noise(50, 40), settings)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError):
        sliding_window_logits(model, torch.randn(1, 7, 40, 40), 32)
    assert {name: module.training for name, module in model.named_modules()} == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0,), "window_size must be an integer of at least 1, got 0"),
        ((8.5,), "window_size must be an integer of at least 1, got 8.5"),
        ((8, 0), "window_stride must be an integer of at least 1, got 0"),
        ((8, 9), "window_stride must be at most window_size=8.*got 9"),
    ],
)
def test_windows_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        sliding_window_logits(Local(), torch.randn(1, 3, 9, 9), *arguments)
    with pytest.raises(ValueError, match=message):
        SegmentationSettings(*arguments)


def test_pixel_values_of_one_picture_without_a_batch():
    with pytest.raises(ValueError, match=r"pixel_values must be \(B, num_channels, H, W\), got shape \(3, 9, 9\)"):
        sliding_window_logits(Local(), torch.randn(3, 9, 9), 8)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"window_stride": 8}, "window_stride needs a window_size, got window_stride=8"),
        ({"scales": ()}, "scales must hold at least one factor"),
        ({"scales": (1, 0)}, r"scales must .* got \(1, 0\)"),
        ({"scales": (float("nan"),)}, "scales must"),
        ({"scales": (float("inf"),)}, "scales must"),
        ({"size_divisor": 0}, "size_divisor must be an integer of at least 1, got 0"),
    ],
)
def test_settings_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        SegmentationSettings(**fields)


def test_settings_from_a_list_of_scales():
    assert SegmentationSettings(scales=[0.5, 1.0]) == SegmentationSettings(scales=(0.5, 1.0))


# --- inputs


@pytest.mark.parametrize("mode", MODES)
def test_inputs_are_the_image_processors(mode):
    processor = SegformerImageProcessor(size={"shortest_edge": 32, "longest_edge": 128}, default_to_square=False)
    image = noise(57, 33, mode)
    expected = processor(image.convert("RGB"), return_tensors="pt")
    inputs = segmentation_inputs(processor, image)
    assert inputs.keys() == expected.keys() == {"pixel_values"}
    assert torch.equal(inputs["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize(
    "size, scale, expected",
    [((57, 33), 1, (64, 128)), ((33, 57), 1, (128, 64)), ((64, 64), 1, (64, 64)), ((400, 50), 1, (32, 256)),
     ((57, 33), 0.5, (32, 64)), ((57, 33), 1.5, (96, 192))],
)  # fmt: skip
def test_aligned_resize(size, scale, expected):
    """Fitted into 64x256 with the ratio kept, then stretched to multiples of 32, both times on bytes."""
    processor = SegformerImageProcessor(size={"shortest_edge": 64, "longest_edge": 256}, default_to_square=False)
    image = noise(*size)
    pixel_values = segmentation_inputs(processor, image, scale, size_divisor=32)["pixel_values"]
    assert pixel_values.shape == (1, 3, *expected)
    # (height, width) with the ratio kept
    factor = scale * min(64 / min(size), 256 / max(size))
    fitted = [int(side * factor + 1e-6) for side in reversed(size)]
    pixels = transforms.resize(transforms.resize(transforms.pil_to_tensor(image), fitted), expected)
    mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    torch.testing.assert_close(pixel_values[0], (pixels / 255 - mean) / std, atol=1e-5, rtol=1e-5)


def test_scale_without_resizing_is_the_pictures():
    processor = SegformerImageProcessor(do_resize=False)
    image = noise(57, 33)
    assert segmentation_inputs(processor, image)["pixel_values"].shape == (1, 3, 33, 57)
    assert segmentation_inputs(processor, image, scale=2)["pixel_values"].shape == (1, 3, 66, 114)
    assert segmentation_inputs(processor, image, size_divisor=32)["pixel_values"].shape == (1, 3, 64, 64)
    assert not processor.do_resize


@pytest.mark.parametrize("size_divisor", [None, 32])
def test_picture_that_is_too_thin(size_divisor):
    processor = SegformerImageProcessor(size={"shortest_edge": 64, "longest_edge": 256}, default_to_square=False)
    with pytest.raises(ValueError, match="image of 2000x1 pixels can't be resized to the image processor's size"):
        segmentation_inputs(processor, noise(2000, 1), size_divisor=size_divisor)


# --- whole pictures


def by_transformers(model, processor, image):
    with torch.no_grad():
        inputs = processor(image.convert("RGB"), return_tensors="pt").to(model.dtype)
        outputs = model.eval()(**inputs)
    return processor.post_process_semantic_segmentation(outputs, [(image.height, image.width)])[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("head", ["segformer", "upernet"])
def test_default_is_transformers_own_route(family, head, dtype):
    model = family.segmentor_class(family.config(decode_head_type=head)).train().to(dtype)
    processor = image_processor_for(model, 32)
    seen = set()
    for seed, (size, mode) in enumerate(zip(SIZES, MODES, strict=True)):
        image = noise(*size, mode, seed)
        ids = segment(model, processor, image)
        assert ids.dtype == torch.int64 and ids.device.type == "cpu"
        assert torch.equal(ids, by_transformers(model, processor, image))
        seen |= set(ids.unique().tolist())
        model.train()
    assert len(seen) > 1


def test_default_is_the_pipelines(family):
    model = family.segmentor_class(family.config()).eval()
    processor = image_processor_for(model, 32)
    image = noise(57, 33)
    ids = segment(model, processor, image).numpy()
    found = pipeline("image-segmentation", model=model, image_processor=processor)(image)
    assert len(found) == len(np.unique(ids))
    for part in found:
        assert np.array_equal(np.asarray(part["mask"]) > 0, ids == model.config.label2id[part["label"]])


def passes_by_hand(model, processor, image, settings):
    """Softmax of each scale and flip at the picture's size: the official evaluation, pass by pass."""
    passes = []
    for scale in settings.scales:
        pixel_values = segmentation_inputs(processor, image, scale, settings.size_divisor)["pixel_values"]
        for flip in (False, True)[: 1 + settings.flip]:
            inputs = pixel_values.flip(-1) if flip else pixel_values
            if settings.window_size:
                logits = sliding_window_logits(model, inputs, settings.window_size, settings.window_stride)
            else:
                with torch.no_grad():
                    logits = resized(model.eval()(inputs).logits, inputs.shape[-2:])
            logits = logits.flip(-1) if flip else logits
            passes.append(resized(logits, (image.height, image.width))[0].softmax(dim=0))
    return passes


@pytest.mark.parametrize("settings", OTHERS, ids=str)
def test_official_evaluation(family, settings):
    model = family.segmentor_class(family.config())
    processor = image_processor_for(model, 32)
    image = noise(57, 33)
    scores = segmentation_scores(model, processor, image, settings)
    expected = torch.stack(passes_by_hand(model, processor, image, settings)).mean(dim=0)
    torch.testing.assert_close(scores, expected)
    best = expected.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-5
    assert clear.float().mean() > 0.95
    assert torch.equal(segment(model, processor, image, settings)[clear], expected.argmax(dim=0)[clear])
    assert not torch.allclose(scores, segmentation_scores(model, processor, image), atol=1e-4)


def test_logits_are_resized_twice_where_windows_are():
    """To the inputs and then to the picture; without settings once, as transformers does."""
    model, image = Global(), noise(57, 33)
    processor = SegformerImageProcessor(size={"height": 20, "width": 28})
    with torch.no_grad():
        logits = model.eval().logits(segmentation_inputs(processor, image)["pixel_values"])
    once, twice = resized(logits, (33, 57)), resized(resized(logits, (20, 28)), (33, 57))
    assert (once - twice).abs().max() > 0.01
    scores = segmentation_scores(model, processor, image)
    torch.testing.assert_close(scores, once[0].softmax(dim=0))
    scores = segmentation_scores(model, processor, image, SegmentationSettings(window_size=100))
    torch.testing.assert_close(scores, twice[0].softmax(dim=0))


def test_scores_are_probabilities(family):
    model = family.segmentor_class(family.config()).to(torch.bfloat16)
    for settings in (None, *OTHERS):
        scores = segmentation_scores(model, image_processor_for(model, 32), noise(57, 33), settings)
        assert scores.shape == (5, 33, 57) and scores.dtype == torch.float32
        torch.testing.assert_close(scores.sum(dim=0), torch.ones(33, 57))


@pytest.mark.parametrize("settings", [None, *OTHERS[:2]], ids=str)
@pytest.mark.parametrize("size", [(57, 33), (16, 90), (11, 11)])
@pytest.mark.parametrize("rows", [1, 7])
def test_bands_of_rows_change_nothing(family, monkeypatch, settings, size, rows):
    """Pictures larger and smaller than the logits; also where a class is only just the best."""
    model = family.segmentor_class(family.config())
    processor = image_processor_for(model, 32)
    image = noise(*size)
    scores, ids = (function(model, processor, image, settings) for function in (segmentation_scores, segment))
    monkeypatch.setattr(segmentation, "MAX_BAND_VALUES", rows * image.width * model.config.num_labels)
    torch.testing.assert_close(segmentation_scores(model, processor, image, settings), scores)
    best = scores.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-5
    assert torch.equal(segment(model, processor, image, settings)[clear], ids[clear])


@pytest.mark.parametrize("size", [(9, 7), (33, 57)])
def test_the_first_of_equal_scores_is_taken(size):
    """Of more classes than are compared at a time."""
    logits = torch.randint(0, 4, (20, 9, 7), generator=torch.Generator().manual_seed(0)).float()
    ids = segmentation._ids([logits], size)
    scores = resized(logits[None], size)[0]
    first = (scores == scores.max(dim=0).values).int().numpy().argmax(axis=0)
    assert np.array_equal(ids.numpy(), first)
    assert ids.unique().numel() > 8


def test_pictures_of_one_size_go_together(family):
    """As each alone, in float64, where rounding decides nothing."""
    model = awake(family.segmentor_class(family.config())).double()
    processor = image_processor_for(model, 32)
    images = [noise(*size, seed=seed) for seed, size in enumerate([(57, 33), (40, 40), (57, 33), (33, 57), (40, 40)])]
    prepared = [prepare_segmentation(processor, image) for image in images]
    sizes = []

    def note(_, arguments, inputs):
        sizes.append(len(inputs["pixel_values"]))

    with model.register_forward_pre_hook(note, with_kwargs=True):
        together = list(segment_prepared(model, prepared))
    assert sizes == [2, 2, 1]
    for image, ids in zip(images, together, strict=True):
        assert torch.equal(ids, segment(model, processor, image))


def test_no_band_holds_more_than_it_may(monkeypatch):
    held = []
    resize_rows = segmentation._resized_rows
    monkeypatch.setattr(segmentation, "_resized_rows", lambda *args: held.append(resize_rows(*args)) or held[-1])
    monkeypatch.setattr(segmentation, "MAX_BAND_VALUES", 1000)
    segment(Local(), SegformerImageProcessor(do_resize=False), noise(31, 50))
    assert max(band.numel() for band in held) <= 1000
    assert sum(band.numel() for band in held) == 4 * 31 * 50
