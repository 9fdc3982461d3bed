# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Class names and colours of the label sets that the models are trained on."""

import json
from dataclasses import dataclass
from importlib import resources


LABEL_SETS = ("ade20k", "camvid", "cityscapes", "coco", "imagenet-1k")


@dataclass(frozen=True)
class LabelSet:
    """The classes of one dataset; a class id is its position in `names`.

    Attributes:
        name: One of `LABEL_SETS`.
        names: One unique name per class.
        palette: One (red, green, blue) colour per class, each channel in 0..255; empty for image classification.
            Two classes may share a colour (ADE20K's road and skyscraper do), so colours do not identify classes.
        ignore_index: Label that losses and metrics skip; never a class id. Default 255.
    """

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int = 255

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def id2label(self) -> dict[int, str]:
        """Class name by class id, as `PretrainedConfig.id2label` takes it."""
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        """Class id by class name, as `PretrainedConfig.label2id` takes it."""
        return {label: index for index, label in enumerate(self.names)}


def load_label_set(name: str) -> LabelSet:
    """Load a label set by name.

    Args:
        name: One of `LABEL_SETS`. "imagenet-1k" reads its class names from torchvision.

    Raises:
        ValueError: If `name` is not one of `LABEL_SETS`.
    """
    if name not in LABEL_SETS:
        raise ValueError(f"Unknown label set {name!r}; valid names are {', '.join(LABEL_SETS)}.")
    if name == "imagenet-1k":
        return _imagenet_1k()
    text = resources.files(__package__).joinpath("label_sets", f"{name}.json").read_text(encoding="utf-8")
    record = json.loads(text)
    return LabelSet(
        name=record["name"],
        names=tuple(entry["name"] for entry in record["classes"]),
        palette=tuple(tuple(entry["color"]) for entry in record["classes"]),
        ignore_index=record["ignore_index"],
    )


def _imagenet_1k() -> LabelSet:
    # Imported here so that the segmentation label sets stay usable without torchvision.
    from torchvision.models import ResNet50_Weights

    categories = ResNet50_Weights.DEFAULT.meta["categories"]
    # 255 is a class of ImageNet, so this set ignores what PyTorch's cross entropy ignores by default.
    return LabelSet(name="imagenet-1k", names=tuple(categories), palette=(), ignore_index=-100)
