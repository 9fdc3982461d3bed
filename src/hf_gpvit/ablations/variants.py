# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of the papers' tables as data: what each variant changes in a preset."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from transformers import PreTrainedConfig

from ..models.configuration_gpvit import GPViTConfig
from ..models.configuration_hrvit import HRViTConfig
from .configuration_gpvit_ablation import GPViTAblationConfig
from .configuration_hrnet_vit import HRNetViTConfig
from .configuration_hrvit_ablation import HRViTAblationConfig


@dataclass(frozen=True)
class Variant:
    """
    Attributes:
        config_class: Class of its config.
        preset: Preset of `config_class` that it starts from.
        fields: Fields of the config that it changes.
        task: Key of `hf_gpvit.tasks.TASKS` for which the paper has figures of it.
    """

    config_class: type[PreTrainedConfig]
    preset: str
    fields: dict[str, Any] = field(default_factory=dict)
    task: str = "image-classification"

    def config(self, **fields: Any) -> PreTrainedConfig:
        """The config of the variant; `fields` override its own.

        Raises:
            ValueError: A keyword is no field of the config.
        """
        return self.config_class.from_preset(self.preset, **self.fields | fields)


# --- GPViT, Tables 6 and 7: layers in the place of GP Blocks, for each kind of local attention

LOCAL = {"window": "window_attention", "lepe": "lepe_attention"}
BETWEEN = {
    "none": None,
    "conv": "convolution",
    "global": "full_attention",
    "shift": "shifted_window_attention",
    "gp": "group_propagation",
}


def layer_types(preset: str, local: str, between: str | None) -> list[str]:
    """`local` for the LePE layers of a preset of GPViT, `between` (`local` by default) for its GP Blocks."""
    fields = GPViTConfig._presets[preset]
    places = fields.get("group_layer_indices", GPViTConfig.group_layer_indices)
    number = fields.get("num_hidden_layers", GPViTConfig.num_hidden_layers)
    return [between or local if index in places else local for index in range(number)]


def _layer_variants(name: str, preset: str) -> dict[str, Variant]:
    variants = {}
    for local, local_type in LOCAL.items():
        for between, between_type in BETWEEN.items():
            types = layer_types(preset, local_type, between_type)
            key = f"{name}-{local}-{between}"
            variants[key] = Variant(GPViTAblationConfig, preset, {"layer_types": types})
            if local == "window":
                fields = {"layer_types": types, "use_closing_convolution": False}
                variants[f"{key}-without-closing-dwconv"] = Variant(GPViTAblationConfig, preset, fields)
    del variants[f"{name}-lepe-shift"]  # there are no windows that it could shift
    variants[f"{name}-lepe-gp"] = Variant(GPViTConfig, preset)
    return variants


# --- GPViT, Table 8: numbers of group tokens


def _group_variants(name: str, preset: str, numbers: tuple[tuple[int, ...], ...]) -> dict[str, Variant]:
    return {
        f"{name}-groups-{'-'.join(map(str, tokens))}": Variant(GPViTConfig, preset, {"num_group_tokens": list(tokens)})
        for tokens in numbers
    }


# --- GPViT, Table 9: propagation between groups


def _propagation_variants(name: str, preset: str) -> dict[str, Variant]:
    attention = {"group_propagation_type": "attention"}
    rows = {
        "none": {"group_propagation_type": "none"},
        "self-attention-depth1": attention,
        "self-attention-depth6": attention | {"group_propagation_depth": 6},
        "self-attention-without-mlp": attention | {"use_group_propagation_mlp": False},
    }
    key = f"{name}-propagation"
    variants = {f"{key}-{row}": Variant(GPViTAblationConfig, preset, fields) for row, fields in rows.items()}
    return variants | {f"{key}-mixer": Variant(GPViTConfig, preset)}


# --- GPViT, Tables 6 and 10: plain vision transformers of its widths


_VIT_D = {
    "layer_types": ["full_attention"] * 12,
    "use_closing_convolution": False,
    "num_stem_convs": 0,
    "pooling_type": "mean",
}
_DEIT = _VIT_D | {"stem_type": "patch", "use_class_token": True}


def _vit_variants() -> dict[str, Variant]:
    variants = {}
    for preset, width in {"gpvit-l1": 216, "gpvit-l2": 348, "gpvit-l3": 432, "gpvit-l4": 624}.items():
        for patch_size in (16, 8):
            key, size = f"vit-d{width}-p{patch_size}", {"patch_size": patch_size}
            variants[key] = Variant(GPViTAblationConfig, preset, _VIT_D | size)
            variants[f"{key}-plain-deit"] = Variant(GPViTAblationConfig, preset, _DEIT | size)
            if patch_size == 16:
                fields = _VIT_D | size | {"decoder_input_scale": 2}
                variants[f"{key}-segmentation-features-x2"] = Variant(GPViTAblationConfig, preset, fields)
    return variants


# --- HRViT, Table 2

HRVIT = {
    "hrvit-b1": Variant(HRViTConfig, "hrvit-b1"),
    "hrvit-b2": Variant(HRViTConfig, "hrvit-b2"),
    "hrvit-b3-stripes7": Variant(HRViTConfig, "hrvit-b3"),
    "hrvit-b3-stripes9": Variant(HRViTConfig, "hrvit-b3", {"stripe_widths": [1, 2, 9, 9]}),
}

# --- HRViT, Table 5: without one of its ideas, and without all

_HRVIT_ROWS = {
    "without-kv-sharing": {"share_key_value": False},
    "without-efficient-patch-embedding": {"patch_embedding_type": "full"},
    "without-mixcfn": {"feed_forward_type": "mlp"},
    "without-parallel-convolution": {"use_parallel_convolution": False},
    "without-nonlinearity-bn": {"use_attention_nonlinearity": False},
    "sparse-fusion": {"fusion_paths": "neighbors"},
    "without-des": {"use_diversity_shortcut": False},
}


def _hrvit_variants(name: str, preset: str) -> dict[str, Variant]:
    all_off = {field: value for fields in _HRVIT_ROWS.values() for field, value in fields.items()}
    lepe = {"use_parallel_convolution": True, "use_parallel_nonlinearity": False}
    rows = _HRVIT_ROWS | {
        "all-off-sparse-no-lepe": all_off,
        "all-off-dense-no-lepe": all_off | {"fusion_paths": "dense"},
        "all-off-sparse-lepe": all_off | lepe,
    }
    return {f"{name}-{row}": Variant(HRViTAblationConfig, preset, fields) for row, fields in rows.items()}


# --- HRViT, Table 6: HRNet with transformer blocks, in our reading


def _hrnet_variants() -> dict[str, Variant]:
    reduced = {"attention_type": "reduced"}
    rows = {
        "cswin": {},
        "mit-reduction-none": reduced | {"reduction_type": "pooling"},
        "mit-reduction-dw": reduced | {"reduction_type": "depthwise"},
        "mit-reduction-conv": reduced | {"reduction_type": "full"},
    }
    return {
        f"{preset}-{row}": Variant(HRNetViTConfig, preset, fields, task="semantic-segmentation")
        for preset in HRNetViTConfig.presets()
        for row, fields in rows.items()
    }


_GROUPS = ((16, 16, 16, 16), (32, 32, 32, 32), (64, 64, 64, 64), (16, 32, 32, 64), (64, 32, 32, 16))

VARIANTS: dict[str, Variant] = {
    **_vit_variants(),
    **_layer_variants("l1", "gpvit-l1"),
    **_group_variants("l1", "gpvit-l1", _GROUPS),
    **_propagation_variants("l1", "gpvit-l1"),
    # ours: the same rows at a width that two CPU cores train
    **_layer_variants("gpvit-nano", "gpvit-nano"),
    **_propagation_variants("gpvit-nano", "gpvit-nano"),
    **HRVIT,
    **_hrvit_variants("b1", "hrvit-b1"),
    **_hrvit_variants("hrvit-nano", "hrvit-nano"),
    **_hrnet_variants(),
}


def variant(key: str) -> Variant:
    """
    Raises:
        ValueError: There is no such variant; the message names the nearest ones, or all.
    """
    if key not in VARIANTS:
        near = get_close_matches(key, VARIANTS, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(VARIANTS)}."
        raise ValueError(f"Unknown variant {key!r}; {hint}")
    return VARIANTS[key]
