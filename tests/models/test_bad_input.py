# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of what models refuse, before they compute anything, and of the unusual input that they accept."""

import re

import pytest
import torch
from transformers import BatchFeature

from hf_gpvit.models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection
from small_detectors import KINDS, random_labels, small_config, small_detector


BAD_PIXEL_VALUES = {
    "rank 3": (torch.zeros(3, 16, 16), "must be (batch, 3, height, width), got shape (3, 16, 16)"),
    "rank 5": (torch.zeros(1, 1, 3, 16, 16), "must be (batch, 3, height, width), got shape (1, 1, 3, 16, 16)"),
    "channels": (torch.zeros(2, 4, 16, 16), "must have config.num_channels=3 channels, got shape (2, 4, 16, 16)"),
    "channels last": (torch.zeros(2, 16, 16, 3), "config.num_channels=3 channels, got shape (2, 16, 16, 3)"),
    "no image": (torch.zeros(0, 3, 16, 16), "at least one image of at least 1x1 pixel, got shape (0, 3, 16, 16)"),
    "no row": (torch.zeros(2, 3, 0, 16), "at least one image of at least 1x1 pixel, got shape (2, 3, 0, 16)"),
    "no column": (torch.zeros(2, 3, 16, 0), "at least one image of at least 1x1 pixel, got shape (2, 3, 16, 0)"),
    "uint8": (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "must be floating point"),
    "int64": (torch.zeros(2, 3, 16, 16, dtype=torch.int64), "must be floating point"),
    "bool": (torch.zeros(2, 3, 16, 16, dtype=torch.bool), "must be floating point"),
}


def assert_refused(model, message, *args, **kwargs):
    """`model` raises a ValueError with these words before any of its layers runs."""
    ran = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: ran.append(type(module).__name__))
        for module in model.modules()
        if not list(module.children())
    ]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        model(*args, **kwargs)
    for hook in hooks:
        hook.remove()
    assert not ran, type(model)
    return str(error.value)


def pixel_values():
    return torch.randn(2, 3, 16, 16)


def class_ids(*ids, dtype=torch.int64):
    return torch.tensor(ids, dtype=dtype)


def pixel_ids(model, dtype=torch.int64):
    return torch.randint(model.config.num_labels, (2, 16, 16)).to(dtype)


@pytest.fixture
def classifier(family):
    return family.classifier_class(family.config(num_labels=5)).eval()


@pytest.fixture(params=["segformer", "upernet"])
def segmentor(family, request):
    return family.segmentor_class(family.config(num_labels=5, decode_head_type=request.param)).eval()


@pytest.mark.parametrize("case", BAD_PIXEL_VALUES)
def test_bad_pixel_values(family, case):
    values, words = BAD_PIXEL_VALUES[case]
    for model in family.models():
        message = assert_refused(model, words, values)
        assert message.startswith("pixel_values must")
        assert values.is_floating_point() or str(values.dtype) in message


@pytest.mark.parametrize("case", ["rank 3", "no image", "uint8"])
def test_bad_pixel_values_are_named_even_with_labels(classifier, segmentor, case):
    values, words = BAD_PIXEL_VALUES[case]
    assert_refused(classifier, words, values, labels=class_ids(0, 1))
    assert_refused(segmentor, words, values, labels=pixel_ids(segmentor))


def test_config_sets_the_number_of_channels(family):
    for model in family.models(num_channels=4):
        assert_refused(model, "config.num_channels=4 channels, got shape (2, 3, 16, 16)", pixel_values())
        model(torch.randn(1, 4, 16, 16))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (2, 5)])
def test_classification_labels_of_wrong_shape(classifier, shape):
    words = f"labels must have shape (2,) to go with pixel_values, got {shape}"
    assert_refused(classifier, words, pixel_values(), labels=torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (2, 1, 16, 16), (2, 2, 2), (2, 16, 15)])
def test_segmentation_labels_of_wrong_shape(segmentor, shape):
    words = f"labels must have shape (2, 16, 16) to go with pixel_values, got {shape}"
    assert_refused(segmentor, words, pixel_values(), labels=torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_labels_of_wrong_type(classifier, segmentor, dtype):
    words = f"labels must be integer class ids (torch.int64), got {dtype}"
    assert_refused(segmentor, words, pixel_values(), labels=pixel_ids(segmentor, dtype))
    classifier.config.problem_type = "single_label_classification"
    assert_refused(classifier, words, pixel_values(), labels=class_ids(0, 1, dtype=dtype))


def test_float_class_ids_without_problem_type(classifier):
    message = assert_refused(classifier, "labels must be", pixel_values(), labels=torch.tensor([0.0, 1.0]))
    assert "torch.float32" in message
    assert "integer class ids of shape (2,)" in message


@pytest.mark.parametrize("bad_id", [-1, 5, 255])
def test_class_id_out_of_range(classifier, bad_id):
    words = f"labels must be in [0, 4] (num_labels=5) or -100 (ignored), got [{bad_id}]"
    assert_refused(classifier, words, pixel_values(), labels=class_ids(1, bad_id))


@pytest.mark.parametrize("bad_id", [-100, -1, 5])
def test_pixel_id_out_of_range(segmentor, bad_id):
    labels = pixel_ids(segmentor)
    labels[1, 3, 4] = bad_id
    words = f"labels must be in [0, 4] (num_labels=5) or 255 (ignored), got [{bad_id}]"
    assert_refused(segmentor, words, pixel_values(), labels=labels)


def test_config_sets_the_ignored_pixel_id(family):
    model = family.segmentor_class(family.config(semantic_loss_ignore_index=-1)).eval()
    labels = pixel_ids(model)
    labels[0] = -1
    assert model(pixel_values(), labels=labels).loss.isfinite()
    labels[0] = 255
    assert_refused(model, "or -1 (ignored), got [255]", pixel_values(), labels=labels)


def test_ignored_image_leaves_the_classification_loss_of_the_others(classifier):
    values = pixel_values()
    loss = classifier(values, labels=class_ids(3, -100)).loss
    torch.testing.assert_close(loss, classifier(values[:1], labels=class_ids(3)).loss)


def test_ignored_pixels_leave_the_segmentation_loss_of_the_others(segmentor):
    values, labels = pixel_values(), pixel_ids(segmentor)
    alone = segmentor(values[:1], labels=labels[:1]).loss
    labels[1] = 255
    torch.testing.assert_close(segmentor(values, labels=labels).loss, alone)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_small_integers_are_class_ids(classifier, dtype):
    values, labels = pixel_values(), class_ids(4, 1)
    loss = classifier(values, labels=labels.to(dtype)).loss
    torch.testing.assert_close(loss, classifier(values, labels=labels).loss)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_small_integers_are_pixel_ids(segmentor, dtype):
    values, labels = pixel_values(), pixel_ids(segmentor)
    labels[0, :4] = 255
    loss = segmentor(values, labels=labels.to(dtype)).loss
    torch.testing.assert_close(loss, segmentor(values, labels=labels).loss)


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "labels"),
    [
        ("regression", 1, torch.zeros(2, dtype=torch.int64)),
        ("regression", 3, torch.zeros(2)),
        ("multi_label_classification", 3, torch.zeros(2, 3, dtype=torch.int64)),
        ("multi_label_classification", 3, torch.zeros(2, 2)),
    ],
)
def test_targets_that_do_not_fit_the_problem_type(family, problem_type, num_labels, labels):
    model = family.classifier_class(family.config(problem_type=problem_type, num_labels=num_labels)).eval()
    words = f"labels must be a floating-point tensor of shape (2, {num_labels}) (num_labels={num_labels}"
    message = assert_refused(model, words, pixel_values(), labels=labels)
    assert problem_type in message
    assert f"{labels.dtype} of shape {tuple(labels.shape)}" in message
    assert model(pixel_values(), labels=torch.rand(2, num_labels)).loss.isfinite()


def test_one_value_per_channel_is_refused_in_training_only(family):
    values = torch.randn(2, 3, 8, 8)
    for model in family.models():
        model(values[:1])
        model.train()
        assert_refused(model, "batch size 1 at 8x8", values[:1])
        model(values)


def test_upernet_trains_on_batches_of_two_or_more(family):
    model = family.segmentor_class(family.config(decode_head_type="upernet"))
    values = torch.randn(2, 3, 64, 72)
    assert_refused(model.train(), "batch size 1 at 64x72", values[:1])
    model(values)
    model.eval()(values[:1])


@pytest.mark.parametrize("pixel_values", [None, "picture.png", [[0.0]]], ids=lambda value: type(value).__name__)
def test_pixel_values_that_are_no_tensor(family, pixel_values):
    for model in family.models():
        with pytest.raises(ValueError, match=f"pixel_values must be a tensor .*got {type(pixel_values).__name__}"):
            model(pixel_values)


def test_ignore_ids_do_not_wrap_in_small_integers(family):
    """156 is -100 in eight bits, and -1 is 255."""
    classifier = family.classifier_class(family.config())
    with pytest.raises(ValueError, match=r"got \[156\]"):
        classifier(torch.randn(2, 3, 16, 16), labels=torch.tensor([1, 156], dtype=torch.uint8))
    segmentor = family.segmentor_class(family.config())
    with pytest.raises(ValueError, match=r"got \[-1\]"):
        segmentor(torch.randn(2, 3, 16, 16), labels=torch.full((2, 16, 16), -1, dtype=torch.int8))


def test_segmentor_without_classes_and_stages(family):
    with pytest.raises(ValueError, match="num_labels must be at least 1 .*got num_labels=0"):
        family.segmentor_class(family.config(num_labels=0))
    with pytest.raises(ValueError, match=r"out_features must have at least one of the stages .*got \[\]"):
        family.config(out_features=[])


@pytest.mark.parametrize("labels", [[1, 2], "cat", 3], ids=lambda labels: type(labels).__name__)
def test_labels_that_are_no_tensor(family, labels):
    for cls in (family.classifier_class, family.segmentor_class):
        with pytest.raises(ValueError, match=f"labels must be .*{type(labels).__name__}"):
            cls(family.config())(torch.randn(2, 3, 16, 16), labels=labels)


def test_labels_with_one_class_leave_nothing_to_learn(family):
    segmentor = family.segmentor_class(family.config(num_labels=1))
    with pytest.raises(ValueError, match="num_labels of at least 2.*got 1"):
        segmentor(torch.randn(2, 3, 16, 16), labels=torch.zeros(2, 16, 16, dtype=torch.long))


# --- detectors


@pytest.fixture(params=KINDS)
def detector(request):
    return small_detector(request.param)


@pytest.fixture
def masker():
    return small_detector("masks")


def objects(**changes):
    """Labels of two images, with `changes` to the first one's."""
    labels = random_labels((64, 48), 2, 1)
    labels[0] |= changes
    return labels


def boxes(*rows, dtype=torch.float32):
    return torch.tensor(rows, dtype=dtype)


GOOD = [0.5, 0.5, 0.4, 0.2]
BAD_BOXES = {
    "pixels": [24.0, 32.0, 10.0, 10.0],
    "corners in pixels": [10.0, 10.0, 30.0, 30.0],
    "corners": [0.3, 0.3, 0.8, 0.9],
    "outside": [1.3, 0.5, 0.2, 0.2],
    "beyond the border": [0.9, 0.5, 0.3, 0.2],
    "above the border": [0.5, 0.05, 0.2, 0.2],
    "no width": [0.5, 0.5, 0.0, 0.2],
    "no height": [0.5, 0.5, 0.2, 0.0],
    "negative": [0.5, 0.5, -0.2, 0.2],
    "less than float32 can tell": [0.5, 0.5, 1e-9, 0.2],
    "nan": [0.5, float("nan"), 0.2, 0.2],
    "infinite": [0.5, 0.5, float("inf"), 0.2],
}


@pytest.mark.parametrize("case", BAD_PIXEL_VALUES)
def test_bad_pixel_values_of_detectors(detector, case):
    values, words = BAD_PIXEL_VALUES[case]
    assert_refused(detector, words, values)
    assert_refused(detector, words, values, labels=objects())


@pytest.mark.parametrize("case", BAD_BOXES)
def test_bad_boxes(detector, case):
    message = assert_refused(
        detector,
        "labels of image 0 of the batch: boxes[1] is ",
        images_of_48_columns(),
        labels=objects(boxes=boxes(GOOD, BAD_BOXES[case])),
    )
    assert "centre (x, y), width and height relative to the image, greater than 0 in size and within it" in message


def images_of_48_columns():
    return torch.randn(2, 3, 64, 48)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_boxes_may_round_beyond_the_border(detector, dtype):
    pixel = torch.tensor([[1 / 48, 1 / 64]])
    full = boxes([0.5, 0.5, 1.0, 1.0], [0.75, 0.25, 0.5, 0.5])
    corner = torch.cat([1 - 5 * pixel + 0.4 * pixel, 10 * pixel], dim=1)
    found = torch.cat([full, corner]).to(dtype)
    labels = [{"class_labels": class_ids(0, 1, 2), "boxes": found, "masks": torch.ones(3, 64, 48)}] * 2
    assert detector(images_of_48_columns(), labels=labels).loss.isfinite()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "boxes",
            torch.rand(2, 5),
            "boxes must be floating-point numbers of the shape (2, 4), got torch.float32 (2, 5)",
        ),
        (
            "boxes",
            torch.rand(3, 4),
            "boxes must be floating-point numbers of the shape (2, 4), got torch.float32 (3, 4)",
        ),
        ("boxes", torch.ones(2, 4).int(), "boxes must be floating-point numbers of the shape (2, 4), got torch.int32"),
        ("boxes", [GOOD, GOOD], "boxes must be a tensor, got list"),
        ("class_labels", class_ids(0, 5), "class_labels must be in [0, 4] (num_labels=5), got [5]"),
        ("class_labels", class_ids(-1, 0), "class_labels must be in [0, 4] (num_labels=5), got [-1]"),
        ("class_labels", class_ids(-100, 0), "class_labels must be in [0, 4] (num_labels=5), got [-100]"),
        ("class_labels", torch.ones(2), "class_labels must be integer class ids (torch.int64), got torch.float32"),
        ("class_labels", torch.ones(2, 1).int(), "class_labels must have shape (2,)"),
        ("class_labels", [0, 1], "class_labels must be a tensor, got list"),
        ("class_labels", torch.tensor(1), "class_labels must have shape (1,)"),
    ],
)
def test_bad_objects(detector, field, value, words):
    message = assert_refused(detector, words, images_of_48_columns(), labels=objects(**{field: value}))
    assert message.startswith("labels of image 0 of the batch: ")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(2, 32, 48), "masks must have the shape (2, 64, 48), as pixel_values, got (2, 32, 48)"),
        (torch.ones(1, 64, 48), "masks must have the shape (2, 64, 48), as pixel_values, got (1, 64, 48)"),
        (torch.ones(2, 1, 64, 48), "masks must have the shape (2, 64, 48), as pixel_values, got (2, 1, 64, 48)"),
        (torch.full((2, 64, 48), 255, dtype=torch.uint8), "masks must be of 0 and 1, got values from 255 to 255"),
        (torch.full((2, 64, 48), -1.0), "masks must be of 0 and 1, got values from -1.0 to -1.0"),
        (torch.full((2, 64, 48), float("nan")), "masks must be of 0 and 1, got values from nan to nan"),
        (None, "masks must be a tensor, got NoneType"),
    ],
)
def test_bad_masks(masker, value, words):
    message = assert_refused(masker, words, images_of_48_columns(), labels=objects(masks=value))
    assert message.startswith("labels of image 0 of the batch: ")


@pytest.mark.parametrize("field", ["class_labels", "boxes", "masks"])
def test_missing_fields(masker, field):
    labels = objects()
    del labels[1][field]
    words = f"labels of image 1 of the batch: {field} is missing; there must be class_labels, boxes, masks, got "
    assert_refused(masker, words, images_of_48_columns(), labels=labels)


@pytest.mark.parametrize("kind", ["retinanet", "boxes"])
def test_detectors_without_masks_need_none(kind):
    model, labels = small_detector(kind), objects(masks="none")
    del labels[1]["masks"]
    assert model(images_of_48_columns(), labels=[BatchFeature(label) for label in labels]).loss.isfinite()


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (class_ids(0, 1), "Tensor"),
        ({"boxes": torch.rand(2, 4)}, "dict"),
        ("labels", "str"),
        ([], "0 of them"),
        (random_labels((64, 48), 1), "1 of them"),
        (random_labels((64, 48), 1, 1, 1), "3 of them"),
    ],
    ids=["tensor", "dict", "text", "none", "one", "three"],
)
def test_labels_that_are_no_list_of_dicts(detector, labels, got):
    words = f"labels must be a list of a dict for each of 2 images, got {got}."
    assert_refused(detector, words, images_of_48_columns(), labels=labels)


@pytest.mark.parametrize("label", [None, [0, 1], "cat", torch.rand(2, 4)], ids=lambda label: type(label).__name__)
def test_labels_of_one_image_that_are_no_dict(detector, label):
    words = "labels of image 1 of the batch: they must be a dict of class_labels, boxes"
    message = assert_refused(detector, words, images_of_48_columns(), labels=[objects()[0], label])
    assert f"got {type(label).__name__}" in message


def pixel_masks(*rows):
    mask = torch.ones(2, 64, 48, dtype=torch.int64)
    for image, index, value in rows:
        mask[(image, *index)] = value
    return mask


HOLE = (1, (slice(10, 20), slice(10, 20)), 0)
BAD_MASKS = {
    "nothing": ((1, (slice(None), slice(None)), 0), "pixel_mask[1] has 0 pixels of 1 in 0 rows and 0 columns"),
    "hole": (HOLE, "pixel_mask[1] has 2972 pixels of 1 in 64 rows and 48 columns"),
    "top": ((0, (slice(0, 32), slice(None)), 0), "pixel_mask[0] has 1536 pixels of 1 in 32 rows and 48 columns"),
    "left": ((0, (slice(None), slice(0, 8)), 0), "pixel_mask[0] has 2560 pixels of 1 in 64 rows and 40 columns"),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_bad_pixel_masks(detector, case):
    change, words = BAD_MASKS[case]
    message = assert_refused(detector, words, images_of_48_columns(), pixel_mask=pixel_masks(change))
    assert message.startswith("pixel_mask must be 1 on a rectangle at the top left, the image, and 0 elsewhere")


@pytest.mark.parametrize("shape", [(64, 48), (1, 64, 48), (2, 48, 64), (2, 3, 64, 48), (2, 32, 24)])
def test_pixel_masks_of_wrong_shape(detector, shape):
    words = f"pixel_mask must have the shape (2, 64, 48) of pixel_values, got {shape}."
    assert_refused(detector, words, images_of_48_columns(), pixel_mask=torch.ones(shape))


def test_pixel_masks_that_are_no_tensor(detector):
    words = "pixel_mask must have the shape (2, 64, 48) of pixel_values, got list."
    assert_refused(detector, words, images_of_48_columns(), pixel_mask=[[1]])


def test_detectors_need_more_than_one_value_per_channel_in_training():
    """RetinaNet's coarsest map has stride 128, that of the other pyramids 32."""
    for kind, side in {"retinanet": 128, "boxes": 32, "masks": 32}.items():
        model = small_detector(kind)
        values = torch.randn(1, 3, side, side)
        model(values)
        model.train()
        assert_refused(model, f"batch size 1 at {side}x{side}", values)
        assert_refused(model, f"batch size 1 at 1x{side}", values[:, :, :1])
        model(torch.randn(1, 3, side, side + 1))
        model(values.expand(2, -1, -1, -1))


@pytest.mark.parametrize("cls", [GPViTForObjectDetection, GPViTForInstanceSegmentation])
def test_detectors_without_classes(cls):
    with pytest.raises(ValueError, match="num_labels must be at least 1 .*got num_labels=0"):
        cls(small_config(num_labels=0))


def test_instances_of_retinanet():
    words = "detector_type must be 'mask_rcnn' for instance segmentation, got 'retinanet'"
    with pytest.raises(ValueError, match=words):
        GPViTForInstanceSegmentation(small_config("retinanet"))


@pytest.mark.parametrize(
    ("field", "value", "valid"),
    [
        ("detector_type", "yolo", "mask_rcnn.*retinanet"),
        ("anchor_ratios", [], "numbers greater than 0"),
        ("anchor_ratios", [0.5, -1.0], "numbers greater than 0"),
        ("anchor_scales", [0.0], "numbers greater than 0"),
        ("rpn_post_nms_top_n", 0, "at least 1"),
        ("num_detections", 0, "at least 1"),
        ("num_detections", 10**6, "at most"),
        ("rpn_bg_iou_threshold", 0.8, "from 0 to rpn_fg_iou_threshold"),
        ("retina_bg_iou_threshold", 0.6, "from 0 to retina_fg_iou_threshold"),
        ("nms_threshold", 0.0, r"in \(0, 1\]"),
        ("nms_threshold", float("nan"), r"in \(0, 1\]"),
        ("score_threshold", 1.0, r"in \[0, 1\)"),
        ("box_positive_fraction", 1.5, r"in \(0, 1\]"),
        ("focal_alpha", -0.1, r"in \[0, 1\]"),
        ("focal_gamma", -1.0, "at least 0"),
        ("fpn_hidden_size", 0, "at least 1"),
        ("out_features", ["stage2"], "stage1"),
        ("interaction_indexes", [], "layers that follow each other from 0 to 3"),
        ("interaction_indexes", [[]], "layers that follow each other from 0 to 3"),
        ("interaction_indexes", [[0, 1], [3, 3]], "layers that follow each other from 0 to 3"),
        ("interaction_indexes", [[0, 1], [1, 3]], "layers that follow each other from 0 to 3"),
        ("interaction_indexes", [[0, 10**15]], "layers that follow each other from 0 to 3"),
    ],
)
def test_bad_fields_of_detectors(field, value, valid):
    with pytest.raises(Exception, match=rf"(?s){field}.*{valid}") as error:
        small_config(**{field: value})
    assert str(value) in str(error.value)


def test_default_interactions_of_few_layers():
    for number, expected in {1: [[0, 0]], 2: [[0, 0], [1, 1]], 6: [[0, 0], [1, 2], [3, 3], [4, 5]]}.items():
        config = small_config(num_hidden_layers=number, group_layer_indices=[], num_group_tokens=[])
        assert config.interaction_indexes == expected
