# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Which parameters decay and which learn faster, as the official recipes have it."""

from typing import Any

from torch import nn

from .building import HEADS


POSITIONS_AND_GROUPS = ("position_embeddings", "group_tokens", "group_token")
# The official recipes of segmentors exempt what has "norm" in its name, and there GPViT's last one is called "ln1".
NAMED_OTHERWISE = ("gpvit.norm",)


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, no_decay: str, head_learning_rate_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Groups of all trainable parameters for an optimizer, at most four: head or not, decaying or not.

    Args:
        model: Any of this package's models.
        learning_rate: Peak of the trunk's learning rate.
        weight_decay: Of the groups that decay.
        no_decay: "norms_and_biases": neither norms nor biases decay (classification, both papers); "layer_norms":
            only LayerNorms don't, while BatchNorms and biases do (ADE20K and Cityscapes, as the official configs name
            them). Positions and group tokens never decay.
        head_learning_rate_factor: Learning rate of classifier, decode head and auxiliary head in units of
            `learning_rate`.

    Returns:
        Dicts with `name`, `params`, `param_names`, `lr` and `weight_decay`.
    """
    exempt = EXEMPTIONS[no_decay]
    groups = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            full_name = f"{module_name}.{name}"
            is_head = full_name.startswith(HEADS)
            decays = name not in POSITIONS_AND_GROUPS and not exempt(module_name, module, name)
            group = groups.setdefault((is_head, decays), {"params": [], "param_names": []})
            group["params"].append(parameter)
            group["param_names"].append(full_name)
    return [
        {
            "name": f"{'head' if is_head else 'trunk'}, {'decay' if decays else 'no decay'}",
            "lr": learning_rate * (head_learning_rate_factor if is_head else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
            **group,
        }
        for (is_head, decays), group in sorted(groups.items())
    ]


def _is_norm_or_bias(module_name: str, module: nn.Module, name: str) -> bool:
    return name == "bias" or isinstance(module, (nn.LayerNorm, nn.BatchNorm2d, nn.SyncBatchNorm))


def _is_layer_norm(module_name: str, module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.LayerNorm) and module_name not in NAMED_OTHERWISE


EXEMPTIONS = {"norms_and_biases": _is_norm_or_bias, "layer_norms": _is_layer_norm}
