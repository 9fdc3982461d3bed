# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration of the pyramid that GPViT and a ViT-Adapter make for detectors."""

from copy import deepcopy
from dataclasses import fields
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_base import MAX_NUMBER, MAX_WIDTH
from .configuration_gpvit import GPViTConfig


STAGE_FIELDS = ("stage_names", "out_features", "out_indices")

# Of the configs whose files any of them reads.
RELATED_TYPES = ("gpvit", "gpvit_adapter", "gpvit_detection")

_NANO = {
    "num_deformable_heads": 4,
    "interaction_indexes": [[0, 1], [2, 3], [4, 4], [5, 5]],
    "spatial_prior_hidden_size": 16,
}


def adapter_presets() -> dict[str, dict[str, Any]]:
    """GPViT's presets with the stochastic depth of detectors (the official configs of the 1x schedule)."""
    rates = {"gpvit-l1": 0.1, "gpvit-l2": 0.1, "gpvit-l3": 0.1, "gpvit-l4": 0.2, "gpvit-nano": 0.0}
    presets = {name: GPViTConfig._presets[name] | {"drop_path_rate": rate} for name, rate in rates.items()}
    presets["gpvit-nano"] |= _NANO
    return presets


@strict
class GPViTAdapterConfig(GPViTConfig):
    """Configuration of [`GPViTAdapterBackbone`]: GPViT with a ViT-Adapter (https://arxiv.org/abs/2205.08534).

    The fields are those of [`GPViTConfig`], and these. The stages are `"stage1"` to `"stage4"`, maps at strides 4, 8,
    16 and 32. The folder of any other GPViT model will do too; what its file lacks is as in the preset with as many
    channels and layers, where there is one.

    Args:
        interaction_indexes (`list[list[int]]`, *optional*):
            First and last of the layers between the injector and the extractor of each interaction; all layers in
            their order. By default the four quarters of `num_hidden_layers`.
        num_deformable_heads (`int`, *optional*, defaults to 6):
            Heads of the deformable attention; divides `hidden_size`.
        num_deformable_points (`int`, *optional*, defaults to 4):
            Points that each head samples on each level.
        num_extra_extractors (`int`, *optional*, defaults to 2):
            Further extractors after the last interaction.
        spatial_prior_hidden_size (`int`, *optional*, defaults to 64):
            Channels of the convolutional stem beside GPViT; the coarser maps have two and four times as many.
        adapter_mlp_ratio (`float`, *optional*, defaults to 0.25):
            Width of the feed-forward networks of extractors in units of `hidden_size`.
        layer_scale_init_value (`float`, *optional*, defaults to 0.0):
            What injectors are multiplied with at first: with 0 the adapter leaves GPViT as it is.
        out_features (`list[str]`, *optional*):
            Stages that the backbone returns: all four, or without `"stage1"`, which is not built then. `out_indices`
            says the same by index.

    Raises:
        StrictDataclassError (huggingface_hub): a field has a wrong type, or fields contradict each other.
        ValueError: unknown stages in `out_features` or `out_indices`.
    """

    model_type = "gpvit_adapter"
    _presets: ClassVar[dict[str, dict[str, Any]]] = adapter_presets()

    interaction_indexes: list[list[int]] | tuple[tuple[int, int], ...] | None = None
    num_deformable_heads: int = 6
    num_deformable_points: int = 4
    num_extra_extractors: int = 2
    spatial_prior_hidden_size: int = 64
    adapter_mlp_ratio: float | int = 0.25
    layer_scale_init_value: float | int = 0.0

    @classmethod
    def get_config_dict(cls, *args, **kwargs):
        config_dict, kwargs = super().get_config_dict(*args, **kwargs)
        return cls._as_own(config_dict), kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        # what is chosen goes in at once, since other fields follow from it and are checked with it
        own = {field.name for field in fields(cls)} - {field.name for field in fields(PreTrainedConfig)}
        chosen = {name: value for name, value in kwargs.items() if name in own}
        return super().from_dict(cls._as_own(config_dict) | chosen, **kwargs)

    @classmethod
    def _as_own(cls, config_dict: dict[str, Any]) -> dict[str, Any]:
        """The file of a related model as one of this type."""
        model_type = config_dict.get("model_type")
        if model_type == cls.model_type or model_type not in RELATED_TYPES:
            return config_dict
        # the stages of a classifier are layers
        foreign = ("auto_map", *(STAGE_FIELDS if model_type == GPViTConfig.model_type else ()))
        kept = {name: value for name, value in config_dict.items() if name not in foreign}
        return cls._like_preset(kept) | kept | {"model_type": cls.model_type}

    @classmethod
    def _like_preset(cls, config_dict: dict[str, Any]) -> dict[str, Any]:
        """Fields of the preset with as many channels and layers; none where there is no such preset."""
        size = [config_dict.get(name, getattr(cls, name)) for name in ("hidden_size", "num_hidden_layers")]
        for preset in cls._presets.values():
            if [preset["hidden_size"], preset.get("num_hidden_layers", cls.num_hidden_layers)] == size:
                return deepcopy(preset)
        return {}

    def __post_init__(self, **kwargs):
        if self.interaction_indexes is None:
            ends = [self.num_hidden_layers * quarter // 4 for quarter in range(5)]
            quarters = zip(ends, ends[1:], strict=False)
            self.interaction_indexes = [[first, end - 1] for first, end in quarters if first < end]
        super().__post_init__(**kwargs)

    def _set_own_stages(self, kwargs: dict[str, Any]) -> None:
        stage_names = ["stem", "stage1", "stage2", "stage3", "stage4"]
        self._set_stages(stage_names, stage_names[1:], kwargs)

    def validate_architecture(self):
        """Part of the validation by `@strict`: ranges, and relations between fields."""
        super().validate_architecture()
        self._require_at_most(MAX_WIDTH, "spatial_prior_hidden_size")
        self._require_at_most(MAX_NUMBER, "num_deformable_points", "num_extra_extractors", "adapter_mlp_ratio")
        heads = self.num_deformable_heads
        self._require(
            "num_deformable_heads",
            heads >= 1 and self.hidden_size % heads == 0,
            f"a divisor of hidden_size={self.hidden_size}",
        )
        for field in ("num_deformable_points", "spatial_prior_hidden_size"):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        self._require("num_extra_extractors", self.num_extra_extractors >= 0, "at least 0")
        self._require(
            "adapter_mlp_ratio", self.adapter_mlp_ratio * self.hidden_size >= 1, f"at least 1 / {self.hidden_size}"
        )
        interactions = self.interaction_indexes
        are_pairs = all(len(pair) == 2 and pair[0] <= pair[1] for pair in interactions)
        begins = [*(pair[0] for pair in interactions), self.num_hidden_layers] if are_pairs else []
        self._require(
            "interaction_indexes",
            are_pairs and begins == [0, *(last + 1 for _, last in interactions)],
            f"(first, last) layers that follow each other from 0 to {self.num_hidden_layers - 1}",
        )
        self._require("out_features", "stem" not in self.out_features, "stages of stage1 to stage4")


__all__ = ["GPViTAdapterConfig"]
