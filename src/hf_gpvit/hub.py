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
"""Folders for the Hub: weights, config, image processor, model code and a card, loadable without this package."""

import copy
import inspect
import json
import math
import os
import shutil
from pathlib import Path

import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoBackbone,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
    BaseImageProcessor,
    PreTrainedModel,
)
from transformers.dynamic_module_utils import get_relative_import_files

from .data.image_processors import image_processor_for
from .extras import import_extra
from .files import atomic_folder, write_metrics
from .inference.modes import evaluating
from .registration import MODEL_CLASSES


# The Hub's names.
TASKS = {
    AutoModel: "image-feature-extraction",
    AutoBackbone: "image-feature-extraction",
    AutoModelForImageClassification: "image-classification",
    AutoModelForSemanticSegmentation: "image-segmentation",
}

# What a card shows of an evaluation, in this order.
METRICS = {
    "image-feature-extraction": {},
    "image-classification": {"accuracy": "Top-1 accuracy", "top5_accuracy": "Top-5 accuracy"},
    "image-segmentation": {
        "mean_iou": "Mean IoU",
        "mean_accuracy": "Mean accuracy of the classes",
        "overall_accuracy": "Accuracy of the pixels",
    },
}

PAPERS = {"gpvit": "arxiv:2212.06795", "hrvit": "arxiv:2111.01236"}

# In an installed package, and in a clone.
_CARD_FOLDERS = (Path(__file__).parent / "hub_cards", Path(__file__).parents[2] / "hub_cards")


def save_for_hub(
    model: PreTrainedModel,
    folder: str | os.PathLike,
    image_processor: BaseImageProcessor | None = None,
    *,
    metrics: dict[str, float | None] | str | os.PathLike | None = None,
    recipe: str | os.PathLike | None = None,
    dataset: str | None = None,
    license: str = "apache-2.0",
    max_shard_size: int | str = "5GB",
    model_name: str | None = None,
) -> Path:
    """Saves all that a repository on the Hub needs: it then loads with this package, and without it as remote code.

    The folder gets model.safetensors (several where it is larger than `max_shard_size`), config.json,
    preprocessor_config.json, the model's Python files, README.md (see `model_card`), and metrics.json and recipe.yaml
    where they are given. It appears whole or not at all; a folder that was there before moves to `folder-1`, ....
    Nothing is uploaded. `model` and its config stay as they are, but for what `save_pretrained` notes in the config.

    Args:
        model: One of the package's models, neither compiled nor with adapters.
        image_processor: The one that feeds `model`. Default: `image_processor_for(model)`.
        metrics: Figures of an evaluation, or the JSON file with them (a run's metrics.json, `--output` of
            scripts/evaluate_model.py). Needs `dataset`.
        recipe: The run's recipe.yaml. It goes to the Hub as it is, with the paths in it.
        dataset: What the model was trained and evaluated on: the name on the Hub ("user/name") or any other.
        license: Licence of the weights, by the Hub's identifier. Default "apache-2.0", which is the code's.
        max_shard_size: Bytes, or a size such as "5GB" (default).
        model_name: Name on the Hub, such as "you/gpvit-l1", which the card's code loads. Default: the folder's name.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: There is no file `metrics` or `recipe`.
        ImportError: jinja2 is missing; the message says how to install it.
        NotADirectoryError: `folder` is a file.
        ValueError: `model` is none of the package's, or `metrics` are not those of its task, are no fractions, or
            come without `dataset`.
    """
    folder = Path(folder)
    image_processor = image_processor or image_processor_for(_checked(model))
    figures = None if metrics is None else _figures(metrics)
    card = model_card(
        model,
        image_processor,
        model_name=model_name or folder.absolute().name,
        metrics=figures,
        recipe=recipe,
        dataset=dataset,
        license=license,
    )
    with atomic_folder(folder) as new:
        model.save_pretrained(new, max_shard_size=max_shard_size)
        config = copy.deepcopy(model.config)
        config.auto_map = _auto_map(model)
        config.save_pretrained(new)
        for file in _code_files(model):
            shutil.copyfile(file, new / file.name)
        image_processor.save_pretrained(new)
        card.save(new / "README.md")
        if figures is not None:
            write_metrics(new / "metrics.json", figures)
        if recipe is not None:
            shutil.copyfile(recipe, new / "recipe.yaml")
    return folder


def model_card(
    model: PreTrainedModel,
    image_processor: BaseImageProcessor | None = None,
    *,
    model_name: str,
    metrics: dict[str, float | None] | str | os.PathLike | None = None,
    recipe: str | os.PathLike | None = None,
    dataset: str | None = None,
    license: str = "apache-2.0",
) -> ModelCard:
    """The card of a model, from the templates of its family and task in hub_cards/: text, metadata and results.

    Counts the multiply-adds of one image of the size that `image_processor` makes, by running the model on it.

    The arguments and errors are those of `save_for_hub`. Figures that `metrics` lack, or have as NaN or None, are left
    out; without any there are no results.
    """
    jinja2 = import_extra("jinja2", "hub")
    auto_class = _auto_class(_checked(model))
    task, family = TASKS[auto_class], model.config.model_type
    if recipe is not None and not Path(recipe).is_file():
        raise FileNotFoundError(f"recipe must be a YAML file, but there is no file {recipe}.")
    results = {} if metrics is None else _results(_figures(metrics), task, dataset)
    image_processor = image_processor or image_processor_for(model)
    height, width = _image_size(image_processor)
    title = model_name.rpartition("/")[2]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(next(folder for folder in _CARD_FOLDERS if folder.is_dir()), encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template("card.md").render(
        card_data=_card_data(title, task, family, results, dataset, license).to_yaml(),
        family=family,
        task=task,
        auto_class=auto_class.__name__,
        title=title,
        model_name=model_name,
        num_labels=model.config.num_labels,
        decode_head_type=model.config.decode_head_type,
        dataset=dataset,
        has_recipe=recipe is not None,
        results={METRICS[task][name]: value for name, value in results.items()},
        num_parameters=model.num_parameters(),
        gmac=_multiply_adds(model, height, width) / 1e9,
        height=height,
        width=width,
        license=license,
    )
    return ModelCard(text)


def _checked(model: PreTrainedModel) -> PreTrainedModel:
    classes = [model_class for models in MODEL_CLASSES.values() for model_class in models.values()]
    if type(model) not in classes:
        raise ValueError(
            f"model must be one of {', '.join(model_class.__name__ for model_class in classes)}, as it was before it "
            f"was compiled or got adapters, got {type(model).__name__}."
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError("model must have no adapters, since only they would be saved: merge them first.")
    return model


def _auto_class(model: PreTrainedModel) -> type:
    return next(auto_class for auto_class, cls in MODEL_CLASSES[type(model.config)].items() if cls is type(model))


def _auto_map(model: PreTrainedModel) -> dict[str, str]:
    """All Auto classes, since `save_pretrained` on its own would name that of `model` only."""
    classes = {auto_class.__name__: cls for auto_class, cls in MODEL_CLASSES[type(model.config)].items()}
    classes = {"AutoConfig": type(model.config)} | classes
    return {name: f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}" for name, cls in classes.items()}


def _code_files(model: PreTrainedModel) -> list[Path]:
    """The file that defines `model`, and all that it imports of ours."""
    file = inspect.getfile(type(model))
    return [Path(path) for path in {file, *get_relative_import_files(file)}]


def _figures(metrics: dict[str, float | None] | str | os.PathLike) -> dict[str, float]:
    """Checked, with NaN for None."""
    if not isinstance(metrics, dict):
        path = Path(metrics)
        if not path.is_file():
            raise FileNotFoundError(f"metrics must be figures or a JSON file, but there is no file {path}.")
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"metrics must be a JSON file, but {path} is none: {error}") from error
        if not isinstance(metrics, dict):
            raise ValueError(f"metrics must be a JSON file with an object of figures, but {path} has {metrics!r:.80}.")
    figures = {name: math.nan if value is None else value for name, value in metrics.items()}
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"metrics must be numbers, but {name} is {value!r}.")
    return figures


def _results(figures: dict[str, float], task: str, dataset: str | None) -> dict[str, float]:
    """What the card shows of the figures."""
    names = [name for name in METRICS[task] if name in figures]
    if not names:
        valid = ", ".join(METRICS[task]) or "left out for a model without a head"
        raise ValueError(f"metrics must be those of the model's task ({valid}), got {', '.join(figures) or 'none'}.")
    if not dataset:
        raise ValueError("metrics need the dataset that they were measured on: give its name as dataset.")
    results = {name: figures[name] for name in names if not math.isnan(figures[name])}
    for name, value in results.items():
        if not 0 <= value <= 1:
            raise ValueError(f"metrics must be fractions between 0 and 1, but {name} is {value}.")
    return results


def _card_data(
    title: str, task: str, family: str, results: dict[str, float], dataset: str | None, license: str
) -> ModelCardData:
    evaluations = [
        EvalResult(
            task_type=task,
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type=name,
            metric_name=METRICS[task][name],
            metric_value=value,
        )
        for name, value in results.items()
    ]
    return ModelCardData(
        license=license,
        library_name="transformers",
        pipeline_tag=task,
        tags=[family, PAPERS[family]],
        # the Hub takes others for broken links
        datasets=[dataset] if dataset and "/" in dataset else None,
        metrics=list(results) or None,
        model_name=title if evaluations else None,
        eval_results=evaluations or None,
    )


def _image_size(image_processor: BaseImageProcessor) -> tuple[int, int]:
    """Height and width of what the image processor makes of a square image."""
    is_cropped = getattr(image_processor, "do_center_crop", False)
    size = image_processor.crop_size if is_cropped else image_processor.size
    side = size.get("shortest_edge")
    return (side, side) if side else (size["height"], size["width"])


def _multiply_adds(model: PreTrainedModel, height: int, width: int) -> float:
    """Of convolutions, matrix products and attention."""
    # the counter follows gradients, which it can't in inference mode
    with evaluating(model), torch.inference_mode(False), torch.no_grad():
        pixel_values = torch.zeros(1, model.config.num_channels, height, width, dtype=model.dtype, device=model.device)
        with FlopCounterMode(display=False) as counter:
            model(pixel_values)
    return counter.get_total_flops() / 2
