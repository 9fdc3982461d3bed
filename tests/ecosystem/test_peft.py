# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""LoRA from the first step to the merged model, for both tasks and through both of PEFT's doors.

That no adapted layer is passed over is tested with the adapters of single layers.
"""

import copy

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from families import awake
from model_outputs import assert_same


peft = pytest.importorskip("peft")

PIXELS = (2, 3, 40, 56)


def tasks(family):
    """(model, its new head, labels) of classifier and segmentors."""
    classifier, segformer, upernet = family.models(decoder_dropout_rate=0.0, **family.shallow)[2:]
    pixels = torch.randint(5, (2, *PIXELS[2:]))
    return [
        (classifier, "classifier", torch.tensor([1, 3])),
        (segformer, "decode_head", pixels),
        (upernet, "decode_head", pixels),
    ]


def lora_config(model, *heads):
    prefix = model.base_model_prefix
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    targets = [name for name in linears if name.startswith(prefix)]
    return peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, modules_to_save=list(heads))


def trained(adapted, pixel_values, labels, in_train_mode=False):
    """A few steps on one batch, by which the loss falls; BatchNorm's statistics stay, unless in train mode."""
    adapted.train(in_train_mode)
    optimizer = torch.optim.AdamW([weight for weight in adapted.parameters() if weight.requires_grad], lr=1e-2)
    losses = []
    for _ in range(4):
        loss = adapted(pixel_values=pixel_values, labels=labels).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    return adapted.eval()


def test_trained_saved_loaded_and_merged(family, tmp_path):
    pixel_values = torch.randn(PIXELS)
    for model, head, labels in tasks(family):
        original = copy.deepcopy(model)
        adapted = trained(peft.get_peft_model(model, lora_config(model, head)), pixel_values, labels)
        adapted.save_pretrained(tmp_path / "adapter")
        with torch.no_grad():
            expected = adapted(pixel_values)
            assert not torch.allclose(original(pixel_values).logits, expected.logits, atol=1e-3)
            loaded = peft.PeftModel.from_pretrained(copy.deepcopy(original), tmp_path / "adapter").eval()
            assert_same(loaded(pixel_values), expected, atol=1e-5, rtol=1e-5)
            merged = loaded.merge_and_unload()
            assert_same(merged(pixel_values), expected, atol=1e-4, rtol=1e-4)
            merged.save_pretrained(tmp_path / "merged")
            again = type(original).from_pretrained(tmp_path / "merged")
            assert merged.state_dict().keys() == original.state_dict().keys()
            assert_same(again(pixel_values), merged(pixel_values), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_adapters_of_the_model_itself(family, tmp_path):
    """`model.add_adapter`, as transformers has it, and `load_adapter` into another copy."""
    pixel_values = torch.randn(PIXELS)
    for model, head, labels in tasks(family)[:2]:
        model.save_pretrained(tmp_path / "model")
        model.add_adapter(lora_config(model, head))
        trained(model, pixel_values, labels)
        model.save_pretrained(tmp_path / "adapter")
        loaded = type(model).from_pretrained(tmp_path / "model")
        loaded.load_adapter(str(tmp_path / "adapter"))
        with torch.no_grad():
            assert_same(loaded.eval()(pixel_values), model(pixel_values), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_statistics_that_moved_are_saved_with_the_norms_alone(family, tmp_path):
    """In train mode BatchNorm's statistics follow the data, and PEFT saves those of `modules_to_save` only."""
    pixel_values = torch.randn(PIXELS)
    for norms, is_same in (([], False), (["batch_norm"], True)):
        model = awake(family.classifier_class(family.config(**family.shallow)))
        original = copy.deepcopy(model)
        adapted = peft.get_peft_model(model, lora_config(model, *norms))
        trained(adapted, pixel_values, torch.tensor([1, 3]), in_train_mode=True)
        adapted.save_pretrained(tmp_path / "adapter")
        with torch.no_grad():
            expected = adapted(pixel_values).logits
            loaded = peft.PeftModel.from_pretrained(original, tmp_path / "adapter").eval()
            assert torch.allclose(loaded(pixel_values).logits, expected, atol=1e-5) == is_same


@pytest.mark.slow
def test_trainer_trains_adapters(family, tmp_path):
    for model, head, labels in tasks(family):
        adapted = peft.get_peft_model(model, lora_config(model, head))
        data = [{"pixel_values": torch.randn(PIXELS[1:]), "labels": label} for label in labels]
        arguments = TrainingArguments(
            tmp_path, max_steps=3, learning_rate=1e-3, gradient_accumulation_steps=2, report_to="none", use_cpu=True
        )
        trainer = Trainer(adapted, arguments, train_dataset=data, eval_dataset=data)
        assert not trainer.model_accepts_loss_kwargs
        trainer.train()
        assert trainer.evaluate()["eval_loss"] > 0
        assert (tmp_path / "checkpoint-3/adapter_model.safetensors").is_file()
