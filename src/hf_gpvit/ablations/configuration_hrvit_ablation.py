# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration of HRViT's ablations: Table 5 of the paper."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from ..models.configuration_hrvit import HRViTConfig


@strict
class HRViTAblationConfig(HRViTConfig):
    """Configuration of HRViT with some of its ideas taken out. The defaults are HRViT-b1 with all of them.

    Args:
        share_key_value (`bool`, *optional*, defaults to `True`):
            Whether the values of attention are its keys too; otherwise keys are projected on their own.
        patch_embedding_type (`str`, *optional*, defaults to `"separable"`):
            `"separable"`, a pointwise and a depthwise convolution, or `"full"`, one 3x3 convolution.
        feed_forward_type (`str`, *optional*, defaults to `"mixcfn"`):
            `"mixcfn"`, with depthwise convolutions of two sizes, or `"mlp"`, without any.
        use_parallel_convolution (`bool`, *optional*, defaults to `True`):
            Whether a depthwise convolution of the values stands beside attention.
        use_parallel_nonlinearity (`bool`, *optional*, defaults to `True`):
            Whether Hardswish stands before that convolution; without, it is a positional encoding (LePE).
        use_attention_nonlinearity (`bool`, *optional*, defaults to `True`):
            Whether Hardswish stands before attention's output projection, and a BatchNorm that starts at zero after
            it.
        fusion_paths (`str`, *optional*, defaults to `"dense"`):
            `"dense"`, from every resolution to every other, or `"neighbors"`, to the next finer and coarser alone.
        use_diversity_shortcut (`bool`, *optional*, defaults to `True`):
            Whether the diversity-enhanced shortcut stands beside attention.
        kwargs:
            Fields of [`HRViTConfig`].

    Raises:
        StrictDataclassError (huggingface_hub): a field has a wrong type, or fields contradict each other; the message
            names the field, its value and what is valid.

    Example:

    ```python
    >>> from hf_gpvit.ablations import HRViTAblationConfig, HRViTAblationModel

    >>> model = HRViTAblationModel(HRViTAblationConfig(use_diversity_shortcut=False))
    ```"""

    model_type = "hrvit_ablation"

    share_key_value: bool = True
    patch_embedding_type: Literal["separable", "full"] = "separable"
    feed_forward_type: Literal["mixcfn", "mlp"] = "mixcfn"
    use_parallel_convolution: bool = True
    use_parallel_nonlinearity: bool = True
    use_attention_nonlinearity: bool = True
    fusion_paths: Literal["dense", "neighbors"] = "dense"
    use_diversity_shortcut: bool = True

    def _validate_channels(self) -> None:
        if self.use_diversity_shortcut:
            super()._validate_channels()
        else:
            self._require("hidden_sizes", min(self.hidden_sizes, default=0) >= 2, "one number for each branch")


__all__ = ["HRViTAblationConfig"]
