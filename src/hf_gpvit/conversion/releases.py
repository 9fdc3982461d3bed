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


NUM_LABELS = {"imagenet-1k": 1000, "ade20k": 150, "coco": 80}
_FOLDER = "https://github.com/ChenhongyiYang/GPViT/releases/download/v0.0.1"


@dataclass(frozen=True)
class Release:
    """An official file.

    Attributes:
        variant: Name of the preset.
        dataset: What it was trained for; a key of the label sets.
        head: "segformer" or "upernet" of a segmentor, "maskrcnn" or "retinanet" of a detector; None of a classifier.
        figures: The published figures, in percent, by the names of what was measured.
        file: Its name among the official downloads.
        schedule: How long a detector was trained: "1x" is 12 epochs, "3x" 36 at several scales.
        license: SPDX name of the licence of the weights.
    """

    variant: str
    dataset: str
    head: str | None
    figures: dict[str, float]
    file: str
    schedule: str | None = None
    license: str = "Apache-2.0"

    @property
    def name(self) -> str:
        """Such as "gpvit-l1" of a classifier, "gpvit-l1-upernet" of a segmentor, "gpvit-l1-maskrcnn-3x"."""
        return "-".join(filter(None, (self.variant, self.head, self.schedule)))

    def fits(self, model: PreTrainedModel) -> bool:
        """Whether a model has this variant, head and number of classes: schedules can't be told apart."""
        config = model.config
        is_own = config.model_type in ("gpvit", "gpvit_detection")
        return is_own and (self.variant, self.head, NUM_LABELS[self.dataset]) == (
            PRESET_BY_SIZE.get(config.hidden_size),
            _head(model),
            config.num_labels,
        )

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
# row links L3's file: that name follows the pattern of the others. Figures are those of the paper (Tables 2 to 5).
RELEASES = (
    Release("gpvit-l1", "imagenet-1k", None, {"top-1 accuracy": 80.5}, "gpvit_l1_in1k_300e.pth"),
    Release("gpvit-l2", "imagenet-1k", None, {"top-1 accuracy": 83.4}, "gpvit_l2_in1k_300e.pth"),
    Release("gpvit-l3", "imagenet-1k", None, {"top-1 accuracy": 84.1}, "gpvit_l3_in1k_300e.pth"),
    Release("gpvit-l4", "imagenet-1k", None, {"top-1 accuracy": 84.3}, "gpvit_l4_in1k_300e.pth"),
    Release("gpvit-l1", "ade20k", "segformer", {"mIoU": 46.9}, "gpvit_l1_segformer.pth"),
    Release("gpvit-l2", "ade20k", "segformer", {"mIoU": 49.2}, "gpvit_l2_segformer.pth"),
    Release("gpvit-l3", "ade20k", "segformer", {"mIoU": 50.8}, "gpvit_l3_segformer.pth"),
    Release("gpvit-l4", "ade20k", "segformer", {"mIoU": 51.3}, "gpvit_l4_segformer.pth"),
    Release("gpvit-l1", "ade20k", "upernet", {"mIoU": 49.1}, "gpvit_l1_upernet.pth"),
    Release("gpvit-l2", "ade20k", "upernet", {"mIoU": 50.2}, "gpvit_l2_upernet.pth"),
    Release("gpvit-l3", "ade20k", "upernet", {"mIoU": 51.7}, "gpvit_l3_upernet.pth"),
    Release("gpvit-l4", "ade20k", "upernet", {"mIoU": 52.5}, "gpvit_l4_upernet.pth"),
    Release("gpvit-l1", "coco", "maskrcnn", {"box AP": 48.1, "mask AP": 42.7}, "gpvit_l1_maskrcnn_1x.pth", "1x"),
    Release("gpvit-l2", "coco", "maskrcnn", {"box AP": 49.9, "mask AP": 43.9}, "gpvit_l2_maskrcnn_1x.pth", "1x"),
    Release("gpvit-l3", "coco", "maskrcnn", {"box AP": 50.4, "mask AP": 44.4}, "gpvit_l3_maskrcnn_1x.pth", "1x"),
    Release("gpvit-l4", "coco", "maskrcnn", {"box AP": 51.0, "mask AP": 45.0}, "gpvit_l4_maskrcnn_1x.pth", "1x"),
    Release("gpvit-l1", "coco", "maskrcnn", {"box AP": 50.2, "mask AP": 44.3}, "gpvit_l1_maskrcnn_3x.pth", "3x"),
    Release("gpvit-l2", "coco", "maskrcnn", {"box AP": 51.4, "mask AP": 45.1}, "gpvit_l2_maskrcnn_3x.pth", "3x"),
    Release("gpvit-l3", "coco", "maskrcnn", {"box AP": 51.6, "mask AP": 45.2}, "gpvit_l3_maskrcnn_3x.pth", "3x"),
    Release("gpvit-l4", "coco", "maskrcnn", {"box AP": 52.1, "mask AP": 45.7}, "gpvit_l4_maskrcnn_3x.pth", "3x"),
    Release("gpvit-l1", "coco", "retinanet", {"box AP": 45.8}, "gpvit_l1_retinanet_1x.pth", "1x"),
    Release("gpvit-l2", "coco", "retinanet", {"box AP": 48.0}, "gpvit_l2_retinanet_1x.pth", "1x"),
    Release("gpvit-l3", "coco", "retinanet", {"box AP": 48.3}, "gpvit_l3_retinanet_1x.pth", "1x"),
    Release("gpvit-l4", "coco", "retinanet", {"box AP": 48.7}, "gpvit_l4_retinanet_1x.pth", "1x"),
    Release("gpvit-l1", "coco", "retinanet", {"box AP": 48.1}, "gpvit_l1_retinanet_3x.pth", "3x"),
    Release("gpvit-l2", "coco", "retinanet", {"box AP": 49.0}, "gpvit_l2_retinanet_3x.pth", "3x"),
    Release("gpvit-l3", "coco", "retinanet", {"box AP": 49.4}, "gpvit_l3_retinanet_3x.pth", "3x"),
    Release("gpvit-l4", "coco", "retinanet", {"box AP": 49.8}, "gpvit_l4_retinanet_3x.pth", "3x"),
)
RELEASE_BY_NAME = {release.name: release for release in RELEASES}


def _head(model: PreTrainedModel) -> str | None:
    """As `Release.head`."""
    config = model.config
    if config.model_type == "gpvit_detection":
        return config.detector_type.replace("_", "")
    return config.decode_head_type if hasattr(model, "decode_head") else None
