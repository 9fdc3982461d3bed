# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders with a saved model, looked at before transformers loads them.

`from_pretrained` leaves weights that are missing at random, with a warning, and makes those of other shapes before it
says so; what it raises of a broken file is anything, and doesn't name the file.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from .registration import MODEL_CLASSES


def one_line(error: Exception) -> str:
    """What an error says, without line breaks, or its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def read_json(path: Path) -> dict[str, Any]:
    """Raises a ValueError that names the file unless it holds a JSON object."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {one_line(error)}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold a JSON object, got {fields!r:.80}.")
    return fields


def read_config(model: str | os.PathLike) -> PreTrainedConfig:
    """The config of a saved model. No code in its folder is run.

    Raises:
        OSError: There is none, or it is no JSON.
        ValueError: It is not one of a model that transformers knows, or a field is wrong; the message names it.
    """
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except OSError:
        raise
    except Exception as error:  # a wrong entry can break transformers anywhere
        raise ValueError(f"The config.json of {model} can't be used: {one_line(error)}") from error
    names = config.architectures or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"The config.json of {model} can't be used: architectures must be a list, got {names!r:.80}.")
    return config


def model_class_of(folder: str | os.PathLike) -> tuple[type[PreTrainedModel], PreTrainedConfig]:
    """Class and config of a saved model of this package.

    Raises:
        OSError, ValueError: As `read_config`, or the model is of another package.
    """
    config = read_config(folder)
    model_class = own_class(config)
    if model_class is None:
        raise ValueError(
            f"{folder} must hold a model of this package, but its config.json names "
            f"{(config.architectures or [None])[0]}."
        )
    return model_class, config


def own_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class of this package that a config names first, if it does."""
    classes = {cls.__name__: cls for cls in MODEL_CLASSES.get(type(config), {}).values()}
    return classes.get((config.architectures or [None])[0])


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files that a folder has, or should have.

    Raises:
        ValueError: The index of several files is broken, or names files elsewhere.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{index} must say in weight_map which file has which weights, but it has none.")
    elsewhere = [name for name in names.values() if not isinstance(name, str) or Path(name).name != name]
    if elsewhere:
        raise ValueError(f"{index} must name files beside it in weight_map, got {elsewhere[0]!r}.")
    return sorted(set(names.values()))


def check_weights(folder: Path) -> None:
    """That the weights in safetensors files are all that the model needs, so that none would be a random one.

    Reads the headers alone. Weights that the model doesn't have are no error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is broken, or weights are missing or have another shape or kind.
    """
    model_class, config = model_class_of(folder)
    found = {name: value for file in _open_files(folder) for name, value in _kinds(file)}
    with torch.device("meta"):
        state_dict = model_class(config).state_dict()
    expected = {name: (list(value.shape), value.is_floating_point()) for name, value in state_dict.items()}
    wrong = [name for name, kind in expected.items() if found.get(name) != kind]
    if wrong:
        raise ValueError(
            f"The weights in {folder} must be those of the {model_class.__name__} that its config.json describes, but "
            f"{len(wrong)} of {len(expected)} are missing or have other shapes: {wrong[0]} must be "
            f"{_described(expected[wrong[0]])}, and is {_described(found.get(wrong[0]))}."
        )


def check_finite(weights: Iterable[tuple[str, torch.Tensor]], model: str | os.PathLike) -> None:
    """Raises a ValueError that names the first of `model`'s weights in which there is a NaN or an infinite number."""
    for name, value in weights:
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"The weights of {model} are broken: {name} has numbers that are not finite.")


def read_weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Each weight of the safetensors files, with its name."""
    for file in _open_files(folder):
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def _open_files(folder: Path) -> Iterator[safe_open]:
    for path in (folder / name for name in weight_files(folder)):
        try:
            with safe_open(path, "pt") as file:
                yield file
        except SafetensorError as error:
            raise ValueError(f"{path} is broken: {one_line(error)}") from error


def _kinds(file: safe_open) -> Iterator[tuple[str, tuple[list[int], bool]]]:
    """Shape of each weight, and whether it is of floating-point numbers."""
    for name in file.keys():  # noqa: SIM118
        weight = file.get_slice(name)
        yield name, (list(weight.get_shape()), weight.get_dtype().lstrip("B").startswith("F"))


def _described(kind: tuple[list[int], bool] | None) -> str:
    if kind is None:
        return "missing"
    shape, is_float = kind
    return f"of shape {shape}" if is_float else f"of shape {shape} and of integers"
