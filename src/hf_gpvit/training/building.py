# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A model for a dataset: from a preset, or from pretrained weights."""

from collections.abc import Sequence
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel

from ..registration import MODEL_CLASSES
from ..saved_models import presets, read_config
from ..tasks import find_task
from ..weights import check_finite


HEADS = ("classifier.", "decode_head.", "auxiliary_head.")


def build_model(
    model: str, task: str, class_names: Sequence[str], image_size: int | None = None, **fields: Any
) -> PreTrainedModel:
    """A model of `model` for `task` and these classes.

    Args:
        model: Preset ("gpvit-nano": random weights), or folder or Hub name of a pretrained model of any task, whose
            head is kept where it fits.
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
    names = {"id2label": dict(enumerate(class_names))}  # the config derives label2id
    if model not in presets():
        try:
            return _pretrained(model, auto_class, names, fields)
        except OSError as error:
            raise OSError(f"{model!r} is no preset ({', '.join(presets())}), and not to be loaded: {error}") from error
    config_class = presets()[model]
    _check_fields(model, config_class, fields)
    if image_size is not None:
        fields["image_size"] = image_size
    return auto_class.from_config(config_class.from_preset(model, **names, **fields))


def _check_fields(model: str, config: PreTrainedConfig | type[PreTrainedConfig], fields: dict) -> None:
    unknown = [name for name in fields if not hasattr(config, name)]
    if unknown:
        raise ValueError(f"The config of {model!r} has no {', '.join(unknown)}.")


def _pretrained(model: str, auto_class: type, names: dict, fields: dict) -> PreTrainedModel:
    config = read_config(model)
    _check_fields(model, config, fields)
    options = {"ignore_mismatched_sizes": True, "output_loading_info": True, "trust_remote_code": False}
    try:
        pretrained, loading = auto_class.from_pretrained(model, **options, **names, **fields)
    except SafetensorError as error:
        raise ValueError(f"The weights of {model!r} are broken: {error}") from error
    lost = [name for name, *_ in loading["mismatched_keys"] if not name.startswith(HEADS)]
    if lost:
        raise ValueError(f"The weights of {model!r} don't fit its own config: {lost} have other shapes.")
    begins_anew = (*HEADS, "feature_norms.", f"{pretrained.base_model_prefix}.pooler.")
    missing = [name for name in loading["missing_keys"] if not name.startswith(begins_anew)]
    if missing and type(config) in MODEL_CLASSES:
        raise ValueError(
            f"The weights of {model!r} are not all there: {len(missing)} are missing, such as {min(missing)}."
        )
    check_finite(pretrained.state_dict().items(), model)
    return pretrained
