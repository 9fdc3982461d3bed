# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Weights in a folder, looked at before transformers loads them.

`from_pretrained` leaves weights that are missing at random, with a warning, and makes those of other shapes before it
says so; what it raises of a broken file is anything, and doesn't name the file.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig, PreTrainedModel

from .files import one_line, read_json


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


def check_weights(folder: Path, model_class: type[PreTrainedModel], config: PreTrainedConfig) -> None:
    """That the weights in safetensors files are all that the model needs, so that none would be a random one.

    Reads the headers alone. Weights that the model doesn't have are no error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is broken, or weights are missing or have another shape or kind.
    """
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
