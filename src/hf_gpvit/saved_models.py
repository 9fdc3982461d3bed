# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The one door to saved models: which there are, of which class and task one is, and loading it with all checks.

A model is a folder or a name on the Hub. No code in it is ever run.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from PIL import Image
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)

from .ablations import VARIANTS
from .data.image_processors import MAX_PIXEL_VALUE, check_image_processor
from .files import one_line, read_json
from .registration import FAMILIES, MODEL_CLASSES
from .tasks import TASKS, task_called_by


AUTO_CLASSES = {name: task.auto_class for name, task in TASKS.items()}

# Types that layers compute in, as safetensors names them.
_FLOATS = ("F64", "F32", "F16", "BF16")


def presets() -> dict[str, type[PreTrainedConfig]]:
    """The class of the config by the name of each preset, of classifiers and segmentors; without variants."""
    return {name: config_class for config_class in FAMILIES for name in config_class.presets()}


def is_preset(name: str) -> bool:
    """Whether it names a preset, or a variant of `hf_gpvit.ablations`."""
    return name in VARIANTS or name in presets()


def preset_config(name: str, config_class: type[PreTrainedConfig] | None = None, **fields: Any) -> PreTrainedConfig:
    """The config of a preset, or of a variant of `hf_gpvit.ablations`.

    Args:
        name: For which `is_preset` holds.
        config_class: Such as that of detectors. Default: that of classifiers.
        **fields: Fields of the config to set.

    Raises:
        ValueError: A field is unknown, or its value not valid.
    """
    if name in VARIANTS:
        found = VARIANTS[name]
        return (config_class or found.config_class).from_preset(found.preset, **found.fields | fields)
    return (config_class or presets()[name]).from_preset(name, **fields)


def read_config(model: str | os.PathLike) -> PreTrainedConfig:
    """The config of a saved model.

    Raises:
        OSError: There is none, or it is no JSON.
        ValueError: It is not one of a model that transformers knows, or a field is wrong; the message names it.
    """
    with reading("config.json", model):
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    names = config.architectures or []
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"The config.json of {model} can't be used: architectures must be a list, got {names!r:.80}.")
    return config


def class_and_config(model: str | os.PathLike) -> tuple[type[PreTrainedModel], PreTrainedConfig]:
    """Class and config of a saved model of this package.

    Raises:
        OSError, ValueError: As `read_config`, or the model is of another package.
    """
    config = read_config(model)
    model_class = own_class(config)
    if model_class is None:
        raise ValueError(
            f"{model} must hold a model of this package, but its config.json names {config.architectures or []}."
        )
    return model_class, config


def own_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The first class of this package that a config names, if it does."""
    classes = {cls.__name__: cls for cls in MODEL_CLASSES.get(type(config), {}).values()}
    return next((classes[name] for name in config.architectures or [] if name in classes), None)


def class_for(config_class: type[PreTrainedConfig], auto_class: type) -> type[PreTrainedModel] | None:
    """The class of this package that an Auto class means for models with such a config, if there is one.

    That of a detector is found for the config of a trunk, too: its own config is made of it, or of the preset.
    """
    families = ((own, classes) for own, classes in MODEL_CLASSES.items() if issubclass(own, config_class))
    return next((classes[auto_class] for _, classes in families if auto_class in classes), None)


def auto_class_of(model_class: type[PreTrainedModel]) -> type | None:
    """The Auto class that loads models of a class of this package; None of others."""
    classes = MODEL_CLASSES.get(model_class.config_class, {})
    return next((auto_class for auto_class, cls in classes.items() if cls is model_class), None)


def task_of(model: str | os.PathLike, settings: Any = None) -> str:
    """The task of a saved model, such as "image-classification": a key of `hf_gpvit.tasks.TASKS`.

    Args:
        model: Folder or Hub name; only its config is read.
        settings: How it shall see a picture, to be checked. Default: as `pipeline` does.

    Raises:
        OSError: There is no such model.
        ValueError: Its config is broken, it has another task, or `settings` are those of another task.
    """
    try:
        architectures = read_config(model).architectures or []
    except OSError as error:
        raise OSError(f"model must be the folder or Hub name of a model, got {str(model)!r}: {error}") from error
    task = next(filter(None, map(task_called_by, architectures)), None)
    if task is None:
        endings = [task.class_ending for task in TASKS.values()]
        raise ValueError(f"model must be one of {', '.join(endings)}, but {model} has architectures {architectures}.")
    if settings is not None and type(settings) is not task.settings_class:
        expected = task.settings_class.__name__ if task.settings_class else "None"
        raise ValueError(f"settings must be {expected}, since {model} is for {task.name}, got {settings}.")
    return task.name


def load_model(model: str | os.PathLike, task: str) -> PreTrainedModel:
    """A saved model with all of its weights, in eval mode.

    Args:
        model: Folder or Hub name.
        task: Key of `hf_gpvit.tasks.TASKS`.

    Raises:
        OSError: There are no weights.
        ValueError: They are broken, not finite, or not those that the config describes: some would be random.
    """
    _check_folder(Path(model))
    options = {"trust_remote_code": False, "output_loading_info": True}
    with reading("weights", model):
        loaded, loading = TASKS[task].auto_class.from_pretrained(model, **options)
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ValueError(
            f"The weights of {model} are not all there: {len(missing)} are missing, such as {missing[0]}."
        )
    check_finite(loaded.state_dict().items(), model)
    return loaded


def load_image_processor(model: str | os.PathLike) -> BaseImageProcessor:
    """The image processor that was saved with a model, after a try.

    Raises:
        OSError: There is none, or its file is no JSON; or the model has no config.
        ValueError: It can't make a picture into numbers, or into other channels than the model takes; or one of its
            fields is out of range. The message names it.
    """
    with reading("preprocessor_config.json", model):
        image_processor = AutoImageProcessor.from_pretrained(model, trust_remote_code=False)
        check_image_processor(image_processor)
        found = _tried(image_processor)
    num_channels = getattr(read_config(model), "num_channels", None)
    if num_channels not in (None, found):
        raise ValueError(
            f"The image processor of {model} makes {found} channels of a picture, but its model takes {num_channels} "
            "(num_channels): pictures are read in RGB."
        )
    return image_processor


def _tried(image_processor: BaseImageProcessor) -> int:
    """Number of channels that it makes of a picture with black and white in it."""
    picture = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    pixel_values = image_processor(picture, return_tensors="pt")["pixel_values"]
    if not (isinstance(pixel_values, torch.Tensor) and pixel_values.dim() == 4 and len(pixel_values) == 1):
        raise ValueError("it doesn't make one picture (1, num_channels, height, width) of a picture.")
    if not (pixel_values.abs() <= MAX_PIXEL_VALUE).all():
        raise ValueError(f"it makes pixel values beyond {MAX_PIXEL_VALUE:g} or not finite.")
    return pixel_values.shape[1]


@contextmanager
def reading(part: str, model: str | os.PathLike) -> Iterator[None]:
    """Errors of transformers on one line, which says what of which model is not as it should be, and where it is.

    Raises:
        OSError: It is not there, or no JSON.
        ValueError: All else, since a wrong entry can break transformers anywhere.
    """
    where = str(model) if os.path.exists(model) else f"{model} ({constants.ENDPOINT})"
    try:
        yield
    except OSError as error:
        raise OSError(f"The {part} of {where} can't be read: {one_line(error)}") from error
    except Exception as error:
        raise ValueError(f"The {part} of {where} can't be used: {one_line(error)}") from error


def _check_folder(folder: Path) -> None:
    """What transformers finds out late, or not at all; of models of this package in safetensors files."""
    config = read_config(folder) if folder.is_dir() else None
    model_class = config and own_class(config)
    if model_class and any((folder / name).is_file() for name in weight_files(folder)):
        check_weights(folder, model_class, config)


# --- weights in a folder, before transformers loads them, which leaves what is missing at random


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files that a folder has, or should have.

    Raises:
        ValueError: The index of several files is broken, or names files elsewhere; or a single file is there too,
            which `from_pretrained` would read without a word about the others.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if not index.is_file():
        return [single.name]
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{index} must say in weight_map which file has which weights, but it has none.")
    elsewhere = [name for name in names.values() if not isinstance(name, str) or Path(name).name != name]
    if elsewhere:
        raise ValueError(f"{index} must name files beside it in weight_map, got {elsewhere[0]!r}.")
    if single.is_file():
        raise ValueError(
            f"{folder} has the weights twice, in {single.name} and in the files of {index.name}: remove those "
            "that are not meant."
        )
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


def check_same(folder: Path, model: PreTrainedModel) -> None:
    """Raises a ValueError unless a model that was loaded from `folder` has the weights of the safetensors files in it.

    Others may be there too, such as distributed checkpoints, which transformers would rather take.
    """
    loaded = model.state_dict()
    for name, value in read_weights(folder):
        if name in loaded and not loaded[name].equal(value.to(loaded[name])):
            raise ValueError(
                f"{folder} has {name} twice: what from_pretrained loads is not what is in {weight_files(folder)[0]}. "
                "Remove the weights that are not meant."
            )


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
    """Shape of each weight, and whether it is of floating-point numbers that layers compute in."""
    for name in file.keys():  # noqa: SIM118
        weight = file.get_slice(name)
        yield name, (list(weight.get_shape()), weight.get_dtype() in _FLOATS)


def _described(kind: tuple[list[int], bool] | None) -> str:
    if kind is None:
        return "missing"
    shape, is_float = kind
    return f"of shape {shape}" if is_float else f"of shape {shape} and of integers or 8-bit floats"
