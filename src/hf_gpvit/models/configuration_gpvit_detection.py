# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration of GPViT's detectors: Mask R-CNN and RetinaNet."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .configuration_base import MAX_NUMBER, MAX_WIDTH
from .configuration_gpvit_adapter import STAGE_FIELDS, GPViTAdapterConfig, adapter_presets


MAX_BOXES = 2**16

_NANO = {
    "fpn_hidden_size": 64,
    "box_hidden_size": 128,
    "rpn_post_nms_top_n": 200,
    "box_batch_size_per_image": 128,
}


def _presets() -> dict[str, dict[str, Any]]:
    presets = adapter_presets()
    presets["gpvit-nano"] = presets["gpvit-nano"] | _NANO
    return presets


@strict
class GPViTDetectionConfig(GPViTAdapterConfig):
    """Configuration of [`GPViTForObjectDetection`] and [`GPViTForInstanceSegmentation`].

    The fields are those of [`GPViTAdapterConfig`], for the backbone, and these. Intersections over union are "IoU"s;
    numbers of boxes are per image.

    Args:
        detector_type (`str`, *optional*, defaults to `"mask_rcnn"`):
            `"mask_rcnn"` (https://arxiv.org/abs/1703.06870; for object detection without its masks) or `"retinanet"`
            (https://arxiv.org/abs/1708.02002), whose pyramid begins at stride 8.
        fpn_hidden_size (`int`, *optional*, defaults to 256):
            Channels of the feature pyramid and of the convolutions of all heads.
        anchor_scales (`list[float]`, *optional*):
            Sides of square anchors in strides of their level. By default 8 for Mask R-CNN, and 4 times the three
            thirds of an octave for RetinaNet.
        anchor_ratios (`list[float]`, *optional*, defaults to `(0.5, 1.0, 2.0)`):
            Heights of anchors in units of their widths, at the same area.
        rpn_pre_nms_top_n_train, rpn_pre_nms_top_n_test (`int`, *optional*, default to 2000 and 1000):
            Proposals of each level that go into the non-maximum suppression.
        rpn_post_nms_top_n (`int`, *optional*, defaults to 1000):
            Proposals that come out of it, of all levels.
        rpn_nms_threshold (`float`, *optional*, defaults to 0.7):
            IoU above which a proposal of lower score is dropped.
        rpn_fg_iou_threshold, rpn_bg_iou_threshold (`float`, *optional*, default to 0.7 and 0.3):
            Anchors with at least this IoU are objects; with less than that, background.
        rpn_batch_size_per_image, rpn_positive_fraction (*optional*, default to 256 and 0.5):
            Anchors that the loss samples, and the greatest part of them that are objects.
        box_hidden_size (`int`, *optional*, defaults to 1024):
            Width of the linear layer of the box head.
        box_fg_iou_threshold (`float`, *optional*, defaults to 0.5):
            Proposals with at least this IoU are objects.
        box_batch_size_per_image, box_positive_fraction (*optional*, default to 512 and 0.25):
            Proposals that the loss samples, and the greatest part of them that are objects.
        retina_fg_iou_threshold, retina_bg_iou_threshold (`float`, *optional*, default to 0.5 and 0.4):
            As `rpn_...`, for RetinaNet.
        retina_pre_nms_top_n (`int`, *optional*, defaults to 1000):
            Boxes with their classes of each level that go into RetinaNet's non-maximum suppression.
        focal_alpha, focal_gamma (`float`, *optional*, default to 0.25 and 2.0):
            Of RetinaNet's focal loss.
        score_threshold (`float`, *optional*, defaults to 0.05):
            Detections score more than this.
        nms_threshold (`float`, *optional*, defaults to 0.5):
            IoU above which a detection of the same class and lower score is dropped.
        num_detections (`int`, *optional*, defaults to 100):
            Detections that the model gives, the best ones; where there are fewer, the others score 0.

    Raises:
        StrictDataclassError (huggingface_hub): a field has a wrong type, or fields contradict each other.
    """

    model_type = "gpvit_detection"
    _presets: ClassVar[dict[str, dict[str, Any]]] = _presets()

    detector_type: Literal["mask_rcnn", "retinanet"] = "mask_rcnn"
    fpn_hidden_size: int = 256
    anchor_scales: list[float] | tuple[float, ...] | None = None
    anchor_ratios: list[float] | tuple[float, ...] = (0.5, 1.0, 2.0)
    rpn_pre_nms_top_n_train: int = 2000
    rpn_pre_nms_top_n_test: int = 1000
    rpn_post_nms_top_n: int = 1000
    rpn_nms_threshold: float | int = 0.7
    rpn_fg_iou_threshold: float | int = 0.7
    rpn_bg_iou_threshold: float | int = 0.3
    rpn_batch_size_per_image: int = 256
    rpn_positive_fraction: float | int = 0.5
    box_hidden_size: int = 1024
    box_fg_iou_threshold: float | int = 0.5
    box_batch_size_per_image: int = 512
    box_positive_fraction: float | int = 0.25
    retina_fg_iou_threshold: float | int = 0.5
    retina_bg_iou_threshold: float | int = 0.4
    retina_pre_nms_top_n: int = 1000
    focal_alpha: float | int = 0.25
    focal_gamma: float | int = 2.0
    score_threshold: float | int = 0.05
    nms_threshold: float | int = 0.5
    num_detections: int = 100

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        # what follows from the type of detector isn't taken from the file, which may be of another
        former = config_dict.get("detector_type", cls.detector_type)
        is_same = kwargs.get("detector_type", former) == former
        derived = STAGE_FIELDS if is_same else (*STAGE_FIELDS, "anchor_scales")
        config_dict = {name: value for name, value in config_dict.items() if name not in derived}
        return super().from_dict(config_dict, **kwargs)

    def __post_init__(self, **kwargs):
        if self.anchor_scales is None:
            octave = [4 * 2 ** (third / 3) for third in range(3)]
            self.anchor_scales = octave if self.detector_type == "retinanet" else [8.0]
        super().__post_init__(**kwargs)

    def _set_own_stages(self, kwargs: dict[str, Any]) -> None:
        self._set_stages(["stem", "stage1", "stage2", "stage3", "stage4"], self._pyramid_stages(), kwargs)

    def _pyramid_stages(self) -> list[str]:
        """Stages that the detector takes from its backbone."""
        stages = ["stage1", "stage2", "stage3", "stage4"]
        return stages[1:] if self.detector_type == "retinanet" else stages

    def validate_architecture(self):
        """Part of the validation by `@strict`: ranges, and relations between fields."""
        super().validate_architecture()
        self._require_at_most(MAX_WIDTH, "fpn_hidden_size", "box_hidden_size")
        counts = (
            *("rpn_pre_nms_top_n_train", "rpn_pre_nms_top_n_test", "rpn_post_nms_top_n", "rpn_batch_size_per_image"),
            *("box_batch_size_per_image", "retina_pre_nms_top_n", "num_detections"),
        )
        self._require_at_most(MAX_BOXES, *counts)
        self._require_at_most(MAX_NUMBER, "anchor_scales", "anchor_ratios", "focal_gamma")
        for field in ("fpn_hidden_size", "box_hidden_size", *counts):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        for field in ("anchor_scales", "anchor_ratios"):
            values = getattr(self, field)
            self._require(field, len(values) >= 1 and all(value > 0 for value in values), "numbers greater than 0")
        for field in (
            *("rpn_nms_threshold", "rpn_fg_iou_threshold", "box_fg_iou_threshold", "nms_threshold"),
            *("rpn_positive_fraction", "box_positive_fraction"),
        ):
            self._require(field, 0 < getattr(self, field) <= 1, "in (0, 1]")
        for least, most in (
            ("rpn_bg_iou_threshold", "rpn_fg_iou_threshold"),
            ("retina_bg_iou_threshold", "retina_fg_iou_threshold"),
        ):
            limit = getattr(self, most)
            self._require(least, 0 <= getattr(self, least) <= limit, f"from 0 to {most}={limit}")
        self._require("score_threshold", 0 <= self.score_threshold < 1, "in [0, 1)")
        self._require("focal_alpha", 0 <= self.focal_alpha <= 1, "in [0, 1]")
        self._require("focal_gamma", self.focal_gamma >= 0, "at least 0")
        stages = self._pyramid_stages()
        self._require("out_features", list(self.out_features) == stages, f"{stages} for {self.detector_type}")


__all__ = ["GPViTDetectionConfig"]
