# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What is in a folder with a model, and whether it is fit to be published."""

import math
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from ..files import read_json
from ..plain_yaml import read_yaml
from ..saved_models import (
    check_finite,
    check_weights,
    class_and_config,
    load_image_processor,
    read_weights,
    weight_files,
)
from ..tasks import Recipe
from ..tasks.fields import fields_from
from .cards import checked_metrics, dataset_name, figures_of


# Weights, and what says where some are, that others may load in place of those that are checked.
_WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model*.bin.index.json",
    "*.h5",
    "*.msgpack",
    "*.gguf",
    "adapter_config.json",
    "adapter_model.bin",
)


def check_hub_folder(folder: Path) -> None:
    """That all is there with which others load the model, no other weights, and nothing that lies elsewhere."""
    check_model_folder(folder)
    _check_no_others(folder)
    inside = folder.resolve()
    outside = [path for path in uploaded_files(folder).values() if not path.resolve().is_relative_to(inside)]
    if outside:
        raise ValueError(
            f"{outside[0]} is a link to {outside[0].resolve()}, which would be uploaded: put the file itself into the "
            "folder, or remove the link."
        )
    code = {f"{name.partition('.')[0]}.py" for name in [*_auto_map(folder).values(), *_processor_code(folder)]}
    missing = [name for name in ("README.md", *sorted(code)) if not (folder / name).is_file()]
    missing += [] if _auto_map(folder) else ["auto_map in config.json"]
    if missing:
        raise FileNotFoundError(
            f"{folder} must be a folder of save_for_hub, but it lacks {', '.join(missing)}. `hf-gpvit push` adds what "
            "a folder of save_pretrained lacks."
        )


def _check_no_others(folder: Path) -> None:
    """That what others load from the folder are the weights that were checked."""
    checked = (*weight_files(folder), SAFE_WEIGHTS_INDEX_NAME)
    others = sorted(path.name for kind in _WEIGHTS for path in folder.glob(kind) if path.name not in checked)
    if others:
        raise ValueError(
            f"{folder} has {others[0]} beside the weights that were checked ({checked[0]}), and would publish both: "
            "remove what is not meant."
        )
    named = read_json(folder / "config.json").get("transformers_weights")
    if named is not None:
        raise ValueError(f"{folder / 'config.json'} must have no transformers_weights, got {named!r:.80}.")


def uploaded_files(folder: Path) -> dict[str, Path]:
    """All files by their names in the repository, but for those whose names begin with a dot."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in files.items() if not any(part[0] == "." for part in name.split("/"))}


def check_model_folder(folder: Path) -> None:
    """That config, weights and image processor are there, can be used, and the weights are all of the model's."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    names = ["config.json", "preprocessor_config.json", *weight_files(folder)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        hint = f" Do you mean {folder / 'best'}?" if (folder / "best/config.json").is_file() else ""
        raise FileNotFoundError(f"{folder} must hold a model and its image processor: no {', '.join(missing)}.{hint}")
    for name in names[:2]:
        read_json(folder / name)
    check_weights(folder, *class_and_config(folder))
    check_finite(read_weights(folder), folder)
    load_image_processor(folder)


def is_hub_folder(folder: Path) -> bool:
    return (folder / "README.md").is_file() and bool(_auto_map(folder))


def _auto_map(folder: Path) -> dict[str, str]:
    config = folder / "config.json"
    auto_map = read_json(config).get("auto_map") or {} if config.is_file() else {}
    if not isinstance(auto_map, dict) or not all(isinstance(name, str) for name in auto_map.values()):
        raise ValueError(f"auto_map in {config} must be an object of names of classes, got {auto_map!r:.80}.")
    return auto_map


def _processor_code(folder: Path) -> list[str]:
    """The classes of an image processor that is none of transformers' own, as its `auto_map` names them by backend."""
    auto_map = read_json(folder / "preprocessor_config.json").get("auto_map")
    classes = auto_map.get("AutoImageProcessor") if isinstance(auto_map, dict) else None
    names = classes.values() if isinstance(classes, dict) else [classes]
    return [name for name in names if isinstance(name, str)]


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
    return any(result.metric_type in _shown(folder) for result in results)


def _has_figures(folder: Path) -> bool:
    """Whether metrics.json has any that the card shows."""
    path = folder / "metrics.json"
    figures, _ = checked_metrics(path) if path.is_file() else ({}, {})
    return any(not math.isnan(figures.get(name, math.nan)) for name in _shown(folder))


def _metrics_of(folder: Path) -> str:
    return " or ".join(_shown(folder)) or "anything to show, and can't have any without a head"


def _shown(folder: Path) -> dict[str, str]:
    model_class, _ = class_and_config(folder)
    return figures_of(model_class)


def known_of_training(folder: Path, dataset: str | None, license: str | None) -> dict[str, Any]:
    """Arguments of `save_for_hub`."""
    metrics = folder / "metrics.json" if _has_figures(folder) else None
    recipe = folder / "recipe.yaml" if (folder / "recipe.yaml").is_file() else None
    _, origin = checked_metrics(metrics) if metrics else ({}, {})
    fields = _known_fields(recipe) if recipe else {}
    dataset = dataset or _trained_on(fields, origin.get("dataset"))
    if metrics and not dataset and "dataset" not in origin:
        raise ValueError(
            f"Neither metrics.json nor a recipe.yaml in {folder} says on what the model was evaluated: give it as "
            "dataset."
        )
    license = license or fields.get("hub_license") or "apache-2.0"
    return {"dataset": dataset, "license": license, "metrics": metrics, "recipe": recipe}


def _known_fields(recipe: Path) -> dict[str, str]:
    """What a recipe of any task says of dataset and licence."""
    written = read_yaml(recipe)
    try:
        return fields_from(Recipe, {name: written.get(name) for name in ("dataset", "hub_license")})
    except ValueError as error:
        raise ValueError(f"{recipe}: {error}") from error


def _trained_on(recipe: dict[str, str], evaluated_on: str | None) -> str | None:
    """The recipe's dataset, with an owner only if the run itself has noted that it is one of the Hub.

    Nobody can tell "data/photos" from a name on the Hub any more.
    """
    dataset = recipe.get("dataset")
    if not dataset or dataset == evaluated_on:
        return dataset
    return dataset_name(dataset).rpartition("/")[2]
