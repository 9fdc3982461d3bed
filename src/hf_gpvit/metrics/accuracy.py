# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Top-1 and top-5 accuracy, from three counters."""

import datasets
import evaluate
import torch


_DESCRIPTION = """\
Part of the samples whose true class has the highest score (top-1), or is among the five highest ones (top-5).
"""
_CITATION = """\
@article{russakovsky2015imagenet,
  title = {{ImageNet} Large Scale Visual Recognition Challenge},
  author = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev and Ma, Sean and
    Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael and Berg, Alexander C. and
    Fei-Fei, Li},
  journal = {International Journal of Computer Vision},
  volume = {115},
  pages = {211--252},
  year = {2015},
}
"""
_INPUTS = """
Args:
    predictions: (N, C) scores of the classes, such as logits or probabilities.
    references: (N,) true class ids.
"""
_TOP = 5


class TopKAccuracy(evaluate.Metric):
    """Top-1 and top-5 accuracy.

    ```python
    metric = TopKAccuracy(num_labels=1000)
    for batch in batches:
        metric.add_batch(predictions=logits, references=labels)
    metric.compute()  # {"accuracy": ..., "top5_accuracy": ...}
    ```

    It keeps three counters rather than the scores, so that memory doesn't grow with the data and nothing is written to
    disk. Where several processes see a part of the data each, sum their counters before computing, with
    `metric.state = accelerator.reduce(metric.state.to(accelerator.device), "sum")` or `metric.merge(other)`.

    For `Trainer`:

    ```python
    def compute_metrics(prediction):
        return metric.compute(predictions=prediction.predictions, references=prediction.label_ids)
    ```

    or, with `batch_eval_metrics=True`, which doesn't keep the logits of all samples:

    ```python
    def compute_metrics(batch, compute_result):
        metric.add_batch(predictions=batch.predictions, references=batch.label_ids)
        return metric.compute() if compute_result else {}
    ```

    Args:
        num_labels: Number of classes C. Default: the number of scores in the first batch.
        config_name, kwargs: As for any `evaluate.Metric`, but `num_process` must be 1.

    Raises:
        ValueError: `num_process` is not 1, or `num_labels` is less than 1.
    """

    def __init__(self, config_name: str | None = None, *, num_labels: int | None = None, **kwargs):
        if kwargs.get("num_process", 1) != 1:
            raise ValueError(
                f"num_process must be 1, got {kwargs['num_process']}: give each process a metric of its own, "
                "and sum their `state` before compute()."
            )
        if num_labels is not None and num_labels < 1:
            raise ValueError(f"num_labels must be at least 1, got {num_labels}.")
        super().__init__(config_name, **kwargs)
        self.num_labels = num_labels
        self._counts = torch.zeros(3, dtype=torch.int64)

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Sequence(datasets.Value("float32")), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    @property
    def state(self) -> torch.Tensor:
        """(3,) int64 on the CPU: how many samples there were, and how many of them were top-1 and top-5 right.

        States of metrics over parts of the data add up. What is assigned may be on any device.
        """
        return self._counts.clone()

    @state.setter
    def state(self, state: torch.Tensor) -> None:
        if tuple(state.shape) != (3,):
            raise ValueError(f"state must have the shape (3,), got {tuple(state.shape)}.")
        self._counts = state.detach().to("cpu", torch.int64, copy=True)

    def merge(self, other: "TopKAccuracy") -> None:
        """Count what `other` has counted, too.

        Raises:
            ValueError: `other` has another `num_labels`.
        """
        if None not in (self.num_labels, other.num_labels) and self.num_labels != other.num_labels:
            raise ValueError(
                f"Only metrics of the same num_labels can be merged, got {self.num_labels} and {other.num_labels}."
            )
        self.num_labels = self.num_labels or other.num_labels
        self.state = self.state + other.state

    def add(self, *, prediction, reference) -> None:
        """Count one sample: (C,) scores and the true class id. Errors are those of `add_batch`."""
        self.add_batch(predictions=[prediction], references=[reference])

    def add_batch(self, *, predictions, references) -> None:
        """Count a batch.

        Args:
            predictions: (N, C) scores of the classes. Of equal ones the lower class id counts as the higher, as for
                argmax; where there is NaN, nothing is right.
            references: (N,) true class ids.

        Raises:
            ValueError: The shapes are others, or references are not integers in [0, C).
        """
        predictions, references = _tensor(predictions), _tensor(references)
        num_labels = self.num_labels or predictions.shape[-1]
        if predictions.shape != (*references.shape, num_labels) or references.ndim != 1:
            raise ValueError(
                f"Expected predictions (N, {num_labels}), the scores of the classes, and references (N,), "
                f"got {tuple(predictions.shape)} and {tuple(references.shape)}."
            )
        if references.is_floating_point():
            raise ValueError(f"references must be class ids, which are integers, got {references.dtype}.")
        outside = references[(references < 0) | (references >= num_labels)].tolist()
        if outside:
            raise ValueError(
                f"references have the id {outside[0]}, but num_labels is {num_labels}: ids are 0 to {num_labels - 1}."
            )
        self.num_labels = num_labels
        # classes before the true one; not `>`, for which NaN would be before none
        ids = torch.arange(num_labels, device=predictions.device)
        true = references.to(predictions.device, torch.int64)[:, None]
        scores = predictions.gather(1, true)
        rank = (~(predictions <= scores) | ((predictions == scores) & (ids < true))).sum(1)
        self._counts += torch.tensor([len(rank), (rank < 1).sum(), (rank < _TOP).sum()])

    def compute(self, *, predictions=None, references=None) -> dict[str, float]:
        """The figures of what was counted, after which the count starts anew.

        Args:
            predictions, references: A last batch to count, or all there is. Default: none.

        Returns:
            `accuracy` and, of five classes or more, `top5_accuracy`: floats in [0, 1], or NaN if there was no sample.

        Raises:
            ValueError: As `add_batch`, or only one of predictions and references is given.
        """
        if (predictions is None) != (references is None):
            raise ValueError("predictions and references belong together: give both or neither.")
        if predictions is not None:
            self.add_batch(predictions=predictions, references=references)
        total, *right = self._counts.tolist()
        self._counts.zero_()
        accuracy, top5_accuracy = (count / total if total else float("nan") for count in right)
        if self.num_labels is not None and self.num_labels < _TOP:
            return {"accuracy": accuracy}
        return {"accuracy": accuracy, "top5_accuracy": top5_accuracy}


def _tensor(values) -> torch.Tensor:
    if isinstance(values, (list, tuple)):  # of numbers, lists, arrays or tensors
        return torch.stack([torch.as_tensor(value) for value in values])
    return torch.as_tensor(values)
