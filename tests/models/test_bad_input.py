# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of what models refuse, before they compute anything, and of the unusual input that they accept."""

import re

import pytest
import torch


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
