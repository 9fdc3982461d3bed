# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures whose colour tells their class: a tiny model learns them in seconds."""

import numpy as np
from PIL import Image


COLORS = {"blue": (20, 40, 200), "red": (200, 40, 20)}
NUM_PICTURES, NUM_TRAIN = 12, 8
HEIGHT, WIDTH = 40, 48


def draw_photos(root):
    """A folder for each task: red or blue pictures, and pictures that are blue above and red below."""
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


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
