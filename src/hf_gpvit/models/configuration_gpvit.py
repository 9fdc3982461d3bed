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
"""GPViT configuration and presets."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN

from .configuration_base import HighResolutionConfig


_PRESETS = {
    # Tables 1 and 11 of the paper; the stem's extra convolutions and the pooling are the official code's.
    "gpvit-l1": {"hidden_size": 216, "num_stem_convs": 0, "drop_path_rate": 0.2, "pooling_type": "group"},
    "gpvit-l2": {"hidden_size": 348, "num_stem_convs": 1, "drop_path_rate": 0.2, "pooling_type": "group"},
    "gpvit-l3": {"hidden_size": 432, "num_stem_convs": 1, "drop_path_rate": 0.3, "pooling_type": "mean"},
    "gpvit-l4": {"hidden_size": 624, "num_stem_convs": 2, "drop_path_rate": 0.3, "pooling_type": "mean"},
    # Ours, for two CPU cores: every path of the large ones in under a million parameters.
    "gpvit-nano": {
        "hidden_size": 64,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_stem_convs": 1,
        "stem_hidden_size": 32,
        "group_layer_indices": [1, 3, 5],
        "num_group_tokens": [32, 16, 16],
        "num_group_attention_heads": 4,
        "drop_path_rate": 0.0,
        "pooling_type": "group",
        "image_size": 128,
        "decoder_hidden_size": 64,
    },
}


@strict
class GPViTConfig(HighResolutionConfig):
    """Configuration of the GPViT models (https://arxiv.org/abs/2212.06795). The defaults are GPViT-L1.

    Args:
        num_channels (`int`, *optional*, defaults to 3):
            Channels of `pixel_values`.
        image_size (`int` or `(int, int)`, *optional*, defaults to 224):
            Side, or height and width, in pixels, of the images that the stored position embeddings are made for.
            Any other size works too.
        hidden_size (`int`, *optional*, defaults to 216):
            Channels C of the tokens.
        num_hidden_layers (`int`, *optional*, defaults to 12):
            LePE layers and GP Blocks together.
        num_attention_heads (`int`, *optional*, defaults to 12):
            Heads of LePE attention, half of them for each stripe direction; even, divides `hidden_size`.
        mlp_ratio (`float`, *optional*, defaults to 4.0):
            Width of the feed-forward networks in units of `hidden_size`.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of all MLPs, by its name in transformers; `"gelu"` is the exact one.
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the LayerNorms outside GP Blocks.
        stripe_width (`int`, *optional*, defaults to 2):
            Width in tokens of the stripes of LePE attention; even.
        stem_hidden_size (`int`, *optional*, defaults to 64):
            Channels of the convolutional stem.
        num_stem_convs (`int`, *optional*, defaults to 0):
            Extra 3x3 convolutions of the stem.
        group_layer_indices (`list[int]`, *optional*, defaults to `(1, 4, 7, 10)`):
            Layers that are GP Blocks, counted from 0, ascending; all others are LePE layers.
        num_group_tokens (`list[int]`, *optional*, defaults to `(64, 32, 32, 16)`):
            Group tokens M of each GP Block.
        num_group_attention_heads (`int`, *optional*, defaults to 6):
            Heads of feature grouping, of feature ungrouping and of the "group" pooling; divides `hidden_size`.
        group_token_mlp_ratio (`float`, *optional*, defaults to 0.5):
            Width of the mixer's MLP over group tokens in units of `hidden_size`.
        group_channel_mlp_ratio (`float`, *optional*, defaults to 4.0):
            Width of the mixer's MLP over channels in units of `hidden_size`.
        group_layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the LayerNorms of GP Blocks and of the "group" pooling.
        pooling_type (`str`, *optional*, defaults to `"group"`):
            How tokens become `pooler_output`: `"group"` (attention of one learned query) or `"mean"`.
        drop_path_rate (`float`, *optional*, defaults to 0.2):
            Stochastic depth of the last layer; it grows linearly from 0 at the first. The papers' values are 0.2 (L1,
            L2) and 0.3 (L3, L4) on ImageNet, 0.1 and 0.2 for segmentation.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the truncated normal that linears, positions and group tokens start from.
        decode_head_type (`str`, *optional*, defaults to `"segformer"`):
            Head of [`GPViTForSemanticSegmentation`]: `"segformer"` or `"upernet"`.
        decoder_hidden_size (`int` or `dict[str, int]`, *optional*):
            Width of the decode head, or one for each type of head; by default 256 for `"segformer"` and 512 for
            `"upernet"`.
        decoder_dropout_rate (`float`, *optional*, defaults to 0.1):
            Rate at which whole channels are dropped before the pixel classifiers.
        use_auxiliary_head (`bool`, *optional*, defaults to `True`):
            Whether `"upernet"` is trained with an auxiliary FCN head; other heads have none.
        auxiliary_hidden_size (`int`, *optional*, defaults to 256):
            Width of the auxiliary head.
        auxiliary_loss_weight (`float`, *optional*, defaults to 0.4):
            Weight of the auxiliary head's loss.
        semantic_loss_ignore_index (`int`, *optional*, defaults to 255):
            Label of the pixels that the segmentation loss leaves out.
        out_features (`list[str]`, *optional*):
            Stages whose maps the backbone returns and the decode heads take, among `"stem"`, `"stage1"`, ...; by
            default those at the end of each quarter of the layers. `out_indices` says the same by index.

    Raises:
        StrictDataclassError (huggingface_hub): a field has a wrong type, or fields contradict each other; the message
            names the field, its value and what is valid.
        ValueError: unknown stages in `out_features` or `out_indices`.

    Example:

    ```python
    >>> from hf_gpvit import GPViTConfig, GPViTModel

    >>> config = GPViTConfig.from_preset("gpvit-nano")
    >>> model = GPViTModel(config)
    ```"""

    model_type = "gpvit"
    _presets = _PRESETS

    hidden_size: int = 216
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: float | int = 4.0
    hidden_act: str = "gelu"
    layer_norm_eps: float | int = 1e-6
    stripe_width: int = 2
    stem_hidden_size: int = 64
    num_stem_convs: int = 0
    group_layer_indices: list[int] | tuple[int, ...] = (1, 4, 7, 10)
    num_group_tokens: list[int] | tuple[int, ...] = (64, 32, 32, 16)
    num_group_attention_heads: int = 6
    group_token_mlp_ratio: float | int = 0.5
    group_channel_mlp_ratio: float | int = 4.0
    group_layer_norm_eps: float | int = 1e-5
    pooling_type: Literal["group", "mean"] = "group"
    drop_path_rate: float | int = 0.2

    def __post_init__(self, **kwargs):
        stage_names = ["stem"] + [f"stage{index}" for index in range(1, self.num_hidden_layers + 1)]
        quarters = {max(self.num_hidden_layers * quarter // 4, 1) for quarter in (1, 2, 3, 4)}
        self._set_stages(stage_names, [name for index, name in enumerate(stage_names) if index in quarters], kwargs)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Part of the validation by `@strict`: ranges, and relations between fields."""
        super().validate_architecture()
        for field in ("hidden_size", "num_hidden_layers", "stem_hidden_size"):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        self._require("num_stem_convs", self.num_stem_convs >= 0, "at least 0")
        for field in ("mlp_ratio", "group_token_mlp_ratio", "group_channel_mlp_ratio"):
            self._require(field, getattr(self, field) * self.hidden_size >= 1, f"at least 1 / {self.hidden_size}")
        for field in ("layer_norm_eps", "group_layer_norm_eps"):
            self._require(field, getattr(self, field) > 0, "greater than 0")
        self._require("hidden_act", self.hidden_act in ACT2FN, f"one of {sorted(ACT2FN)}")
        heads = self.num_attention_heads
        self._require(
            "num_attention_heads",
            heads >= 2 and heads % 2 == 0 and self.hidden_size % heads == 0,
            f"even, half of them for each stripe direction, and divide hidden_size={self.hidden_size}",
        )
        heads = self.num_group_attention_heads
        self._require(
            "num_group_attention_heads",
            heads >= 1 and self.hidden_size % heads == 0,
            f"a divisor of hidden_size={self.hidden_size}",
        )
        width = self.stripe_width
        self._require("stripe_width", width >= 2 and width % 2 == 0, "an even number of tokens, 2 or more")
        indices = list(self.group_layer_indices)
        last = self.num_hidden_layers - 1
        self._require(
            "group_layer_indices",
            indices == sorted(set(indices)) and all(0 <= index <= last for index in indices),
            f"ascending layer indices in [0, {last}] (num_hidden_layers={self.num_hidden_layers})",
        )
        self._require(
            "num_group_tokens",
            len(self.num_group_tokens) == len(indices) and all(number >= 1 for number in self.num_group_tokens),
            f"one positive number for each of the {len(indices)} GP Blocks of group_layer_indices={indices}",
        )


__all__ = ["GPViTConfig"]
