# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit convert` does."""

import os
from argparse import Namespace
from pathlib import Path

from transformers import PreTrainedModel

from ..conversion import convert_checkpoint
from ..conversion.releases import RELEASE_BY_NAME, Release
from ..data import image_processor_for
from ..files import atomic_folder, check_replaceable, printable
from ..hub.folders import model_files
from ..inference import load_picture
from ..prediction import describe_picture
from ..saved_models import check_finite, load_image_processor, load_model, task_of
from .ending import ending_errors, say


@ending_errors()
def run(options: Namespace, prog: str) -> None:
    """Converts a checkpoint; where anything is wrong with it, no folder is left."""
    check_replaceable(options.output_dir, options.overwrite, model_files)
    image = None if options.picture is None else load_picture(options.picture)
    # a file may have an official shape and be of somebody's own training: only a name stands for what is published
    release = None if os.path.isfile(options.checkpoint) else RELEASE_BY_NAME.get(options.checkpoint)
    model = _official(release, options.ema) if release else convert_checkpoint(options.checkpoint, options.ema)
    check_finite(model.state_dict().items(), options.checkpoint)
    with atomic_folder(options.output_dir, options.overwrite, model_files) as folder:
        model.save_pretrained(folder)
        image_processor_for(model).save_pretrained(folder)
        found = [] if image is None else _described(folder, image)
    say(f"{printable(os.path.join(options.output_dir, ''))}: {_kind(model)}")
    if release is not None:
        figures = " and ".join(f"{metric} {value} %" for metric, value in release.figures.items())
        say(f"as published, {release.name} has {figures} on {release.dataset}, {release.license}")
    for label, value in found:
        say(f"{value:7.1%}  {printable(label)}")


def _official(release: Release, ema: bool) -> PreTrainedModel:
    model = convert_checkpoint(release.load(), ema)
    if not release.fits(model):
        raise ValueError(f"{release.path} holds another model than {release.name}: {_kind(model)}.")
    return model


def _kind(model: PreTrainedModel) -> str:
    return f"{type(model).__name__}, {model.config.num_labels} classes"


def _described(folder: Path, image) -> list[tuple[str, float]]:
    """What the model that was saved in `folder` says: labels with scores or shares, of detectors for each object."""
    records = describe_picture(load_model(folder, task_of(folder)), load_image_processor(folder), image)
    return [tuple(record.values())[:2] for record in records]
