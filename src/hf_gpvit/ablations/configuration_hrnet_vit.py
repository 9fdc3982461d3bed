# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration of HRNet-ViT: our reading of the naive combinations in Table 6 of HRViT's paper."""

from typing import Literal

from huggingface_hub.dataclasses import strict

from ..models.configuration_base import MAX_NUMBER
from ..models.configuration_hrvit import HRViTConfig


_PRESETS = {
    "hrnet18": {},
    "hrnet32": {"hidden_sizes": [32, 64, 128, 256], "attention_head_dim": 16},
    "hrnet40": {
        "hidden_sizes": [40, 80, 160, 320],
        "attention_head_dim": 20,
        "decoder_hidden_size": {"segformer": 768},  # that of hrvit-b3, beside which it stands
    },
}


@strict
class HRNetViTConfig(HRViTConfig):
    """Configuration of HRNet with transformer blocks, with which the paper compares HRViT (Table 6).

    The paper gives neither code nor sizes, only numbers of parameters and multiply-adds: this is our reading, whose
    parameters come within 1.1 % of them. The defaults are HRNet18-CSWin.

    Args:
        hidden_sizes (`list[int]`, *optional*, defaults to `(18, 36, 72, 144)`):
            Channels of the branches, finest first; even.
        num_blocks (`list[list[int]]`, *optional*):
            Transformer blocks of each branch of each module; by default four in every branch of one module of two
            branches, four of three and three of four.
        stem_hidden_sizes (`list[int]`, *optional*, defaults to `(64, 256)`):
            Channels of the two convolutions of the stem, and of what the bottlenecks after them give: a multiple of
            four.
        num_stem_bottlenecks (`int`, *optional*, defaults to 4):
            Residual bottlenecks of the stem.
        attention_type (`str`, *optional*, defaults to `"cross_shaped"`):
            Blocks of the branches: `"cross_shaped"` for CSWin's, with attention within stripes of `stripe_widths`, or
            `"reduced"` for MiT's, with keys and values of a map that is smaller by `reduction_ratios`.
        attention_head_dim (`int`, *optional*, defaults to 9):
            Channels of an attention head; half of a branch's channels where that is less.
        reduction_ratios (`list[int]`, *optional*, defaults to `(8, 4, 2, 1)`):
            How much smaller the map is, in each branch.
        reduction_type (`str`, *optional*, defaults to `"pooling"`):
            How it becomes so: by `"pooling"`, which has no weights, or by a `"depthwise"` or `"full"` convolution and
            LayerNorm.
        kwargs:
            Fields of [`HRViTConfig`].

    Raises:
        StrictDataclassError (huggingface_hub): a field has a wrong type, or fields contradict each other; the message
            names the field, its value and what is valid.

    Example:

    ```python
    >>> from hf_gpvit.ablations import HRNetViTConfig, HRNetViTModel

    >>> model = HRNetViTModel(HRNetViTConfig(attention_type="reduced"))
    ```"""

    model_type = "hrnet_vit"
    _presets = _PRESETS

    hidden_sizes: list[int] | tuple[int, ...] = (18, 36, 72, 144)
    num_blocks: list[list[int]] | tuple[tuple[int, ...], ...] = ((4,) * 2,) + ((4,) * 3,) * 4 + ((4,) * 4,) * 3
    stem_hidden_sizes: list[int] | tuple[int, ...] = (64, 256)
    num_stem_bottlenecks: int = 4
    attention_type: Literal["cross_shaped", "reduced"] = "cross_shaped"
    attention_head_dim: int = 9
    reduction_ratios: list[int] | tuple[int, ...] = (8, 4, 2, 1)
    reduction_type: Literal["pooling", "depthwise", "full"] = "pooling"

    def validate_architecture(self):
        """Part of the validation by `@strict`: ranges, and relations between fields."""
        super().validate_architecture()
        self._require_at_most(MAX_NUMBER, "num_stem_bottlenecks", "reduction_ratios")
        self._require("num_stem_bottlenecks", self.num_stem_bottlenecks >= 1, "at least 1")
        self._require(
            "stem_hidden_sizes", self.stem_hidden_sizes[1] % 4 == 0, "two numbers, the second divisible by 4"
        )
        ratios, branches = self.reduction_ratios, len(self.hidden_sizes)
        is_complete = len(ratios) == branches and min(ratios) >= 1
        self._require("reduction_ratios", is_complete, f"one positive number for each of the {branches} branches")

    def _validate_channels(self) -> None:
        sizes = self.hidden_sizes
        are_even = len(sizes) >= 1 and all(size >= 2 and size % 2 == 0 for size in sizes)
        self._require("hidden_sizes", are_even, "one even number for each branch")


__all__ = ["HRNetViTConfig"]
