# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From nothing to a trained model and a picture of what it sees, in a few minutes on two CPU cores.

    python scripts/quickstart.py                          # gpvit-nano learns to segment drawn scenes
    python scripts/quickstart.py --task classification    # or detection, or instance-segmentation
    python scripts/quickstart.py --data my-photos         # own pictures, see docs/fine-tune-on-my-folder.md

What it leaves is a folder with the model, its image processor, its figures on unseen pictures (metrics.json), a few of
these pictures (samples/) and the picture. The folder appears whole or not at all; what the quickstart left there
before is moved aside, anything else only with --overwrite.
"""

import math
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset, Image
from transformers import HfArgumentParser

from hf_gpvit.commands.ending import ending_errors, say
from hf_gpvit.data import read_mask, read_rgb
from hf_gpvit.data.folders import load_folder
from hf_gpvit.data.image_processors import DETECTION_MAX_RATIO
from hf_gpvit.data.loading import LoadedData, load_data, public_name
from hf_gpvit.data.objects import ObjectReader, runs_of
from hf_gpvit.files import atomic_folder, check_replaceable, json_text, printable, remove_tree, write_metrics
from hf_gpvit.hub.folders import model_files
from hf_gpvit.tasks import ImageClassification, InstanceSegmentation, ObjectDetection, Recipe, SemanticSegmentation
from hf_gpvit.training import TrainingStopped, load_recipe, train
from hf_gpvit.training.building import config_of


def classification_views(side: int, min_crop: float) -> dict[str, Any]:
    return {"image_size": side, "crop_scale": [min_crop, 1.0]}


def segmentation_views(side: int, min_crop: float) -> dict[str, Any]:
    """Crops of one size, of pictures that are enlarged: of a square one, they show `min_crop` of it at least."""
    return {"crop_size": side, "resize_size": [side, 4 * side], "scale_range": [1.0, min_crop**-0.5]}


def detection_views(side: int, min_crop: float) -> dict[str, Any]:
    """Crops of pictures that are enlarged to sizes between; a square one is seen by `min_crop` of it at least."""
    sides = sorted({round(side * min_crop ** (-step / 8)) for step in range(5)})
    longer = round(side * DETECTION_MAX_RATIO)
    return {"resize_size": [side, max(longer, *sides)], "train_sides": sides, "crop_size": longer}


# By the word of the command line, which their recipes have too, such as small/quickstart-segmentation.
TASKS = {
    "classification": ImageClassification,
    "segmentation": SemanticSegmentation,
    "detection": ObjectDetection,
    "instance-segmentation": InstanceSegmentation,
}
# The recipe's fields that say what of a picture is seen in training.
VIEWS = {
    "classification": classification_views,
    "segmentation": segmentation_views,
    "detection": detection_views,
    "instance-segmentation": detection_views,
}
# In all epochs together; detectors take longer for each.
PICTURES_SEEN = {"classification": 24_000, "segmentation": 24_000, "detection": 4_800, "instance-segmentation": 3_400}
NUM_SAMPLES = 3
# There are as many scenes as one wants, own pictures are few.
SHAPES_MIN_CROP, OWN_MIN_CROP = 1.0, 0.5


@dataclass
class Arguments:
    task: Literal["classification", "segmentation", "detection", "instance-segmentation"] | None = field(
        default=None, metadata={"help": "By default segmentation, or with --data what its layout says."}
    )
    data: str | None = field(default=None, metadata={"help": "Folder of own pictures instead of the drawn scenes."})
    model: str = field(default="gpvit-nano", metadata={"help": "Preset, or folder or Hub name of a model."})
    output: str = field(default="outputs/quickstart", metadata={"help": "Folder to write."})
    image_size: int | None = field(
        default=None, metadata={"help": "Shorter side in pixels of what the model sees; by default the model's."}
    )
    num_train_epochs: int | None = field(default=None, metadata={"help": "By default as many as take a few minutes."})
    batch_size: int | None = field(
        default=None, metadata={"help": "Pictures in a training step, by default 16, or all where there are fewer."}
    )
    learning_rate: float | None = field(default=None, metadata={"help": "Highest one, by default the task's."})
    min_crop: float | None = field(
        default=None,
        metadata={"help": "Least part of a picture that a training crop shows; by default 0.5 of own ones."},
    )
    seed: int = field(default=0, metadata={"help": "Of the weights, the order and the crops."})
    overwrite: bool = field(default=False, metadata={"help": "Move aside whatever is in the folder to write."})

    def __post_init__(self):
        for name in ("image_size", "num_train_epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}.")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ValueError(f"--learning_rate must be greater than 0, got {self.learning_rate}.")
        if self.min_crop is not None and not 0 < self.min_crop <= 1:
            raise ValueError(f"--min_crop must be in (0, 1], got {self.min_crop}.")


def load_parts(arguments: Arguments) -> tuple[LoadedData, str]:
    """Train and test set with the names of the classes, and the task: the given one, or what the layout says."""
    if arguments.data is None:
        task = arguments.task or "segmentation"
        return load_data("shapes", TASKS[task]), task
    splits, names = load_folder(arguments.data, arguments.task and TASKS[arguments.task].name)
    found = next(word for word, task in TASKS.items() if task.target_column in splits["train"].features)
    task = arguments.task or found
    source = {"dataset": public_name(arguments.data), "split": "test"}
    return LoadedData(splits["train"], splits["test"], names, source), task


def recipe_for(arguments: Arguments, data: LoadedData, task: str) -> Recipe:
    """The task's recipe with what the command line says, and with as many steps as show as many pictures."""
    recipe = load_recipe(TASKS[task].recipe_class, f"small/quickstart-{task}")
    batch_size = min(arguments.batch_size or recipe.batch_size, len(data.train))
    pictures_seen = arguments.num_train_epochs * len(data.train) if arguments.num_train_epochs else PICTURES_SEEN[task]
    steps = math.ceil(pictures_seen / batch_size)
    own_size = config_of(arguments.model).image_size
    side = arguments.image_size or (own_size if isinstance(own_size, int) else min(own_size))
    return replace(
        recipe,
        model=arguments.model,
        dataset=arguments.data or recipe.dataset,
        seed=arguments.seed,
        batch_size=batch_size,
        learning_rate=arguments.learning_rate or recipe.learning_rate,
        max_steps=steps,
        warmup_steps=math.ceil(steps * recipe.warmup_epochs / recipe.num_train_epochs),
        eval_steps=steps,
        **VIEWS[task](side, arguments.min_crop or (OWN_MIN_CROP if arguments.data else SHAPES_MIN_CROP)),
    )


def train_into(folder: Path, recipe: Recipe, data: LoadedData) -> dict[str, float]:
    """Trains, and leaves of the run only the model with its code and its image processor."""
    run = folder / "run"
    try:
        metrics = train(replace(recipe, output_dir=str(run)), data)
    except TrainingStopped as error:  # its checkpoint goes too
        raise ValueError(f"{error.reason} Nothing was written.") from error
    for file in (run / "last").iterdir():
        if file.name not in ("metrics.json", "recipe.yaml"):
            file.rename(folder / file.name)
    remove_tree(run)
    return metrics


def quickstart_files(folder: Path) -> tuple[str, ...]:
    """What it leaves, as patterns."""
    files = model_files(folder)
    return (*files, "samples/*", "picture.png") if files else ()


def save_samples(folder: Path, test_set: Dataset, names: list[str], with_masks: bool) -> None:
    """Some test pictures with their truth, for the picture and to play with; of objects with or without masks."""
    folder.mkdir()
    samples = []
    for column in {"image", "annotation"} & set(test_set.column_names):
        test_set = test_set.cast_column(column, Image(decode=False))
    # evenly spread, because a folder's pictures are sorted by class
    count = min(NUM_SAMPLES, len(test_set))
    for number, row in enumerate(test_set.select([index * len(test_set) // count for index in range(count)]), start=1):
        sample = {"image": f"{number}.png"}
        read_rgb(row["image"]).save(folder / sample["image"])
        if "annotation" in row:
            sample["annotation"] = f"{number}-annotation.png"
            read_mask(row["annotation"]).save(folder / sample["annotation"])
        elif "objects" in row:
            _, target = ObjectReader(len(names), with_masks=with_masks).read(row, f"sample {number}")
            sample["boxes"], sample["labels"] = target.boxes.tolist(), [names[label] for label in target.class_labels]
            if with_masks:
                sample["masks"] = [runs_of(mask.numpy()) for mask in target.masks]
        else:
            sample["label"] = names[row["label"]]
        samples.append(sample)
    (folder / "samples.json").write_text(json_text(samples), encoding="utf-8")


def run(arguments: Arguments) -> None:
    check_replaceable(arguments.output, arguments.overwrite, quickstart_files)
    start = time.perf_counter()
    data, task = load_parts(arguments)
    recipe = recipe_for(arguments, data, task)
    classes, pictures = len(data.class_names), len(data.train)
    say(f"{printable(recipe.model)} learns {recipe.task} of {classes} classes from {pictures} pictures.")
    with atomic_folder(arguments.output, arguments.overwrite, quickstart_files) as folder:
        metrics = train_into(folder, recipe, data)
        with_masks = TASKS[task] is InstanceSegmentation
        save_samples(folder / "samples", data.test, data.class_names, with_masks)
        # in a process of its own: the folder must load with nothing of this one
        drawing = subprocess.run([sys.executable, Path(__file__).with_name("quickstart_picture.py"), folder])
        metrics["seconds"] = round(time.perf_counter() - start, 1)
        write_metrics(folder / "metrics.json", metrics | data.test_source)
    report(Path(arguments.output), metrics, TASKS[task].pipeline, len(data.test))
    if drawing.returncode:
        sys.exit(f"quickstart.py: {arguments.output} is there, but drawing what it sees failed: see above.")


def report(output: Path, metrics: dict[str, float], task: str, num_pictures: int) -> None:
    name, value = next(iter(metrics.items()))
    say(
        f"""
{name} {value:.3f} on {num_pictures} unseen pictures, after {metrics["seconds"]:.0f} seconds in all

{output / "picture.png"}    what the model sees: look at it first
{output}    the model; samples/ has pictures to try, metrics.json all figures

Use it from Python:

from hf_gpvit.data import read_rgb
from transformers import pipeline
print(pipeline("{task}", model="{output.as_posix()}")(read_rgb("{(output / "samples/1.png").as_posix()}")))"""
    )


@ending_errors()
def main() -> None:
    [arguments] = HfArgumentParser(Arguments, description=__doc__).parse_args_into_dataclasses()
    run(arguments)


if __name__ == "__main__":
    main()
