# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Official checkpoints -> our models."""

import re
from collections.abc import Mapping
from math import isqrt
from os import PathLike
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..data.labels import load_label_set
from . import gpvit, gpvit_detection, heads, hrvit
from .checkpoints import read_state_dict


FAMILIES = (gpvit_detection, gpvit, hrvit)  # a detector has the entries of a trunk too
# Names that a message has room for.
_NUM_SHOWN = 3


def convert_checkpoint(checkpoint: str | PathLike | Mapping[str, Any], ema: bool = False) -> PreTrainedModel:
    """Turns an official checkpoint into our model.

    Family, variant, task, kind of head, classes and image size are read off the entries' names and shapes. Classifiers
    of 1000 classes get ImageNet's labels; segmentors of 150, 19 and 11 those of ADE20K, Cityscapes and CamVid;
    detectors of 80 those of COCO. What no entry shows is as published: HRViT-b3 has attention stripes of width 9 with
    the 19 classes of Cityscapes.

    Args:
        checkpoint: Path of an official file, or what it holds: a state dict, or a dict with one under `state_dict`
            or `model`, beside which toolkits put meta data, optimizers and the like. Files are read with
            `weights_only=True`, so a pickle that would run code is refused and runs nothing. A prefix `module.` is
            taken off.
        ema: Whether to take the copy of the weights that is stored as an exponential moving average. Default False,
            with a warning if there is one.

    Returns:
        `...ForImageClassification`, `...ForSemanticSegmentation`, `GPViTForInstanceSegmentation` (Mask R-CNN) or
        `GPViTForObjectDetection` (RetinaNet), float32, in eval mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or unsafe, is of another architecture, or entries are missing, unknown or of
            another shape; the message names them.
    """
    state_dict = read_state_dict(checkpoint, ema)
    family = _family(state_dict)
    task = _task(family, state_dict)
    config = _config(family, task, state_dict)
    model = family.MODEL_CLASSES[task](config)
    rules = family.NAMES[task] + heads.NAMES.get(_decode_head_type(state_dict), [])
    model.load_state_dict(_converted(state_dict, rules, model.state_dict()))
    return model.eval()


def _family(state_dict: Mapping[str, torch.Tensor]):
    for family in FAMILIES:
        if _signature(family, state_dict) is not None:
            return family
    raise ValueError(
        "The checkpoint is of another architecture: it has none of the entries "
        f"{[name for family in FAMILIES for name in family.SIGNATURE[0]]}. Its entries begin with {_some(state_dict)}."
    )


def _signature(family, state_dict: Mapping[str, torch.Tensor]) -> str | None:
    """Name of the entry that shows the family and its variant."""
    return next((name for name in family.SIGNATURE[0] if name in state_dict), None)


def _task(family, state_dict: Mapping[str, torch.Tensor]) -> str:
    classifiers = {task: classifier.entry for task, classifier in family.CLASSIFIERS.items()}
    tasks = [task for task, classifier in classifiers.items() if classifier in state_dict]
    if len(tasks) != 1:
        raise ValueError(
            "The checkpoint must hold exactly one of the classifiers "
            f"{list(classifiers.values())}, it has {[classifiers[task] for task in tasks]}."
        )
    return tasks[0]


def _config(family, task: str, state_dict: Mapping[str, torch.Tensor]) -> PreTrainedConfig:
    preset = _preset(family, state_dict)
    fields = {} if family.POSITIONS is None else {"image_size": _image_size(family, state_dict)}
    num_labels = _num_labels(family.CLASSIFIERS[task], state_dict)
    if (task, num_labels) in heads.LABEL_SETS:
        fields["id2label"] = load_label_set(heads.LABEL_SETS[task, num_labels]).id2label
    else:
        fields["num_labels"] = num_labels
    decode_head_type = _decode_head_type(state_dict)
    if decode_head_type is not None:
        fields["decode_head_type"] = decode_head_type
    fields |= family.FIELDS.get((task, preset), {}) | family.FIELDS.get((task, preset, num_labels), {})
    return family.CONFIG_CLASS.from_preset(preset, **fields)


def _preset(family, state_dict: Mapping[str, torch.Tensor]) -> str:
    name, axis = _signature(family, state_dict), family.SIGNATURE[1]
    size = state_dict[name].shape[axis] if state_dict[name].ndim else None
    if size not in family.PRESET_BY_SIZE:
        raise ValueError(
            f"The checkpoint is of an unknown variant: {name} has shape {tuple(state_dict[name].shape)}; "
            f"axis {axis} must be one of {family.PRESET_BY_SIZE}."
        )
    return family.PRESET_BY_SIZE[size]


def _num_labels(classifier: heads.Classifier, state_dict: Mapping[str, torch.Tensor]) -> int:
    shape, rows = tuple(state_dict[classifier.entry].shape), classifier.rows_per_class
    if not shape or shape[0] < 1 or shape[0] % rows:
        expected = "(classes, ...)" if rows == 1 else f"({rows} * classes, ...)"
        raise ValueError(
            f"{classifier.entry} must hold the weights of at least one class, {expected}, got shape {shape}."
        )
    return shape[0] // rows


def _image_size(family, state_dict: Mapping[str, torch.Tensor]) -> int:
    name, stride = family.POSITIONS
    shape = tuple(state_dict[name].shape)
    if len(shape) != 3 or shape[1] < 1 or isqrt(shape[1]) ** 2 != shape[1]:
        raise ValueError(f"{name} must hold a square grid of positions, (1, side * side, channels), got {shape}.")
    return isqrt(shape[1]) * stride


def _decode_head_type(state_dict: Mapping[str, torch.Tensor]) -> str | None:
    """The decode head's type; None where there is no decode head."""
    if heads.CLASSIFIER.entry not in state_dict:
        return None
    for decode_head_type, signature in heads.HEAD_SIGNATURE.items():
        if signature in state_dict:
            return decode_head_type
    raise ValueError(
        f"The segmentor has an unknown decode head: it has none of {list(heads.HEAD_SIGNATURE.values())}. "
        f"Its head's entries begin with {_some(name for name in state_dict if name.startswith('decode_head'))}."
    )


def _converted(
    state_dict: Mapping[str, torch.Tensor], rules: list[tuple[str, str]], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """`state_dict` under our names; every entry used once, every expected one filled, else a ValueError."""
    new_names = {name: _new_name(name, rules) for name in state_dict}
    unexpected = [name for name, new_name in new_names.items() if new_name not in expected]
    missing = [name for name in expected if name not in new_names.values()]
    misshapen = [
        f"{name} {tuple(state_dict[name].shape)} for {new_name} {tuple(expected[new_name].shape)}"
        for name, new_name in new_names.items()
        if new_name in expected and state_dict[name].shape != expected[new_name].shape
    ]
    problems = {
        "are entries the model does not have": unexpected,
        "are parameters and buffers of ours that it leaves unfilled": missing,
        "are of another shape": misshapen,
    }
    told = "; ".join(f"{_some(names)} {problem}" for problem, names in problems.items() if names)
    if told:
        raise ValueError(f"The checkpoint does not fit the model it seems to be of: {told}.")
    return {new_name: state_dict[name] for name, new_name in new_names.items()}


def _new_name(name: str, rules: list[tuple[str, str]]) -> str | None:
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return None


def _some(names) -> str:
    """The first of them, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _NUM_SHOWN} more" if len(names) > _NUM_SHOWN else ""
    return f"{names[:_NUM_SHOWN]}{more}"
