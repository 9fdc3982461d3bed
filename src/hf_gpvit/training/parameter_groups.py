# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Which parameters decay and which learn faster, as the official recipes have it."""

from typing import Any

from torch import nn

from .building import head_prefixes


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, no_decay: str, head_learning_rate_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Groups of all trainable parameters for an optimizer, at most four: head or not, decaying or not.

    Args:
        model: It says which modules are its heads (`head_names`), which parameters never decay (`no_weight_decay()`)
            and which LayerNorms do in spite of "layer_norms" (`decaying_norms`); of one of transformers' own models,
            which doesn't, the heads are those with the usual names, and `position_embeddings` never decay.
        learning_rate: Peak of the trunk's learning rate.
        weight_decay: Of the groups that decay.
        no_decay: What doesn't, as the official recipes have it:

            - "norms_and_biases": norms and biases, as timm has it (HRViT on ImageNet);
            - "norms_and_dense_biases": the same, but biases of depthwise convolutions decay, as in the mm toolkits
              where configs exempt norms and biases by kind (GPViT on ImageNet);
            - "trunk_norms_and_dense_biases": those of the trunk alone, while the head decays (GPViT with SegFormer);
            - "layer_norms": LayerNorms alone, while BatchNorms and biases decay, as where configs exempt what is named
              norm (GPViT with UPerNet, HRViT with both heads);
            - "layer_norms_and_biases": these and all biases, alike (COCO).
        head_learning_rate_factor: Learning rate of classifier, decode head and auxiliary head in units of
            `learning_rate`.

    Returns:
        Dicts with `name`, `params`, `param_names`, `lr` and `weight_decay`.
    """
    heads, exempt = head_prefixes(model), EXEMPTIONS[no_decay](model) | _never_decaying(model)
    groups = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        group = groups.setdefault((name.startswith(heads), name not in exempt), {"params": [], "param_names": []})
        group["params"].append(parameter)
        group["param_names"].append(name)
    return [
        {
            "name": f"{'head' if is_head else 'trunk'}, {'decay' if decays else 'no decay'}",
            "lr": learning_rate * (head_learning_rate_factor if is_head else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
            **group,
        }
        for (is_head, decays), group in sorted(groups.items())
    ]


def _never_decaying(model: nn.Module) -> set[str]:
    if hasattr(model, "no_weight_decay"):
        return model.no_weight_decay()
    return {name for name, _ in model.named_parameters() if name.split(".")[-1] == "position_embeddings"}


def _norms(model: nn.Module) -> set[str]:
    return _parameters_of(model, nn.LayerNorm, nn.BatchNorm2d, nn.SyncBatchNorm)


def _biases(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.split(".")[-1] == "bias"}


def _norms_and_dense_biases(model: nn.Module) -> set[str]:
    depthwise = {
        f"{name}.bias"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels
    }
    return _norms(model) | _biases(model) - depthwise


def _of_trunk(model: nn.Module, names: set[str]) -> set[str]:
    heads = head_prefixes(model)
    return {name for name in names if not name.startswith(heads)}


def _layer_norms(model: nn.Module) -> set[str]:
    decaying = getattr(model, "decaying_norms", ())
    return {name for name in _parameters_of(model, nn.LayerNorm) if name.rpartition(".")[0] not in decaying}


def _parameters_of(model: nn.Module, *kinds: type[nn.Module]) -> set[str]:
    modules = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    return {name for prefix, module in modules for name, _ in module.named_parameters(prefix, recurse=False)}


EXEMPTIONS = {
    "norms_and_biases": lambda model: _norms(model) | _biases(model),
    "norms_and_dense_biases": _norms_and_dense_biases,
    "trunk_norms_and_dense_biases": lambda model: _of_trunk(model, _norms_and_dense_biases(model)),
    "layer_norms": _layer_norms,
    "layer_norms_and_biases": lambda model: _layer_norms(model) | _biases(model),
}
