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
    initializer_range: float = 0.02
    drop_path_rate: float | int = 0.0
    decode_head_type: Literal["segformer", "upernet"] = "segformer"
    decoder_hidden_size: int | None = None
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
        return cls(**cls._presets[name] | kwargs)

    def __post_init__(self, **kwargs):
        if self.id2label is not None:
            # transformers leaves label2id empty or stale where only id2label is given
            self.label2id = {label: int(index) for index, label in self.id2label.items()}
        super().__post_init__(**kwargs)

    def _set_stages(self, stage_names: list[str], default: list[str], kwargs: dict[str, Any]) -> None:
        """Sets `stage_names`, and the output stages from `kwargs` or, where neither key is given, from `default`."""
        self.stage_names = stage_names
        if "out_features" not in kwargs and "out_indices" not in kwargs:
            kwargs["out_features"] = default
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )

    def validate_architecture(self):
        """Part of the validation by `@strict`: relations between fields, shared by the families."""
        super().validate_architecture()
        sizes = (self.image_size,) if isinstance(self.image_size, int) else self.image_size
        if len(sizes) > 2 or min(sizes) < 1:
            raise ValueError(f"image_size must be a side or (height, width) of at least 1, got {self.image_size}.")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be in [0, 1), got {self.drop_path_rate}.")
        if not 0 <= self.decoder_dropout_rate < 1:
            raise ValueError(f"decoder_dropout_rate must be in [0, 1), got {self.decoder_dropout_rate}.")
        for field in ("num_channels", "decoder_hidden_size", "auxiliary_hidden_size"):
            if (value := getattr(self, field)) is not None and value < 1:
                raise ValueError(f"{field} must be at least 1, got {value}.")
