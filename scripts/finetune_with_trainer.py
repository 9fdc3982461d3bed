# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Trains an image classifier with transformers' Trainer on any image dataset of the `datasets` library.

    python scripts/finetune_with_trainer.py --dataset path/or/name --model gpvit-nano --image_size 64 \\
        --output_dir outputs/classifier --num_train_epochs 30 --per_device_train_batch_size 64 --learning_rate 1e-3

`--model` is a preset (random weights) or a folder or Hub name of a pretrained GPViT. The fields of
`transformers.TrainingArguments` are arguments too. The folder it leaves loads with `AutoModelForImageClassification`.
"""

from dataclasses import dataclass, field

import torch
from datasets import ClassLabel, Dataset, load_dataset
from torchvision.transforms import v2
from transformers import (
    AutoModelForImageClassification,
    HfArgumentParser,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

from hf_gpvit import GPViTConfig, GPViTForImageClassification
from hf_gpvit.data import image_processor_for


@dataclass
class Arguments:
    """What the script itself takes; TrainingArguments has the rest."""

    dataset: str = field(metadata={"help": "Folder or Hub name of an image classification dataset."})
    model: str = field(default="gpvit-nano", metadata={"help": "Preset, or folder or Hub name of a model."})
    image_size: int | None = field(default=None, metadata={"help": "Side of the crops; by default the model's."})
    image_column: str = field(default="image", metadata={"help": "Column of the pictures."})
    label_column: str = field(default="label", metadata={"help": "Column of the classes."})
    train_split: str = field(default="train", metadata={"help": "Split to train on, such as 'train[:2000]'."})
    eval_split: str = field(default="test", metadata={"help": "Split to evaluate on."})


def build_model(arguments: Arguments, labels: list[str]) -> PreTrainedModel:
    fields = {"id2label": dict(enumerate(labels))}  # the config derives label2id
    if arguments.model in GPViTConfig.presets():
        if arguments.image_size is not None:
            fields["image_size"] = arguments.image_size
        return GPViTForImageClassification(GPViTConfig.from_preset(arguments.model, **fields))
    model, loading = AutoModelForImageClassification.from_pretrained(
        arguments.model, ignore_mismatched_sizes=True, output_loading_info=True, **fields
    )
    lost = [name for name, *_ in loading["mismatched_keys"] if not name.startswith("classifier.")]
    if lost:
        raise ValueError(f"--model {arguments.model!r} does not fit its own config: {lost} have other shapes.")
    return model


def class_names(dataset: Dataset, column: str) -> list[str]:
    feature = dataset.features.get(column)
    if not isinstance(feature, ClassLabel):
        raise ValueError(
            f"--label_column {column!r} must be a ClassLabel column of the dataset, got {feature}; "
            f"its columns are {dict(dataset.features)}."
        )
    return feature.names


def main() -> None:
    arguments, training_arguments = HfArgumentParser((Arguments, TrainingArguments)).parse_args_into_dataclasses()
    training_arguments.remove_unused_columns = False  # the transforms below make the columns that the model takes
    set_seed(training_arguments.seed)
    train_set = load_dataset(arguments.dataset, split=arguments.train_split)
    eval_set = load_dataset(arguments.dataset, split=arguments.eval_split)
    model = build_model(arguments, class_names(train_set, arguments.label_column))
    image_processor = image_processor_for(model, arguments.image_size)
    crop = image_processor.crop_size
    augment = v2.Compose(
        [
            v2.RandomResizedCrop((crop["height"], crop["width"]), scale=(0.5, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(image_processor.image_mean, image_processor.image_std),
        ]
    )

    def train_transform(batch):
        images = [augment(image.convert("RGB")) for image in batch[arguments.image_column]]
        return {"pixel_values": images, "labels": batch[arguments.label_column]}

    def eval_transform(batch):
        images = [image.convert("RGB") for image in batch[arguments.image_column]]
        return {"labels": batch[arguments.label_column]} | image_processor(images, return_tensors="pt")

    def accuracy(prediction):
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = Trainer(
        model,
        training_arguments,
        train_dataset=train_set.with_transform(train_transform),
        eval_dataset=eval_set.with_transform(eval_transform),
        processing_class=image_processor,
        compute_metrics=accuracy,
    )
    trainer.train(resume_from_checkpoint=training_arguments.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_metrics("eval", trainer.evaluate())


if __name__ == "__main__":
    main()
