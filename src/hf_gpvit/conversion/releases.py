# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The official files and their published figures: GPViT's (https://arxiv.org/abs/2212.06795); HRViT has none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from .checkpoints import load_file
from .gpvit import PRESET_BY_SIZE


_FOLDER = "https://github.com/ChenhongyiYang/GPViT/releases/download/v0.0.1"


@dataclass(frozen=True)
class Release:
    """An official file.

    Attributes:
        variant: Name of the preset.
        dataset: What it was trained for; a key of the label sets.
        decode_head_type: Of a segmentor, as in the config; None of a classifier.
        metric: Name of what was measured, in percent.
        value: The published figure.
        file: Its name among the official downloads.
        license: SPDX name of the licence of the weights.
    """

    variant: str
    dataset: str
    decode_head_type: str | None
    metric: str
    value: float
    file: str
    license: str = "Apache-2.0"

    @property
    def name(self) -> str:
        """Such as "gpvit-l1" of a classifier, "gpvit-l1-upernet" of a segmentor."""
        return "-".join(filter(None, (self.variant, self.decode_head_type)))

    @property
    def task(self) -> str:
        return "image-classification" if self.decode_head_type is None else "semantic-segmentation"

    @property
    def url(self) -> str:
        return f"{_FOLDER}/{self.file}"

    @property
    def path(self) -> Path:
        """Where the downloaded file is kept: among torch.hub's checkpoints, below TORCH_HOME."""
        return Path(torch.hub.get_dir(), "checkpoints", self.file)

    def load(self) -> Any:
        """What the file holds; the first time it is downloaded, with a progress bar, and later found at `path`.

        Raises:
            OSError: It can't be fetched; the message has the address.
            ValueError: It can't be read, such as after a connection that broke; it is removed then.
        """
        if not self.path.exists():
            self._download()
        try:
            return load_file(self.path)
        except ValueError as error:
            self.path.unlink()
            told = f"What {self.url} gave can't be read and was removed; trying again downloads it anew"
            raise ValueError(f"{told}: {error}") from error

    def _download(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(self.path))
        except OSError as error:
            raise OSError(f"Can't download {self.url}: {error}") from error


# The tables in the README of https://github.com/ChenhongyiYang/GPViT link these files, but for L2's classifier, whose
# row links L3's file: that name follows the pattern of the others.
RELEASES = (
    Release("gpvit-l1", "imagenet-1k", None, "top-1 accuracy", 80.5, "gpvit_l1_in1k_300e.pth"),
    Release("gpvit-l2", "imagenet-1k", None, "top-1 accuracy", 83.4, "gpvit_l2_in1k_300e.pth"),
    Release("gpvit-l3", "imagenet-1k", None, "top-1 accuracy", 84.1, "gpvit_l3_in1k_300e.pth"),
    Release("gpvit-l4", "imagenet-1k", None, "top-1 accuracy", 84.3, "gpvit_l4_in1k_300e.pth"),
    Release("gpvit-l1", "ade20k", "segformer", "mIoU", 46.9, "gpvit_l1_segformer.pth"),
    Release("gpvit-l2", "ade20k", "segformer", "mIoU", 49.2, "gpvit_l2_segformer.pth"),
    Release("gpvit-l3", "ade20k", "segformer", "mIoU", 50.8, "gpvit_l3_segformer.pth"),
    Release("gpvit-l4", "ade20k", "segformer", "mIoU", 51.3, "gpvit_l4_segformer.pth"),
    Release("gpvit-l1", "ade20k", "upernet", "mIoU", 49.1, "gpvit_l1_upernet.pth"),
    Release("gpvit-l2", "ade20k", "upernet", "mIoU", 50.2, "gpvit_l2_upernet.pth"),
    Release("gpvit-l3", "ade20k", "upernet", "mIoU", 51.7, "gpvit_l3_upernet.pth"),
    Release("gpvit-l4", "ade20k", "upernet", "mIoU", 52.5, "gpvit_l4_upernet.pth"),
)
RELEASE_BY_NAME = {release.name: release for release in RELEASES}


def release_of(model: PreTrainedModel) -> Release | None:
    """The official model that has this variant, task, head and number of classes, or None."""
    config = model.config
    if config.model_type != "gpvit":
        return None
    kind = (PRESET_BY_SIZE.get(config.hidden_size), config.decode_head_type if hasattr(model, "decode_head") else None)
    dataset = {1000: "imagenet-1k", 150: "ade20k"}.get(config.num_labels)
    releases = (each for each in RELEASES if (each.variant, each.decode_head_type, each.dataset) == (*kind, dataset))
    return next(releases, None)
