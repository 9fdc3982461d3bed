# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""GPViT's detectors: Mask R-CNN and RetinaNet on the pyramid of `GPViTAdapterBackbone`.

They are those of the paper's Section 4.2, which are the usual ones but for the norms in pyramid and box head.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, auto_docstring, can_return_tuple, requires_backends

from .compat import is_static
from .configuration_gpvit_detection import GPViTDetectionConfig
from .detection_boxes import (
    BOX_STDS,
    UNIT_STDS,
    Matcher,
    absolute_boxes,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    grid_anchors,
    relative_boxes,
    sample_matches,
)
from .detection_heads import (
    BoxHead,
    FeaturePyramid,
    MaskHead,
    RetinaHead,
    RPNHead,
    init_detection_head,
)
from .detection_losses import box_loss, mask_loss, retina_loss, rpn_loss
from .detection_regions import cut_masks, keep_apart, region_features
from .inputs import (
    batch_sizes,
    check_batch_statistics,
    check_pixel_values,
    checked_detection_labels,
    checked_image_sizes,
)
from .layers import ceil_div
from .modeling_gpvit import AttentionOutputs, GPViTKwargs, recorded
from .modeling_gpvit_adapter import GPViTAdapterBackbone, GPViTAdapterPreTrainedModel
from .shortcuts import masks_of_found, with_shortcut


BOX_REGION, MASK_REGION = 7, 14
CERTAIN = 1e4  # a logit whose sigmoid is 1, and that of its negative 0, in any precision
PADDING = 32  # images are padded to multiples of this, and so much of the padding is learned from

_DETECTIONS_DOC = """
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
        Sum of the losses in `loss_dict`.
    loss_dict (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is provided):
        Each loss by name.
    logits (`torch.FloatTensor` of shape `(batch_size, num_detections, num_labels)`):
        Detections, the best first: the logit of the score at the class, and -10,000, whose sigmoid is 0, at all
        others. Where there are fewer detections, the rest scores 0. None in training with `labels`.
    pred_boxes (`torch.FloatTensor` of shape `(batch_size, num_detections, 4)`):
        Their boxes: centre (x, y), width and height, relative to the size of `pixel_values`."""
_RECORDED_DOC = f"""
    pixel_sizes (`torch.LongTensor` of shape `(batch_size, 2)`):
        Height and width of `pixel_values`, which boxes are relative to.
    hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True` is passed):
        One (batch_size, sequence_length, hidden_size) tensor before the first layer of GPViT and one after
        each.{AttentionOutputs.__doc__}"""


@dataclass
class GPViTObjectDetectionOutput(ModelOutput):
    __doc__ = f"""{_DETECTIONS_DOC}{_RECORDED_DOC}"""

    loss: torch.FloatTensor | None = None
    loss_dict: dict[str, torch.FloatTensor] | None = None
    logits: torch.FloatTensor | None = None
    pred_boxes: torch.FloatTensor | None = None
    pixel_sizes: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    group_attentions: tuple[torch.FloatTensor, ...] | None = None
    ungroup_attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class GPViTInstanceSegmentationOutput(ModelOutput):
    __doc__ = f"""{_DETECTIONS_DOC}
    pred_masks (`torch.FloatTensor` of shape `(batch_size, num_detections, 28, 28)`):
        Logits of their masks within their boxes.{_RECORDED_DOC}"""

    loss: torch.FloatTensor | None = None
    loss_dict: dict[str, torch.FloatTensor] | None = None
    logits: torch.FloatTensor | None = None
    pred_boxes: torch.FloatTensor | None = None
    pred_masks: torch.FloatTensor | None = None
    pixel_sizes: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    group_attentions: tuple[torch.FloatTensor, ...] | None = None
    ungroup_attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class Targets:
    """What there is in a batch of images: boxes (N_i, 4) in pixels, labels (N_i,), masks (N_i, H, W) or None."""

    boxes: list[torch.Tensor]
    labels: list[torch.Tensor]
    masks: list[torch.Tensor] | None


@dataclass
class Scene:
    """A batch that is looked at.

    Attributes:
        size: Height and width of `pixel_values`.
        image_sizes: (B, 2), what of them is image and not padding.
        maps: (B, C, h, w) of the feature pyramid, fine to coarse.
        strides: Of the maps, in pixels.
    """

    size: tuple[int, int]
    image_sizes: torch.Tensor
    maps: list[torch.Tensor]
    strides: tuple[int, ...]

    def anchors(self, config: GPViTDetectionConfig) -> list[torch.Tensor]:
        """(h * w * A, 4) of each level."""
        return [
            grid_anchors(
                feature_map.shape[-2:], stride, config.anchor_scales, config.anchor_ratios, feature_map.device
            )
            for feature_map, stride in zip(self.maps, self.strides, strict=True)
        ]

    def usable(self, anchors_per_cell: int) -> torch.Tensor:
        """(B, A): which anchors stand on the images, padded to multiples of 32 and no further."""
        padded = (self.image_sizes + PADDING - 1) // PADDING * PADDING
        levels = []
        for feature_map, stride in zip(self.maps, self.strides, strict=True):
            rows, columns = (
                torch.arange(side, device=padded.device)[None] * stride < padded[:, axis, None]
                for axis, side in enumerate(feature_map.shape[-2:])
            )
            cells = (rows[:, :, None] & columns[:, None]).flatten(1)
            levels.append(cells.repeat_interleave(anchors_per_cell, dim=1))
        return torch.cat(levels, dim=1)


class RegionProposals(nn.Module):
    """Where there may be objects: the region proposal network with what becomes of its output."""

    def __init__(self, config: GPViTDetectionConfig):
        super().__init__()
        self.config = config
        self.anchors_per_cell = len(config.anchor_scales) * len(config.anchor_ratios)
        self.head = RPNHead(config.fpn_hidden_size, self.anchors_per_cell)
        threshold = config.rpn_bg_iou_threshold
        self.matcher = Matcher(config.rpn_fg_iou_threshold, threshold, least=threshold)

    def forward(self, scene: Scene) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """Logits (B, A_l), deltas (B, A_l, 4) and anchors (A_l, 4) of each level."""
        logits, deltas = zip(*map(self.head, scene.maps), strict=True)
        return list(logits), list(deltas), scene.anchors(self.config)

    @torch.no_grad()
    def propose(
        self, scene: Scene, logits: list[torch.Tensor], deltas: list[torch.Tensor], anchors: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best boxes (B, R, 4), and which of them there are, (B, R)."""
        config = self.config
        top_n = config.rpn_pre_nms_top_n_train if self.training else config.rpn_pre_nms_top_n_test
        scores, boxes, levels = [], [], []
        for level in range(len(logits)):
            best, places = best_scores(logits[level], top_n)
            scores.append(best)
            chosen = pick(deltas[level], places)
            boxes.append(decode_boxes(chosen, anchors[level][places], UNIT_STDS))
            levels.append(torch.full_like(places, level))
        scores, boxes, levels = torch.cat(scores, dim=1), torch.cat(boxes, dim=1), torch.cat(levels, dim=1)
        boxes = clip_boxes(boxes, scene.image_sizes)
        exists = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
        exists = keep_apart(boxes, scores, levels, exists, config.rpn_nms_threshold)
        return best_boxes(boxes, scores, exists, config.rpn_post_nms_top_n)

    def loss(
        self,
        scene: Scene,
        targets: Targets,
        logits: list[torch.Tensor],
        deltas: list[torch.Tensor],
        anchors: list[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Of what `forward` gives."""
        return rpn_loss(
            torch.cat(logits, dim=1),
            torch.cat(deltas, dim=1),
            torch.cat(anchors),
            scene.usable(self.anchors_per_cell),
            targets.boxes,
            self.matcher,
            self.config.rpn_batch_size_per_image,
            self.config.rpn_positive_fraction,
        )


def pick(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(B, N, ...) values at places (B, K) -> (B, K, ...)."""
    places = places.reshape(*places.shape, *(1 for _ in values.shape[2:]))
    return values.gather(1, places.expand(-1, -1, *values.shape[2:]))


def best_scores(scores: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `number` best of (B, N) scores and where they are; what a small image lacks scores `-inf`.

    So many come out whatever the size of the image, which neither compilers nor exported files have to ask for then.
    """
    length = scores.shape[1]
    # exported files take smaller images than they are traced with, whatever is known of those
    missing = 0 if isinstance(length, int) and is_static(length >= number) else number
    best = nn.functional.pad(scores, (0, missing), value=-math.inf).topk(number, dim=1)
    return best.values, best.indices.clamp(max=length - 1)


def best_boxes(
    boxes: torch.Tensor, scores: torch.Tensor, exists: torch.Tensor, number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The boxes (B, R, 4) of highest score among those that exist, R at most `number`; the others are 0."""
    best = scores.masked_fill(~exists, -math.inf).topk(min(number, scores.shape[1]), dim=1).indices
    exists = pick(exists, best)
    return pick(boxes, best) * exists[..., None], exists


@dataclass
class Detections:
    """(B, D, 4) boxes in pixels with (B, D) scores, 0 where there is none, and (B, D) labels; the best first."""

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor


def detect(
    boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, config: GPViTDetectionConfig
) -> Detections:
    """The detections among (B, N) candidates: those above the threshold, none that repeats a better one."""
    exists = keep_apart(boxes, scores, labels, scores > config.score_threshold, config.nms_threshold)
    best, places = best_scores(scores.masked_fill(~exists, 0), config.num_detections)
    exists = best > 0
    boxes = pick(boxes, places) * exists[..., None]
    return Detections(boxes, best.clamp(min=0), pick(labels, places) * exists)


class RetinaDetector(nn.Module):
    """RetinaNet but for its backbone (https://arxiv.org/abs/1708.02002)."""

    strides = (8, 16, 32, 64, 128)
    coarsest_norm_stride = 128

    def __init__(self, config: GPViTDetectionConfig):
        super().__init__()
        self.config = config
        channels = config.fpn_hidden_size
        self.anchors_per_cell = len(config.anchor_scales) * len(config.anchor_ratios)
        self.pyramid = FeaturePyramid([config.hidden_size] * 3, channels, extra="convolution")
        self.head = RetinaHead(channels, self.anchors_per_cell, config.num_labels)
        self.matcher = Matcher(config.retina_fg_iou_threshold, config.retina_bg_iou_threshold, least=0.0)

    def forward(
        self, scene: Scene, targets: Targets | None
    ) -> tuple[dict[str, torch.Tensor] | None, Detections | None, None]:
        """Losses if there are targets, and detections unless it is trained on them."""
        logits, deltas = zip(*map(self.head, scene.maps), strict=True)
        anchors = scene.anchors(self.config)
        losses = None if targets is None else self.loss(scene, targets, logits, deltas, anchors)
        if self.training and losses is not None:
            return losses, None, None
        return losses, self.detections(scene, logits, deltas, anchors), None

    def loss(
        self,
        scene: Scene,
        targets: Targets,
        logits: tuple[torch.Tensor, ...],
        deltas: tuple[torch.Tensor, ...],
        anchors: list[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Of logits (B, A_l, num_labels), deltas (B, A_l, 4) and anchors (A_l, 4) of each level."""
        return retina_loss(
            torch.cat(logits, dim=1),
            torch.cat(deltas, dim=1),
            torch.cat(anchors),
            scene.usable(self.anchors_per_cell),
            targets.boxes,
            targets.labels,
            self.matcher,
            self.config.focal_alpha,
            self.config.focal_gamma,
        )

    @torch.no_grad()
    def detections(
        self,
        scene: Scene,
        logits: tuple[torch.Tensor, ...],
        deltas: tuple[torch.Tensor, ...],
        anchors: list[torch.Tensor],
    ) -> Detections:
        """From the best pairs of an anchor and a class on each level; arguments as in `loss`."""
        num_labels, top_n = self.config.num_labels, self.config.retina_pre_nms_top_n
        boxes, scores, labels = [], [], []
        for level in range(len(logits)):
            best, indices = best_scores(logits[level].flatten(1), top_n)
            places = indices // num_labels
            chosen = pick(deltas[level], places)
            boxes.append(decode_boxes(chosen, anchors[level][places], UNIT_STDS))
            scores.append(best.sigmoid())
            labels.append(indices % num_labels)
        boxes = clip_boxes(torch.cat(boxes, dim=1), scene.image_sizes)
        return detect(boxes, torch.cat(scores, dim=1), torch.cat(labels, dim=1), self.config)


class RegionDetector(nn.Module):
    """Faster R-CNN but for its backbone: proposals, and a closer look at each (https://arxiv.org/abs/1506.01497)."""

    strides = (4, 8, 16, 32, 64)
    coarsest_norm_stride = 32

    def __init__(self, config: GPViTDetectionConfig):
        super().__init__()
        self.config = config
        channels = config.fpn_hidden_size
        self.pyramid = FeaturePyramid([config.hidden_size] * 4, channels, extra="subsample")
        self.proposals = RegionProposals(config)
        self.box_head = BoxHead(channels, BOX_REGION, config.box_hidden_size, config.num_labels)
        threshold = config.box_fg_iou_threshold
        self.matcher = Matcher(threshold, threshold, least=threshold)

    def forward(
        self, scene: Scene, targets: Targets | None
    ) -> tuple[dict[str, torch.Tensor] | None, Detections | None, torch.Tensor | None]:
        """Losses if there are targets; detections and their masks unless it is trained on them."""
        proposed = self.proposals(scene)
        boxes, exists = self.proposals.propose(scene, *proposed)
        losses = None
        if targets is not None:
            losses = self.proposals.loss(scene, targets, *proposed) | self.loss(scene, targets, boxes, exists)
            if self.training:
                return losses, None, None
        detections = self.detections(scene, boxes, exists)
        return losses, detections, self.masks(scene, detections)

    def loss(
        self, scene: Scene, targets: Targets, boxes: torch.Tensor, exists: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Of samples of the proposals, boxes (B, R, 4) of which some exist, (B, R), and of the objects themselves."""
        samples = [
            self._sample(boxes[image, exists[image]], objects, labels)
            for image, (objects, labels) in enumerate(zip(targets.boxes, targets.labels, strict=True))
        ]
        regions, labels, matched = ([sample[part] for sample in samples] for part in range(3))
        logits, deltas = self.box_head(region_features(scene.maps, scene.strides, regions, BOX_REGION))
        encoded = [
            encode_boxes(objects[indices], region[: indices.shape[0]], BOX_STDS)
            for objects, region, indices in zip(targets.boxes, regions, matched, strict=True)
        ]
        losses = box_loss(logits, deltas, torch.cat(labels), torch.cat(encoded))
        return losses | self.mask_losses(scene, targets, regions, matched)

    def _sample(
        self, boxes: torch.Tensor, objects: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Regions (S, 4) to learn from, objects first, labels (S,), and which objects the first ones are, (P,)."""
        matches = self.matcher(boxes, objects)
        # the objects join only now: each would be its own best match, and take no other region
        matches = torch.cat([torch.arange(objects.shape[0], device=matches.device), matches])
        boxes = torch.cat([objects, boxes])
        config = self.config
        positive, negative = sample_matches(matches, config.box_batch_size_per_image, config.box_positive_fraction)
        class_labels = torch.cat([labels[matches[positive]], torch.full_like(negative, config.num_labels)])
        return boxes[torch.cat([positive, negative])], class_labels, matches[positive]

    @torch.no_grad()
    def detections(self, scene: Scene, regions: torch.Tensor, exists: torch.Tensor) -> Detections:
        """From the regions (B, R, 4) that exist, (B, R), each with every class that scores enough."""
        config = self.config
        logits, deltas = self.box_head(region_features(scene.maps, scene.strides, regions, BOX_REGION))
        scores = logits.softmax(dim=-1)[:, :-1].unflatten(0, exists.shape) * exists[..., None]
        # classes that score more than the threshold, of which there can't be more for one region
        most = math.ceil(1 / config.score_threshold) - 1 if config.score_threshold else config.num_labels
        scores = scores.flatten(1)
        best = scores.topk(min(scores.shape[1], regions.shape[1] * most), dim=1)
        places, labels = best.indices // config.num_labels, best.indices % config.num_labels
        deltas = pick(deltas.unflatten(0, exists.shape).flatten(1, 2), best.indices)
        boxes = decode_boxes(deltas, pick(regions, places), BOX_STDS)
        return detect(clip_boxes(boxes, scene.image_sizes), best.values, labels, config)

    def mask_losses(
        self, scene: Scene, targets: Targets, regions: list[torch.Tensor], matched: list[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """None here: of regions (R_i, 4) of each image the first P_i are the objects `matched`, (P_i,)."""
        return {}

    def masks(self, scene: Scene, detections: Detections) -> torch.Tensor | None:
        """None here."""
        return None


class RegionMaskDetector(RegionDetector):
    """Mask R-CNN but for its backbone: the regions' masks too (https://arxiv.org/abs/1703.06870)."""

    def __init__(self, config: GPViTDetectionConfig):
        super().__init__(config)
        self.mask_head = MaskHead(config.fpn_hidden_size, config.num_labels)

    def mask_losses(
        self, scene: Scene, targets: Targets, regions: list[torch.Tensor], matched: list[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        regions = [boxes[: indices.shape[0]] for boxes, indices in zip(regions, matched, strict=True)]
        labels = [labels[indices] for labels, indices in zip(targets.labels, matched, strict=True)]
        wanted = [
            cut_masks(masks, indices, boxes, 2 * MASK_REGION)
            for masks, indices, boxes in zip(targets.masks, matched, regions, strict=True)
        ]
        logits = self.mask_head(region_features(scene.maps, scene.strides, regions, MASK_REGION))
        return mask_loss(logits, torch.cat(labels), torch.cat(wanted))

    @torch.no_grad()
    @with_shortcut(masks_of_found)
    def masks(self, scene: Scene, detections: Detections) -> torch.Tensor:
        """(B, D, 28, 28) logits of the detections' classes, 0 where there is no detection."""
        logits = self.mask_logits(scene, detections.boxes, detections.labels.flatten())
        logits = logits.unflatten(0, detections.labels.shape)
        return logits.masked_fill(detections.scores[..., None, None] == 0, 0)

    def mask_logits(
        self, scene: Scene, regions: list[torch.Tensor] | torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """(N, 28, 28) of regions, (R_i, 4) of each image or (B, R, 4), and the labels (N,) of all of them."""
        logits = self.mask_head(region_features(scene.maps, scene.strides, regions, MASK_REGION))
        return pick(logits, labels[:, None])[:, 0]


def scored_logits(detections: Detections, num_labels: int) -> torch.Tensor:
    """(B, D, num_labels) whose sigmoid is the score at the label and 0 elsewhere."""
    at_label = nn.functional.one_hot(detections.labels, num_labels).bool()
    logits = detections.scores.logit().clamp(-CERTAIN, CERTAIN)[..., None]
    return logits.expand(at_label.shape).masked_fill(~at_label, -CERTAIN)


class GPViTDetectionPreTrainedModel(GPViTAdapterPreTrainedModel):
    config: GPViTDetectionConfig
    head_names = ("detector",)

    def __init__(self, config: GPViTDetectionConfig):
        requires_backends(self, "torchvision")
        super().__init__(config)
        config.validate_architecture()
        if config.num_labels < 1:
            raise ValueError(f"num_labels must be at least 1 for a detector, got num_labels={config.num_labels}.")
        self.backbone = GPViTAdapterBackbone(config)
        self.detector = self.build_detector()
        self.post_init()

    def _init_part(self, module: nn.Module) -> None:
        super()._init_part(module)
        init_detection_head(module)

    def build_detector(self) -> nn.Module:
        """All but the backbone: what the two kinds of models differ in."""
        raise NotImplementedError

    def _outputs(
        self,
        pixel_values: torch.Tensor,
        pixel_mask: torch.Tensor | None,
        labels: list[dict[str, torch.Tensor]] | None,
        **kwargs: Unpack[GPViTKwargs],
    ) -> dict[str, Any]:
        """What both kinds of models give, by name; `pred_masks` is None where there are none.

        The arguments are those of `forward`.
        """
        check_pixel_values(pixel_values, self.config.num_channels)
        size = tuple(pixel_values.shape[-2:])
        if self.detector.pyramid.training:  # elsewhere nothing depends on the size, which exports want to be any
            rows, columns = (ceil_div(side, self.detector.coarsest_norm_stride) for side in size)
            check_batch_statistics(self.detector.pyramid, pixel_values.shape[0] * rows * columns, pixel_values)
        image_sizes = checked_image_sizes(pixel_mask, pixel_values)
        targets = None if labels is None else self._targets(labels, pixel_values)
        outputs = self.backbone(pixel_values, **kwargs)
        maps = self.detector.pyramid(outputs.feature_maps)
        losses, detections, masks = self.detector(Scene(size, image_sizes, maps, self.detector.strides), targets)
        found = {"loss": sum(losses.values()), "loss_dict": losses} if losses is not None else {}
        if detections is not None:
            found["logits"] = scored_logits(detections, self.config.num_labels)
            found["pred_boxes"] = relative_boxes(detections.boxes, size)
            found["pred_masks"] = masks
        # a tensor, for processes to gather
        return found | {"pixel_sizes": batch_sizes(pixel_values), **recorded(outputs)}

    def _targets(self, labels: list[dict[str, torch.Tensor]], pixel_values: torch.Tensor) -> Targets:
        checked = checked_detection_labels(labels, pixel_values, self.config.num_labels, self._learns_masks)
        size = tuple(pixel_values.shape[-2:])
        device = pixel_values.device
        return Targets(
            boxes=[absolute_boxes(label["boxes"].to(device).float(), size) for label in checked],
            labels=[label["class_labels"].to(device).long() for label in checked],
            masks=[label["masks"].to(device) for label in checked] if self._learns_masks else None,
        )


@auto_docstring(
    custom_intro="""
    GPViT with a ViT-Adapter as RetinaNet, or as Mask R-CNN without its masks, by `config.detector_type`.
    """
)
class GPViTForObjectDetection(GPViTDetectionPreTrainedModel):
    _learns_masks = False

    def build_detector(self) -> nn.Module:
        return {"retinanet": RetinaDetector, "mask_rcnn": RegionDetector}[self.config.detector_type](self.config)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.Tensor,
        pixel_mask: torch.Tensor | None = None,
        labels: list[dict[str, torch.Tensor]] | None = None,
        **kwargs: Unpack[GPViTKwargs],
    ) -> GPViTObjectDetectionOutput:
        r"""
        pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
            1 for the pixels of images, which begin at the top left, and 0 for what they are padded with. By default
            all is image.
        labels (`list[dict[str, torch.Tensor]]`, *optional*):
            Of each image `class_labels` (`torch.LongTensor` of shape `(number of objects,)`) and `boxes`
            (`torch.FloatTensor` of shape `(number of objects, 4)`): centre (x, y), width and height, relative to the
            size of `pixel_values`. There may be none. In training they replace the detections by the losses.
        """
        found = self._outputs(pixel_values, pixel_mask, labels, **kwargs)
        found.pop("pred_masks", None)
        return GPViTObjectDetectionOutput(**found)


@auto_docstring(
    custom_intro="""
    GPViT with a ViT-Adapter as Mask R-CNN.
    """
)
class GPViTForInstanceSegmentation(GPViTDetectionPreTrainedModel):
    _learns_masks = True

    def build_detector(self) -> nn.Module:
        if self.config.detector_type != "mask_rcnn":
            raise ValueError(
                f"detector_type must be 'mask_rcnn' for instance segmentation, got {self.config.detector_type!r}."
            )
        return RegionMaskDetector(self.config)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.Tensor,
        pixel_mask: torch.Tensor | None = None,
        labels: list[dict[str, torch.Tensor]] | None = None,
        **kwargs: Unpack[GPViTKwargs],
    ) -> GPViTInstanceSegmentationOutput:
        r"""
        pixel_mask (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
            1 for the pixels of images, which begin at the top left, and 0 for what they are padded with. By default
            all is image.
        labels (`list[dict[str, torch.Tensor]]`, *optional*):
            Of each image `class_labels` (`torch.LongTensor` of shape `(number of objects,)`), `boxes`
            (`torch.FloatTensor` of shape `(number of objects, 4)`): centre (x, y), width and height, relative to the
            size of `pixel_values`, and `masks` (shape `(number of objects, height, width)`, as large as
            `pixel_values`). There may be none. In training they replace the detections by the losses.
        """
        return GPViTInstanceSegmentationOutput(**self._outputs(pixel_values, pixel_mask, labels, **kwargs))


__all__ = ["GPViTDetectionPreTrainedModel", "GPViTForInstanceSegmentation", "GPViTForObjectDetection"]
