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
"""Configuration that both model families share: presets, labels, backbone stages and decode heads."""

from copy import deepcopy
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin


@strict
class HighResolutionConfig(BackboneConfigMixin, PreTrainedConfig):
    """Base of [`GPViTConfig`] and [`HRViTConfig`].

    A subclass fills `_presets`, and calls `_set_stages` in its `__post_init__`.
    """

    _presets: ClassVar[dict[str, dict[str, Any]]] = {}

    num_channels: int = 3
    image_size: int | list[int] | tuple[int, int] = 224
    initializer_range: float | int = 0.02
    drop_path_rate: float | int = 0.0
    decode_head_type: Literal["segformer", "upernet"] = "segformer"
    decoder_hidden_size: int | dict[str, int] | None = None
    decoder_dropout_rate: float | int = 0.1
    use_auxiliary_head: bool = True
    auxiliary_hidden_size: int = 256
    auxiliary_loss_weight: float | int = 0.4
    semantic_loss_ignore_index: int = 255
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Names that [`from_preset`] takes."""
        return tuple(cls._presets)

    @classmethod
    def from_preset(cls, name: str, **kwargs):
        """The configuration of a published (or nano) variant; `kwargs` override its fields.

        Raises:
            ValueError: `name` is no preset of this family.
        """
        if name not in cls._presets:
            raise ValueError(f"Unknown preset {name!r}; {cls.__name__} has {', '.join(cls._presets)}.")
        return cls(**deepcopy(cls._presets[name]) | kwargs)

    def __post_init__(self, **kwargs):
        self._fill_label2id()
        super().__post_init__(**kwargs)

    def __setattr__(self, key, value):
        super().__setattr__(key, value)
        if key == "id2label":
            self._fill_label2id()

    def _fill_label2id(self) -> None:
        # transformers leaves label2id empty or stale where only id2label is given, at creation or afterwards
        if self.id2label is not None:
            self.label2id = {label: int(index) for index, label in self.id2label.items()}

    def _set_stages(self, stage_names: list[str], default: list[str], kwargs: dict[str, Any]) -> None:
        """Sets `stage_names`, and the output stages from `kwargs` or, where neither key is given, from `default`."""
        self.stage_names = stage_names
        for field in ("out_features", "out_indices"):
            if kwargs.get(field) is not None and len(kwargs[field]) == 0:
                raise ValueError(f"{field} must have at least one of the stages {stage_names}, got {kwargs[field]}.")
        if "out_features" not in kwargs and "out_indices" not in kwargs:
            kwargs["out_features"] = default
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )

    def validate_architecture(self):
        """Part of the validation by `@strict`: ranges, and relations between fields."""
        super().validate_architecture()
        sides = [self.image_size] * 2 if isinstance(self.image_size, int) else list(self.image_size)
        self._require("image_size", len(sides) == 2 and min(sides) >= 1, "a side or (height, width) of at least 1")
        for field in ("num_channels", "auxiliary_hidden_size"):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        sizes = self.decoder_hidden_size
        sizes = sizes if isinstance(sizes, dict) else {self.decode_head_type: sizes}
        heads = ("segformer", "upernet")
        self._require("decoder_hidden_size", set(sizes) <= set(heads), f"a width, or one for each of {heads}")
        self._require("decoder_hidden_size", all(size is None or size >= 1 for size in sizes.values()), "at least 1")
        for field in ("drop_path_rate", "decoder_dropout_rate"):
            self._require(field, 0 <= getattr(self, field) < 1, "in [0, 1)")
        for field in ("initializer_range", "auxiliary_loss_weight"):
            self._require(field, getattr(self, field) >= 0, "at least 0")

    def _require(self, field: str, is_valid: bool, valid: str) -> None:
        if not is_valid:
            raise ValueError(f"{field} must be {valid}, got {getattr(self, field)!r}.")
