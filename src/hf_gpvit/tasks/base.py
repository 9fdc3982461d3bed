# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a task has to say: the interface between the tasks and all that trains, evaluates, predicts and publishes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedConfig, PreTrainedModel

from ..data.rows import RowReader
from .recipe import Recipe


class Task(ABC):
    """A task. The class says how its models are used; an object of it, how one run trains a model.

    Attributes:
        name: Of the task, in recipes and commands.
        class_ending: How the names of its model classes end.
        recipe_class: Of the recipes of its runs.
        auto_class: What loads its models, whoever made them.
        pipeline: Its name on the Hub and in `transformers.pipeline`.
        target_column: What its datasets have beside `image`.
        optional_columns: What they may have besides. Default: nothing.
        figures: What model cards show of its metric: what it is called there, by name.
        usual_num_labels: Number of classes of the papers' dataset.
        least_num_labels: Number of classes with which there is something to learn. Default 2.
        settings_class: Of what says how its models see a picture. Default: there is nothing to say.
        batch_size: How many pictures are predicted at once, where nobody says otherwise.
        coco_results: Takes a metric, and the dataset's ids of the classes or None, and gives what was predicted in
            COCO's results format. Default: predictions have no such format.

        preset_image_size: Side in pixels that a preset's positions are made for; None: the preset's own.
        evaluation_settings: How a run's evaluations see a picture: a `settings_class`, or None.
        collate: Makes a batch of samples. Default: what a DataLoader does.
    """

    name: ClassVar[str]
    class_ending: ClassVar[str]
    recipe_class: ClassVar[type[Recipe]]
    auto_class: ClassVar[type]
    pipeline: ClassVar[str]
    target_column: ClassVar[str]
    optional_columns: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[dict[str, str]]
    usual_num_labels: ClassVar[int]
    least_num_labels: ClassVar[int] = 2
    settings_class: ClassVar[type | None] = None
    batch_size: ClassVar[int]
    coco_results: ClassVar[Callable[[Any, Sequence[int] | None], Iterable[dict[str, Any]]] | None] = None

    preset_image_size: int | None
    evaluation_settings: Any = None
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]] | None = None

    # --- data

    @staticmethod
    @abstractmethod
    def typed(dataset, column: str, names: Sequence[str] | None, source: str):
        """The dataset, whose target column may have got the type that its reader takes; ValueError if it can't be had.

        Args:
            dataset: `datasets.Dataset` or `datasets.IterableDataset` with the columns `image` and `target_column`.
            column: What `target_column` is called in `source`, for messages.
            names: Of the classes, where they are given.
            source: Where the dataset comes from, for messages.
        """

    @staticmethod
    def has_targets(targets) -> bool:
        """Whether a dataset, whose column of targets this is, has something to learn where no row lacks a target."""
        return True

    @classmethod
    def checked(cls, dataset, num_labels: int, source: str, skip_corrupt: bool):
        """The dataset without targets that can't be learned; without `skip_corrupt`, a ValueError where there are any.

        Args:
            dataset: As `typed` gives it, of parquet files or the Hub.
            num_labels: Number of classes.
            source: What to call the dataset in messages.
            skip_corrupt: Whether what can't be learned is left out, with a warning.
        """
        return dataset

    @staticmethod
    @abstractmethod
    def reader(config: PreTrainedConfig, image_processor: BaseImageProcessor, split: str | None) -> RowReader:
        """What reads the rows of a dataset for models with this config."""

    # --- use

    @staticmethod
    @abstractmethod
    def build_image_processor(
        config: PreTrainedConfig, image_size: int | tuple[int, int] | None, crop_ratio: float | None
    ) -> BaseImageProcessor:
        """What feeds a model of this package at test time; see `image_processor_for`."""

    @staticmethod
    def workload(config: PreTrainedConfig) -> str:
        """What its models compute for a picture whatever its size, for those who read costs. Default: nothing."""
        return ""

    @staticmethod
    @abstractmethod
    def prepare(image_processor: BaseImageProcessor, image: Image.Image, settings: Any = None) -> Any:
        """What the model needs of a picture, made where there is no model; a ValueError where it can't be had."""

    @staticmethod
    @abstractmethod
    def predict(
        model: PreTrainedModel, image_processor: BaseImageProcessor, prepared: Sequence, settings: Any = None
    ) -> Iterable:
        """The prediction of each picture, from what `prepare` gave for them with the same settings.

        What is large is predicted when it is asked for, one after the other.
        """

    @staticmethod
    @abstractmethod
    def metric(config: PreTrainedConfig) -> Any:
        """A count of nothing yet, with `figures()`.

        It has a `state`, which is put together over processes: a tensor that adds up, or a list of records of
        pictures, of which it takes any order.
        """

    @staticmethod
    @abstractmethod
    def count(metric: Any, predictions: Iterable, targets: Sequence, positions: Sequence[int]) -> None:
        """Adds predictions, the targets that the reader gave for them, and their row numbers, to a metric."""

    @staticmethod
    @abstractmethod
    def describe(prediction: Any, config: PreTrainedConfig, top_k: int) -> list[dict[str, Any]]:
        """What a prediction says, as `hf_gpvit.inference.describe_picture` gives it."""

    @staticmethod
    def shown(image: Image.Image) -> Image.Image | None:
        """What `writer` needs of a picture to draw on it. Default: nothing."""
        return None

    @classmethod
    @abstractmethod
    def writer(
        cls, config: PreTrainedConfig, folder: Path, top_k: int
    ) -> Callable[[Any, str, Image.Image | None], dict[str, Any]]:
        """Takes a prediction, its name and what is `shown`, writes pictures, and gives what predictions.json says."""

    @staticmethod
    @abstractmethod
    def conclude(config: PreTrainedConfig, folder: Path, records: Sequence[dict[str, Any]]) -> None:
        """Writes what is said of all pictures together, from all of predictions.json, into the writer's folder."""

    # --- training

    def __init__(self, recipe: Recipe, num_labels: int):
        """A run of this recipe, a `recipe_class`, on so many classes."""
        self.recipe, self.num_labels = recipe, num_labels

    @abstractmethod
    def image_processor(self, model: PreTrainedModel) -> BaseImageProcessor:
        """What feeds the model in the run's evaluations, and is saved with it."""

    def training_rows(self, dataset: Any) -> Any:
        """Those of a dataset, or of a stream, that the run trains on. Default: all."""
        return dataset

    @abstractmethod
    def transform(self, config: PreTrainedConfig, image_processor: BaseImageProcessor) -> Callable[..., Any]:
        """The augmentation for a model with this config, as `reader`'s `sample` takes it."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Mean loss of a batch of samples, a scalar."""
