# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Training as somebody might do it all day: one long run, and between its steps short ones of all kinds."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F

from hf_gpvit.data.shapes import CLASS_NAMES, SCENE_NAMES, load_shapes
from hf_gpvit.tasks.recipe import Recipe
from hf_gpvit.training import ClassificationRecipe, SegmentationRecipe, TrainingStopped, train
from hf_gpvit.training.engine import Engine
from hf_gpvit.training.materials import build_accelerator
from hf_gpvit.training.run_folder import RunFolder
from monitor import Monitor


PRESETS = ("gpvit-nano", "hrvit-nano")
SCENES = {"train": 64, "test": 8}
SCENE_SIDE = 96
SMALLEST_SIDE, LARGEST_SIDE = 32, 192
STEPS_BETWEEN = 50  # from one short run to the next
FOREVER = 10**9


def run_training(monitor: Monitor, folder: Path, seed: int) -> None:
    """Trains until the monitor's time is over; everything that is written lies in `folder`."""
    random = Random(seed)
    data = folder / "shapes"
    draw_shapes(data)
    recipe = SegmentationRecipe(
        model=random.choice(PRESETS),
        output_dir=str(folder / "long"),
        max_steps=FOREVER,
        eval_steps=STEPS_BETWEEN,
        ema_decay=0.99,
        **_segmentation(data, SCENE_SIDE),
    )
    other = partial(short_run, data, folder / "short", random)
    try:
        with RunFolder(recipe, build_accelerator(recipe)) as run:
            LongRun(run, monitor, random, other).run()
    except TrainingStopped:
        if not monitor.is_over:  # it asks for it when the time is over
            raise


class LongRun(Engine):
    """A run that sees every batch at a size of its own, and ends when the monitor's time is over.

    It goes on from the first step to the last, so that what a step leaves behind piles up; what a whole run leaves
    behind piles up by the short ones.
    """

    def __init__(self, folder: RunFolder, monitor: Monitor, random: Random, other: Callable[[], object]):
        super().__init__(folder)
        self.monitor, self.random, self.other = monitor, random, other

    def _train_on(self, batch: dict[str, torch.Tensor]) -> None:
        is_first = self.progress.step == 0  # the largest, so that the heap needn't grow for it later
        side = LARGEST_SIDE if is_first else random_side(self.random)
        step = super()._train_on
        self.monitor.run("step", lambda: step(resized(batch, side)))
        if self.progress.step % STEPS_BETWEEN == 0 and not self.monitor.is_over:
            self.monitor.run("short run", self.other)
        if self.monitor.is_over:
            signal.raise_signal(signal.SIGTERM)  # ends with a checkpoint after this step


def resized(batch: dict[str, torch.Tensor], side: int) -> dict[str, torch.Tensor]:
    """A batch of semantic segmentation at another size."""
    labels = F.interpolate(batch["labels"][:, None].float(), (side, side))[:, 0].long()
    pixel_values = F.interpolate(batch["pixel_values"], (side, side), mode="bilinear")
    return batch | {"pixel_values": pixel_values, "labels": labels}


def random_side(random: Random) -> int:
    """Small ones as often as large ones in ratios."""
    return round(SMALLEST_SIDE * (LARGEST_SIDE / SMALLEST_SIDE) ** random.random())


def short_run(data: Path, folder: Path, random: Random) -> None:
    """A few steps of a new model with evaluations and checkpoints, which then goes on from the last of them."""
    recipe = short_recipe(data, folder, random)
    train(recipe)
    train(replace(recipe, resume=True))
    shutil.rmtree(folder)


def short_recipe(data: Path, folder: Path, random: Random) -> Recipe:
    """Of either family and task."""
    side = random_side(random)
    task = random.choice((partial(_classifier, random), partial(_segmentor, random)))
    return task(
        data,
        side,
        model=random.choice(PRESETS),
        output_dir=str(folder),
        seed=random.randrange(1000),
        max_steps=random.randint(3, 8),
        eval_steps=3,
        save_steps=1,
        max_checkpoints=random.choice((1, 2)),
        ema_decay=random.choice((0.0, 0.9)),
        gradient_checkpointing=random.choice((False, True)),
        num_workers=random.choice((0, 0, 1)),
    )


def _classifier(random: Random, data: Path, side: int, **fields: Any) -> ClassificationRecipe:
    mixup_alpha = random.choice((0.0, 0.8))
    return ClassificationRecipe(
        dataset=str(data / "classification"), image_size=side, batch_size=4, mixup_alpha=mixup_alpha, **fields
    )


def _segmentor(random: Random, data: Path, side: int, **fields: Any) -> SegmentationRecipe:
    head, window_size = random.choice(("segformer", "upernet")), random.choice((None, 48))
    return SegmentationRecipe(
        decode_head_type=head, test_window_size=window_size, **_segmentation(data, side), **fields
    )


def _segmentation(data: Path, side: int) -> dict[str, Any]:
    return {
        "dataset": str(data / "segmentation"),
        "crop_size": side,
        "resize_size": [side, 4 * side],
        "batch_size": 4,
    }


def draw_shapes(folder: Path) -> None:
    """The drawn scenes as folders of pictures: classification/ and segmentation/."""
    for seed, (split, number) in enumerate(SCENES.items()):
        for index, scene in enumerate(load_shapes(number, seed, SCENE_SIDE)):
            name = f"{index}.png"
            _save(scene["image"], folder / "classification" / split / SCENE_NAMES[scene["label"]] / name)
            _save(scene["image"], folder / "segmentation" / split / "images" / name)
            _save(scene["annotation"], folder / "segmentation" / split / "masks" / name)
    (folder / "segmentation" / "classes.json").write_text(json.dumps(CLASS_NAMES), encoding="utf-8")


def _save(picture, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
