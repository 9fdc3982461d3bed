# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Probabilities are those of the pipeline."""

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image
from transformers import ViTImageProcessor, pipeline

from families import awake
from hf_gpvit.data import image_processor_for
from hf_gpvit.inference import classify


SIZES = [(40, 40), (57, 33), (24, 80), (9, 7)]
MODES = ("RGB", "L", "RGBA", "P")


def noise(width, height, mode="RGB", seed=0):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, generator.integers(2, 256, 3), (height, width, 3)).astype(np.uint8)
    return Image.fromarray(values).convert(mode)


IMAGES = [noise(*SIZES[index % 4], MODES[index % 3], seed=index) for index in range(7)]


def by_pipeline(model, processor):
    predict = pipeline("image-classification", model=model, image_processor=processor)
    answers = predict([image.convert("RGB") for image in IMAGES], top_k=model.config.num_labels)
    scores = torch.empty(len(IMAGES), model.config.num_labels)
    for row, answer in zip(scores, answers, strict=True):
        for entry in answer:
            row[model.config.label2id[entry["label"]]] = entry["score"]
    return scores


@pytest.mark.parametrize("options", [{"do_resize": False}, {"size": {"shortest_edge": 24}}], ids=str)
def test_pictures_of_several_sizes(family, options):
    """Each has the scores that it has alone, whatever the image processor leaves of its shape."""
    model = awake(family.classifier_class(family.config()))
    processor = ViTImageProcessor(default_to_square=False, **options)
    expected = torch.cat([classify(model, processor, [image]) for image in IMAGES])
    for batch_size in (2, 32):
        torch.testing.assert_close(classify(model, processor, IMAGES, batch_size), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"problem_type": "single_label_classification"},
        {"problem_type": "multi_label_classification"},
        pytest.param(
            {"problem_type": "regression"},
            marks=pytest.mark.skipif(
                Version(transformers.__version__) < Version("5.23"),
                reason="before transformers 5.23, pipelines make probabilities of what a regression gives",
            ),
        ),
        {"num_labels": 1},
    ],
    ids=str,
)
def test_scores_are_the_pipelines(family, fields):
    model = awake(family.classifier_class(family.config(**fields)))
    processor = image_processor_for(model)
    scores = classify(model, processor, IMAGES)
    assert scores.dtype == torch.float32 and scores.device.type == "cpu" and not scores.requires_grad
    torch.testing.assert_close(scores, by_pipeline(model, processor), atol=1e-6, rtol=1e-5)
    assert scores.std(dim=0).min() > 2e-5  # pictures are told apart


def test_batches_do_not_matter(family):
    model = family.classifier_class(family.config())
    processor = image_processor_for(model)
    scores = classify(model, processor, IMAGES)
    calls = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs["pixel_values"]), with_kwargs=True
    )
    for batch_size in (1, 3, 7):
        torch.testing.assert_close(classify(model, processor, IMAGES, batch_size), scores)
    assert [len(call) for call in calls] == [1] * 7 + [3, 3, 1] + [7]


def test_no_pictures(family):
    model = family.classifier_class(family.config())
    assert classify(model, image_processor_for(model), []).shape == (0, 5)


def test_half_precision(family):
    model = family.classifier_class(family.config()).to(torch.bfloat16)
    scores = classify(model, image_processor_for(model), IMAGES)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(7))


def test_model_stays_as_it_was(family):
    model = family.classifier_class(family.config()).train()
    model.base_model.eval()
    before = {name: module.training for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    processor = image_processor_for(model)
    assert torch.equal(classify(model, processor, IMAGES), classify(model.eval(), processor, IMAGES))
    model.train()
    model.base_model.eval()
    classify(model, processor, IMAGES)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_batch_size_out_of_range(family):
    model = family.classifier_class(family.config())
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        classify(model, image_processor_for(model), IMAGES, batch_size=0)
