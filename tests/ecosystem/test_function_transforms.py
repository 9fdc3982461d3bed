# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""torch.func: models as functions of their weights, under vmap, grad, vjp and jvp.

In eval mode: in train mode BatchNorm changes its buffers, which no transform takes.
"""

import copy

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, stack_module_state, vjp, vmap

from families import awake
from model_outputs import assert_same, tensors


# Whole and padded stripes; the second gives the linear layers enough rows to run as convolutions.
both_sizes = pytest.mark.parametrize(
    "size", [pytest.param((40, 40), id="40x40", marks=pytest.mark.slow), pytest.param((57, 90), id="57x90")]
)


def weights(model):
    return {name: weight.detach() for name, weight in model.named_parameters()}


def labelled(family, model, batch, size):
    """Labels for a batch, some pixels of each image without one."""
    if isinstance(model, family.classifier_class):
        return torch.arange(batch) % 5
    labels = torch.randint(5, (batch, *size))
    for index in range(batch):
        labels[index, : 4 * index] = 255
    return labels


@both_sizes
@torch.no_grad()
def test_functional_call(family, size):
    pixel_values = torch.randn(2, 3, *size)
    for model in family.models(**family.shallow):
        other = copy.deepcopy(model)
        for weight in other.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        expected = model(pixel_values, output_hidden_states=True)
        state = dict(other.named_parameters()) | dict(other.named_buffers())
        actual = functional_call(model, state, (pixel_values,), {"output_hidden_states": True})
        assert_same(actual, other(pixel_values, output_hidden_states=True), atol=1e-5, rtol=1e-5)
        assert_same(model(pixel_values, output_hidden_states=True), expected, atol=0, rtol=0)


@both_sizes
@pytest.mark.parametrize("with_gradients", [pytest.param(True, marks=pytest.mark.slow), False])
def test_vmap_over_batches(family, size, with_gradients):
    batches = torch.randn(2, 2, 3, *size)
    for model in family.models(**family.shallow):
        with torch.set_grad_enabled(with_gradients):
            outputs = tensors(vmap(model)(batches))
            for index, pixel_values in enumerate(batches):
                expected = tensors(model(pixel_values))
                actual = {key: value[index] for key, value in outputs.items()}
                torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4, check_stride=False)


@both_sizes
def test_gradients_of_every_sample(family, size):
    """vmap of grad, labels included, gives what one backward pass per sample gives."""
    for model in family.models(**family.shallow)[2:]:
        pixel_values, labels = torch.randn(3, 3, *size), labelled(family, model, 3, size)

        def loss(parameters, image, label, model=model):
            return functional_call(model, parameters, (image[None],), {"labels": label[None]}).loss

        together = vmap(grad(loss), in_dims=(None, 0, 0))(weights(model), pixel_values, labels)
        for index in range(3):
            model.zero_grad()
            model(pixel_values[index : index + 1], labels=labels[index : index + 1]).loss.backward()
            largest = max(weight.grad.abs().max() for weight in model.parameters())
            for name, weight in model.named_parameters():
                assert (together[name][index] - weight.grad).abs().max() <= 1e-4 * largest, name


@torch.no_grad()
def test_wrong_labels_are_refused_outside_transforms_only(family):
    """Inside, their values can't be looked at; their shape and type can."""
    model = family.models(**family.shallow)[3]
    pixel_values, labels = torch.randn(2, 1, 3, 40, 40), torch.full((2, 1, 40, 40), 4)

    def loss(images, masks):
        return model(images, labels=masks).loss

    assert vmap(loss)(pixel_values, labels).shape == (2,)
    with pytest.raises(ValueError, match="labels must have shape"):
        vmap(loss)(pixel_values, labels[..., :-1])
    with pytest.raises(ValueError, match="labels must be in"):
        loss(pixel_values[0], labels[0] + 1)


@pytest.mark.slow
@torch.no_grad()
def test_an_ensemble_is_one_function(family):
    pixel_values = torch.randn(2, 3, 57, 90)
    for index in range(5):
        members = [family.models(**family.shallow)[index] for _ in range(2)]
        state, buffers = stack_module_state(members)
        skeleton = copy.deepcopy(members[0]).to("meta")

        def call(state, buffers, pixel_values, skeleton=skeleton):
            return functional_call(skeleton, (state, buffers), (pixel_values,))

        outputs = tensors(vmap(call, in_dims=(0, 0, None))(state, buffers, pixel_values))
        for number, member in enumerate(members):
            actual = {key: value[number] for key, value in outputs.items()}
            torch.testing.assert_close(actual, tensors(member(pixel_values)), atol=1e-4, rtol=1e-4, check_stride=False)


@both_sizes
@pytest.mark.parametrize("with_gradients", [pytest.param(True, marks=pytest.mark.slow), False])
def test_forward_derivatives_are_the_adjoint_of_backward_ones(family, size, with_gradients):
    """<u, jvp(v)> = <vjp(u), v>, by weights and by pixels."""
    for model in family.models(**family.shallow):
        pixel_values, parameters = torch.randn(1, 3, *size), weights(model)

        def outputs(parameters, pixel_values, model=model):
            return tensors(functional_call(model, parameters, (pixel_values,)))

        point = (parameters, pixel_values)
        direction = ({name: torch.randn_like(weight) for name, weight in parameters.items()}, torch.randn(1, 3, *size))
        with torch.set_grad_enabled(with_gradients):
            _, forward = jvp(outputs, point, direction)
        values, pull_back = vjp(outputs, *point)
        cotangent = {key: torch.randn_like(value) for key, value in values.items()}
        weight_gradients, pixel_gradients = pull_back(cotangent)
        left = sum((cotangent[key] * forward[key]).sum() for key in forward)
        right = (pixel_gradients * direction[1]).sum()
        right = right + sum((weight_gradients[name] * direction[0][name]).sum() for name in parameters)
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@torch.no_grad()
def test_forward_derivatives_of_the_model_itself(family):
    """Its own parameters take part in products of weights."""
    pixel_values, tangent = torch.randn(1, 3, 57, 90), torch.randn(1, 3, 57, 90)
    for model in family.models(**family.shallow):
        model.double()
        step = 1e-6

        def outputs(pixel_values, model=model):
            return tensors(model(pixel_values))

        model.set_attn_implementation("eager")
        _, derivative = jvp(outputs, (pixel_values.double(),), (tangent.double(),))
        plus, minus = (outputs(pixel_values.double() + sign * step * tangent) for sign in (1, -1))
        for key, value in derivative.items():
            expected = (plus[key] - minus[key]) / (2 * step)
            assert (value - expected).abs().max() <= 1e-3 * expected.abs().max(), key


@pytest.mark.slow
@torch.no_grad()
def test_dual_numbers(family):
    """Forward derivatives without torch.func."""
    pixel_values, tangent = torch.randn(2, 1, 3, 57, 90)
    for model in family.models(**family.shallow)[3:]:
        with forward_ad.dual_level():
            logits = model(forward_ad.make_dual(pixel_values, tangent)).logits
            _, actual = forward_ad.unpack_dual(logits)
        _, expected = jvp(lambda pixels, model=model: model(pixels).logits, (pixel_values,), (tangent,))
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_batch_norm_without_running_statistics(family):
    """What torch.func makes of BatchNorm for transforms in train mode: every batch has its own statistics."""
    for model in family.models(decoder_dropout_rate=0.0, **family.shallow):
        torch.func.replace_all_batch_norm_modules_(model)
        batches = torch.randn(2, 2, 3, 40, 40)
        for mode in (True, False):
            model.train(mode)
            outputs = tensors(vmap(model)(batches))
            expected = tensors(model(batches[1]))
            actual = {key: value[1] for key, value in outputs.items()}
            torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4, check_stride=False)
            if mode:
                in_training = expected
        torch.testing.assert_close(in_training, expected, atol=1e-4, rtol=1e-4, check_stride=False)


@pytest.mark.slow
def test_second_derivatives(family):
    """A product with the Hessian, forward over reverse, is the difference of two gradients."""
    model = awake(family.classifier_class(family.config(**family.shallow))).double()
    model.set_attn_implementation("eager")
    pixel_values, direction = torch.randn(2, 3, 40, 40).double(), torch.randn(2, 3, 40, 40).double()

    def loss(pixel_values):
        return model(pixel_values, labels=torch.tensor([1, 3])).loss

    _, product = jvp(grad(loss), (pixel_values,), (direction,))
    step = 1e-4
    expected = (grad(loss)(pixel_values + step * direction) - grad(loss)(pixel_values - step * direction)) / (2 * step)
    assert (product - expected).abs().max() <= 1e-2 * expected.abs().max()
