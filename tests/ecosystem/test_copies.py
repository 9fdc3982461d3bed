# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Models in files of torch.save, in shared memory and in other processes.

Pickled and deep-copied models are tested with the forward pass.
"""

import copy
import pickle
from unittest import mock

import pytest
import torch
from torch import multiprocessing
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY

from model_outputs import assert_same, tensors
from small_detectors import ALL_KINDS, small_model


PIXELS = (1, 3, 40, 40)


@torch.no_grad()
def test_a_whole_model_in_a_file(family, tmp_path):
    pixel_values = torch.randn(PIXELS)
    for model in family.models(**family.shallow):
        expected = model(pixel_values, output_hidden_states=True, output_attentions=True)
        torch.save(model, tmp_path / "model.pt")
        loaded = torch.load(tmp_path / "model.pt", weights_only=False)
        assert type(loaded) is type(model)
        assert_same(loaded(pixel_values, output_hidden_states=True, output_attentions=True), expected, atol=0, rtol=0)


@torch.no_grad()
def test_a_process_in_which_no_model_was_built(family):
    """transformers notes what a class records when a model of it is built; here it has forgotten."""
    pixel_values = torch.randn(PIXELS)
    for model in family.models(**family.shallow):
        expected, content = model(pixel_values, output_hidden_states=True), pickle.dumps(model)
        with mock.patch.dict(_CAN_RECORD_REGISTRY, clear=True):
            clone = pickle.loads(content)
            assert_same(clone(pixel_values, output_hidden_states=True), expected, atol=0, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_a_model_in_training_train_alike_and_apart(family, copied):
    """Between a forward and a backward pass, with gradients and checkpointing; the copy's step leaves the model."""
    pixel_values, labels = torch.randn(2, 3, 40, 40), torch.randint(5, (2, 40, 40))
    model = family.segmentor_class(family.config(decoder_dropout_rate=0.0, **family.shallow)).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model(pixel_values, labels=labels).loss.backward()
    before = copy.deepcopy(model.state_dict())
    clone = copied(model)
    for each in (clone, model):
        assert each.is_gradient_checkpointing
        each.zero_grad()
        each(pixel_values, labels=labels).loss.backward()
        if each is clone:
            torch.optim.SGD(each.parameters(), lr=0.1).step()
            assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    pairs = zip(clone.parameters(), model.parameters(), strict=True)
    assert all(torch.equal(mine.grad, yours.grad) for mine, yours in pairs)
    assert any(not torch.equal(clone.state_dict()[name], value) for name, value in before.items())


def _answer(model, pixel_values, answers):
    with torch.inference_mode():
        outputs = model(pixel_values, output_hidden_states=True)
    answers.put({name: value.numpy() for name, value in tensors(outputs).items()})
    with torch.no_grad():
        next(model.parameters()).fill_(7.0)


@pytest.mark.slow
@torch.no_grad()
def test_spawned_processes_share_the_weights(family):
    context = multiprocessing.get_context("spawn")
    pixel_values = torch.randn(PIXELS)
    for model in family.models()[2:4]:
        expected = model(pixel_values, output_hidden_states=True)
        model.share_memory()
        answers = context.Queue()
        process = context.Process(target=_answer, args=(model, pixel_values, answers))
        process.start()
        answer = {name: torch.from_numpy(value) for name, value in answers.get(timeout=300).items()}
        process.join(timeout=60)
        assert process.exitcode == 0
        torch.testing.assert_close(answer, tensors(expected), atol=1e-5, rtol=1e-5)
        assert (next(model.parameters()) == 7.0).all()


@pytest.mark.parametrize("kind", ALL_KINDS)
@torch.no_grad()
def test_copies_of_detectors(kind, tmp_path):
    flags = {"output_hidden_states": True, "output_group_attentions": True}
    pixel_values, model = torch.randn(PIXELS), small_model(kind)
    expected = model(pixel_values, **flags)
    torch.save(model, tmp_path / "model.pt")
    copies = [torch.load(tmp_path / "model.pt", weights_only=False), copy.deepcopy(model)]
    with mock.patch.dict(_CAN_RECORD_REGISTRY, clear=True):
        copies.append(pickle.loads(pickle.dumps(model)))
        for each in copies:
            assert_same(each(pixel_values, **flags), expected, atol=0, rtol=0)
