# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders for the Hub: weights, config, image processor, model code and a card, loadable without this package."""

import os
import shutil
from pathlib import Path

from transformers import BaseImageProcessor, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ..files import atomic_folder, check_replaceable, write_metrics
from ..tasks import image_processor_for
from .cards import checked_metrics, checked_model, model_card
from .onnx_export import export_onnx


METRICS, RECIPE, ONNX = "metrics.json", "recipe.yaml", "onnx/model.onnx"

# What `save_for_hub` writes always.
_FILES = ("config.json", "preprocessor_config.json", "README.md")
# What `save_for_hub` may write or not, as patterns. In a repository it goes with the commit that brings a folder
# without it: weights in one file would be preferred to newer ones in several, and the code may be another family's.
OPTIONAL_FILES = (
    SAFE_WEIGHTS_NAME,
    SAFE_WEIGHTS_NAME.replace(".", "-*."),
    SAFE_WEIGHTS_INDEX_NAME,
    METRICS,
    RECIPE,
    ONNX,
    "modeling_*.py",
    "configuration_*.py",
    "image_processing_*.py",
    *(file.name for file in (Path(__file__).parents[1] / "models").glob("[!_]*.py")),
)


def save_for_hub(
    model: PreTrainedModel,
    folder: str | os.PathLike,
    image_processor: BaseImageProcessor | None = None,
    *,
    metrics: dict[str, float | str | None] | str | os.PathLike | None = None,
    recipe: str | os.PathLike | None = None,
    dataset: str | None = None,
    license: str = "apache-2.0",
    max_shard_size: int | str = "5GB",
    model_name: str | None = None,
    onnx: bool = False,
    overwrite: bool = False,
) -> Path:
    """Saves all that a repository on the Hub needs: it then loads with this package, and without it as remote code.

    The folder gets model.safetensors (several where it is larger than `max_shard_size`), config.json,
    preprocessor_config.json, the model's Python files, README.md (see `model_card`), and metrics.json and recipe.yaml
    where they are given; with `onnx`, onnx/model.onnx too. It appears whole or not at all; a model that was there
    before moves to `folder-1`, ..., and a folder with anything else in it is refused. Nothing is uploaded. `model` and
    its config stay as they are, but for what `save_pretrained` notes in the config.

    Args:
        model: One of the package's models, neither compiled nor with adapters.
        image_processor: The one that feeds `model`. Default: `image_processor_for(model)`.
        metrics: Figures of an evaluation, or the JSON file with them (a run's metrics.json, `--output` of
            `hf-gpvit evaluate`). They may say themselves what they were measured on ("dataset", "split") and from
            what the model was fine-tuned ("base_model"). Without "dataset" they need `dataset`.
        recipe: The run's recipe.yaml. It goes to the Hub as it is, with the paths in it.
        dataset: What the model was trained on, and evaluated on if `metrics` don't say: the name on the Hub
            ("user/name") or any other; of a path the last part is taken.
        license: Licence of the weights, by the Hub's identifier. Default "apache-2.0", which is the code's.
        max_shard_size: Bytes, or a size such as "5GB" (default).
        model_name: Name on the Hub, such as "you/gpvit-l1", which the card's code loads. Default: the folder's name.
        onnx: Also write onnx/model.onnx, by `export_onnx`. Takes seconds to minutes. Needs the extra "onnx".
        overwrite: Move aside whatever is at `folder`. Default: only a folder of a model, with nothing else in it.

    Returns:
        The folder.

    Raises:
        FileExistsError: `folder` is there, and holds something else than a model.
        FileNotFoundError: There is no file `metrics` or `recipe`.
        ImportError: jinja2, or with `onnx` onnx or onnxscript, is missing; the message says how to install it.
        NotADirectoryError: `folder` is a file.
        RuntimeError: The ONNX file computes something else than `model`.
        ValueError: `model` is none of the package's, or `metrics` are not those of its task, are no fractions, or
            come without a dataset.
    """
    check_replaceable(folder, overwrite, model_files)
    folder = Path(folder)
    image_processor = image_processor or image_processor_for(checked_model(model))
    figures, origin = ({}, {}) if metrics is None else checked_metrics(metrics)
    card = model_card(
        model,
        image_processor,
        model_name=model_name or folder.absolute().name,
        metrics=None if metrics is None else figures | origin,
        recipe=recipe,
        dataset=dataset,
        license=license,
        onnx=onnx,
    )
    with atomic_folder(folder, overwrite, model_files) as new:
        if onnx:
            export_onnx(model, new / ONNX)
        model.save_pretrained(new, max_shard_size=max_shard_size)
        image_processor.save_pretrained(new)
        card.save(new / "README.md")
        if metrics is not None:
            write_metrics(new / METRICS, figures | origin)
        if recipe is not None:
            shutil.copyfile(recipe, new / RECIPE)
    return folder


def model_files(folder: Path) -> tuple[str, ...]:
    """Names and patterns of what this package leaves in the folder of a model; nothing where there is no model."""
    return (*_FILES, *OPTIONAL_FILES) if (folder / "config.json").is_file() else ()
