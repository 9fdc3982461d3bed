# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From nothing to a trained model and a picture of what it sees, in a few minutes on two CPU cores.

    python scripts/quickstart.py                          # gpvit-nano learns to segment drawn scenes
    python scripts/quickstart.py --task classification
    python scripts/quickstart.py --data my-photos         # own pictures, see docs/fine-tune-on-my-folder.md

What it leaves is a folder with the model, its image processor, its figures on unseen pictures (metrics.json), a few of
these pictures (samples/) and the picture. The folder appears whole or not at all; an older one is moved aside.
"""

import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from datasets import Dataset
from transformers import BaseImageProcessor, HfArgumentParser, PreTrainedModel, Trainer, TrainingArguments, set_seed

from hf_gpvit.command_line import ending_errors
from hf_gpvit.data import image_processor_for, to_rgb
from hf_gpvit.data.folders import load_folder
from hf_gpvit.data.loading import LoadedData, load_data
from hf_gpvit.data.transforms import TrainTransform, reduces_labels
from hf_gpvit.files import atomic_folder, write_metrics
from hf_gpvit.tasks import find_task
from hf_gpvit.training import build_model, evaluate_model


@dataclass(frozen=True)
class Task:
    """What it is called by models and by pipelines, and the learning rate that suits it."""

    name: str
    pipeline: str
    learning_rate: float


TASKS = {
    "classification": Task("image-classification", "image-classification", 1e-3),
    "segmentation": Task("semantic-segmentation", "image-segmentation", 2e-3),
}
PICTURES_SEEN = 24_000  # in all epochs together
NUM_SAMPLES = 3
# There are as many scenes as one wants, own pictures are few.
SHAPES_MIN_CROP, OWN_MIN_CROP = 1.0, 0.5


@dataclass
class Arguments:
    task: Literal["classification", "segmentation"] | None = field(
        default=None, metadata={"help": "By default segmentation, or with --data what its layout says."}
    )
    data: str | None = field(default=None, metadata={"help": "Folder of own pictures instead of the drawn scenes."})
    model: str = field(default="gpvit-nano", metadata={"help": "Preset, or folder or Hub name of a model."})
    output: str = field(default="outputs/quickstart", metadata={"help": "Folder to write."})
    image_size: int | None = field(
        default=None, metadata={"help": "Shorter side in pixels of what the model sees; by default the model's."}
    )
    num_train_epochs: int | None = field(
        default=None, metadata={"help": f"By default as many as make {PICTURES_SEEN:,} pictures."}
    )
    batch_size: int = field(default=16, metadata={"help": "Pictures in a training step."})
    learning_rate: float | None = field(default=None, metadata={"help": "Highest one, by default the task's."})
    min_crop: float | None = field(
        default=None,
        metadata={"help": "Least part of a picture that a training crop shows; by default 0.5 of own ones."},
    )
    seed: int = field(default=0, metadata={"help": "Of the weights, the order and the crops."})

    def __post_init__(self):
        for name in ("image_size", "num_train_epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}.")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ValueError(f"--learning_rate must be greater than 0, got {self.learning_rate}.")
        if self.min_crop is not None and not 0 < self.min_crop <= 1:
            raise ValueError(f"--min_crop must be in (0, 1], got {self.min_crop}.")


def load_parts(arguments: Arguments) -> tuple[LoadedData, Task]:
    """Train and test set with the names of the classes, and the task: the given one, or what the layout says."""
    if arguments.data is None:
        task = TASKS[arguments.task or "segmentation"]
        return load_data("shapes", find_task(task.name)), task
    splits, names = load_folder(arguments.data, arguments.task and TASKS[arguments.task].name)
    task = next(task for task in TASKS.values() if find_task(task.name).target_column in splits["train"].features)
    return LoadedData(splits["train"], splits["test"], names), task


def build_image_processor(model: PreTrainedModel, image_size: int | tuple[int, int]) -> BaseImageProcessor:
    """The papers' one, but its centre crop loses as little as it can: what stands at the edge may count.

    Class ids of scenes and folders start at the first class, whatever the classes are called.
    """
    image_processor = image_processor_for(model, image_size, crop_ratio=1.0)
    if reduces_labels(image_processor):
        image_processor.do_reduce_labels = False
    return image_processor


def train(arguments: Arguments, model: PreTrainedModel, train_set: Dataset, task: Task, folder: Path) -> None:
    training_arguments = TrainingArguments(
        str(folder),
        num_train_epochs=arguments.num_train_epochs or math.ceil(PICTURES_SEEN / len(train_set)),
        per_device_train_batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate or task.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # a tenth of all steps
        weight_decay=0.02,
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
        seed=arguments.seed,
        dataloader_pin_memory=torch.accelerator.is_available(),  # else it warns
        remove_unused_columns=False,  # the transform makes the columns that the model takes
    )
    Trainer(model, training_arguments, train_dataset=train_set).train()


def save_samples(folder: Path, test_set: Dataset, names: list[str]) -> None:
    """Some test pictures with their truth, for the picture and to play with."""
    folder.mkdir()
    samples = []
    # evenly spread, because a folder's pictures are sorted by class
    count = min(NUM_SAMPLES, len(test_set))
    for number, row in enumerate(test_set.select([index * len(test_set) // count for index in range(count)]), start=1):
        sample = {"image": f"{number}.png"}
        to_rgb(row["image"]).save(folder / sample["image"])
        if "annotation" in row:
            sample["annotation"] = f"{number}-annotation.png"
            row["annotation"].save(folder / sample["annotation"])
        else:
            sample["label"] = names[row["label"]]
        samples.append(sample)
    (folder / "samples.json").write_text(json.dumps(samples, indent=2), encoding="utf-8")


def run(arguments: Arguments) -> None:
    start = time.perf_counter()
    set_seed(arguments.seed)
    data, task = load_parts(arguments)
    model = build_model(arguments.model, task.name, data.class_names, arguments.image_size)
    image_size = arguments.image_size or model.config.image_size
    image_processor = build_image_processor(model, image_size)
    min_crop = arguments.min_crop or (OWN_MIN_CROP if arguments.data else SHAPES_MIN_CROP)
    transform = TrainTransform(image_processor, image_size, scale=(min_crop, 1.0))
    print(f"{arguments.model} learns {task.name} of {len(data.class_names)} classes from {len(data.train)} pictures.")
    with atomic_folder(arguments.output) as folder:
        train(arguments, model, data.train.with_transform(transform), task, folder)
        metrics = evaluate_model(model, image_processor, data.test)
        model.save_pretrained(folder)
        image_processor.save_pretrained(folder)
        save_samples(folder / "samples", data.test, data.class_names)
        # in a process of its own: the folder must load with nothing of this one
        drawing = subprocess.run([sys.executable, Path(__file__).with_name("quickstart_picture.py"), folder])
        metrics["seconds"] = round(time.perf_counter() - start, 1)
        write_metrics(folder / "metrics.json", metrics)
    report(Path(arguments.output), metrics, task, len(data.test))
    if drawing.returncode:
        sys.exit(f"quickstart.py: {arguments.output} is there, but drawing what it sees failed: see above.")


def report(output: Path, metrics: dict[str, float], task: Task, num_pictures: int) -> None:
    name, value = next(iter(metrics.items()))
    print(
        f"""
{name} {value:.3f} on {num_pictures} unseen pictures, after {metrics["seconds"]:.0f} seconds in all

{output / "picture.png"}    what the model sees: look at it first
{output}    the model; samples/ has pictures to try, metrics.json all figures

Use it from Python:

import hf_gpvit
from transformers import pipeline
print(pipeline("{task.pipeline}", model="{output.as_posix()}")("{(output / "samples/1.png").as_posix()}"))"""
    )


@ending_errors()
def main() -> None:
    [arguments] = HfArgumentParser(Arguments, description=__doc__).parse_args_into_dataclasses()
    run(arguments)


if __name__ == "__main__":
    main()
