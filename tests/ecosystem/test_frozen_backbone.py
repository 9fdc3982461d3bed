# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A backbone that is frozen as docs/fine-tune-on-my-folder.md has it doesn't change, and the head learns."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from families import FAMILIES
from pages import python_blocks


def freeze(model) -> None:
    [code] = [block for block in python_blocks("fine-tune-on-my-folder.md") if "requires_grad_(False)" in block]
    exec(compile(code, "page", "exec"), {"model": model})


def state(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model, before) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("head", ["classifier", "segformer", "upernet"])
def test_only_the_head_changes(family, head):
    torch.manual_seed(0)
    is_classifier = head == "classifier"
    model_class = family.classifier_class if is_classifier else family.segmentor_class
    fields = {} if is_classifier else {"decode_head_type": head}
    model = model_class(family.config(num_labels=2, **fields))
    freeze(model)
    model.train()
    before = state(model)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], 1e-2)
    labels = torch.randint(0, 2, (4,) if is_classifier else (4, 64, 64))
    model(torch.randn(4, 3, 64, 64) + 3, labels=labels).loss.backward()
    optimizer.step()
    assert model.training
    names = changed(model, before)
    assert names
    assert not any(name.startswith(f"{model.base_model_prefix}.") for name in names)


def test_with_trainer(tmp_path):
    """Which puts the whole model into train mode before every step."""
    torch.manual_seed(0)
    family = FAMILIES[0]
    model = family.classifier_class(family.config(num_labels=2))
    freeze(model)
    before = state(model)
    rows = [{"pixel_values": torch.randn(3, 32, 32) + 3, "labels": number % 2} for number in range(8)]
    options = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    Trainer(model, TrainingArguments(tmp_path, max_steps=3, **options), train_dataset=rows).train()
    assert changed(model, before) == {"classifier.weight", "classifier.bias"}
