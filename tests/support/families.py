# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The model families under test: tests take the `family` fixture and hold for all of them."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_gpvit import (
    GPViTBackbone,
    GPViTConfig,
    GPViTForImageClassification,
    GPViTForSemanticSegmentation,
    GPViTModel,
    HRViTBackbone,
    HRViTConfig,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTModel,
)


@dataclass(frozen=True)
class Family:
    name: str
    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel]
    backbone_class: type[PreTrainedModel]
    classifier_class: type[PreTrainedModel]
    segmentor_class: type[PreTrainedModel]
    small: dict[str, Any]
    shallow: dict[str, Any]  # overrides of `small` where time grows with depth: compilation

    def config(self, **overrides) -> PreTrainedConfig:
        """A tiny config with every path of the large ones."""
        return self.config_class(**self.small | overrides)

    def models(self, **overrides) -> list[PreTrainedModel]:
        """One tiny model of every class, both decode heads, in eval mode and with no weight at zero."""
        config = self.config(**overrides)
        upernet = self.config(**{"decode_head_type": "upernet"} | overrides)
        classes = (self.model_class, self.backbone_class, self.classifier_class, self.segmentor_class)
        return [awake(cls(config)) for cls in classes] + [awake(self.segmentor_class(upernet))]


def awake(model: PreTrainedModel) -> PreTrainedModel:
    """The model in eval mode; a BatchNorm that starts at zero would hide what is before it, so it doesn't."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def trained(model: PreTrainedModel) -> PreTrainedModel:
    """The model with running statistics and affine parameters of BatchNorm as training leaves them: none of 0 or 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
    return model


GPVIT = Family(
    name="gpvit",
    config_class=GPViTConfig,
    model_class=GPViTModel,
    backbone_class=GPViTBackbone,
    classifier_class=GPViTForImageClassification,
    segmentor_class=GPViTForSemanticSegmentation,
    small={
        "hidden_size": 24,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_stem_convs": 1,
        "stem_hidden_size": 8,
        "group_layer_indices": [1, 2],
        "num_group_tokens": [6, 5],
        "num_group_attention_heads": 2,
        "drop_path_rate": 0.0,
        "image_size": 40,
        "decoder_hidden_size": 16,
        "auxiliary_hidden_size": 8,
        "num_labels": 5,
        "initializer_range": 0.2,
    },
    shallow={"num_hidden_layers": 2, "group_layer_indices": [1], "num_group_tokens": [6]},
)

HRVIT = Family(
    name="hrvit",
    config_class=HRViTConfig,
    model_class=HRViTModel,
    backbone_class=HRViTBackbone,
    classifier_class=HRViTForImageClassification,
    segmentor_class=HRViTForSemanticSegmentation,
    small={
        "hidden_sizes": [8, 16, 16, 24],
        "num_blocks": [[1], [1, 1], [1, 1, 2], [1, 1, 1, 1]],
        "stripe_widths": [1, 2, 2, 1],
        "attention_head_dim": 4,
        "mlp_ratios": [2, 1.5, 2, 1],
        "stem_hidden_sizes": [6, 12],
        "classifier_hidden_sizes": [2, 4, 4, 6],
        "classifier_output_size": 16,
        "classifier_dropout_rate": 0.0,
        "drop_path_rate": 0.0,
        "image_size": 40,
        "decoder_hidden_size": 16,
        "auxiliary_hidden_size": 8,
        "num_labels": 5,
        "initializer_range": 0.2,
    },
    shallow={
        "hidden_sizes": [8, 16],
        "num_blocks": [[1], [1, 1]],
        "stripe_widths": [1, 2],
        "mlp_ratios": [2, 1.5],
        "classifier_hidden_sizes": [2, 4],
    },
)

FAMILIES = (GPVIT, HRVIT)
