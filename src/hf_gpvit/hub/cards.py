# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The model card: text, metadata and results from the templates in hub_cards/."""

import math
import os
from pathlib import Path, PureWindowsPath

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import BaseImageProcessor, PreTrainedModel

from ..costs import count_costs
from ..data.image_processors import size_after
from ..extras import import_extra
from ..files import read_json, shipped_folder
from ..registration import IMAGE_PROCESSORS, MODEL_CLASSES
from ..saved_models import auto_class_of
from ..tasks import image_processor_for, task_called_by


# What trunks and backbones, which have no task, do in the Hub's words.
FEATURE_EXTRACTION = "image-feature-extraction"

_GPVIT, _HRVIT = "arxiv:2212.06795", "arxiv:2111.01236"
PAPERS = {"gpvit": _GPVIT, "gpvit_ablation": _GPVIT, "hrvit": _HRVIT, "hrvit_ablation": _HRVIT, "hrnet_vit": _HRVIT}

# What metrics.json may say besides figures: of what they are, and from what the model was fine-tuned.
ORIGINS = ("dataset", "split", "base_model")


def model_card(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor | None = None,
    *,
    model_name: str,
    metrics: dict[str, float | str | None] | str | os.PathLike | None = None,
    recipe: str | os.PathLike | None = None,
    dataset: str | None = None,
    license: str = "apache-2.0",
    onnx: bool = False,
) -> ModelCard:
    """The card of a model, from the templates of its family and task in hub_cards/: text, metadata and results.

    Counts the multiply-adds of one image of the size that `image_processor` makes, by running the model on it.

    The arguments and errors are those of `save_for_hub`. Figures that `metrics` lack, or have as NaN or None, are left
    out; without any there are no results.
    """
    jinja2 = import_extra("jinja2", "hub")
    auto_class = auto_class_of(type(checked_model(model)))
    task, family = task_called_by(type(model).__name__), _family(model.config.model_type)
    pipeline, shown = task.pipeline if task else FEATURE_EXTRACTION, figures_of(type(model))
    if recipe is not None and not Path(recipe).is_file():
        raise FileNotFoundError(f"recipe must be a YAML file, but there is no file {recipe}.")
    figures, origin = ({}, {}) if metrics is None else checked_metrics(metrics)
    dataset = dataset and dataset_name(dataset)
    results = {} if metrics is None else _results(figures, shown)
    if metrics is not None and not origin.setdefault("dataset", dataset):
        raise ValueError("metrics need the dataset that they were measured on: give its name as dataset.")
    image_processor = image_processor or image_processor_for(model)
    height, width = size_after(image_processor)
    costs = count_costs(model, height, width)
    is_ours = isinstance(image_processor, tuple(IMAGE_PROCESSORS.values()))
    title = model_name.rpartition("/")[2]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped_folder("hub_cards"), encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("card.md").render(
        card_data=_card_data(title, pipeline, family, results, shown, origin, dataset, license).to_yaml(),
        family=family,
        task=task.name if task else FEATURE_EXTRACTION,
        auto_class=auto_class.__name__,
        title=title,
        model_name=model_name,
        config=model.config,
        code_needs="torch, torchvision and transformers" if is_ours else "torch and transformers",
        trusting=", trust_remote_code=True" if is_ours else "",
        dataset=dataset,
        origin=origin,
        has_recipe=recipe is not None,
        has_onnx=onnx,
        results={shown[name]: value for name, value in results.items()},
        num_parameters=model.num_parameters(),
        gmac=costs.macs / 1e9,
        memory=(costs.weight_bytes + costs.activation_bytes) / 2**20,
        precision=str(model.dtype).removeprefix("torch."),
        height=height,
        width=width,
        workload=task.workload(model.config) if task else "",
        license=license,
    )
    return ModelCard(text)


def checked_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model, if a folder for the Hub can be made of it."""
    classes = [model_class for models in MODEL_CLASSES.values() for model_class in models.values()]
    if type(model) not in classes:
        raise ValueError(
            f"model must be one of {', '.join(model_class.__name__ for model_class in classes)}, as it was before it "
            f"was compiled or got adapters, got {type(model).__name__}."
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError("model must have no adapters, since only they would be saved: merge them first.")
    return model


def figures_of(model_class: type[PreTrainedModel]) -> dict[str, str]:
    """The figures that the cards of models of this class show, in this order: what they are called there, by name."""
    task = task_called_by(model_class.__name__)
    return task.figures if task else {}


def checked_metrics(
    metrics: dict[str, float | str | None] | str | os.PathLike,
) -> tuple[dict[str, float], dict[str, str]]:
    """The figures, with NaN for None, and those of ORIGINS that are there."""
    if not isinstance(metrics, dict):
        path = Path(metrics)
        if not path.is_file():
            raise FileNotFoundError(f"metrics must be figures or a JSON file, but there is no file {path}.")
        metrics = read_json(path)
    origin = {name: metrics[name] for name in ORIGINS if metrics.get(name) is not None}
    for name, value in origin.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"metrics must have a name as {name}, but it is {value!r}.")
    if "dataset" in origin:
        origin["dataset"] = dataset_name(origin["dataset"])
    figures = {name: math.nan if value is None else value for name, value in metrics.items() if name not in ORIGINS}
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"metrics must be numbers, but {name} is {value!r}.")
    return figures, origin


def dataset_name(dataset: str) -> str:
    """A name as it is, and of what can only be a path its last part: where it lay concerns nobody.

    What is on this disk doesn't matter: "you/photos" is a name on the Hub here.
    """
    path = PureWindowsPath(dataset)  # takes both kinds of slashes
    is_path = "\\" in dataset or dataset.count("/") > 1 or dataset.startswith(("/", ".", "~")) or path.drive
    return path.name if is_path or dataset.endswith("/") else dataset


def _results(figures: dict[str, float], shown: dict[str, str]) -> dict[str, float]:
    """What the card shows of the figures."""
    names = [name for name in shown if name in figures]
    if not names:
        valid = ", ".join(shown) or "left out for a model without a head"
        raise ValueError(f"metrics must be those of the model's task ({valid}), got {', '.join(figures) or 'none'}.")
    results = {name: figures[name] for name in names if not math.isnan(figures[name])}
    for name, value in results.items():
        if not 0 <= value <= 1:
            raise ValueError(f"metrics must be fractions between 0 and 1, but {name} is {value}.")
    return results


def _family(model_type: str) -> str:
    """What the template of a model's card is called: pyramids and detectors have that of their trunk."""
    return model_type if model_type in PAPERS else model_type.partition("_")[0]


def _card_data(
    title: str,
    pipeline: str,
    family: str,
    results: dict[str, float],
    shown: dict[str, str],
    origin: dict[str, str],
    dataset: str | None,
    license: str,
) -> ModelCardData:
    evaluations = [
        EvalResult(
            task_type=pipeline,
            dataset_type=origin["dataset"],
            dataset_name=origin["dataset"],
            dataset_split=origin.get("split"),
            metric_type=name,
            metric_name=shown[name],
            metric_value=value,
        )
        for name, value in results.items()
    ]
    return ModelCardData(
        license=license,
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=[family, PAPERS[family]],
        base_model=origin.get("base_model"),
        # the Hub takes others for broken links
        datasets=[dataset] if dataset and "/" in dataset else None,
        metrics=list(results) or None,
        model_name=title if evaluations else None,
        eval_results=evaluations or None,
    )
