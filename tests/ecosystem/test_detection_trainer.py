# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Detectors in transformers' Trainer as in its run_object_detection.py: annotations in, metrics and model out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torchmetrics.detection import IntersectionOverUnion
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    Trainer,
    TrainingArguments,
    pipeline,
)
from transformers.image_transforms import center_to_corners_format

from hf_gpvit import (
    GPViTDetectionConfig,
    GPViTDetectionImageProcessor,
    GPViTForInstanceSegmentation,
    GPViTForObjectDetection,
)


SIDE = 64
LABELS = {0: "red", 1: "blue"}
SIZES = [(50, 64), (64, 40), (33, 48), (48, 48)]


def scenes():
    """Pictures of several sizes, each with an annotation; the last is empty."""
    for index, (height, width) in enumerate(SIZES):
        image = Image.new("RGB", (width, height), "white")
        objects = []
        for category in range(2 if index < len(SIZES) - 1 else 0):
            x, y = 3 + 15 * category, 4 + 9 * category
            ImageDraw.Draw(image).rectangle((x, y, x + 13, y + 11), fill=LABELS[category])
            objects.append(
                {
                    "image_id": index,
                    "bbox": [x, y, 14, 12],
                    "category_id": category,
                    "area": 14 * 12,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + 14, y, x + 14, y + 12, x, y + 12]],
                }
            )
        yield {"image": image, "annotation": {"image_id": index, "annotations": objects}}


@pytest.fixture(params=["retinanet", "mask_rcnn"])
def base(request, tmp_path):
    """The folder of a model of other labels."""
    config = GPViTDetectionConfig.from_preset(
        "gpvit-nano", detector_type=request.param, num_labels=5, num_detections=20, rpn_post_nms_top_n=50
    )
    GPViTForObjectDetection(config).save_pretrained(tmp_path / "base")
    GPViTDetectionImageProcessor().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def arguments(folder, **options):
    defaults = {
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "remove_unused_columns": False,
        "eval_do_concat_batches": False,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    return TrainingArguments(output_dir=folder, **defaults | options)


def overlaps(predictions, targets):
    metric = IntersectionOverUnion()
    metric.update(predictions, targets)
    return {"iou": metric.compute()["iou"].item()}


def test_as_the_object_detection_script_does(base, tmp_path):
    """Square pictures, no pixel_mask, outputs without pixel_sizes: boxes of both sides relative to what is padded."""
    names = {"id2label": LABELS, "label2id": {name: index for index, name in LABELS.items()}}
    config = AutoConfig.from_pretrained(base, **names)
    model = AutoModelForObjectDetection.from_pretrained(base, config=config, ignore_mismatched_sizes=True)
    processor = AutoImageProcessor.from_pretrained(
        base,
        do_resize=True,
        size={"max_height": SIDE, "max_width": SIDE},
        do_pad=True,
        pad_size={"height": SIDE, "width": SIDE},
    )

    def processed(scene):
        features = processor(images=[np.array(scene["image"])], annotations=[scene["annotation"]], return_tensors="pt")
        return {"pixel_values": features["pixel_values"][0], "labels": features["labels"][0]}

    def collate(items):
        return {
            "pixel_values": torch.stack([item["pixel_values"] for item in items]),
            "labels": [item["labels"] for item in items],
        }

    def compute_metrics(evaluated):
        predictions, targets = [], []
        for batch, labels in zip(evaluated.predictions, evaluated.label_ids, strict=True):
            sizes = torch.tensor(np.array([label["orig_size"] for label in labels]))
            outputs = SimpleNamespace(logits=torch.tensor(batch[1]), pred_boxes=torch.tensor(batch[2]))
            predictions += processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
            for label in labels:
                height, width = label["orig_size"]
                boxes = center_to_corners_format(torch.tensor(label["boxes"]))
                boxes = boxes * torch.tensor([width, height, width, height])
                targets.append({"boxes": boxes, "labels": torch.tensor(label["class_labels"])})
        assert len(predictions) == len(targets) == len(SIZES)
        assert sum(len(target["boxes"]) for target in targets) == 2 * (len(SIZES) - 1)
        return overlaps(predictions, targets)

    data = [processed(scene) for scene in scenes()]
    assert data[0]["labels"]["size"].tolist() == [SIDE, SIDE]
    trainer = Trainer(
        model,
        arguments(tmp_path / "run"),
        train_dataset=data,
        eval_dataset=data,
        processing_class=processor,
        data_collator=collate,
        compute_metrics=compute_metrics,
    )
    assert trainer.train().training_loss > 0
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] > 0
    assert 0 <= metrics["eval_iou"] <= 1
    trainer.save_model(tmp_path / "model")
    detect = pipeline("object-detection", model=str(tmp_path / "model"), batch_size=2)
    assert detect.image_processor.pad_size == {"height": SIDE, "width": SIDE}
    found = detect([scene["image"] for scene in scenes()], threshold=0.0)
    assert len(found) == len(SIZES)
    assert {item["label"] for items in found for item in items} <= set(LABELS.values())


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_batches_of_several_sizes(masks, tmp_path):
    """Put together by the image processor; what it makes of labels are the annotations' boxes again."""
    model_class = GPViTForInstanceSegmentation if masks else GPViTForObjectDetection
    config = GPViTDetectionConfig.from_preset("gpvit-nano", id2label=LABELS, num_detections=20, rpn_post_nms_top_n=50)
    processor = GPViTDetectionImageProcessor(
        size={"shortest_edge": 40, "longest_edge": SIDE}, return_segmentation_masks=masks
    )

    def collate(items):
        images, annotations = ([item[name] for item in items] for name in ("image", "annotation"))
        features = processor(images, annotations=annotations, return_tensors="pt")
        assert all(("masks" in label) == masks for label in features["labels"])
        return features

    def compute_metrics(evaluated):
        predictions = []
        for (_, logits, boxes, *more), labels in zip(evaluated.predictions, evaluated.label_ids, strict=True):
            assert len(more) == 1 + masks
            outputs = SimpleNamespace(
                logits=torch.tensor(logits), pred_boxes=torch.tensor(boxes), pixel_sizes=torch.tensor(more[-1])
            )
            sizes = [label["orig_size"] for label in labels]
            predictions += processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
        assert len(predictions) == len(SIZES)
        targets = [
            {
                "boxes": torch.tensor([[x, y, x + width, y + height] for x, y, width, height in boxes]).reshape(-1, 4),
                "labels": torch.arange(len(boxes)),
            }
            for boxes in ([item["bbox"] for item in scene["annotation"]["annotations"]] for scene in scenes())
        ]
        return overlaps(predictions, targets)

    data = list(scenes())
    trainer = Trainer(
        model_class(config),
        arguments(tmp_path / "run"),
        train_dataset=data,
        eval_dataset=data,
        processing_class=processor,
        data_collator=collate,
        compute_metrics=compute_metrics,
    )
    assert trainer.train().training_loss > 0
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] > 0
    assert 0 <= metrics["eval_iou"] <= 1
    trainer.save_model(tmp_path / "model")
    auto_class = AutoModelForInstanceSegmentation if masks else AutoModelForObjectDetection
    loaded, info = auto_class.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert type(loaded) is model_class
    assert not info["missing_keys"]


def test_labels_become_the_annotations_again():
    """Boxes of labels, taken for detections: within a thousandth of a pixel, whatever the batch was padded to."""
    data = list(scenes())
    processor = GPViTDetectionImageProcessor(size={"shortest_edge": 40, "longest_edge": SIDE})
    images, annotations = ([scene[name] for scene in data] for name in ("image", "annotation"))
    features = processor(images, annotations=annotations, return_tensors="pt")
    for scene, label in zip(data, features["labels"], strict=True):
        objects = scene["annotation"]["annotations"]
        outputs = SimpleNamespace(
            logits=torch.full((1, len(objects), 2), 3.0),
            pred_boxes=label["boxes"][None],
            pixel_sizes=torch.tensor([features["pixel_values"].shape[-2:]]),
        )
        size = [(scene["image"].height, scene["image"].width)]
        [result] = processor.post_process_object_detection(outputs, target_sizes=size, top_k=2 * len(objects))
        expected = torch.tensor([item["bbox"] for item in objects]).reshape(-1, 4).float()
        expected[:, 2:] += expected[:, :2]
        found = result["boxes"].unique(dim=0)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
