# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""mIoU, mAcc, aAcc and the IoU of each class, from one confusion matrix of constant size."""

import numpy as np
import torch


class ConfusionMatrix:
    """Counts how many pixels of a class (row) were given which class (column).

    Args:
        num_labels: Number of classes C. Default: as many as `id2label` has.
        ignore_index: Id in references of pixels that don't count. If it is the id of a class, that class has no IoU.
            Default 255, or -100 where 255 is a class.
        id2label: Names of the classes by id, for the keys of the result. Default: the ids themselves.

    Raises:
        ValueError: `num_labels` is less than 1, or `id2label` has an id that is no class.
    """

    def __init__(
        self,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        id2label: dict[int, str] | None = None,
    ):
        self.num_labels, self._ignore_index, self.id2label = None, ignore_index, {}
        self.reset()
        self.configure(num_labels, id2label=id2label)

    @property
    def ignore_index(self) -> int:
        return _ignored(self._ignore_index, self.num_labels)

    def configure(
        self,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        id2label: dict[int, str] | None = None,
    ) -> None:
        """Other settings from now on; None: as it is. A ValueError if what was counted had other ones."""
        id2label = self.id2label if id2label is None else {int(index): name for index, name in id2label.items()}
        if num_labels is None:
            num_labels = self.num_labels or len(id2label) or None
        if ignore_index is None:
            ignore_index = self._ignore_index
        settings = num_labels, _ignored(ignore_index, num_labels)
        if self._matrix is not None and settings != (self.num_labels, self.ignore_index):
            raise ValueError(
                f"num_labels ({self.num_labels}) and ignore_index ({self.ignore_index}) can't become {settings[0]} "
                f"and {settings[1]} before compute(), because something was counted with them."
            )
        if num_labels is not None and num_labels < 1:
            raise ValueError(f"num_labels must be at least 1, got {num_labels}.")
        unknown = sorted(id2label.keys() - range(num_labels or 0))
        if unknown:
            raise ValueError(f"id2label has the ids {unknown}, but num_labels is {num_labels}.")
        self.num_labels, self._ignore_index, self.id2label = num_labels, ignore_index, id2label

    def reset(self) -> None:
        self._matrix = None

    @property
    def state(self) -> torch.Tensor:
        """(C, C) int64 on the CPU; what is assigned may be on any device."""
        return torch.from_numpy(self._counts().copy())

    @state.setter
    def state(self, state: torch.Tensor) -> None:
        if tuple(state.shape) != self._counts().shape:
            raise ValueError(f"state must have the shape {self._counts().shape}, got {tuple(state.shape)}.")
        self._matrix = state.detach().cpu().numpy().astype(np.int64)  # a copy

    def merge(self, other: "ConfusionMatrix") -> None:
        """Adds what `other` has counted; a ValueError if it has another `num_labels` or `ignore_index`."""
        for name in ("num_labels", "ignore_index"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"Only metrics of the same {name} can be merged, got {mine} and {theirs}.")
        self.state = self.state + other.state

    def count(self, predictions, references) -> None:
        """Counts a batch of maps.

        Args:
            predictions: (N, H, W) integer array or tensor of class ids, or a list of N maps (H, W) of any sizes.
            references: The true ids of the same shapes, `ignore_index` where nothing counts.

        Raises:
            ValueError: Shapes or numbers of maps differ, ids are no integers, or an id where the reference counts is
                not in [0, C).
        """
        if len(predictions) != len(references):
            raise ValueError(
                "predictions and references must be equally many, "
                f"got {len(predictions)} predictions and {len(references)} references."
            )
        if not isinstance(predictions, (list, tuple)) and not isinstance(references, (list, tuple)):
            predictions, references = [predictions], [references]
        for prediction, reference in zip(predictions, references, strict=True):
            self._add(prediction, reference)

    def _add(self, prediction, reference) -> None:
        counts = self._counts()
        prediction, reference = _ids("predictions", prediction), _ids("references", reference)
        if prediction.shape != reference.shape:
            raise ValueError(
                f"predictions and references must have the same shape, got {prediction.shape} and {reference.shape}."
            )
        counted = reference != self.ignore_index
        prediction, reference = prediction[counted], reference[counted]
        self._check_range("predictions", prediction)
        self._check_range("references", reference)
        pairs = self.num_labels * reference.astype(np.int64) + prediction.astype(np.int64)
        counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)

    def figures(self) -> dict[str, float]:
        """Floats in [0, 1]: `mean_iou`, `mean_accuracy`, `overall_accuracy`, and `iou/<class>` for each class.

        What is 0 / 0 is NaN and left out of means: the IoU of a class in neither predictions nor references, and the
        recall of a class that is not in references.
        """
        matrix = self._counts()
        right, predicted, true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
        iou, recall = _ratio(right, predicted + true - right), _ratio(right, true)
        if 0 <= self.ignore_index < self.num_labels:
            iou[self.ignore_index] = np.nan
        means = {
            "mean_iou": _mean(iou),
            "mean_accuracy": _mean(recall),
            "overall_accuracy": float(_ratio(right.sum(), matrix.sum())),
        }
        return means | {f"iou/{name}": value for name, value in zip(self._names(), iou.tolist(), strict=True)}

    def _counts(self) -> np.ndarray:
        if self.num_labels is None:
            raise ValueError("num_labels is needed: give it, or id2label, to the metric or to compute().")
        if self._matrix is None:
            self._matrix = np.zeros((self.num_labels, self.num_labels), np.int64)
        return self._matrix

    def _check_range(self, name: str, ids: np.ndarray) -> None:
        if ids.size == 0:
            return
        for index in (int(ids.min()), int(ids.max())):
            if not 0 <= index < self.num_labels:
                raise ValueError(
                    f"{name} have the id {index}, but num_labels is {self.num_labels}: "
                    f"ids are 0 to {self.num_labels - 1}, and in references ignore_index ({self.ignore_index})."
                )

    def _names(self) -> list[str]:
        names = [str(self.id2label.get(index, index)) for index in range(self.num_labels)]
        # a key for each class, even if two of them have the same name
        return [f"{name} ({index})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def _ignored(ignore_index: int | None, num_labels: int | None) -> int:
    if ignore_index is not None:
        return ignore_index
    return 255 if (num_labels or 0) <= 255 else -100


def _ids(name: str, values) -> np.ndarray:
    ids = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if ids.dtype.kind not in "iub" and ids.size:
        raise ValueError(f"{name} must be class ids, which are integers, got {ids.dtype}. Of logits, give the argmax.")
    return ids


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return np.true_divide(part, whole)


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
