# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Inference as a server might do it: pictures of any size, all models, all ways to use them, in random order."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoBackbone,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
    pipeline,
)

from hf_gpvit.data import image_processor_for
from hf_gpvit.inference import SegmentationSettings, classify, segment
from hf_gpvit.saved_models import presets
from monitor import Monitor


LARGEST_SIDE = 600
MAX_BATCH = 8
PIPELINES = {"ForImageClassification": "image-classification", "ForSemanticSegmentation": "image-segmentation"}
GRADIENTS = (torch.inference_mode, torch.no_grad, torch.enable_grad)
FLAGS = ("output_hidden_states", "output_attentions", "output_group_attentions", "output_ungroup_attentions")


def run_inference(monitor: Monitor, folder: Path, seed: int) -> None:
    """Works until the monitor's time is over; `folder` is for what is saved and loaded."""
    mixture = Mixture(folder, Random(seed))
    # the largest first, so that the heap needn't grow for them later
    for model in mixture.models:
        if not monitor.is_over:
            monitor.run("largest picture", partial(mixture.forward, model, (LARGEST_SIDE, LARGEST_SIDE)))
    while not monitor.is_over:
        monitor.run(*mixture.draw())


class Mixture:
    """Small models of both families with every head, by SDPA, eagerly and fused, and what is done with them.

    Args:
        folder: For what is saved and loaded.
        random: What is drawn from.
    """

    def __init__(self, folder: Path, random: Random):
        self.folder = folder
        self.random = random
        self.models = _models()
        self.classifiers = [model for model in self.models if _does(model, "ForImageClassification")]
        self.segmentors = [model for model in self.models if _does(model, "ForSemanticSegmentation")]
        self.with_groups = [model for model in self.models if hasattr(model, "group_maps")]
        self.savable = [model for model in self.models if not model.is_fused]
        # with how often they are done
        self.works = {
            "forward": (70, lambda: self.forward(self.random.choice(self.models))),
            "bfloat16 autocast": (6, self.forward_in_bfloat16),
            "pipeline": (6, self.run_pipeline),
            "classify": (4, self.classify),
            "segment": (6, self.segment),
            "group maps": (4, self.group_maps),
            "fuse": (2, self.fuse),
            "save and load": (2, self.save_and_load),
        }

    def draw(self) -> tuple[str, Callable[[], object]]:
        """Name of a work, and the work."""
        [name] = self.random.choices(list(self.works), [weight for weight, _ in self.works.values()])
        return name, self.works[name][1]

    def forward(self, model: PreTrainedModel, size: tuple[int, int] | None = None) -> object:
        """A pass with or without autograd, which now and then also gives hidden states and attention."""
        flags = {flag: True for flag in FLAGS if self.random.random() < 0.1 and _takes(model, flag)}
        with self.random.choice(GRADIENTS)():
            return model(self._pixel_values(size), **flags)

    def forward_in_bfloat16(self) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return self.random.choice(self.models)(self._pixel_values())

    def run_pipeline(self) -> object:
        model = self.random.choice(self.classifiers + self.segmentors)
        [task] = [task for end, task in PIPELINES.items() if _does(model, end)]
        return pipeline(task, model=model, image_processor=image_processor_for(model))(self._picture())

    def classify(self) -> torch.Tensor:
        model = self.random.choice(self.classifiers)
        pictures = [self._picture() for _ in range(self.random.randint(1, MAX_BATCH))]
        return classify(model, image_processor_for(model), pictures, batch_size=4)

    def segment(self) -> torch.Tensor:
        """By sliding windows, or whole."""
        model = self.random.choice(self.segmentors)
        settings = SegmentationSettings(
            window_size=self.random.choice((None, 64, 128)),
            scales=self.random.choice(((1.0,), (0.5, 1.0))),
            flip=self.random.choice((False, True)),
        )
        processor = image_processor_for(model, self.random.randint(32, 192))
        return segment(model, processor, self._picture(), settings)

    def group_maps(self) -> object:
        return self.random.choice(self.with_groups).group_maps(self._pixel_values())

    def fuse(self) -> object:
        return self.forward(self.random.choice(self.savable).fuse_for_inference())

    def save_and_load(self) -> object:
        model = self.random.choice(self.savable)
        model.save_pretrained(self.folder / "saved")
        return self.forward(type(model).from_pretrained(self.folder / "saved").eval())

    def _pixel_values(self, size: tuple[int, int] | None = None) -> torch.Tensor:
        """A batch: fewer pictures the larger they are."""
        height, width = size or (self._side(), self._side())
        most = LARGEST_SIDE**2 // (height * width)
        return torch.rand(min(self.random.randint(1, MAX_BATCH), most), 3, height, width)

    def _picture(self) -> Image.Image:
        # a picture much longer than wide would be resized to one far larger than all others
        side = max(self._side(), 8)
        pixels = np.random.default_rng(self.random.randrange(2**32)).integers(256, size=(side, side, 3))
        return Image.fromarray(pixels.astype(np.uint8))

    def _side(self) -> int:
        """1 to the largest, small ones as often as large ones in ratios, since passes of large ones take long."""
        return round(LARGEST_SIDE ** self.random.random())


def _models() -> list[PreTrainedModel]:
    models = []
    for config_class in dict.fromkeys(presets().values()):
        for attention in ("sdpa", "eager"):
            models += [model.eval() for model in _models_of(config_class, attention)]
    # of SDPA's only: fused models of both kinds differ in nothing else
    fused = [model.fuse_for_inference() for model in models if model.config._attn_implementation == "sdpa"]
    return models + fused


def _models_of(config_class: type[PreTrainedConfig], attention: str) -> list[PreTrainedModel]:
    [preset] = [preset for preset in config_class.presets() if preset.endswith("nano")]
    heads = (
        (AutoModel, "segformer"),
        (AutoBackbone, "segformer"),
        (AutoModelForImageClassification, "segformer"),
        (AutoModelForSemanticSegmentation, "segformer"),
        (AutoModelForSemanticSegmentation, "upernet"),
    )
    return [
        auto_class.from_config(
            config_class.from_preset(preset, num_labels=10, decode_head_type=head), attn_implementation=attention
        )
        for auto_class, head in heads
    ]


def _does(model: PreTrainedModel, end: str) -> bool:
    return type(model).__name__.endswith(end)


def _takes(model: PreTrainedModel, flag: str) -> bool:
    return model.config.model_type == "gpvit" or "group" not in flag
