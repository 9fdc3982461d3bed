# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A model for a dataset: from a preset, or from pretrained weights."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from ..models.configuration_base import check_field_names
from ..registration import MODEL_CLASSES
from ..saved_models import check_finite, is_preset, preset_config, presets, read_config, reading
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
        task: "image-classification" or "semantic-segmentation".
        class_names: Names of the classes in the order of their ids.
        image_size: Side in pixels of the images that a preset's position embeddings are made for. Default: the
            preset's. Pretrained models keep theirs.
        **fields: Other fields of the config to set, such as `drop_path_rate`.

    Raises:
        ValueError: `task` or a field is unknown, or the pretrained weights don't fit their own config.
        OSError: `model` is neither a preset nor a model.
    """
    auto_class = find_task(task).auto_class
    check_fields(model, fields)
    names = {"id2label": dict(enumerate(class_names))}  # the config derives label2id
    if not is_preset(model):
        with _naming(model):
            return _pretrained(model, auto_class, names, fields)
    if image_size is not None:
        fields["image_size"] = image_size
    return auto_class.from_config(preset_config(model, **names, **fields))


def check_fields(model: str, fields: Iterable[str]) -> None:
    """Finds out, by its config alone, whether a preset or saved model has these fields.

    Raises:
        ValueError: It has not; the message names them and the nearest ones, or those that it has.
        OSError: `model` is neither a preset nor a model.
    """
    check_field_names(type(config_of(model)), fields)


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


def _pretrained(model: str, auto_class: type, names: dict, fields: dict) -> PreTrainedModel:
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True, "trust_remote_code": False}
    with reading("weights", model):
        pretrained, loading = auto_class.from_pretrained(model, **options, **names, **fields)
    heads = head_prefixes(pretrained)
    lost = [name for name, *_ in loading["mismatched_keys"] if not name.startswith(heads)]
    if lost:
        raise ValueError(f"The weights of {model!r} don't fit its own config: {lost} have other shapes.")
    begins_anew = (*heads, "feature_norms.", f"{pretrained.base_model_prefix}.pooler.")
    missing = [name for name in loading["missing_keys"] if not name.startswith(begins_anew)]
    if missing and type(pretrained.config) in MODEL_CLASSES:
        raise ValueError(
            f"The weights of {model!r} are not all there: {len(missing)} are missing, such as {min(missing)}."
        )
    check_finite(pretrained.state_dict().items(), model)
    return pretrained
