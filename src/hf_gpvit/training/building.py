# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A model for a dataset: from a preset, or from pretrained weights."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..models.configuration_base import check_field_names
from ..registration import MODEL_CLASSES
from ..saved_models import check_finite, class_for, is_preset, own_class, preset_config, presets, read_config, reading
from ..tasks import find_task


# Heads of transformers' models, which don't say so.
USUAL_HEADS = ("classifier", "decode_head", "auxiliary_head")


def build_model(
    model: str, task: str, class_names: Sequence[str], image_size: int | None = None, **fields: Any
) -> PreTrainedModel:
    """A model of `model` for `task` and these classes.

    Args:
        model: Preset ("gpvit-nano") or variant of `hf_gpvit.ablations` ("l1-window-none"), with random weights; or
            folder or Hub name of a pretrained model of any task, whose head is kept where it fits.
        task: Key of `hf_gpvit.tasks.TASKS`.
        class_names: Names of the classes in the order of their ids.
        image_size: Side in pixels of the images that a preset's position embeddings are made for. Default: the
            preset's. Pretrained models keep theirs.
        **fields: Other fields of the config to set, such as `drop_path_rate`.

    Raises:
        ValueError: `task` or a field is unknown, there is no model of this family for the task, or the pretrained
            weights don't fit their own config.
        OSError: `model` is neither a preset nor a model.
    """
    check_fields(model, task, fields)
    names = {"id2label": dict(enumerate(class_names))}  # the config derives label2id
    model_class = _class_of(model, task)
    if not is_preset(model):
        with _naming(model):
            return _pretrained(model, model_class, names, fields)
    if image_size is not None:
        fields["image_size"] = image_size
    return find_task(task).auto_class.from_config(preset_config(model, model_class.config_class, **names, **fields))


def check_fields(model: str, task: str, fields: Iterable[str]) -> None:
    """Finds out, by its config alone, whether a preset or saved model has these fields when it is one for the task.

    Raises:
        ValueError: It has not; the message names them and the nearest ones, or those that it has. Or there is no model
            of this family for the task.
        OSError: `model` is neither a preset nor a model.
    """
    config_class = getattr(_class_of(model, task), "config_class", None)
    check_field_names(config_class or type(config_of(model)), fields)


def _class_of(model: str, task: str) -> type:
    """The class for the task of what a preset or saved model becomes; of another package's, the Auto class."""
    auto_class, config_class = find_task(task).auto_class, type(config_of(model))
    if config_class not in MODEL_CLASSES:
        return auto_class
    model_class = class_for(config_class, auto_class)
    if model_class is None:
        known = [name for name, family in presets().items() if class_for(family, auto_class)]
        raise ValueError(f"model={model!r} can't be for {task}; presets that can are {', '.join(known)}.")
    return model_class


def config_of(model: str) -> PreTrainedConfig:
    """The config of a preset or saved model; an OSError where `model` is neither."""
    if is_preset(model):
        return preset_config(model)
    with _naming(model):
        return read_config(model)


@contextmanager
def _naming(model: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{model!r} is no preset ({', '.join(presets())}), and not to be loaded: {error}") from error


def head_prefixes(model: PreTrainedModel) -> tuple[str, ...]:
    """How the names of the parameters of a model's heads begin."""
    return tuple(f"{name}." for name in getattr(model, "head_names", USUAL_HEADS))


def _pretrained(model: str, model_class: type, names: dict, fields: dict) -> PreTrainedModel:
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True, "trust_remote_code": False}
    with reading("weights", model):
        pretrained, loading = model_class.from_pretrained(model, **options, **names, **fields)
    heads = head_prefixes(pretrained)
    lost = [name for name, *_ in loading["mismatched_keys"] if not name.startswith(heads)]
    if lost:
        raise ValueError(f"The weights of {model!r} don't fit its own config: {lost} have other shapes.")
    begins_anew = (*heads, "feature_norms.", f"{pretrained.base_model_prefix}.pooler.")
    missing = [name for name in loading["missing_keys"] if not name.startswith(begins_anew)]
    missing = _expected_of(model, missing)
    if missing and type(pretrained.config) in MODEL_CLASSES:
        raise ValueError(
            f"The weights of {model!r} are not all there: {len(missing)} are missing, such as {min(missing)}."
        )
    check_finite(pretrained.state_dict().items(), model)
    return pretrained


def _expected_of(model: str, names: list[str]) -> list[str]:
    """Those weights that a saved model has by its own config, whatever they are part of: a trunk has no pyramid."""
    config = config_of(model)
    model_class = own_class(config) if names else None
    if model_class is None:
        return names
    with torch.device("meta"):
        known = model_class(config).state_dict().keys()
    ends = {name: name.split(".") for name in names}
    return [name for name, parts in ends.items() if any(".".join(parts[i:]) in known for i in range(len(parts)))]
