# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What makes an `evaluate.Metric` of a count."""

import os
from abc import ABC, abstractmethod

import evaluate


class StreamingMetric(evaluate.Metric, ABC):
    """A metric that counts what it is given, rather than to keep it in files as `evaluate` does by itself.

    A subclass is a count too, which has `state`, `merge`, `count`, `figures` and `reset`. States of metrics over parts
    of the data add up.

    Args:
        config_name, kwargs: As for any `evaluate.Metric`, but `num_process` must be 1.

    Raises:
        ValueError: `num_process` is not 1.
    """

    def __init__(self, config_name: str | None = None, **kwargs):
        if kwargs.get("num_process", 1) != 1:
            raise ValueError(
                f"num_process must be 1, got {kwargs['num_process']}: give each process a metric of its own, "
                "and sum their `state` before compute()."
            )
        super().__init__(config_name, **kwargs)

    @abstractmethod  # `evaluate.load` takes the first class of a file that is not abstract
    def _info(self) -> evaluate.MetricInfo:
        """What `evaluate` knows of the metric."""

    def _build_data_dir(self) -> str:
        """Where `evaluate` would keep its files: it makes the folder, too, but there won't be any."""
        return os.path.join(self._data_dir_root, self.name, self.config_name)

    def add(self, *, prediction, reference) -> None:
        """Count one sample. Errors are those of `add_batch`."""
        self.count([prediction], [reference])

    def add_batch(self, *, predictions, references) -> None:
        """Count a batch; a ValueError says what is wrong with it."""
        self.count(predictions, references)

    def compute(self, *, predictions=None, references=None) -> dict[str, float]:
        """The figures of what was counted, after which the count starts anew.

        Args:
            predictions, references: A last batch to count, or all there is. Default: none.

        Raises:
            ValueError: As `add_batch`, or only one of predictions and references is given.
        """
        if (predictions is None) != (references is None):
            raise ValueError("predictions and references belong together: give both or neither.")
        if predictions is not None:
            self.count(predictions, references)
        figures = self.figures()
        self.reset()
        return figures
