# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What is in a folder with a model, and whether it is fit to be published."""

import json
import math
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import ModelCard
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from ..registration import MODEL_CLASSES
from .cards import METRICS, checked_metrics, dataset_name, task_of_class


def check_hub_folder(folder: Path) -> None:
    """That all is there with which others load the model."""
    check_model_folder(folder)
    code = {f"{name.partition('.')[0]}.py" for name in _auto_map(folder).values()}
    missing = [name for name in ("README.md", *sorted(code)) if not (folder / name).is_file()]
    missing += [] if code else ["auto_map in config.json"]
    if missing:
        raise FileNotFoundError(
            f"{folder} must be a folder of save_for_hub, but it lacks {', '.join(missing)}. `hf-gpvit push` adds what "
            "a folder of save_pretrained lacks."
        )


def check_model_folder(folder: Path) -> None:
    """That config, weights and image processor are there, and the weights all of the model's."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    names = ["config.json", "preprocessor_config.json", *_weight_files(folder)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        hint = f" Do you mean {folder / 'best'}?" if (folder / "best/config.json").is_file() else ""
        raise FileNotFoundError(f"{folder} must hold a model and its image processor: no {', '.join(missing)}.{hint}")
    for name in names[:2]:
        read_json(folder / name)
    _check_weights(folder)


def _weight_files(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict):
        raise ValueError(f"{index} must say in weight_map which file has which weights, but it has none.")
    return sorted(set(names.values()))


def _check_weights(folder: Path) -> None:
    """That no weight would be a random one in the model that others load. Reads headers only."""
    shapes = {}
    for path in (folder / name for name in _weight_files(folder)):
        try:
            with safe_open(path, "pt") as file:
                shapes |= {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is broken: {error}") from error
    model_class, config = model_class_of(folder)
    with torch.device("meta"):
        expected = {name: list(weight.shape) for name, weight in model_class(config).state_dict().items()}
    wrong = [name for name, shape in expected.items() if shapes.get(name) != shape]
    if wrong:
        found = f"of shape {shapes[wrong[0]]}" if wrong[0] in shapes else "missing"
        raise ValueError(
            f"The weights in {folder} must be those of the {model_class.__name__} that its config.json describes, but "
            f"{len(wrong)} of {len(expected)} are missing or have other shapes: {wrong[0]} must be of shape "
            f"{expected[wrong[0]]}, and is {found}."
        )


def is_hub_folder(folder: Path) -> bool:
    return (folder / "README.md").is_file() and bool(_auto_map(folder))


def _auto_map(folder: Path) -> dict[str, str]:
    config = folder / "config.json"
    return read_json(config).get("auto_map") or {} if config.is_file() else {}


def read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold a JSON object, got {fields!r:.80}.")
    return fields


def check_evaluation(folder: Path, allow_unevaluated: bool) -> None:
    """That the card has results, or will get some."""
    if allow_unevaluated:
        return
    if is_hub_folder(folder):
        if not _has_results(folder):
            raise ValueError(
                f"The card of {folder} (README.md) has no results of an evaluation: evaluate the model (`hf-gpvit "
                "evaluate --output`) and run save_for_hub(..., metrics=, dataset=) again, or say that it shall go "
                "without (allow_unevaluated)."
            )
    elif not _has_figures(folder):
        raise ValueError(
            f"{folder} has no figures of an evaluation (metrics.json) with {_metrics_of(folder)}: evaluate the model "
            "first (`hf-gpvit evaluate --output` writes them), or say that it shall go without (allow_unevaluated)."
        )


def _has_results(folder: Path) -> bool:
    """Whether README.md has any of the model's task."""
    path = folder / "README.md"
    try:
        results = ModelCard.load(path).data.eval_results or []
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is no model card: {error}") from error
    return any(result.metric_type in METRICS[_task(folder)] for result in results)


def _has_figures(folder: Path) -> bool:
    """Whether metrics.json has any that the card shows."""
    path = folder / "metrics.json"
    figures, _ = checked_metrics(path) if path.is_file() else ({}, {})
    return any(not math.isnan(figures.get(name, math.nan)) for name in METRICS[_task(folder)])


def _metrics_of(folder: Path) -> str:
    return " or ".join(METRICS[_task(folder)]) or "anything to show, and can't have any without a head"


def _task(folder: Path) -> str:
    model_class, _ = model_class_of(folder)
    return task_of_class(model_class)


def model_class_of(folder: Path) -> tuple[type[PreTrainedModel], PreTrainedConfig]:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    classes = {cls.__name__: cls for cls in MODEL_CLASSES.get(type(config), {}).values()}
    name = (config.architectures or [None])[0]
    if name not in classes:
        raise ValueError(f"{folder} must hold a model of this package, but its config.json names {name}.")
    return classes[name], config


def known_of_training(folder: Path, dataset: str | None, license: str | None) -> dict[str, Any]:
    """Arguments of `save_for_hub`."""
    metrics = folder / "metrics.json" if _has_figures(folder) else None
    recipe = folder / "recipe.yaml" if (folder / "recipe.yaml").is_file() else None
    _, origin = checked_metrics(metrics) if metrics else ({}, {})
    fields = _read_recipe(recipe) if recipe else {}
    dataset = dataset or _trained_on(fields, origin.get("dataset"))
    if metrics and not dataset and "dataset" not in origin:
        raise ValueError(
            f"Neither metrics.json nor a recipe.yaml in {folder} says on what the model was evaluated: give it as "
            "dataset."
        )
    license = license or fields.get("hub_license") or "apache-2.0"
    return {"dataset": dataset, "license": license, "metrics": metrics, "recipe": recipe}


def _trained_on(recipe: dict[str, Any], evaluated_on: str | None) -> str | None:
    """The recipe's dataset, with an owner only if the run itself has noted that it is one of the Hub.

    Nobody can tell "data/photos" from a name on the Hub any more.
    """
    dataset = recipe.get("dataset")
    if not dataset or dataset == evaluated_on:
        return dataset
    return dataset_name(str(dataset)).rpartition("/")[2]


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold the fields of a recipe, got {fields!r:.80}.")
    return fields
