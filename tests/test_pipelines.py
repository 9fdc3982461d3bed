# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of transformers' pipelines on saved folders: the result, and a log without errors."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from transformers import AutoModelForImageSegmentation, AutoModelForSemanticSegmentation, pipeline

from hf_gpvit import (
    GPViTDetectionConfig,
    GPViTDetectionImageProcessor,
    GPViTForInstanceSegmentation,
    GPViTForObjectDetection,
)
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


# --- detectors

DETECTORS = {
    "retinanet": (GPViTForObjectDetection, "retinanet", "object-detection"),
    "faster_rcnn": (GPViTForObjectDetection, "mask_rcnn", "object-detection"),
    "mask_rcnn": (GPViTForInstanceSegmentation, "mask_rcnn", "image-segmentation"),
}
KEYS = ("scores", "labels", "boxes")
SIZES = [(HEIGHT, WIDTH), (60, 41), (33, 80)]


def saved_detector(name, folder, **fields):
    """A tiny one that finds something, and its image processor."""
    model_class, detector_type, _ = DETECTORS[name]
    config = GPViTDetectionConfig.from_preset(
        "gpvit-nano",
        detector_type=detector_type,
        id2label=dict(enumerate(NAMES)),
        rpn_post_nms_top_n=30,
        num_detections=20,
        score_threshold=0.0,
    )
    model = model_class(config).eval()
    if detector_type == "retinanet":
        torch.nn.init.normal_(model.detector.head.classifier.bias)
    processor = GPViTDetectionImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}, **fields)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def pictures():
    generator = np.random.RandomState(0)
    return [Image.fromarray(generator.randint(256, size=(*size, 3), dtype=np.uint8)) for size in SIZES]


@torch.no_grad()
def detected(model, processor, images, threshold):
    """What model and image processor give, nearly in the pipelines' format."""
    outputs = model(**processor(images, return_tensors="pt"))
    sizes = [(image.height, image.width) for image in images]
    if type(model) is GPViTForObjectDetection:
        results = processor.post_process_object_detection(outputs, threshold, sizes)
        return [
            [
                {"score": score, "label": NAMES[label], "box": box}
                for score, label, box in zip(*(result[key].tolist() for key in KEYS), strict=True)
            ]
            for result in results
        ]
    results = processor.post_process_instance_segmentation(
        outputs, threshold, overlap_mask_area_threshold=0.5, target_sizes=sizes
    )
    return [
        [
            {"score": info["score"], "label": NAMES[info["label_id"]], "mask": result["segmentation"] == info["id"]}
            for info in result["segments_info"]
        ]
        for result in results
    ]


def assert_same_objects(found, expected):
    assert len(expected) > 2
    assert [item["label"] for item in found] == [item["label"] for item in expected]
    for item, other in zip(found, expected, strict=True):
        assert item["score"] == pytest.approx(other["score"], abs=1e-5)
        if "box" in other:  # of which the pipeline gives whole pixels
            sides = zip(item["box"].values(), other["box"], strict=True)
            assert all(int(value - 1e-3) <= side <= int(value + 1e-3) for side, value in sides)
        else:
            assert np.array_equal(np.asarray(item["mask"]) == 255, other["mask"])


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors(name, tmp_path, errors):
    torch.manual_seed(1)
    model, processor = saved_detector(name, tmp_path / "model")
    detect = pipeline(DETECTORS[name][2], model=str(tmp_path / "model"))
    assert type(detect.model) is type(model)
    for image in pictures():
        assert_same_objects(detect(image, threshold=0.1), detected(model, processor, [image], 0.1)[0])
    assert not errors()


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_in_batches_of_several_sizes(name, tmp_path, errors):
    """Transformers puts pictures together as they are, so that they need the same `pad_size`."""
    torch.manual_seed(1)
    model, processor = saved_detector(name, tmp_path / "model", pad_size={"height": 96, "width": 96})
    detect = pipeline(DETECTORS[name][2], model=str(tmp_path / "model"), batch_size=2)
    images = pictures()
    for found, expected in zip(detect(images, threshold=0.1), detected(model, processor, images, 0.1), strict=True):
        assert_same_objects(found, expected)
    assert not errors()


IN_FRESH_PROCESS = """
import sys
import hf_gpvit
import torch
from PIL import Image
from transformers import pipeline

images = [Image.open(f"{index}.png") for index in range(3)]
for name, task in zip(sys.argv[1::2], sys.argv[2::2]):
    torch.save(pipeline(task, model=name, batch_size=2)(images, threshold=0.1), f"{name}.pt")
"""


@pytest.mark.slow
def test_detectors_in_a_fresh_process(tmp_path):
    """Where nobody can answer whether code shall be run."""
    images, expected = pictures(), {}
    for index, image in enumerate(images):
        image.save(tmp_path / f"{index}.png")
    for name in ("retinanet", "mask_rcnn"):
        torch.manual_seed(1)
        model, processor = saved_detector(name, tmp_path / name, pad_size={"height": 96, "width": 96})
        expected[name] = detected(model, processor, images, 0.1)
    names = [part for name in expected for part in (name, DETECTORS[name][2])]
    done = subprocess.run(
        [sys.executable, "-c", IN_FRESH_PROCESS, *names],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    assert "custom code" not in done.stdout + done.stderr
    for name, results in expected.items():
        for found, result in zip(torch.load(tmp_path / f"{name}.pt", weights_only=False), results, strict=True):
            assert_same_objects(found, result)


def test_boxes_of_an_instance_segmentor(tmp_path):
    model, processor = saved_detector("mask_rcnn", tmp_path / "model")
    detect = pipeline("object-detection", model=str(tmp_path / "model"))
    assert type(detect.model) is GPViTForObjectDetection
    [image, *_] = pictures()
    assert_same_objects(detect(image, threshold=0.1), detected(detect.model, processor, [image], 0.1)[0])


def test_detectors_never_become_semantic_segmentors(tmp_path):
    """Which would have fresh weights in their heads."""
    model, _ = saved_detector("retinanet", tmp_path / "model")
    with pytest.raises(ValueError, match="GPViTDetectionConfig"):
        AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="detector_type must be 'mask_rcnn' for instance segmentation"):
        AutoModelForImageSegmentation.from_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="Could not load model"):
        pipeline("image-segmentation", model=str(tmp_path / "model"))
    model, _ = saved_detector("mask_rcnn", tmp_path / "masks")
    assert type(AutoModelForImageSegmentation.from_pretrained(tmp_path / "masks")) is GPViTForInstanceSegmentation
