# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Detection against the stock post-processing, and windows against what a detector that sees all would find."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from hf_gpvit import GPViTDetectionImageProcessor
from hf_gpvit.inference import Detected, DetectionSettings, describe_picture, detect
from hf_gpvit.inference import detection as detection_module
from hf_gpvit.inference.finite import NotFiniteError
from hf_gpvit.models.detection_boxes import relative_boxes
from hf_gpvit.models.detection_masks import decode_segmentation
from small_detectors import KINDS, small_detector


WINDOWS = DetectionSettings(window_size=40)


def processor(**options):
    return GPViTDetectionImageProcessor(size={"shortest_edge": 40, "longest_edge": 64}, **options)


def noise(width, height, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height)).convert(mode)


def stock(model, image_processor, image):
    """By the image processor alone: boxes, scores, labels, and whole masks or None."""
    with torch.no_grad():
        outputs = model(**image_processor(image, return_tensors="pt"))
    options = {"threshold": 0.0, "target_sizes": [(image.height, image.width)]}
    [found] = image_processor.post_process_object_detection(outputs, **options)
    masks = None
    if "pred_masks" in outputs:
        [maps] = image_processor.post_process_instance_segmentation(outputs, return_binary_maps=True, **options)
        masks = maps["segmentation"]
    return found, masks


def assert_equal(found, expected):
    for name in ("scores", "class_labels", "boxes"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert found.masks == expected.masks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "mode"), [((64, 40), "RGB"), ((57, 33), "L"), ((24, 80), "RGB")])
def test_the_stock_post_processing(kind, size, mode):
    """Without windows, and with one that covers the picture."""
    model, image_processor, image = small_detector(kind), processor(), noise(*size, mode)
    found = detect(model, image_processor, image)
    expected, masks = stock(model, image_processor, image.convert("RGB"))
    assert len(found.scores) > 5
    assert (found.image.mode, found.image.size, found.threshold) == ("RGB", size, 0.5)
    torch.testing.assert_close(found.boxes, expected["boxes"], atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, expected["scores"])
    assert torch.equal(found.class_labels, expected["labels"])
    assert (masks is None) == (found.masks is None)
    if masks is not None:
        decoded = torch.stack([decode_segmentation(mask, size[::-1]) for mask in found.masks])
        assert torch.equal(decoded, masks)
    assert_equal(detect(model, image_processor, image, DetectionSettings(window_size=max(size))), found)


def test_what_is_shown():
    found = detect(small_detector("masks"), processor(), noise(64, 40), DetectionSettings(threshold=0.9))
    shown = found.shown()
    assert 0 < len(shown.scores) == len(shown.boxes) == len(shown.class_labels) == len(shown.masks) < len(found.scores)
    assert shown.scores.min() > 0.9 >= found.scores[len(shown.scores) :].max()


class Finder(nn.Module):
    """Finds the rectangles of pure colours in a picture: a colour is a class. Its masks fill their boxes."""

    COLORS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def __init__(self, with_masks):
        super().__init__()
        self.with_masks = with_masks
        self.config = SimpleNamespace(num_labels=3)
        self.weight = nn.Parameter(torch.zeros(1))
        self.shapes = []

    device = property(lambda self: self.weight.device)
    dtype = property(lambda self: self.weight.dtype)

    def forward(self, pixel_values, pixel_mask):
        assert not self.training and not torch.is_grad_enabled()
        self.shapes.append(tuple(pixel_values.shape))
        size = tuple(pixel_values.shape[-2:])
        rows = []
        for label, color in enumerate(self.COLORS):
            is_object = (pixel_values[0] == torch.tensor(color)[:, None, None]).all(dim=0)
            if is_object.any():
                y, x = is_object.nonzero(as_tuple=True)
                rows.append((label, [x.min(), y.min(), x.max() + 1, y.max() + 1], is_object.float().mean()))
        logits = torch.full((1, 4, 3), -1e4)
        boxes, masks = torch.zeros(1, 4, 4), torch.full((1, 4, 28, 28), -1e4)
        for place, (label, box, share) in enumerate(sorted(rows, key=lambda row: -row[2])):
            logits[0, place, label] = (0.6 + share / 3).logit()
            boxes[0, place] = relative_boxes(torch.tensor(box).float(), size)
            masks[0, place] = 1e4
        outputs = {"logits": logits, "pred_boxes": boxes, "pixel_sizes": torch.tensor([size])}
        return SimpleNamespace(**outputs, **({"pred_masks": masks} if self.with_masks else {}))


def painted(size, *boxes):
    """A picture with a rectangle of each class on grey."""
    pixels = np.full((*size[::-1], 3), 77, np.uint8)
    for (left, top, right, bottom), color in zip(boxes, Finder.COLORS, strict=False):
        pixels[top:bottom, left:right] = 255 * np.array(color)
    return Image.fromarray(pixels)


# whole in some window; cut by a seam, and longer than the overlap; across all of the picture
BOXES = ([30, 20, 54, 40], [5, 70, 75, 82], [90, 0, 100, 150])


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("settings", [DetectionSettings(48), DetectionSettings(48, 20), DetectionSettings(64, 32)])
def test_windows_find_what_a_whole_look_finds(with_masks, settings):
    """Each object once and whole, by windows of one size, in pixels of the picture itself."""
    model = Finder(with_masks)
    image_processor = GPViTDetectionImageProcessor(do_resize=False, do_normalize=False, size_divisor=1)
    image = painted((130, 150), *BOXES)
    found = detect(model, image_processor, image, settings)
    assert {shape[-2:] for shape in model.shapes} == {(settings.window_size, settings.window_size)}
    assert all(shape[0] == 1 for shape in model.shapes)
    order = found.class_labels.argsort()
    assert found.class_labels[order].tolist() == [0, 1, 2]
    torch.testing.assert_close(found.boxes[order], torch.tensor(BOXES).float(), atol=1e-3, rtol=0)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    if with_masks:
        for label, place in enumerate(order.tolist()):
            expected = torch.zeros(150, 130, dtype=torch.bool)
            left, top, right, bottom = BOXES[label]
            expected[top:bottom, left:right] = True
            assert torch.equal(decode_segmentation(found.masks[place], (150, 130)), expected)


def test_windows_go_through_the_image_processor():
    """A window is resized as a picture is, so objects in smaller windows look larger."""
    model, image_processor = Finder(False), processor(do_normalize=False)
    found = detect(model, image_processor, painted((60, 60), [8, 8, 16, 16]), DetectionSettings(20))
    assert {shape[-2:] for shape in model.shapes} == {(64, 64)}  # 40, padded to a multiple of 32
    torch.testing.assert_close(found.boxes, torch.tensor([[8.0, 8, 16, 16]]), atol=1.1, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_the_picture(kind):
    model = Finder(kind == "masks")
    image_processor = processor(do_normalize=False)
    for settings in (None, WINDOWS):
        found = detect(model, image_processor, painted((60, 50)), settings)
        assert found.boxes.shape == (0, 4) and found.scores.shape == found.class_labels.shape == (0,)
        assert found.masks == ([] if kind == "masks" else None)
        assert found.class_labels.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types(dtype):
    found = detect(small_detector("masks").to(dtype), processor(), noise(64, 40), WINDOWS)
    assert found.scores.dtype == found.boxes.dtype == torch.float32
    assert len(found.masks) == len(found.scores) > 0


@pytest.mark.parametrize("settings", [None, WINDOWS])
def test_modes_stay_as_they_were(settings):
    """Also of modules that are frozen in eval mode, and after a failure."""
    model = small_detector("boxes").train()
    model.detector.pyramid.eval()
    before = {name: module.training for name, module in model.named_modules()}
    hooks = [len(module._forward_hooks) for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    detect(model, processor(), noise(50, 40), settings)
    with torch.no_grad():
        model.detector.box_head.classifier.bias[0] = float("nan")
    with pytest.raises(NotFiniteError):
        detect(model, processor(), noise(50, 40), settings)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    state.pop("detector.box_head.classifier.bias")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [None, WINDOWS])
def test_numbers_that_are_not_finite_are_told(kind, settings):
    """A NaN scores nothing, so that the detector itself would say that there is nothing."""
    model = small_detector(kind)
    name, weight = next((name, weight) for name, weight in model.named_parameters() if "norm" in name)
    with torch.no_grad():
        weight[0] = float("nan")
        outputs = model(**processor()(noise(64, 40), return_tensors="pt"))
    assert outputs.logits.isfinite().all()
    with pytest.raises(NotFiniteError, match=f"The model's outputs are not finite: the weight {name} is not"):
        detect(model, processor(), noise(64, 40), settings)


@pytest.mark.parametrize("part", ["classifier", "deltas"])
def test_the_layer_that_overflows_is_named(part):
    model = small_detector("masks")
    nn.init.constant_(getattr(model.detector.box_head, part).weight, 3e38)
    with pytest.raises(NotFiniteError, match=rf"not what detector.box_head.{part} \(Linear\) gives, computed in"):
        describe_picture(model, processor(), noise(64, 40))


def test_the_image_processor_that_overflows_is_named():
    image_processor = processor(image_std=[1e-45, 1.0, 1.0])
    with pytest.raises(NotFiniteError, match="the image processor's pixel_values are not, in float32"):
        detect(small_detector("boxes"), image_processor, noise(64, 40))


def test_pictures_that_are_too_thin():
    model = small_detector("retinanet")
    image_processor = GPViTDetectionImageProcessor(size={"shortest_edge": 40})
    with pytest.raises(ValueError, match="image of 1x400000 pixels is too thin"):
        detect(model, image_processor, Image.new("RGB", (1, 400_000)))
    assert len(detect(model, processor(), Image.new("RGB", (1, 4000))).boxes)  # the longer side has a limit


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window_size": 0}, "window_size must be an integer of at least 1, got 0"),
        ({"window_size": 8, "window_stride": 9}, "window_stride must be at most window_size=8.*got 9"),
        ({"window_stride": 9}, "window_stride needs a window_size, got window_stride=9 alone"),
        ({"threshold": 1.5}, r"threshold must be a score in \[0, 1\], got 1.5"),
        ({"threshold": float("nan")}, r"threshold must be a score in \[0, 1\], got nan"),
    ],
)
def test_settings_out_of_range(fields, message):
    with pytest.raises(ValueError, match=message):
        DetectionSettings(**fields)


def test_settings_of_options():
    options = SimpleNamespace(window_size=300, window_stride=None, threshold=0.25, flip=True)
    assert DetectionSettings.of(options) == DetectionSettings(300, None, 0.25)
    assert DetectionSettings.of(SimpleNamespace(window_size=300)) == DetectionSettings(300)


def test_memory_is_that_of_a_window(monkeypatch):
    """Whole masks are made of a few objects at a time, of windows alone."""
    sizes = []
    encode = detection_module.encode_mask

    def record(mask, *arguments):
        sizes.append(tuple(mask.shape))
        return encode(mask, *arguments)

    monkeypatch.setattr(detection_module, "encode_mask", record)
    found = detect(small_detector("masks"), processor(), noise(70, 90), WINDOWS)
    assert set(sizes) == {(40, 40)}
    assert isinstance(found, Detected)
    assert all(mask["size"] == [90, 70] for mask in found.masks)
