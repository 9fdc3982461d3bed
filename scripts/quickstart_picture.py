# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Draws what a model folder of quickstart.py sees in its samples.

    python scripts/quickstart_picture.py outputs/quickstart

It knows nothing but the folder, and loads it as anyone would: Auto classes and pipeline. The picture is `picture.png`
in the folder: each sample with the truth and the prediction, and for GPViT with what groups of a GP Block gather from
where.
"""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    ImageClassificationPipeline,
    ImageSegmentationPipeline,
    Pipeline,
    pipeline,
)

from hf_gpvit.data import read_mask, read_rgb
from hf_gpvit.data.masks import annotation_ids
from hf_gpvit.inference import (
    detect,
    group_heatmaps,
    overlay_objects,
    overlay_segmentation,
    seen_picture,
    side_by_side,
)


HEIGHT = 224
NUM_GROUPS = 3


def draw_segmentation(predict: ImageSegmentationPipeline, image: Image.Image, truth: Path) -> dict[str, Image.Image]:
    config = predict.model.config
    prediction = np.full((image.height, image.width), config.semantic_loss_ignore_index)
    for segment in predict(image):
        prediction[np.asarray(segment["mask"]) > 0] = config.label2id[segment["label"]]
    annotation = annotation_ids(read_mask(truth)).numpy()
    # at the size at which they are shown, so that the legend is not enlarged with them
    shown = image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.BICUBIC)
    prediction, annotation = (
        np.asarray(Image.fromarray(ids.astype(np.int32)).resize(shown.size, Image.Resampling.NEAREST))
        for ids in (prediction, annotation)
    )
    return {
        "image": shown,
        "truth": overlay_segmentation(shown, annotation, config.id2label, alpha=0.7, legend=False),
        "prediction": overlay_segmentation(shown, prediction, config.id2label, alpha=0.7),
    }


def draw_classification(
    predict: ImageClassificationPipeline, image: Image.Image, truth: str
) -> dict[str, Image.Image]:
    best = predict(image, top_k=1)[0]
    return {f"{truth}: predicted {best['label']}, {best['score']:.0%}": image}


class Truth(NamedTuple):
    """The truth of a picture: boxes (N, 4), class ids (N,), and COCO's RLE of masks where there are."""

    boxes: torch.Tensor
    class_labels: torch.Tensor
    masks: list[dict] | None


def draw_detection(predict: Pipeline, image: Image.Image, truth: Truth) -> dict[str, Image.Image]:
    """Boxes, and masks where there are, at the size at which they are shown."""
    found = detect(predict.model, predict.image_processor, image).shown()
    scale, names = HEIGHT / image.height, predict.model.config.id2label
    return {
        "image": image,
        "truth": overlay_objects(image, truth, names, scale=scale),
        "prediction": overlay_objects(image, found, names, scale=scale),
    }


def truth_of(sample: dict[str, Any], samples: Path, label2id: dict[str, int]) -> Path | Truth | str:
    """A sample's truth as it is drawn: the file of an annotation, objects, or a class."""
    if "annotation" in sample:
        return samples / sample["annotation"]
    if "boxes" in sample:
        labels = [label2id[label] for label in sample["labels"]]
        boxes = torch.tensor(sample["boxes"], dtype=torch.float32).reshape(-1, 4)
        return Truth(boxes, torch.tensor(labels, dtype=torch.int64), sample.get("masks"))
    return sample["label"]


# By the end of the architecture's name: what loads the model, its pipeline, and what draws a sample.
TASKS = {
    "ForImageClassification": (AutoModelForImageClassification, "image-classification", draw_classification),
    "ForSemanticSegmentation": (AutoModelForSemanticSegmentation, "image-segmentation", draw_segmentation),
    "ForObjectDetection": (AutoModelForObjectDetection, "object-detection", draw_detection),
    "ForInstanceSegmentation": (AutoModelForInstanceSegmentation, "image-segmentation", draw_detection),
}


def draw_groups(predict: Pipeline, image: Image.Image) -> dict[str, Image.Image]:
    """Heatmaps by title; none for a model without GP Blocks."""
    if not hasattr(predict.model, "group_maps"):
        return {}
    pixel_values = predict.image_processor(image, return_tensors="pt")["pixel_values"]
    seen = seen_picture(pixel_values, predict.image_processor)
    # early blocks look for colours, the last one for very few tokens
    block = len(predict.model.config.num_group_tokens) // 2
    heatmaps = group_heatmaps(predict.model, pixel_values, seen, block, NUM_GROUPS)
    return {f"group {group}": heatmap for group, heatmap in heatmaps.items()}


def main() -> None:
    parser = ArgumentParser(description="Draw what a model folder of quickstart.py sees in its samples.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    [architecture] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    auto_class, task, draw = next(value for suffix, value in TASKS.items() if architecture.endswith(suffix))
    image_processor = AutoImageProcessor.from_pretrained(folder)
    predict = pipeline(task, model=auto_class.from_pretrained(folder), image_processor=image_processor)
    samples = json.loads((folder / "samples/samples.json").read_text(encoding="utf-8"))
    panels = {}
    for number, sample in enumerate(samples, start=1):
        image = read_rgb(folder / "samples" / sample["image"])
        truth = truth_of(sample, folder / "samples", predict.model.config.label2id)
        row = draw(predict, image, truth) | draw_groups(predict, image)
        panels |= {f"{number}: {title}": panel for title, panel in row.items()}
    side_by_side(panels, columns=len(panels) // len(samples), height=HEIGHT).save(folder / "picture.png")


if __name__ == "__main__":
    main()
