# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures whose colour tells their class: a tiny model learns them in seconds."""

import json

import numpy as np
from PIL import Image


COLORS = {"blue": (20, 40, 200), "red": (200, 40, 20)}
NUM_PICTURES, NUM_TRAIN = 12, 8
HEIGHT, WIDTH = 40, 48


def draw_photos(root):
    """A folder for each task: red or blue pictures, pictures blue above and red below, and rectangles of both."""
    generator = np.random.default_rng(0)
    for index in range(NUM_PICTURES):
        noise = generator.integers(-20, 20, (HEIGHT, WIDTH, 3))
        name = list(COLORS)[index % 2]
        split = "train" if index < NUM_TRAIN else "test"
        save(COLORS[name] + noise, root / "classification" / split / name / f"{index}.png")
        is_red = np.arange(HEIGHT)[:, None].repeat(WIDTH, axis=1) >= 10 + 2 * index
        pixels = np.where(is_red[..., None], COLORS["red"], COLORS["blue"]) + noise
        save(pixels, root / "segmentation" / split / "images" / f"{index}.png")
        save(is_red, root / "segmentation" / split / "masks" / f"{index}.png")
    (root / "segmentation" / "classes.json").write_text('["blue", "red"]')
    draw_rectangles(root / "detection")


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def draw_rectangles(root):
    """Grey pictures with a blue and a red rectangle, and of the first one none, as Roboflow exports COCO's format."""
    generator = np.random.default_rng(0)
    for split, numbers in (("train", range(NUM_TRAIN)), ("test", range(NUM_TRAIN, NUM_PICTURES))):
        images, annotations = [], []
        for index in numbers:
            pixels = 128 + generator.integers(-20, 20, (HEIGHT, WIDTH, 3))
            images.append({"id": index, "file_name": f"{index}.png", "height": HEIGHT, "width": WIDTH})
            for category, color in enumerate(COLORS.values()) if index else ():
                width, height = generator.integers(12, 21, 2).tolist()
                left, top = category * 24 + generator.integers(0, 4).item(), generator.integers(0, HEIGHT - 20).item()
                pixels[top : top + height, left : left + width] = color
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": index,
                        "category_id": category + 1,
                        "bbox": [left, top, width, height],
                        "area": width * height,
                        "iscrowd": 0,
                        "segmentation": [
                            [left, top, left + width, top, left + width, top + height, left, top + height]
                        ],
                    }
                )
            save(pixels, root / split / f"{index}.png")
        names = [{"id": number, "name": name} for number, name in enumerate(COLORS, start=1)]
        record = {"images": images, "annotations": annotations, "categories": names}
        (root / split / "_annotations.coco.json").write_text(json.dumps(record))
