# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' own model tests over our classes. Not part of the default run: see `run.py` beside this file."""

import copy
import tempfile
import unittest

import pytest


pytest.importorskip("transformers_tests", reason="transformers' own tests come with `make conformance`")

import torch
from torch import nn
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextModel,
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SegformerModel,
    SwinBackbone,
    SwinConfig,
    SwinForImageClassification,
    SwinModel,
)
from transformers.modeling_utils import load_state_dict
from transformers.testing_utils import torch_device
from transformers_tests.test_backbone_common import BackboneTesterMixin
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin, floats_tensor

from hf_gpvit import (
    GPViTAdapterBackbone,
    GPViTAdapterConfig,
    GPViTBackbone,
    GPViTConfig,
    GPViTDetectionConfig,
    GPViTForImageClassification,
    GPViTForInstanceSegmentation,
    GPViTForObjectDetection,
    GPViTForSemanticSegmentation,
    GPViTModel,
    HRViTBackbone,
    HRViTConfig,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTModel,
)
from hf_gpvit.ablations import (
    GPViTAblationBackbone,
    GPViTAblationConfig,
    GPViTAblationForImageClassification,
    GPViTAblationForSemanticSegmentation,
    GPViTAblationModel,
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


pytestmark = pytest.mark.conformance


class VisionModelTester:
    """What the mixins ask for, a small config and a batch of images, and the shapes that a family promises."""

    config_class = None
    config_kwargs = {}
    common_properties = ["num_channels"]
    batch_size = 3
    num_channels = 3
    image_size = (32, 32)
    is_training = True

    def get_config(self):
        return self.config_class(**self.config_kwargs)

    def prepare_config_and_inputs_for_common(self):
        pixel_values = floats_tensor([self.batch_size, self.num_channels, *self.image_size])
        return self.get_config(), {"pixel_values": pixel_values}

    def attention_shapes(self, model_class):
        raise NotImplementedError

    def hidden_state_shapes(self, model_class):
        raise NotImplementedError


class VisionModelTests(ModelTesterMixin):
    """Upstream's model tests; those written for token ids and one attention per layer are redone for images."""

    tester_class = None
    test_resize_embeddings = False  # there is no vocabulary

    def setUp(self):
        self.model_tester = self.tester_class()

    def run_model(self, model_class, config_flags=(), **flags):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for flag in config_flags:
            setattr(config, flag, True)
        # Only eager attention returns its weights.
        model = model_class._from_config(copy.deepcopy(config), attn_implementation="eager").to(torch_device).eval()
        with torch.no_grad():
            return model(**self._prepare_for_class(inputs, model_class), **flags)

    def check_shapes(self, key, flag, expected_shapes):
        """`outputs[key]` comes by argument and by config, not otherwise, and has the expected shapes."""
        for model_class in self.all_model_classes:
            with self.subTest(model_class.__name__):
                self.assertNotIn(key, self.run_model(model_class))
                by_argument = self.run_model(model_class, **{flag: True})
                by_config = self.run_model(model_class, config_flags=[flag])
                for outputs in (by_argument, by_config):
                    self.assertEqual([tuple(tensor.shape) for tensor in outputs[key]], expected_shapes(model_class))

    def test_config(self):
        tester = self.model_tester
        ConfigTester(
            self,
            config_class=tester.config_class,
            has_text_modality=False,
            common_properties=tester.common_properties,
            **tester.config_kwargs,
        ).run_common_tests()

    def test_model_get_set_embeddings(self):
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            self.assertIsInstance(model.get_input_embeddings(), nn.Module)
            self.assertIsInstance(model.get_output_embeddings(), nn.Linear | None)

    def test_attention_outputs(self):
        self.check_shapes("attentions", "output_attentions", self.model_tester.attention_shapes)

    def test_hidden_states_output(self):
        self.check_shapes("hidden_states", "output_hidden_states", self.model_tester.hidden_state_shapes)

    def test_nothing_passes_by_omission(self):
        """Upstream's training tests pass over, without a skip, what they find no labels or no checkpointing for."""
        _, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            self.assertTrue(model_class.supports_gradient_checkpointing)
            if "For" in model_class.__name__:
                self.assertIn("labels", self._prepare_for_class(inputs, model_class, return_labels=True))

    def check_retained_gradients(self, outputs, value):
        first = [outputs.hidden_states[0], outputs.attentions[0]]
        for tensor in first:
            tensor.retain_grad()
        value.backward()
        for tensor in first:
            self.assertIsNotNone(tensor.grad)

    def test_output_order(self):
        """Hidden states, then attentions, come after what the model returns anyway."""
        for model_class in self.all_model_classes:
            plain = list(self.run_model(model_class))
            full = list(self.run_model(model_class, output_hidden_states=True, output_attentions=True))
            self.assertEqual(full[: len(plain) + 2], [*plain, "hidden_states", "attentions"])


class VisionBackboneTests(BackboneTesterMixin):
    tester_class = None

    def setUp(self):
        self.model_tester = self.tester_class()
        self.config_class = self.tester_class.config_class


class GPViTTester(VisionModelTester):
    """One LePE layer and one GP Block, on a grid of 5 x 7 tokens: stem and stripes need their padding."""

    config_class = GPViTConfig
    config_kwargs = {
        "image_size": [36, 52],
        "initializer_range": 0.2,  # far from uniform attention, which would hide mistakes
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_stem_convs": 1,
        "stem_hidden_size": 8,
        "group_layer_indices": [1],
        "num_group_tokens": [4],
        "num_group_attention_heads": 2,
        "decoder_hidden_size": 16,
        "out_features": ["stage1", "stage2"],
    }
    common_properties = ["num_channels", "hidden_size", "num_attention_heads", "num_hidden_layers"]
    num_hidden_layers = 2
    image_size = (36, 52)

    def attention_shapes(self, model_class):
        # Four vertical stripes of 5 x 2 tokens, three horizontal ones of 2 x 7, each with half of the heads.
        return [(self.batch_size * 4, 2, 10, 10), (self.batch_size * 3, 2, 14, 14)]

    def hidden_state_shapes(self, model_class):
        return 3 * [(self.batch_size, 35, 16)]


class GPViTModelTest(VisionModelTests, unittest.TestCase):
    tester_class = GPViTTester
    all_model_classes = (GPViTModel, GPViTBackbone, GPViTForImageClassification, GPViTForSemanticSegmentation)


class GPViTBackboneTest(VisionBackboneTests, unittest.TestCase):
    tester_class = GPViTTester
    all_model_classes = (GPViTBackbone,)


class GPViTAlternativesTester(GPViTTester):
    """The other pooling and the other decode head."""

    config_kwargs = GPViTTester.config_kwargs | {"pooling_type": "mean", "decode_head_type": "upernet"}


class GPViTAlternativesModelTest(VisionModelTests, unittest.TestCase):
    tester_class = GPViTAlternativesTester
    all_model_classes = (GPViTForImageClassification, GPViTForSemanticSegmentation)


class GPViTAdapterTester(GPViTTester):
    """Two interactions, on maps of which none is a multiple of the next."""

    config_class = GPViTAdapterConfig
    config_kwargs = GPViTTester.config_kwargs | {
        "num_deformable_heads": 2,
        "num_extra_extractors": 1,
        "spatial_prior_hidden_size": 4,
        "layer_scale_init_value": 0.5,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }


class TrunklessModelTests(VisionModelTests):
    """For classes whose configs belong to no `AutoModel`, where upstream skips a test."""

    def test_torch_save_load(self):
        for model_class in self.all_model_classes:
            state = model_class(self.model_tester.get_config()).state_dict()
            for zipped in (True, False):
                with tempfile.NamedTemporaryFile(suffix=".bin") as file:
                    torch.save(state, file.name, _use_new_zipfile_serialization=zipped)
                    torch.testing.assert_close(load_state_dict(file.name), state, rtol=0, atol=0)


class GPViTAdapterModelTest(TrunklessModelTests, unittest.TestCase):
    tester_class = GPViTAdapterTester
    all_model_classes = (GPViTAdapterBackbone,)

    def test_retain_grad_hidden_states_attentions(self):
        """Upstream asks for the gradients of a tensor, and would take the tuple of maps for it."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = GPViTAdapterBackbone._from_config(config, attn_implementation="eager").to(torch_device)
        outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
        self.check_retained_gradients(outputs, outputs.feature_maps[0].flatten()[0])


class GPViTAdapterBackboneTest(VisionBackboneTests, unittest.TestCase):
    """Upstream's two tests of configs take stages for layers and the stem for a map; they are redone without."""

    tester_class = GPViTAdapterTester
    all_model_classes = (GPViTAdapterBackbone,)

    def test_config(self):
        stages = ["stage1", "stage2", "stage3", "stage4"]
        config = GPViTAdapterConfig()
        self.assertEqual(config.stage_names, ["stem", *stages])
        self.assertEqual(config.out_features, stages)
        config = GPViTAdapterConfig(out_features=None, out_indices=None)
        self.assertEqual((config.out_features, config.out_indices), (["stage4"], [4]))
        for given in ({"out_features": ["stage1", "stage3"]}, {"out_indices": [1, 3]}):
            config = GPViTAdapterConfig(**given)
            self.assertEqual((config.out_features, config.out_indices), (["stage1", "stage3"], [1, 3]))
        with self.assertRaises(ValueError):
            GPViTAdapterConfig(out_features=["stage1", "stage2"], out_indices=[1, 3])

    def test_config_save_pretrained(self):
        config = GPViTAdapterConfig(out_indices=[1, 2, 3])
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            self.assertEqual(GPViTAdapterConfig.from_pretrained(folder).to_dict(), config.to_dict())


class MaskRCNNTester(GPViTAdapterTester):
    config_class = GPViTDetectionConfig
    config_kwargs = GPViTAdapterTester.config_kwargs | {
        "fpn_hidden_size": 8,
        "box_hidden_size": 8,
        "rpn_post_nms_top_n": 16,
        "num_detections": 8,
        "score_threshold": 0.0,
        # all boxes, so that none are drawn at random
        "rpn_batch_size_per_image": 4096,
        "rpn_positive_fraction": 1.0,
        "box_batch_size_per_image": 4096,
        "box_positive_fraction": 1.0,
    }

    def labels(self):
        height, width = self.image_size
        objects = {
            "class_labels": torch.tensor([0, 1], device=torch_device),
            "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.6, 0.2, 0.2]], device=torch_device),
            "masks": torch.ones(2, height, width, device=torch_device),
        }
        return [objects for _ in range(self.batch_size)]


class RetinaNetTester(MaskRCNNTester):
    config_kwargs = MaskRCNNTester.config_kwargs | {
        "detector_type": "retinanet",
        "out_features": ["stage2", "stage3", "stage4"],
    }


class DetectorTests(TrunklessModelTests):
    """As those of the other models, with labels of detectors."""

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        return inputs | {"labels": self.model_tester.labels()} if return_labels else inputs

    def test_retain_grad_hidden_states_attentions(self):
        """Of the loss: detections have no gradients."""
        for model_class in self.all_model_classes:
            config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
            model = model_class._from_config(config, attn_implementation="eager").to(torch_device)
            inputs = self._prepare_for_class(inputs, model_class, return_labels=True)
            outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
            self.check_retained_gradients(outputs, outputs.loss)


class MaskRCNNModelTest(DetectorTests, unittest.TestCase):
    tester_class = MaskRCNNTester
    all_model_classes = (GPViTForObjectDetection, GPViTForInstanceSegmentation)


class RetinaNetModelTest(DetectorTests, unittest.TestCase):
    tester_class = RetinaNetTester
    all_model_classes = (GPViTForObjectDetection,)


class HRViTTester(VisionModelTester):
    """Two modules and two branches, on grids of 9 x 13 and 5 x 7 tokens: stripes and upsampling go beyond them."""

    config_class = HRViTConfig
    config_kwargs = {
        "image_size": [36, 52],
        "initializer_range": 0.2,  # far from uniform attention, which would hide mistakes
        "hidden_sizes": [8, 16],
        "num_blocks": [[1], [1, 1]],
        "stripe_widths": [1, 2],
        "attention_head_dim": 4,
        "mlp_ratios": [2, 2],
        "stem_hidden_sizes": [6, 12],
        "classifier_hidden_sizes": [2, 4],
        "classifier_output_size": 16,
        "decoder_hidden_size": 16,
    }
    common_properties = ["num_channels", "hidden_sizes", "num_blocks"]
    image_size = (36, 52)

    def attention_shapes(self, model_class):
        # For each of three blocks: horizontal stripes, then vertical ones, each with half of the channels.
        finer = [(self.batch_size * 9, 1, 13, 13), (self.batch_size * 13, 1, 9, 9)]
        coarser = [(self.batch_size * 3, 2, 14, 14), (self.batch_size * 4, 2, 10, 10)]
        return finer + finer + coarser

    def hidden_state_shapes(self, model_class):
        return [(self.batch_size, 8, 9, 13), (self.batch_size, 16, 5, 7)]


class HRViTModelTest(VisionModelTests, unittest.TestCase):
    tester_class = HRViTTester
    # The classifier first: upstream asks the first class for gradients of every hidden state, and the bare model's
    # output, the coarsest map, does not come from the finer ones, which are outputs themselves.
    all_model_classes = (HRViTForImageClassification, HRViTModel, HRViTBackbone, HRViTForSemanticSegmentation)


class HRViTBackboneTest(VisionBackboneTests, unittest.TestCase):
    tester_class = HRViTTester
    all_model_classes = (HRViTBackbone,)


class HRViTUperNetTester(HRViTTester):
    config_kwargs = HRViTTester.config_kwargs | {"decode_head_type": "upernet"}


class HRViTUperNetModelTest(VisionModelTests, unittest.TestCase):
    tester_class = HRViTUperNetTester
    all_model_classes = (HRViTForSemanticSegmentation,)


# Variants of the papers' tables, two of each kind.


class WindowsTester(GPViTTester):
    """Shifted windows of 3 x 3 tokens, on a grid that they don't divide, and attention among groups."""

    config_class = GPViTAblationConfig
    config_kwargs = GPViTTester.config_kwargs | {
        "layer_types": ["shifted_window_attention", "group_propagation"],
        "window_size": 3,
        "group_propagation_type": "attention",
    }

    def attention_shapes(self, model_class):
        return [(self.batch_size * 6, 4, 9, 9)]


class PlainViTTester(GPViTTester):
    """Attention among all tokens, and a layer of convolutions."""

    config_class = GPViTAblationConfig
    config_kwargs = GPViTTester.config_kwargs | {
        "layer_types": ["full_attention", "convolution"],
        "group_layer_indices": [],
        "num_group_tokens": [],
        "use_closing_convolution": False,
        "pooling_type": "mean",
    }

    def attention_shapes(self, model_class):
        return [(self.batch_size, 4, 35, 35)]


GPVIT_ABLATIONS = (
    GPViTAblationModel,
    GPViTAblationBackbone,
    GPViTAblationForImageClassification,
    GPViTAblationForSemanticSegmentation,
)


class WindowsModelTest(VisionModelTests, unittest.TestCase):
    tester_class = WindowsTester
    all_model_classes = GPVIT_ABLATIONS


class WindowsBackboneTest(VisionBackboneTests, unittest.TestCase):
    tester_class = WindowsTester
    all_model_classes = (GPViTAblationBackbone,)


class PlainViTModelTest(VisionModelTests, unittest.TestCase):
    tester_class = PlainViTTester
    all_model_classes = GPVIT_ABLATIONS


class UnsharedHRViTTester(HRViTTester):
    """Keys, patch embeddings and fusion are others."""

    config_class = HRViTAblationConfig
    config_kwargs = HRViTTester.config_kwargs | {
        "share_key_value": False,
        "patch_embedding_type": "full",
        "fusion_paths": "neighbors",
    }


class PlainHRViTTester(UnsharedHRViTTester):
    """Without any of HRViT's ideas."""

    config_kwargs = UnsharedHRViTTester.config_kwargs | {
        "feed_forward_type": "mlp",
        "use_parallel_convolution": False,
        "use_attention_nonlinearity": False,
        "use_diversity_shortcut": False,
    }


HRVIT_ABLATIONS = (
    HRViTAblationForImageClassification,  # first, as above
    HRViTAblationModel,
    HRViTAblationBackbone,
    HRViTAblationForSemanticSegmentation,
)


class UnsharedHRViTModelTest(VisionModelTests, unittest.TestCase):
    tester_class = UnsharedHRViTTester
    all_model_classes = HRVIT_ABLATIONS


class PlainHRViTModelTest(VisionModelTests, unittest.TestCase):
    tester_class = PlainHRViTTester
    all_model_classes = HRVIT_ABLATIONS


class PlainHRViTBackboneTest(VisionBackboneTests, unittest.TestCase):
    tester_class = PlainHRViTTester
    all_model_classes = (HRViTAblationBackbone,)


class HRNetCSWinTester(HRViTTester):
    """One module of two branches."""

    config_class = HRNetViTConfig
    config_kwargs = HRViTTester.config_kwargs | {
        "num_blocks": [[1, 1]],
        "stem_hidden_sizes": [6, 12],
        "num_stem_bottlenecks": 1,
        "reduction_ratios": [2, 1],
    }

    def attention_shapes(self, model_class):
        finer, coarser = super().attention_shapes(model_class)[2:4], super().attention_shapes(model_class)[4:]
        return finer + coarser


class HRNetMiTTester(HRNetCSWinTester):
    config_kwargs = HRNetCSWinTester.config_kwargs | {"attention_type": "reduced", "reduction_type": "depthwise"}

    def attention_shapes(self, model_class):
        return [(self.batch_size, 2, 9 * 13, 5 * 7), (self.batch_size, 4, 5 * 7, 5 * 7)]


HRNET_VITS = (
    HRNetViTForImageClassification,  # first, as above
    HRNetViTModel,
    HRNetViTBackbone,
    HRNetViTForSemanticSegmentation,
)


class HRNetCSWinModelTest(VisionModelTests, unittest.TestCase):
    tester_class = HRNetCSWinTester
    all_model_classes = HRNET_VITS


class HRNetCSWinBackboneTest(VisionBackboneTests, unittest.TestCase):
    tester_class = HRNetCSWinTester
    all_model_classes = (HRNetViTBackbone,)


class HRNetMiTModelTest(VisionModelTests, unittest.TestCase):
    tester_class = HRNetMiTTester
    all_model_classes = HRNET_VITS


# In-tree references: run only to learn which tests upstream's own vision models skip.


class SwinTester(VisionModelTester):
    config_class = SwinConfig
    config_kwargs = {
        "image_size": 32,
        "patch_size": 2,
        "embed_dim": 16,
        "depths": [1, 2, 1],
        "num_heads": [2, 2, 4],
        "window_size": 2,
        "drop_path_rate": 0.1,
        "out_features": ["stage1", "stage2"],
    }
    seq_length = 256
    num_masks = 64

    def attention_shapes(self, model_class):
        # One tensor per stage; the grid of 16 x 16 patches halves from stage to stage, windows are 2 x 2.
        grids_and_heads = [(16, 2), (8, 2), (4, 4)]
        return [(self.batch_size * (grid // 2) ** 2, heads, 4, 4) for grid, heads in grids_and_heads]

    def hidden_state_shapes(self, model_class):
        if model_class is SwinBackbone:  # the stem, then every stage before its downsampling, as maps
            return [(self.batch_size, width, grid, grid) for width, grid in [(16, 16), (16, 16), (32, 8), (64, 4)]]
        return [(self.batch_size, *shape) for shape in [(256, 16), (64, 32), (16, 64), (16, 64)]]


class SwinModelTest(VisionModelTests, unittest.TestCase):
    tester_class = SwinTester
    all_model_classes = (SwinModel, SwinBackbone, SwinForImageClassification)


class SwinBackboneTest(VisionBackboneTests, unittest.TestCase):
    tester_class = SwinTester
    all_model_classes = (SwinBackbone,)


class SegformerTester(VisionModelTester):
    config_class = SegformerConfig
    config_kwargs = {
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 8, 16, 16],
        "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 16,
    }
    image_size = (64, 64)

    def attention_shapes(self, model_class):
        # Keys are reduced by 8, 4, 2 and 1 in each direction: four of them are left at every stage.
        return [(self.batch_size, heads, grid**2, 4) for grid, heads in [(16, 1), (8, 1), (4, 2), (2, 2)]]

    def hidden_state_shapes(self, model_class):
        return [(self.batch_size, width, grid, grid) for width, grid in [(8, 16), (8, 8), (16, 4), (16, 2)]]


class SegformerModelTest(VisionModelTests, unittest.TestCase):
    tester_class = SegformerTester
    all_model_classes = (SegformerModel, SegformerForImageClassification, SegformerForSemanticSegmentation)

    @unittest.skip("in-tree Segformer has no get_input_embeddings")
    def test_model_get_set_embeddings(self):
        pass


class ConvNextTester(VisionModelTester):
    config_class = ConvNextConfig
    config_kwargs = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}


class ConvNextModelTest(unittest.TestCase):
    """Reference for two tests of renamed weights: those of Swin and Segformer were renamed, these and ours not."""

    all_model_classes = (ConvNextModel, ConvNextForImageClassification)
    test_reverse_loading_mapping = ModelTesterMixin.test_reverse_loading_mapping
    test_can_load_from_already_mapped_keys = ModelTesterMixin.test_can_load_from_already_mapped_keys

    def setUp(self):
        self.model_tester = ConvNextTester()
