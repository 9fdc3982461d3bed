# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny variants of HRViT, and what it is compared with."""

from dataclasses import replace

from families import HRVIT
from hf_gpvit.ablations import (
    HRNetViTBackbone,
    HRNetViTConfig,
    HRNetViTForImageClassification,
    HRNetViTForSemanticSegmentation,
    HRNetViTModel,
    HRViTAblationBackbone,
    HRViTAblationConfig,
    HRViTAblationForImageClassification,
    HRViTAblationForSemanticSegmentation,
    HRViTAblationModel,
)


HRVIT_ABLATION = replace(
    HRVIT,
    name="hrvit_ablation",
    config_class=HRViTAblationConfig,
    model_class=HRViTAblationModel,
    backbone_class=HRViTAblationBackbone,
    classifier_class=HRViTAblationForImageClassification,
    segmentor_class=HRViTAblationForSemanticSegmentation,
)

HRNET = replace(
    HRVIT,
    name="hrnet_vit",
    config_class=HRNetViTConfig,
    model_class=HRNetViTModel,
    backbone_class=HRNetViTBackbone,
    classifier_class=HRNetViTForImageClassification,
    segmentor_class=HRNetViTForSemanticSegmentation,
    small=HRVIT.small
    | {
        "hidden_sizes": [8, 12, 16, 24],
        "num_blocks": [[1, 1], [1, 1, 1], [1, 1, 2, 1]],
        "attention_head_dim": 2,
        "stem_hidden_sizes": [8, 16],
        "num_stem_bottlenecks": 2,
        "reduction_ratios": [3, 2, 2, 1],
    },
)

# One field of each row of Table 5.
ROWS = {
    "key_value_sharing": {"share_key_value": False},
    "efficient_patch_embedding": {"patch_embedding_type": "full"},
    "mixcfn": {"feed_forward_type": "mlp"},
    "parallel_convolution": {"use_parallel_convolution": False},
    "nonlinearity": {"use_attention_nonlinearity": False},
    "dense_fusion": {"fusion_paths": "neighbors"},
    "diversity_shortcut": {"use_diversity_shortcut": False},
}
ALL_OFF = {field: value for fields in ROWS.values() for field, value in fields.items()}
LEPE = {"use_parallel_nonlinearity": False}


# Three branches: the least with a far path.
_THREE = {
    "stripe_widths": [1, 2, 2],
    "mlp_ratios": [2, 1.5, 2],
    "classifier_hidden_sizes": [2, 4, 4],
}
_HRVIT_THREE = _THREE | {"hidden_sizes": [8, 16, 16], "num_blocks": [[1], [1, 1], [1, 1, 1]]}
_HRNET_THREE = _THREE | {
    "hidden_sizes": [8, 12, 16],
    "num_blocks": [[1, 1], [1, 1, 1]],
    "reduction_ratios": [3, 2, 1],
}


def _variant(family, **fields):
    three = _HRNET_THREE if family is HRNET else _HRVIT_THREE
    return replace(family, small=family.small | three | fields)


VARIANTS = {
    **{f"without_{row}": _variant(HRVIT_ABLATION, **fields) for row, fields in ROWS.items()},
    "all_off": _variant(HRVIT_ABLATION, **ALL_OFF),
    "lepe": _variant(HRVIT_ABLATION, **LEPE),
    "cswin": _variant(HRNET),
    **{
        f"mit_{kind}": _variant(HRNET, attention_type="reduced", reduction_type=kind)
        for kind in ("pooling", "depthwise", "full")
    },
}
