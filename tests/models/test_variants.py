# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Models that are built of these: others around the layers of a trunk, other parts in its blocks."""

import copy
import pickle

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from families import GPVIT, HRVIT, awake
from hf_gpvit import GPViTForImageClassification, GPViTModel, HRViTModel
from hf_gpvit.models.compat import OutputRecorder, RecordedModule, capture_outputs
from hf_gpvit.models.layers import DropPath
from hf_gpvit.models.modeling_gpvit import GPViTGroupLayer, GPViTGroupPropagation, GPViTPreTrainedModel
from hf_gpvit.models.modeling_hrvit import (
    HRViTBlock,
    HRViTBranch,
    HRViTMixCFN,
    HRViTModule,
    HRViTOutputBranch,
    HRViTPreTrainedModel,
)
from model_outputs import assert_same


class Scale(RecordedModule):
    """What an adapter may do before each layer."""

    def forward(self, hidden_states):
        return hidden_states


class GPViTAround(GPViTPreTrainedModel):
    """A model around the layers of a trunk, which is not its `base_model`."""

    base_model_prefix = "around"
    _can_record_outputs = GPViTPreTrainedModel._can_record_outputs | {"scaled": OutputRecorder(Scale)}

    def __init__(self, config):
        super().__init__(config)
        self.trunk, self.scale = GPViTModel(config, add_pooling_layer=False), Scale()
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values, **kwargs):
        hidden_states, grid = self.trunk.embed(pixel_values)
        for layer in self.trunk.layers:
            hidden_states = layer(self.scale(hidden_states), grid, **kwargs)
        return BaseModelOutput(last_hidden_state=self.trunk.norm(hidden_states))


class HRViTAround(HRViTPreTrainedModel):
    base_model_prefix = "around"
    _can_record_outputs = HRViTPreTrainedModel._can_record_outputs | {"scaled": OutputRecorder(Scale)}

    def __init__(self, config):
        super().__init__(config)
        self.trunk, self.scale = HRViTModel(config, add_pooling_layer=False), Scale()
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values, **kwargs):
        hidden_states = self.trunk.embed(pixel_values)
        for layer in self.trunk.layers:
            hidden_states = layer(self.scale(hidden_states), **kwargs)
        return BaseModelOutput(last_hidden_state=hidden_states[-1])


AROUND = {"gpvit": GPViTAround, "hrvit": HRViTAround}


@pytest.fixture
def models(family):
    """A trunk, and a model around the same one."""
    config = family.config(**family.shallow)
    trunk, around = family.model_class(config, add_pooling_layer=False), AROUND[family.name](config)
    around.trunk.load_state_dict(trunk.state_dict())
    return trunk.eval(), around.eval()


@pytest.mark.parametrize(
    "changed",
    [lambda model: model, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), "compiled"],
    ids=["built", "copied", "pickled", "compiled"],
)
@torch.no_grad()
def test_a_model_around_a_trunk_records_as_the_trunk_does(models, changed):
    (trunk, around), pixel_values = models, torch.randn(1, 3, 57, 90)
    if changed == "compiled":
        around.compile(fullgraph=True, backend="eager")
    else:
        around = changed(around)
    flags = {"output_hidden_states": True, "output_attentions": True}
    outputs = dict(around(pixel_values, output_scaled=True, **flags))
    assert len(outputs.pop("scaled")) == len(trunk.layers)
    assert_same(outputs, trunk(pixel_values, **flags), atol=1e-5, rtol=1e-5)
    assert list(around(pixel_values)) == ["last_hidden_state"]


class NoMixer(nn.Module):
    def __init__(self, config, num_group_tokens, drop_path_rate):
        super().__init__()

    def forward(self, groups):
        return groups


class UnmixedPropagation(GPViTGroupPropagation):
    mixer_class = NoMixer


class UnmixedLayer(GPViTGroupLayer):
    propagation_class = UnmixedPropagation


class UnmixedGPViT(GPViTModel):
    group_layer_class = UnmixedLayer


class UnmixedClassifier(GPViTForImageClassification):
    trunk_class = UnmixedGPViT


class NoShortcut(nn.Module):
    def __init__(self, config, branch):
        super().__init__()

    def forward(self, hidden_states):
        return torch.zeros_like(hidden_states)


class PlainBlock(HRViTBlock):
    shortcut_class = NoShortcut


class PlainBranch(HRViTBranch):
    block_class = PlainBlock


class PlainOutputBranch(HRViTOutputBranch):
    block_class = PlainBlock


class PlainModule(HRViTModule):
    branch_class, output_branch_class = PlainBranch, PlainOutputBranch


class PlainHRViT(HRViTModel):
    module_class = PlainModule


@pytest.mark.parametrize(
    ("family", "variant", "missing"), [(GPVIT, UnmixedGPViT, ".mixer."), (HRVIT, PlainHRViT, ".shortcut.")]
)
@torch.no_grad()
def test_a_variant_is_a_subclass(family, variant, missing, tmp_path):
    """It lacks the weights of the part that it leaves out, and is saved, loaded, recorded and fused as any model."""
    config, pixel_values = family.config(drop_path_rate=0.5), torch.randn(1, 3, 57, 90)
    model, whole = awake(variant(config)), family.model_class(config)
    assert set(whole.state_dict()) - set(model.state_dict()) == {
        name for name in whole.state_dict() if missing in name
    }
    rates = [[module.rate for module in each.modules() if isinstance(module, DropPath)] for each in (model, whole)]
    assert max(rates[0]) == max(rates[1]) == 0.5
    model.save_pretrained(tmp_path)
    loaded = variant.from_pretrained(tmp_path)
    outputs = model(pixel_values, output_hidden_states=True)
    assert_same(loaded(pixel_values, output_hidden_states=True), outputs, atol=0, rtol=0)
    assert_same(model.fuse_for_inference()(pixel_values, output_hidden_states=True), outputs, atol=1e-4, rtol=1e-4)
    assert len(outputs.hidden_states) == len(whole.eval()(pixel_values, output_hidden_states=True).hidden_states)


@torch.no_grad()
def test_a_variant_of_the_trunk_gets_a_head():
    model = awake(UnmixedClassifier(GPVIT.config()))
    assert not [name for name in model.state_dict() if ".mixer." in name]
    assert model(torch.randn(1, 3, 57, 90)).logits.shape == (1, 5)


class GPViTWithMore(GPViTModel):
    """A part of its own, after what the trunk does when it is built."""

    _can_record_outputs = GPViTModel._can_record_outputs | {"scaled": Scale}

    def __init__(self, config):
        super().__init__(config)
        self.scale = Scale()
        self.post_init()


@torch.no_grad()
def test_a_subclass_records_once():
    model = GPViTWithMore(GPVIT.config()).eval()
    outputs = model(torch.randn(1, 3, 57, 90), output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 1 + len(model.layers)
    assert len(outputs.attentions) == 2 * 2
    assert isinstance(model.scale(outputs.last_hidden_state), torch.Tensor)


class Mean(HRViTMixCFN):
    """Another mixed-scale convolution, which can't be joined as the model's own."""

    def mix(self, hidden_states):
        return super().mix(hidden_states) / 2


class MeanBlock(HRViTBlock):
    mlp_class = Mean


@torch.no_grad()
def test_fusing_leaves_variants_as_they_are():
    model, pixel_values = awake(HRVIT.model_class(HRVIT.config())), torch.randn(1, 3, 57, 90)
    for module in model.modules():
        if type(module) is HRViTBlock:
            module.__class__, module.mlp.__class__ = MeanBlock, Mean
    expected = model(pixel_values)
    assert_same(model.fuse_for_inference()(pixel_values), expected, atol=1e-4, rtol=1e-4)
