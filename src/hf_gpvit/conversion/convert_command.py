# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The command `hf-gpvit convert`, which is also scripts/convert_checkpoint.py."""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from ..command_line import command_parser, ending_errors
from ..data import image_processor_for
from ..files import atomic_folder, check_replaceable
from ..inference import load_picture
from ..prediction import describe_picture
from ..saved_models import load_image_processor, load_model, task_of
from .convert import convert_checkpoint
from .gpvit import PRESET_BY_SIZE
from .releases import RELEASE_BY_NAME, RELEASES, Release


DESCRIPTION = """An official checkpoint becomes a folder that `from_pretrained` and `pipeline` load.

    %(prog)s gpvit_l1_in1k_300e.pth gpvit-l1-imagenet --picture cat.png
    %(prog)s gpvit-l1 gpvit-l1-imagenet

An official model's name (gpvit-l1 to gpvit-l4, also with -segformer or -upernet) stands for its file, which is
downloaded once and kept among torch.hub's checkpoints. Variant, task, head and classes are found in the file, which is
read without running anything in it. The folder holds config, weights and image processor; it appears whole or not at
all, and an older one is moved aside. With --picture, the model in it says what it sees.
"""


@ending_errors()
def convert_command(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Converts a checkpoint as the command line says.

    Mistakes and files that are damaged, unsafe or of another architecture end the process with one message and the
    exit code 1; no folder is left.

    Args:
        arguments: The options. Default: this process's.
        prog: Name of the program that `--help` shows. Default: the script's.
    """
    parser = command_parser(DESCRIPTION, prog)
    parser.add_argument("checkpoint", help="file with the official weights (.pth), or the name of an official model")
    parser.add_argument("output_dir", help="folder to write")
    parser.add_argument("--picture", help="file to try the model on")
    parser.add_argument("--ema", action="store_true", help="take the second copy of the weights, from averaging")
    _convert(parser.parse_args(arguments))


def release_of(model: PreTrainedModel) -> Release | None:
    """The official model that has this variant, task, head and number of classes, or None."""
    config = model.config
    if config.model_type != "gpvit":
        return None
    kind = (PRESET_BY_SIZE.get(config.hidden_size), config.decode_head_type if hasattr(model, "decode_head") else None)
    dataset = {1000: "imagenet-1k", 150: "ade20k"}.get(config.num_labels)
    releases = (each for each in RELEASES if (each.variant, each.decode_head_type, each.dataset) == (*kind, dataset))
    return next(releases, None)


def _convert(arguments: Namespace) -> None:
    if os.path.isfile(arguments.output_dir):
        raise NotADirectoryError(f"output_dir must be the name of a folder, but {arguments.output_dir} is a file.")
    check_replaceable(arguments.output_dir)
    image = None if arguments.picture is None else load_picture(arguments.picture)
    # a file may have an official shape and be of somebody's own training: only a name stands for what is published
    release = None if os.path.isfile(arguments.checkpoint) else RELEASE_BY_NAME.get(arguments.checkpoint)
    if release is None:
        model = convert_checkpoint(arguments.checkpoint, arguments.ema)
    else:
        model = _official(release, arguments.ema)
    with atomic_folder(arguments.output_dir) as folder:
        model.save_pretrained(folder)
        image_processor_for(model).save_pretrained(folder)
        found = [] if image is None else _described(folder, image)
    print(f"{os.path.join(arguments.output_dir, '')}: {_kind(model)}")
    if release is not None:
        told = f"{release.metric} {release.value} % on {release.dataset}, {release.license}"
        print(f"as published, {release.variant} has {told}")
    print("".join(f"{value:7.1%}  {label}\n" for label, value in found), end="")


def _official(release: Release, ema: bool) -> PreTrainedModel:
    model = convert_checkpoint(release.load(), ema)
    if release_of(model) != release:
        raise ValueError(f"{release.path} holds another model than {release.name}: {_kind(model)}.")
    return model


def _kind(model: PreTrainedModel) -> str:
    return f"{type(model).__name__}, {model.config.num_labels} classes"


def _described(folder: Path, image) -> list[tuple[str, float]]:
    """What the model that was saved in `folder` says: labels with scores or shares."""
    records = describe_picture(load_model(folder, task_of(folder)), load_image_processor(folder), image)
    return [tuple(record.values()) for record in records]
