# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Top-1 and top-5 accuracy, from three counters."""

import torch


TOP = 5


class TopKCounts:
    """Counts how many samples there are, and how many of them are top-1 and top-5 right.

    Args:
        num_labels: Number of classes C. Default: the number of scores in the first batch.

    Raises:
        ValueError: `num_labels` is less than 1.
    """

    def __init__(self, num_labels: int | None = None):
        if num_labels is not None and num_labels < 1:
            raise ValueError(f"num_labels must be at least 1, got {num_labels}.")
        self.num_labels = num_labels
        self.reset()

    def reset(self) -> None:
        self._counts = torch.zeros(3, dtype=torch.int64)

    @property
    def state(self) -> torch.Tensor:
        """(3,) int64 on the CPU: samples, top-1 right, top-5 right; what is assigned may be on any device."""
        return self._counts.clone()

    @state.setter
    def state(self, state: torch.Tensor) -> None:
        if tuple(state.shape) != (3,):
            raise ValueError(f"state must have the shape (3,), got {tuple(state.shape)}.")
        self._counts = state.detach().to("cpu", torch.int64, copy=True)

    def merge(self, other: "TopKCounts") -> None:
        """Adds what `other` has counted; a ValueError if it has another `num_labels`."""
        if None not in (self.num_labels, other.num_labels) and self.num_labels != other.num_labels:
            raise ValueError(
                f"Only metrics of the same num_labels can be merged, got {self.num_labels} and {other.num_labels}."
            )
        self.num_labels = self.num_labels or other.num_labels
        self._counts += other._counts

    def count(self, predictions, references) -> None:
        """Counts a batch.

        Args:
            predictions: (N, C) scores of the classes. Of equal ones the lower class id counts as the higher, as for
                argmax; -inf is a class that can't be.
            references: (N,) true class ids.

        Raises:
            ValueError: The shapes are others, references are not integers in [0, C), or a score is NaN or +inf.
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
        broken = (predictions.isnan() | predictions.isposinf()).any(1).nonzero()
        if len(broken):
            raise ValueError(
                f"predictions must be scores of classes, but those of sample {broken[0].item()} are not finite."
            )
        self.num_labels = num_labels
        # classes before the true one
        ids = torch.arange(num_labels, device=predictions.device)
        true = references.to(predictions.device, torch.int64)[:, None]
        scores = predictions.gather(1, true)
        rank = ((predictions > scores) | ((predictions == scores) & (ids < true))).sum(1)
        self._counts += torch.tensor([len(rank), (rank < 1).sum(), (rank < TOP).sum()])

    def figures(self) -> dict[str, float]:
        """`accuracy` and, of five classes or more, `top5_accuracy`: in [0, 1], or NaN if there was no sample."""
        total, *right = self._counts.tolist()
        accuracy, top5_accuracy = (count / total if total else float("nan") for count in right)
        if self.num_labels is not None and self.num_labels < TOP:
            return {"accuracy": accuracy}
        return {"accuracy": accuracy, "top5_accuracy": top5_accuracy}


def _tensor(values) -> torch.Tensor:
    if isinstance(values, (list, tuple)):  # of numbers, lists, arrays or tensors
        return torch.stack([torch.as_tensor(value) for value in values])
    return torch.as_tensor(values)
