# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Trains an image classifier with transformers' Trainer on a folder of pictures, parquet files or the Hub.

    python scripts/finetune_with_trainer.py --dataset path/or/name --model gpvit-nano --image_size 64 \\
        --output_dir outputs/classifier --num_train_epochs 30 --per_device_train_batch_size 64 --learning_rate 1e-3

`--model` is a preset (random weights) or a folder or Hub name of a pretrained model. The fields of
`transformers.TrainingArguments` are arguments too. The folder it leaves loads with `AutoModelForImageClassification`,
and so does what `--push_to_hub --hub_model_id you/model` puts on the Hub: with `trust_remote_code=True` anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from datasets import Image
from transformers import BaseImageProcessor, EvalPrediction, HfArgumentParser, Trainer, TrainingArguments, set_seed

from hf_gpvit.data import image_processor_for, read_rgb
from hf_gpvit.data.loading import load_data
from hf_gpvit.data.transforms import ClassificationTransform
from hf_gpvit.tasks import ImageClassification
from hf_gpvit.training import build_model


@dataclass
class Arguments:
    """What the script itself takes; TrainingArguments has the rest."""

    dataset: str = field(metadata={"help": "Folder of class folders or of parquet files, or Hub name."})
    model: str = field(default="gpvit-nano", metadata={"help": "Preset, or folder or Hub name of a model."})
    image_size: int | None = field(default=None, metadata={"help": "Side of the crops; by default the model's."})
    image_column: str = field(default="image", metadata={"help": "Column of the pictures."})
    label_column: str = field(default="label", metadata={"help": "Column of the classes."})
    train_split: str = field(default="train", metadata={"help": "Split to train on, such as 'train[:2000]'."})
    eval_split: str = field(default="test", metadata={"help": "Split to evaluate on."})


# These belong to the module, where workers find them that are spawned: `--dataloader_num_workers`.


def training_batch(augment: Callable, batch: dict[str, list]) -> dict[str, list]:
    return {"labels": batch["label"], "pixel_values": [augment(read_rgb(image)) for image in batch["image"]]}


def evaluation_batch(image_processor: BaseImageProcessor, batch: dict[str, list]) -> dict[str, list | torch.Tensor]:
    images = [read_rgb(image) for image in batch["image"]]
    return {"labels": batch["label"]} | image_processor(images, return_tensors="pt")


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    if not np.isfinite(prediction.predictions).all():  # NaN would count as the class 0
        raise ValueError("The logits of the evaluation are not finite: try a lower learning_rate.")
    return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}


def main() -> None:
    arguments, training_arguments = HfArgumentParser((Arguments, TrainingArguments)).parse_args_into_dataclasses()
    training_arguments.remove_unused_columns = False  # the transforms make the columns that the model takes
    set_seed(training_arguments.seed)
    task = ImageClassification
    data = load_data(
        arguments.dataset,
        task,
        train_split=arguments.train_split,
        eval_split=arguments.eval_split,
        image_column=arguments.image_column,
        target_column=arguments.label_column,
    )
    model = build_model(arguments.model, task.name, data.class_names, arguments.image_size)
    image_size = arguments.image_size or model.config.image_size
    image_processor = image_processor_for(model, image_size)
    augment = ClassificationTransform(image_processor, image_size, crop_scale=(0.5, 1.0))
    # `datasets` leaves the files alone, so that `read_rgb` reads them
    train, test = (part.cast_column("image", Image(decode=False)) for part in (data.train, data.test))
    trainer = Trainer(
        model,
        training_arguments,
        train_dataset=train.with_transform(partial(training_batch, augment)),
        eval_dataset=test.with_transform(partial(evaluation_batch, image_processor)),
        processing_class=image_processor,
        compute_metrics=accuracy,
    )
    # with the code beside it: of checkpoints, the Trainer pushes the model's own files alone
    model.config.save_pretrained(training_arguments.output_dir)
    trainer.train(resume_from_checkpoint=training_arguments.resume_from_checkpoint)
    trainer.save_metrics("eval", trainer.evaluate())
    trainer.save_model()  # and with --push_to_hub pushes all that is there


if __name__ == "__main__":
    main()
