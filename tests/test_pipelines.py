# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of transformers' pipelines on saved folders: the result, and a log without errors."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from transformers import pipeline

from hf_gpvit.data import image_processor_for


WIDTH, HEIGHT = 90, 70
NAMES = ("wall", "sky", "tree", "road", "cat")


@pytest.fixture
def picture(tmp_path):
    image = Image.new("RGB", (WIDTH, HEIGHT), "skyblue")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 40, WIDTH, HEIGHT), fill="darkgreen")
    draw.ellipse((20, 10, 60, 55), fill="orange")
    image.save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.fixture
def errors(caplog):
    """A function that returns what was logged at ERROR level or above, by transformers too."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    logger.removeHandler(caplog.handler)


def saved(model_class, family, folder):
    model = model_class(family.config(id2label=dict(enumerate(NAMES)))).eval()
    model.save_pretrained(folder)
    image_processor_for(model).save_pretrained(folder)
    return model


def test_image_classification(family, picture, tmp_path, errors):
    saved(family.classifier_class, family, tmp_path / "model")
    results = pipeline("image-classification", model=tmp_path / "model")(picture, top_k=None)
    assert {result["label"] for result in results} == set(NAMES)
    assert sum(result["score"] for result in results) == pytest.approx(1.0, abs=1e-5)
    assert not errors()


@pytest.mark.parametrize("decode_head_type", ["segformer", "upernet"])
def test_image_segmentation(family, decode_head_type, picture, tmp_path, errors):
    config = family.config(decode_head_type=decode_head_type, id2label=dict(enumerate(NAMES)))
    model = family.segmentor_class(config)
    model.save_pretrained(tmp_path / "model")
    image_processor_for(model).save_pretrained(tmp_path / "model")
    results = pipeline("image-segmentation", model=tmp_path / "model")(picture)
    assert {result["label"] for result in results} <= set(NAMES)
    assert all(result["mask"].size == (WIDTH, HEIGHT) for result in results)
    masks = np.stack([np.asarray(result["mask"]) == 255 for result in results])
    assert (masks.sum(axis=0) == 1).all()
    assert not errors()


def test_image_feature_extraction(family, picture, tmp_path, errors):
    model = saved(family.model_class, family, tmp_path / "model")
    extractor = pipeline("image-feature-extraction", model=tmp_path / "model")
    with torch.no_grad():
        expected = model(**extractor.image_processor(Image.open(picture), return_tensors="pt"))
    torch.testing.assert_close(extractor(picture, return_tensors=True), expected.last_hidden_state)
    assert np.asarray(extractor(picture)).shape == expected.last_hidden_state.shape
    pooled = extractor(picture, pool=True, return_tensors=True)
    torch.testing.assert_close(pooled, expected.pooler_output)
    assert not errors()


def test_unsupported_model_is_seen_in_the_log(family, errors):
    """The other tests would not see errors if this one failed."""
    model = family.segmentor_class(family.config())
    pipeline("image-classification", model=model, image_processor=image_processor_for(model))
    assert any("is not supported for image-classification" in message for message in errors())
