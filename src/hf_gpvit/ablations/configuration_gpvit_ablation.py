# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration of the variants that GPViT's paper compares it with."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict

from ..models.configuration_base import MAX_NUMBER
from ..models.configuration_gpvit import GPViTConfig


LAYER_TYPES = (
    "lepe_attention",
    "window_attention",
    "shifted_window_attention",
    "full_attention",
    "convolution",
    "group_propagation",
)


@strict
class GPViTAblationConfig(GPViTConfig):
    """Configuration of GPViT's variants: other layers, other stems, other propagation between groups.

    The fields are those of [`GPViTConfig`], and these. The defaults are GPViT-L1, and the presets GPViT's.

    Args:
        layer_types (`list[str]`, *optional*):
            What each layer is: `"lepe_attention"`, `"window_attention"`, `"shifted_window_attention"`,
            `"full_attention"`, `"convolution"` or `"group_propagation"`. `group_layer_indices` follow from it. By
            default GPViT's: LePE layers, and GP Blocks at `group_layer_indices`.
        num_group_tokens (`list[int]`, *optional*, defaults to `(64, 32, 32, 16)`):
            Group tokens M of each GP Block; empty where there is none.
        window_size (`int`, *optional*, defaults to 7):
            Side in tokens of the windows of `"window_attention"` and `"shifted_window_attention"`. The latter's are
            moved by half of it, rounded down.
        use_closing_convolution (`bool`, *optional*, defaults to `True`):
            Whether layers with attention end with a depthwise convolution.
        patch_size (`int`, *optional*, defaults to 8):
            Stride of the stem; even with `stem_type` `"convolution"`.
        stem_type (`str`, *optional*, defaults to `"convolution"`):
            `"convolution"`, as GPViT's, or `"patch"`, one convolution of patches that don't overlap.
        use_class_token (`bool`, *optional*, defaults to `False`):
            Whether a learned token stands before those of the image, and becomes `pooler_output`; `pooling_type` has
            no effect then. All layers must be `"full_attention"`, without closing convolution.
        group_propagation_type (`str`, *optional*, defaults to `"mixer"`):
            What happens between grouping and ungrouping: `"mixer"`, `"attention"` (transformer layers on the groups,
            of `num_group_attention_heads` heads) or `"none"`.
        group_propagation_depth (`int`, *optional*, defaults to 1):
            Layers of propagation `"attention"`.
        use_group_propagation_mlp (`bool`, *optional*, defaults to `True`):
            Whether layers of propagation `"attention"` have a feed-forward network, of `group_channel_mlp_ratio`.
        decoder_input_scale (`int`, *optional*, defaults to 1):
            How much [`GPViTAblationForSemanticSegmentation`] enlarges the feature maps before its heads.

    Raises:
        StrictDataclassError (huggingface_hub): a field has a wrong type, or fields contradict each other; the message
            names the field, its value and what is valid.
        ValueError: unknown stages in `out_features` or `out_indices`.

    Example:

    ```python
    >>> from hf_gpvit.ablations import GPViTAblationConfig, GPViTAblationModel

    >>> config = GPViTAblationConfig.from_preset("gpvit-nano", layer_types=["window_attention"] * 6)
    >>> model = GPViTAblationModel(config)
    ```"""

    model_type = "gpvit_ablation"

    layer_types: list[str] | tuple[str, ...] | None = None
    window_size: int = 7
    use_closing_convolution: bool = True
    patch_size: int = 8
    stem_type: Literal["convolution", "patch"] = "convolution"
    use_class_token: bool = False
    group_propagation_type: Literal["mixer", "none", "attention"] = "mixer"
    group_propagation_depth: int = 1
    use_group_propagation_mlp: bool = True
    decoder_input_scale: int = 1

    def __post_init__(self, **kwargs: Any):
        self._require_at_most(MAX_NUMBER, "num_hidden_layers")
        if self.layer_types is None:
            indices = set(self.group_layer_indices)
            self.layer_types = [
                "group_propagation" if index in indices else "lepe_attention"
                for index in range(self.num_hidden_layers)
            ]
        else:
            self.group_layer_indices = [
                index for index, layer_type in enumerate(self.layer_types) if layer_type == "group_propagation"
            ]
        if not self.group_layer_indices:
            self.num_group_tokens = []
        super().__post_init__(**kwargs)

    def validate_layer_type(self):
        """Part of the validation by `@strict`, in the place of transformers', which knows other layers."""
        number = self.num_hidden_layers
        self._require(
            "layer_types",
            len(self.layer_types) == number and set(self.layer_types) <= set(LAYER_TYPES),
            f"one of {LAYER_TYPES} for each of the {number} layers (num_hidden_layers)",
        )

    def validate_architecture(self):
        """Part of the validation by `@strict`: ranges, and relations between fields."""
        super().validate_architecture()
        for field in ("window_size", "patch_size", "group_propagation_depth", "decoder_input_scale"):
            self._require_at_most(MAX_NUMBER, field)
            self._require(field, getattr(self, field) >= 1, "at least 1")
        self._require(
            "patch_size",
            self.patch_size >= 2 and (self.patch_size % 2 == 0 or self.stem_type == "patch"),
            'at least 2, and even with the stem of stem_type="convolution", which begins with stride 2',
        )
        self._require(
            "use_class_token",
            not self.use_class_token
            or (set(self.layer_types) == {"full_attention"} and not self.use_closing_convolution),
            'false unless all layer_types are "full_attention" and use_closing_convolution is false',
        )


__all__ = ["GPViTAblationConfig"]
