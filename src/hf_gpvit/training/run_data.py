# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a run has seen of its data, for those who go on with it."""

import json
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

from transformers.utils import logging

from ..data.loading import LoadedData
from ..extras import import_extra
from ..files import read_json, write_whole


datasets = import_extra("datasets")
logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class RunData:
    """Names of the classes in the order of their ids, and how many pictures there are to train and to test.

    None is the number of pictures of a stream, which nobody knows.
    """

    class_names: list[str]
    num_train: int | None
    num_test: int | None

    @classmethod
    def of(cls, data: LoadedData) -> "RunData":
        return cls(list(data.class_names), _length(data.train), _length(data.test))

    @classmethod
    def load(cls, path: Path) -> "RunData":
        """Raises a ValueError that names the file unless it holds what `save` writes."""
        fields = read_json(path)
        names, counts = fields.get("class_names"), [fields.get("num_train"), fields.get("num_test")]
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError(f"{path} must have the names of the classes in class_names, got {names!r:.80}.")
        if not all(count is None or type(count) is int for count in counts):
            raise ValueError(f"{path} must have numbers of pictures in num_train and num_test, got {counts!r:.80}.")
        return cls(names, *counts)

    def save(self, path: Path) -> None:
        write_whole(path, json.dumps(asdict(self), indent=2))

    def check_goes_on(self, former: "RunData", place: Path) -> None:
        """Whether a run that saw `former`, as `place` says, can go on with this; other numbers are a warning.

        Raises:
            ValueError: The classes are others; the message shows the first that differs.
        """
        pairs = zip_longest(former.class_names, self.class_names)
        changes = [(number, was, now) for number, (was, now) in enumerate(pairs) if was != now]
        if changes:
            number, was, now = changes[0]
            raise ValueError(
                f"{place} is of a run with {len(former.class_names)} classes, and the dataset has "
                f"{len(self.class_names)} now: class {number} was {_named(was)} and is {_named(now)}. To begin "
                f"another run with its weights, give model={str(place.parents[1] / 'best')!r} and another output_dir."
            )
        _compare("train on", former.num_train, self.num_train, place, "an epoch has other steps than before")
        _compare("evaluate on", former.num_test, self.num_test, place, "figures can't be compared with earlier ones")


def _compare(purpose: str, was: int | None, now: int | None, place: Path, meaning: str) -> None:
    if None not in (was, now) and was != now:
        logger.warning(f"{place} is of a run with {was} pictures to {purpose}, and now there are {now}: {meaning}.")


def _length(dataset: datasets.Dataset | datasets.IterableDataset) -> int | None:
    return len(dataset) if isinstance(dataset, datasets.Dataset) else None


def _named(name: str | None) -> str:
    return "none" if name is None else repr(name)
