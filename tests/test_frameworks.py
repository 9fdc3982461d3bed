# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The backbones inside transformers' frameworks for segmentation and detection; docs/frameworks.md promises this."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from transformers import (
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    DetrConfig,
    DetrForObjectDetection,
    DFineConfig,
    DFineForObjectDetection,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from families import GPVIT, HRVIT, Family
from hf_gpvit import GPViTAdapterBackbone, GPViTAdapterConfig
from small_detectors import SMALL_ADAPTER


HEIGHT, WIDTH, NUM_LABELS = 64, 96, 3

# GPViT as a pyramid, in these frameworks a third family.
ADAPTER = Family(
    name="gpvit-adapter",
    config_class=GPViTAdapterConfig,
    model_class=None,
    backbone_class=GPViTAdapterBackbone,
    classifier_class=None,
    segmentor_class=None,
    small=SMALL_ADAPTER,
    shallow={},
)
FAMILIES = (GPVIT, HRVIT, ADAPTER)


def pixel_labels() -> dict[str, Any]:
    return {"labels": torch.randint(0, NUM_LABELS, (2, HEIGHT, WIDTH))}


def masks() -> dict[str, Any]:
    numbers = (2, 1)
    return {
        "mask_labels": [torch.rand(number, HEIGHT, WIDTH).round() for number in numbers],
        "class_labels": [torch.randint(0, NUM_LABELS, (number,)) for number in numbers],
    }


def boxes() -> dict[str, Any]:
    corners = [torch.tensor([[0.5, 0.5, 0.3, 0.4], [0.3, 0.6, 0.2, 0.2]]), torch.tensor([[0.4, 0.4, 0.5, 0.3]])]
    return {"labels": [{"class_labels": torch.arange(len(each)), "boxes": each} for each in corners]}


@dataclass(frozen=True)
class Framework:
    name: str
    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel]
    num_maps: int
    backbone_path: str
    targets: Callable[[], dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    needs_pyramid: bool = False

    def model(self, backbone_config: PreTrainedConfig, **options) -> PreTrainedModel:
        config = self.config_class(
            backbone_config=backbone_config, **{"num_labels": NUM_LABELS} | self.options | options
        )
        return self.model_class(config)

    def backbone(self, model: PreTrainedModel) -> PreTrainedModel:
        return model.get_submodule(self.backbone_path)


TRANSFORMER = {
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_layers": 2,
    "decoder_ffn_dim": 32,
    "decoder_attention_heads": 2,
    "num_queries": 8,
}
REAL_TIME = TRANSFORMER | {
    "encoder_hidden_dim": 32,
    "decoder_in_channels": [32, 32, 32],
    "num_denoising": 4,
    "freeze_backbone_batch_norms": False,
}
DETECTOR_BACKBONE = "model.backbone.model"
MASK_BACKBONE = "model.pixel_level_module.encoder"

UPERNET = Framework(
    "upernet",
    UperNetConfig,
    UperNetForSemanticSegmentation,
    4,
    "backbone",
    pixel_labels,
    {"hidden_size": 16, "auxiliary_channels": 8},
)
DETR = Framework("detr", DetrConfig, DetrForObjectDetection, 1, DETECTOR_BACKBONE, boxes, TRANSFORMER)
DEFORMABLE_DETR = Framework(
    "deformable-detr",
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    3,
    DETECTOR_BACKBONE,
    boxes,
    TRANSFORMER,
)
MASKFORMER = Framework(
    "maskformer",
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    4,
    MASK_BACKBONE,
    masks,
    {"fpn_feature_size": 32, "mask_feature_size": 32, "decoder_config": TRANSFORMER | {"model_type": "detr"}},
)
MASK2FORMER = Framework(
    "mask2former",
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    4,
    MASK_BACKBONE,
    masks,
    {
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 32,
        "encoder_layers": 1,
        "encoder_feedforward_dim": 32,
        "decoder_layers": 3,
        "dim_feedforward": 32,
        "num_attention_heads": 2,
        "num_queries": 8,
        "train_num_points": 64,
    },
)
RT_DETR = Framework(
    "rt-detr", RTDetrConfig, RTDetrForObjectDetection, 3, DETECTOR_BACKBONE, boxes, REAL_TIME, needs_pyramid=True
)
RT_DETR_V2 = Framework(
    "rt-detr-v2",
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    3,
    DETECTOR_BACKBONE,
    boxes,
    REAL_TIME,
    needs_pyramid=True,
)
D_FINE = Framework(
    "d-fine", DFineConfig, DFineForObjectDetection, 3, DETECTOR_BACKBONE, boxes, REAL_TIME, needs_pyramid=True
)
FRAMEWORKS = (UPERNET, DETR, DEFORMABLE_DETR, MASKFORMER, MASK2FORMER, RT_DETR, RT_DETR_V2, D_FINE)
REAL_TIME_FRAMEWORKS = tuple(framework for framework in FRAMEWORKS if framework.needs_pyramid)
ALWAYS_TESTED = {
    ("deformable-detr", "gpvit"),
    ("mask2former", "hrvit"),
    ("rt-detr", "hrvit"),
    ("rt-detr", "gpvit-adapter"),
    ("mask2former", "gpvit-adapter"),
}


def pairs(marks: Callable[[Framework, Family], list]) -> list:
    """Every framework with every family whose maps it takes."""
    return [
        pytest.param(framework, family, marks=marks(framework, family), id=f"{framework.name}-{family.name}")
        for framework in FRAMEWORKS
        for family in FAMILIES
        if not (framework.needs_pyramid and family is GPVIT)
    ]


def backbone_config(framework, family) -> PreTrainedConfig:
    return family.config(out_features=family.config().out_features[-framework.num_maps :])


def awake(model: PreTrainedModel) -> PreTrainedModel:
    """The model, with weights for the norms that start at zero, frozen ones too: they would hide what is before."""
    for module in model.modules():
        if hasattr(module, "running_mean") and not module.weight.any():
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
    return model


def unused(backbone: PreTrainedModel) -> set[str]:
    """Names of the parameters of HRViT's branches whose maps nobody asked for, in the last module."""
    if not isinstance(backbone, HRVIT.backbone_class):
        return set()
    last = len(backbone.hrvit.layers) - 1
    branches = [index for index, stage in enumerate(backbone.stage_names[1:]) if stage not in backbone.out_features]
    starts = [f"hrvit.layers.{last}.{part}.{branch}." for part in ("branches", "fusion.paths") for branch in branches]
    return {name for name, _ in backbone.named_parameters() if name.startswith(tuple(starts))}


def align(model: PreTrainedModel) -> None:
    """Moves weights to where PyTorch would have put them: a file's need not be aligned, which changes the rounding."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def check_same_outputs(outputs, expected):
    assert outputs.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.isfinite(value).all(), key
            assert torch.equal(outputs[key], value), key


@pytest.mark.parametrize(
    ("framework", "family"),
    pairs(lambda framework, family: [] if (framework.name, family.name) in ALWAYS_TESTED else [pytest.mark.slow]),
)
def test_trains_and_comes_back_from_a_folder(framework, family, tmp_path):
    model = awake(framework.model(backbone_config(framework, family))).train()
    backbone = framework.backbone(model)
    pixel_values = torch.randn(2, 3, HEIGHT, WIDTH)
    loss = model(pixel_values, **framework.targets()).loss
    assert torch.isfinite(loss)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in backbone.named_parameters()}
    assert {name for name, gradient in gradients.items() if gradient is None} == unused(backbone)
    for name, gradient in gradients.items():
        if gradient is not None:
            assert torch.isfinite(gradient).all(), name
            assert gradient.any() or gradient.ndim == 1, name

    model.eval().save_pretrained(tmp_path)
    loaded = framework.model_class.from_pretrained(tmp_path)
    assert type(framework.backbone(loaded)) is type(backbone)
    assert framework.backbone(loaded).out_features == backbone.out_features
    align(loaded)
    with torch.no_grad():
        check_same_outputs(loaded(pixel_values), model(pixel_values))


@pytest.mark.parametrize(("framework", "family"), pairs(lambda framework, family: [pytest.mark.slow]))
class TestEveryPair:
    def model(self, framework, family) -> PreTrainedModel:
        return awake(framework.model(backbone_config(framework, family))).eval()

    @torch.no_grad()
    def test_maps_are_those_of_the_backbone_alone(self, framework, family):
        """Also after its weights went in by `load_state_dict`, into frozen norms too."""
        inside = framework.backbone(self.model(framework, family))
        alone = awake(type(inside)(inside.config)).eval()
        inside.load_state_dict(alone.state_dict())
        pixel_values = torch.randn(2, 3, HEIGHT, WIDTH)
        expected = alone(pixel_values).feature_maps
        torch.testing.assert_close(inside(pixel_values).feature_maps, expected, rtol=1e-4, atol=1e-5)

    @torch.no_grad()
    def test_takes_images_that_no_stride_divides(self, framework, family):
        """Where the framework does."""
        model = self.model(framework, family)
        pixel_values = torch.randn(1, 3, 51, 70)
        if framework.needs_pyramid:
            with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
                model(pixel_values)
            return
        outputs = model(pixel_values)
        assert all(torch.isfinite(value).all() for value in outputs.values() if isinstance(value, torch.Tensor))

    @torch.no_grad()
    def test_what_is_recorded_within_the_backbone_stays_there(self, framework, family):
        config = backbone_config(framework, family)
        model = awake(framework.model(config, attn_implementation="eager")).eval()
        pixel_values = torch.randn(2, 3, HEIGHT, WIDTH)
        expected = model(pixel_values)
        outputs = model(pixel_values, output_hidden_states=True, output_attentions=True)
        check_same_outputs({key: outputs[key] for key in expected}, expected)
        layers = {"encoder_attentions": 1, "decoder_attentions": 2, "attentions": 2}
        if framework is UPERNET:  # which returns what its backbone recorded
            layers = {"attentions": len(model.backbone(pixel_values, output_attentions=True).attentions)}
        recorded = {key: len(outputs[key]) for key in layers if key in outputs}
        assert recorded
        assert recorded.items() <= layers.items()

    @torch.no_grad()
    def test_bfloat16(self, framework, family, tmp_path):
        model = self.model(framework, family)
        model.save_pretrained(tmp_path)
        loaded = framework.model_class.from_pretrained(tmp_path, dtype=torch.bfloat16)
        pixel_values = torch.randn(2, 3, HEIGHT, WIDTH)
        feature_maps = framework.backbone(loaded)(pixel_values).feature_maps
        for feature_map, expected in zip(
            feature_maps, framework.backbone(model)(pixel_values).feature_maps, strict=True
        ):
            assert feature_map.dtype == torch.bfloat16
            assert (feature_map - expected).norm() < 0.05 * expected.norm()
        outputs = loaded(pixel_values.bfloat16())
        assert all(torch.isfinite(value).all() for value in outputs.values() if isinstance(value, torch.Tensor))


def attention_gradients(framework, model) -> list[torch.Tensor]:
    """Gradients of a loss that everything trained in HRViT's attention got, its BatchNorm left out."""
    model.train()(torch.randn(2, 3, HEIGHT, WIDTH), **framework.targets()).loss.backward()
    parameters = framework.backbone(model).named_parameters()
    return [parameter.grad for name, parameter in parameters if ".attention." in name and parameter.grad is not None]


@pytest.mark.parametrize(
    "framework",
    [
        pytest.param(framework, id=framework.name, marks=[] if framework is DETR else [pytest.mark.slow])
        for framework in (DETR, DEFORMABLE_DETR, *REAL_TIME_FRAMEWORKS)
    ],
)
def test_frozen_batch_norm_silences_attention_of_untrained_hrvit(framework):
    """Why the docs ask for freeze_backbone_batch_norms=False, or for pretrained weights."""
    frozen = {"freeze_backbone_batch_norms": True} if framework.needs_pyramid else {}
    model = framework.model(backbone_config(framework, HRVIT), **frozen)
    gradients = attention_gradients(framework, model)
    assert gradients
    assert not any(gradient.any() for gradient in gradients)

    trained = awake(HRVIT.backbone_class(framework.backbone(model).config))
    framework.backbone(model).load_state_dict(trained.state_dict())
    model.zero_grad()
    assert all(gradient.any() for gradient in attention_gradients(framework, model) if gradient.ndim > 1)


@pytest.mark.slow
@pytest.mark.parametrize("framework", REAL_TIME_FRAMEWORKS, ids=lambda framework: framework.name)
def test_free_batch_norm_wakes_attention_of_untrained_hrvit(framework):
    model = framework.model(backbone_config(framework, HRVIT), freeze_backbone_batch_norms=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert not any(gradient.any() for gradient in attention_gradients(framework, model))
    optimizer.step()
    optimizer.zero_grad()
    assert all(gradient.any() for gradient in attention_gradients(framework, model) if gradient.ndim > 1)


@pytest.mark.parametrize(
    "framework",
    [
        pytest.param(framework, id=framework.name, marks=[] if framework is RT_DETR else [pytest.mark.slow])
        for framework in REAL_TIME_FRAMEWORKS
    ],
)
def test_flat_maps_fail_where_a_pyramid_is_needed(framework):
    """With the error that the docs name beside their recipe."""
    model = framework.model(GPVIT.config(out_features=GPVIT.config().out_features[-3:])).eval()
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        model(torch.randn(1, 3, HEIGHT, WIDTH))
