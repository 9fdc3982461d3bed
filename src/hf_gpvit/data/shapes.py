# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Drawn scenes to learn segmentation, classification and detection on, without a download.

A scene has two or three large objects on a greyish ground. Hues of one class are close to each other, but those of
different classes overlap, and texture, brightness and light tell nothing: what an object is shows only in its outline,
which is wider than the neighbourhood of a pixel. Objects hide parts of each other, have holes (ring) and thin parts
(cross), and the ground is littered with scraps as colourful as they are.
"""

import io
import json
from collections.abc import Callable

import numpy as np
from PIL import Image
from transformers.utils.logging import tqdm

from ..extras import import_extra
from .objects import runs_of


datasets = import_extra("datasets")

# Which points (u, v) are part of an object of radius 1.
OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disk": lambda u, v: u**2 + v**2 < 0.85,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < 0.75,
    "triangle": lambda u, v: np.maximum(0.866 * abs(u) + 0.5 * v, -v) < 0.5,
    "ring": lambda u, v: abs(u**2 + v**2 - 0.68) < 0.32,
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.25) & (np.maximum(abs(u), abs(v)) < 0.95),
}
SCENE_NAMES = tuple(OUTLINES)
CLASS_NAMES = ("ground", *OUTLINES)
# By the column of their ids.
NAMES = {"label": SCENE_NAMES, "annotation": CLASS_NAMES, "objects": SCENE_NAMES}
# Lengths are in units of the image's side, hues in turns of the colour wheel.
RADIUS = (0.22, 0.4)
HUE_SPREAD = 0.15
VISIBLE_PART = 0.6
ATTEMPTS = 20


def load_shapes(num_scenes: int, seed: int = 0, image_size: int = 128) -> datasets.Dataset:
    """Draw scenes; the same arguments give the same scenes, and more scenes of a seed begin with the fewer ones.

    Args:
        num_scenes: Number of scenes, at least 1. Drawing takes about 4 ms each, and 40 KB of memory, at 128x128.
        seed: At least 0. Scenes of different seeds are independent: take one to train and another one to test.
        image_size: Side in pixels, at least 64. Default 128, where objects are at least 24 pixels across.

    Returns:
        One row per scene with the columns `image` (RGB PIL image), `annotation` (PIL image of mode L with ids of
        `CLASS_NAMES`), `label` (class of most of its objects, an id of `SCENE_NAMES`) and `objects`: `bbox` (x, y,
        width, height in pixels of each object's visible part, as COCO has them), `category` (ids of `SCENE_NAMES`) and
        `segmentation` (the pixels of that part: JSON text of COCO's RLE).

    Raises:
        ValueError: An argument is below its minimum.
    """
    for field, value, least in (("num_scenes", num_scenes, 1), ("seed", seed, 0), ("image_size", image_size, 64)):
        if value < least:
            raise ValueError(f"{field} must be at least {least}, got {value}.")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "annotation": datasets.Image(),
            "label": datasets.ClassLabel(names=list(SCENE_NAMES)),
            "objects": {
                "bbox": datasets.Sequence(datasets.Sequence(datasets.Value("float32"), length=4)),
                "category": datasets.Sequence(datasets.ClassLabel(names=list(SCENE_NAMES))),
                "segmentation": datasets.Sequence(datasets.Value("string")),
            },
        }
    )
    indices = tqdm(range(num_scenes), desc="Drawing scenes")
    scenes = [_draw_scene(np.random.default_rng([seed, index]), image_size) for index in indices]
    return datasets.Dataset.from_list(scenes, features=features)


def _draw_scene(random: np.random.Generator, image_size: int) -> dict:
    """One row of the dataset."""
    points = (np.mgrid[:image_size, :image_size] + 0.5) / image_size
    picture = _texture(random, points, hue=random.uniform(), saturation=0.2)
    for _ in range(random.integers(6, 12)):
        scrap = _scrap(random, points)
        picture[:, scrap] = _texture(random, points[:, scrap], hue=random.uniform(), saturation=0.75)
    label = int(random.integers(len(SCENE_NAMES)))
    categories = _categories(random, label)
    owners = np.zeros((image_size, image_size), np.uint8)  # 0 is the ground, 1 the first object, ...
    areas = []
    for number, category in enumerate(categories, start=1):
        inside = _place(random, points, owners, areas, OUTLINES[SCENE_NAMES[category]])
        owners[inside] = number
        areas.append(inside.sum())
        hue = random.normal(category / len(SCENE_NAMES), HUE_SPREAD)
        picture[:, inside] = _texture(random, points[:, inside], hue, saturation=0.75)
    visible = [owners == number for number in range(1, len(categories) + 1)]
    return {
        "image": _png(_photograph(random, points, picture)),
        "annotation": _png(np.array([0, *(category + 1 for category in categories)], np.uint8)[owners]),
        "label": label,
        "objects": {
            "bbox": [_box(inside) for inside in visible],
            "category": categories,
            "segmentation": [json.dumps(runs_of(inside)) for inside in visible],
        },
    }


def _categories(random: np.random.Generator, label: int) -> list[int]:
    """Two or three objects, at most one of them not of the scene's class, from the back to the front."""
    other = (label + int(random.integers(1, len(SCENE_NAMES)))) % len(SCENE_NAMES)
    third = ([], [label], [other])[random.integers(3)]
    return random.permutation([label, label, *third]).tolist()


def _place(
    random: np.random.Generator, points: np.ndarray, owners: np.ndarray, areas: list[int], outline: Callable
) -> np.ndarray:
    """(H, W) bool: an object that hides little of the earlier ones (`areas` are their pixels), or the least it can."""
    place, most_visible = None, -1.0
    for _ in range(ATTEMPTS):
        radius = random.uniform(*RADIUS)
        center = random.uniform(0.6 * radius, 1 - 0.6 * radius, size=2)
        inside = outline(*_turned(random, points - center[:, None, None]) / radius)
        visible = np.bincount(owners[~inside], minlength=len(areas) + 1)[1:] / areas
        if visible.min(initial=1) > most_visible:
            place, most_visible = inside, visible.min(initial=1)
        if most_visible >= VISIBLE_PART:
            break
    return place


def _scrap(random: np.random.Generator, points: np.ndarray) -> np.ndarray:
    center = random.uniform(size=(2, 1, 1))
    u, v = _turned(random, points - center) / random.uniform(0.01, 0.03)
    return abs(u) + random.uniform(0.3, 1) * abs(v) < 1


def _turned(random: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """(2, ...) points turned around the origin by any angle."""
    angle = random.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.tensordot([[cos, -sin], [sin, cos]], points, axes=1)


def _texture(random: np.random.Generator, points: np.ndarray, hue: float, saturation: float) -> np.ndarray:
    """Points (2, ...) -> colours (3, ...): plain, striped, chequered or wavy, in two tones of a hue."""
    u, v = _turned(random, points) * random.uniform(30, 80)
    patterns = (np.zeros_like(u), np.sin(u) > 0, np.sin(u) * np.sin(v) > 0, 0.5 + 0.5 * np.sin(u + 2 * np.sin(v)))
    pattern = patterns[random.integers(len(patterns))]
    first, second = (_color(random, tone, saturation) for tone in random.normal(hue, [0, 0.08]))
    extend = (slice(None),) + (None,) * pattern.ndim
    return first[extend] + (second - first)[extend] * pattern


def _color(random: np.random.Generator, hue: float, saturation: float) -> np.ndarray:
    wheel = np.cos(2 * np.pi * (hue - np.arange(3) / 3))
    return random.uniform(0.25, 0.6) * (1 + saturation * wheel)


def _photograph(random: np.random.Generator, points: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8 in uneven light and with noise."""
    across, _ = _turned(random, points)
    light = 1 + random.uniform(0, 0.35) * np.sin(2 * across + random.uniform(0, 2 * np.pi))
    noise = random.normal(0, random.uniform(0.01, 0.05), picture.shape)
    return np.rint((picture * light + noise).clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)


def _box(inside: np.ndarray) -> list[float]:
    """x, y, width and height in pixels."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    left, top = columns[0], rows[0]
    return [float(left), float(top), float(columns[-1] + 1 - left), float(rows[-1] + 1 - top)]


def _png(pixels: np.ndarray) -> dict:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png", compress_level=1)
    return {"bytes": file.getvalue(), "path": None}
