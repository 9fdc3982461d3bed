# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny variants of GPViT, which between them have every part of `hf_gpvit.ablations`."""

from dataclasses import replace

from families import GPVIT
from hf_gpvit.ablations import (
    GPViTAblationBackbone,
    GPViTAblationConfig,
    GPViTAblationForImageClassification,
    GPViTAblationForSemanticSegmentation,
    GPViTAblationModel,
)


LAYER_TYPES = (
    "lepe_attention",
    "window_attention",
    "shifted_window_attention",
    "full_attention",
    "convolution",
    "group_propagation",
)
_ABLATION = replace(
    GPVIT,
    name="gpvit_ablation",
    config_class=GPViTAblationConfig,
    model_class=GPViTAblationModel,
    backbone_class=GPViTAblationBackbone,
    classifier_class=GPViTAblationForImageClassification,
    segmentor_class=GPViTAblationForSemanticSegmentation,
)


def _with(shallow=None, **fields):
    return replace(_ABLATION, small=GPVIT.small | fields, shallow=shallow or {})


# One layer of each type; groups attend to each other.
MIXED = _with(
    num_hidden_layers=6,
    layer_types=list(LAYER_TYPES),
    num_group_tokens=[6],
    group_propagation_type="attention",
    window_size=3,
    shallow={"num_hidden_layers": 2, "layer_types": ["shifted_window_attention", "group_propagation"]},
)
# Coarser patches, whose maps are enlarged for heads; groups stay as they are.
COARSE = _with(
    num_hidden_layers=3,
    layer_types=["window_attention", "group_propagation", "full_attention"],
    num_group_tokens=[5],
    group_propagation_type="none",
    use_closing_convolution=False,
    patch_size=16,
    decoder_input_scale=2,
)
# A plain vision transformer.
PLAIN = _with(
    num_hidden_layers=2,
    layer_types=["full_attention"] * 2,
    num_group_tokens=[],
    use_closing_convolution=False,
    stem_type="patch",
    patch_size=9,
    use_class_token=True,
    pooling_type="mean",
)
VARIANTS = {"mixed": MIXED, "coarse": COARSE, "plain": PLAIN}
