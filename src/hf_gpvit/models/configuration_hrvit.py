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
"""HRViT configuration and presets."""

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN

from .configuration_base import HighResolutionConfig


_PRESETS = {
    # Table 2 of the paper; the blocks of each module are the official code's, and so is the width of b3's head.
    "hrvit-b1": {},
    "hrvit-b2": {
        "hidden_sizes": [48, 96, 240, 384],
        "num_blocks": [[1], [1, 1], [1, 1, 6], [1, 1, 6], [1, 1, 6, 2], [1, 1, 6, 2]],
        "attention_head_dim": 24,
        "mlp_ratios": [2, 3, 3, 3],
    },
    "hrvit-b3": {
        "hidden_sizes": [64, 128, 256, 512],
        "num_blocks": [[1], [1, 1], [1, 1, 6], [1, 1, 6], [1, 1, 6, 3], [1, 1, 6, 3]],
        "mlp_ratios": [2, 2, 2, 2],
        "decoder_hidden_size": {"segformer": 768},
    },
    # Ours, for two CPU cores: every path of the large ones in under a million parameters.
    "hrvit-nano": {
        "hidden_sizes": [16, 32, 64, 96],
        "num_blocks": [[1], [1, 1], [1, 1, 2], [1, 1, 2, 1]],
        "stripe_widths": [1, 2, 5, 5],
        "attention_head_dim": 16,
        "mlp_ratios": [2, 2, 2, 2],
        "stem_hidden_sizes": [16, 32],
        "classifier_hidden_sizes": [8, 16, 24, 32],
        "classifier_output_size": 256,
        "drop_path_rate": 0.05,
        "image_size": 128,
        "decoder_hidden_size": 64,
    },
}


def shortcut_factor(channels: int) -> int:
    """Width p of the second Kronecker factor of the diversity-enhanced shortcut: a power of two near sqrt(C).

    The code's rule; the paper's is floor(sqrt(C)), which need not divide C.
    """
    return 2 ** (channels.bit_length() // 2)


@strict
class HRViTConfig(HighResolutionConfig):
    """Configuration of the HRViT models (https://arxiv.org/abs/2111.01236). The defaults are HRViT-b1.

    A model is a chain of modules, and each module has one branch per resolution: strides 4, 8, 16 and 32.

    Args:
        num_channels (`int`, *optional*, defaults to 3):
            Channels of `pixel_values`.
        image_size (`int` or `(int, int)`, *optional*, defaults to 224):
            Side, or height and width, in pixels, of the images that image processors prepare. The model takes any
            size.
        hidden_sizes (`list[int]`, *optional*, defaults to `(32, 64, 128, 256)`):
            Channels of the branches, finest first.
        num_blocks (`list[list[int]]`, *optional*):
            Transformer blocks of each branch of each module, `num_blocks[module][branch]`; defaults to
            `((1,), (1, 1), (1, 1, 6), (1, 1, 6), (1, 1, 6, 2), (1, 1, 2, 2))`. A module has as many branches as the
            one before it or one more; the last has all.
        stripe_widths (`list[int]`, *optional*, defaults to `(1, 2, 7, 7)`):
            Width s in tokens of the attention stripes of each branch ("window size" in the paper, which trains b3 on
            Cityscapes with `(1, 2, 9, 9)`). No weight depends on it.
        attention_head_dim (`int`, *optional*, defaults to 32):
            Channels of an attention head; half of a branch's channels where that is less.
        mlp_ratios (`list[float]`, *optional*, defaults to `(4, 4, 4, 4)`):
            Width of the feed-forward networks of each branch in units of its channels.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the fusion layers, of the diversity-enhanced shortcuts and of the feed-forward networks, by
            its name in transformers; `"gelu"` is the exact one. The attention's is always Hardswish.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the LayerNorms.
        stem_hidden_sizes (`list[int]`, *optional*, defaults to `(32, 64)`):
            Channels of the two convolutions of the stem.
        classifier_hidden_sizes (`list[int]`, *optional*, defaults to `(32, 64, 128, 256)`):
            Inner widths of the classification head's bottlenecks, one per branch; each widens its branch to four
            times this.
        classifier_output_size (`int`, *optional*, defaults to 2048):
            Channels that the classification head pools.
        classifier_dropout_rate (`float`, *optional*, defaults to 0.1):
            Dropout before the linear classifier.
        drop_path_rate (`float`, *optional*, defaults to 0.1):
            Stochastic depth of the last block; it grows linearly from 0 along the deepest branch, and the other
            branches of a module take the same rates. The paper's values are 0.1 on ImageNet; 0.1, 0.2 and 0.3 (b1,
            b2, b3) on ADE20K; 0.15, 0.2 and 0.3 on Cityscapes.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the truncated normal that linears start from.
        decode_head_type (`str`, *optional*, defaults to `"segformer"`):
            Head of [`HRViTForSemanticSegmentation`]: `"segformer"` or `"upernet"`.
        decoder_hidden_size (`int` or `dict[str, int]`, *optional*):
            Width of the decode head, or one for each type of head; by default 256 for `"segformer"` (768 in b3) and
            512 for `"upernet"`.
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
            Stages whose maps the backbone returns and the decode heads take, among `"stem"` (stride 4) and the
            branches `"stage1"` (stride 4), `"stage2"` (8), ...; by default all branches. `out_indices` says the same
            by index.

    Raises:
        StrictDataclassError (huggingface_hub): a field has a wrong type, or fields contradict each other; the message
            names the field, its value and what is valid.
        ValueError: unknown stages in `out_features` or `out_indices`.

    Example:

    ```python
    >>> from hf_gpvit import HRViTConfig, HRViTModel

    >>> config = HRViTConfig.from_preset("hrvit-nano")
    >>> model = HRViTModel(config)
    ```"""

    model_type = "hrvit"
    _presets = _PRESETS

    hidden_sizes: list[int] | tuple[int, ...] = (32, 64, 128, 256)
    num_blocks: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (1,),
        (1, 1),
        (1, 1, 6),
        (1, 1, 6),
        (1, 1, 6, 2),
        (1, 1, 2, 2),
    )
    stripe_widths: list[int] | tuple[int, ...] = (1, 2, 7, 7)
    attention_head_dim: int = 32
    mlp_ratios: list[float | int] | tuple[float | int, ...] = (4, 4, 4, 4)
    hidden_act: str = "gelu"
    layer_norm_eps: float | int = 1e-5
    stem_hidden_sizes: list[int] | tuple[int, ...] = (32, 64)
    classifier_hidden_sizes: list[int] | tuple[int, ...] = (32, 64, 128, 256)
    classifier_output_size: int = 2048
    classifier_dropout_rate: float | int = 0.1
    drop_path_rate: float | int = 0.1

    def __post_init__(self, **kwargs):
        branches = [f"stage{index}" for index in range(1, len(self.hidden_sizes) + 1)]
        self._set_stages(["stem", *branches], branches, kwargs)
        super().__post_init__(**kwargs)

    @property
    def num_hidden_layers(self) -> int:
        """The number of branches, each of which gives one of the hidden states: what transformers counts them by."""
        return len(self.hidden_sizes)

    def validate_architecture(self):
        """Part of the validation by `@strict`: ranges, and relations between fields."""
        super().validate_architecture()
        for field in ("attention_head_dim", "classifier_output_size"):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        self._require("layer_norm_eps", self.layer_norm_eps > 0, "greater than 0")
        self._require("hidden_act", self.hidden_act in ACT2FN, f"one of {sorted(ACT2FN)}")
        self._require("classifier_dropout_rate", 0 <= self.classifier_dropout_rate < 1, "in [0, 1)")
        sizes = self.stem_hidden_sizes
        self._require("stem_hidden_sizes", len(sizes) == 2 and min(sizes) >= 1, "two positive numbers")
        self._validate_branches()
        self._validate_modules()

    def _validate_branches(self) -> None:
        sizes = self.hidden_sizes
        self._require(
            "hidden_sizes",
            len(sizes) >= 1 and all(size >= 2 and size % shortcut_factor(size) == 0 for size in sizes),
            "one number for each branch, divisible by the power of two near its square root",
        )
        self._require(
            "attention_head_dim",
            all(size // 2 % min(self.attention_head_dim, size // 2) == 0 for size in sizes),
            f"a divisor of the halves of hidden_sizes={list(sizes)}, or larger than them",
        )
        for field in ("stripe_widths", "mlp_ratios", "classifier_hidden_sizes"):
            values = getattr(self, field)
            self._require(
                field,
                len(values) == len(sizes) and min(values) > 0,
                f"one positive number for each of the {len(sizes)} branches of hidden_sizes={list(sizes)}",
            )
        self._require(
            "mlp_ratios",
            all(size * ratio % 2 == 0 for size, ratio in zip(sizes, self.mlp_ratios, strict=True)),
            f"such that the products with hidden_sizes={list(sizes)} are even",
        )

    def _validate_modules(self) -> None:
        branches = [1] + [len(module) for module in self.num_blocks]
        self._require(
            "num_blocks",
            len(branches) > 1
            and branches[-1] == len(self.hidden_sizes)
            and all(after - before in (0, 1) for before, after in zip(branches, branches[1:], strict=False))
            and all(number >= 1 for module in self.num_blocks for number in module),
            "one list of positive numbers for each module, as long as the one before or longer by one, the last with "
            f"{len(self.hidden_sizes)} (the branches of hidden_sizes)",
        )


__all__ = ["HRViTConfig"]
