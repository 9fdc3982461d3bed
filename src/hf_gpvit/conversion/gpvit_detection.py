# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Official GPViT detectors: their names in ours. Data only."""

from ..models.configuration_gpvit_detection import GPViTDetectionConfig
from ..models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection
from . import gpvit
from .heads import BATCH_NORM_ENTRY, Classifier


CONFIG_CLASS = GPViTDetectionConfig
MODEL_CLASSES = {
    "instance-segmentation": GPViTForInstanceSegmentation,
    "object-detection": GPViTForObjectDetection,
}

# As for GPViT's other models; the entry that shows the family is of the adapter.
SIGNATURE = (("backbone.level_embed",), -1)
PRESET_BY_SIZE = gpvit.PRESET_BY_SIZE
POSITIONS = gpvit.POSITIONS
CLASSIFIERS = {
    "instance-segmentation": Classifier("roi_head.mask_head.conv_logits.weight"),
    "object-detection": Classifier("bbox_head.retina_cls.weight", rows_per_class=9),  # one for each anchor of a cell
}
_DETECTORS = {"instance-segmentation": "mask_rcnn", "object-detection": "retinanet"}
FIELDS = {
    (task, preset): {"detector_type": detector_type}
    for task, detector_type in _DETECTORS.items()
    for preset in PRESET_BY_SIZE.values()
}

# (pattern of the whole official name, our name); exactly one pattern matches each entry.
_INTERACTION = r"backbone\.interactions\.(\d+)\."
_OURS = r"backbone.interactions.\1."
_EXTRACTORS = {
    r"extractor\.": r"extractors.0.",
    r"extra_extractors\.0\.": r"extractors.1.",
    r"extra_extractors\.1\.": r"extractors.2.",
}
_ATTENTION = [
    (r"query_norm\.(weight|bias)", r"query_norm.\2"),
    (r"feat_norm\.(weight|bias)", r"feature_norm.\2"),
    (r"attn\.sampling_offsets\.(weight|bias)", r"attention.sampling_offsets.\2"),
    (r"attn\.attention_weights\.(weight|bias)", r"attention.attention_weights.\2"),
    (r"attn\.value_proj\.(weight|bias)", r"attention.value.\2"),
    (r"attn\.output_proj\.(weight|bias)", r"attention.projection.\2"),
]
_EXTRACTOR = [
    *_ATTENTION,
    (r"ffn_norm\.(weight|bias)", r"mlp_norm.\2"),
    (r"ffn\.fc1\.(weight|bias)", r"mlp.fc1.\2"),
    (r"ffn\.dwconv\.dwconv\.(weight|bias)", r"mlp.convolution.\2"),
    (r"ffn\.fc2\.(weight|bias)", r"mlp.fc2.\2"),
]

ADAPTER_NAMES = [
    *(
        (pattern, "backbone." + name)
        for pattern, name in gpvit.NAMES["image-classification"]
        if name.startswith(("gpvit.embed", "gpvit.layers"))
    ),
    (r"backbone\.level_embed", r"backbone.level_embeddings"),
    *(
        pair
        for place, (convolution, norm) in enumerate(((0, 1), (3, 4), (6, 7)))
        for pair in (
            (
                rf"backbone\.spm\.stem\.{convolution}\.weight",
                rf"backbone.spatial_prior.stem.{place}.convolution.weight",
            ),
            (
                rf"backbone\.spm\.stem\.{norm}\." + BATCH_NORM_ENTRY,
                rf"backbone.spatial_prior.stem.{place}.batch_norm.\1",
            ),
        )
    ),
    (r"backbone\.spm\.conv(\d)\.0\.weight", r"backbone.spatial_prior.downsampling.stage\1.convolution.weight"),
    (
        r"backbone\.spm\.conv(\d)\.1\." + BATCH_NORM_ENTRY,
        r"backbone.spatial_prior.downsampling.stage\1.batch_norm.\2",
    ),
    (r"backbone\.spm\.fc(\d)\.(weight|bias)", r"backbone.spatial_prior.projections.stage\1.\2"),
    (_INTERACTION + r"injector\.gamma", _OURS + r"injector.layer_scale"),
    *((_INTERACTION + r"injector\." + pattern, _OURS + r"injector." + name) for pattern, name in _ATTENTION),
    *(
        (_INTERACTION + official + pattern, _OURS + ours + name)
        for official, ours in _EXTRACTORS.items()
        for pattern, name in _EXTRACTOR
    ),
    (r"backbone\.up\.(weight|bias)", r"backbone.pyramid.upsampling.\1"),
    (r"backbone\.ad_norm(\d)\." + BATCH_NORM_ENTRY, r"backbone.pyramid.norms.stage\1.\2"),
]

_BN = r"\.(\d)\.bn\." + BATCH_NORM_ENTRY
_PYRAMID_NAMES = [
    (r"neck\.lateral_convs\.(\d)\.conv\.weight", r"detector.pyramid.lateral.\1.convolution.weight"),
    (r"neck\.lateral_convs" + _BN, r"detector.pyramid.lateral.\1.batch_norm.\2"),
]


def _outputs(official: str, ours: str, entry: str) -> list[tuple[str, str]]:
    """Names of a convolution with BatchNorm after it in the pyramid."""
    return [
        (rf"neck\.fpn_convs\.{official}\.conv\.weight", rf"detector.pyramid.{ours}.convolution.weight"),
        (rf"neck\.fpn_convs\.{official}\.bn\." + BATCH_NORM_ENTRY, rf"detector.pyramid.{ours}.batch_norm.{entry}"),
    ]


def _stack(official: str, ours: str) -> list[tuple[str, str]]:
    """Names of four convolutions with a ReLU after each, which has a number too."""
    return [(rf"{official}\.{number}\.conv\.(weight|bias)", rf"{ours}.{2 * number}.\1") for number in range(4)]


MASK_RCNN_NAMES = [
    *ADAPTER_NAMES,
    *_PYRAMID_NAMES,
    *_outputs(r"(\d)", r"output.\1", r"\2"),
    (r"rpn_head\.rpn_conv\.(weight|bias)", r"detector.proposals.head.convolution.\1"),
    (r"rpn_head\.rpn_cls\.(weight|bias)", r"detector.proposals.head.objectness.\1"),
    (r"rpn_head\.rpn_reg\.(weight|bias)", r"detector.proposals.head.deltas.\1"),
    (
        r"roi_head\.bbox_head\.shared_convs\.(\d)\.conv\.weight",
        r"detector.box_head.convolutions.\1.convolution.weight",
    ),
    (r"roi_head\.bbox_head\.shared_convs" + _BN, r"detector.box_head.convolutions.\1.batch_norm.\2"),
    (r"roi_head\.bbox_head\.shared_fcs\.0\.(weight|bias)", r"detector.box_head.hidden.\1"),
    (r"roi_head\.bbox_head\.fc_cls\.(weight|bias)", r"detector.box_head.classifier.\1"),
    (r"roi_head\.bbox_head\.fc_reg\.(weight|bias)", r"detector.box_head.deltas.\1"),
    *_stack(r"roi_head\.mask_head\.convs", "detector.mask_head.convolutions"),
    (r"roi_head\.mask_head\.upsample\.(weight|bias)", r"detector.mask_head.upsampling.\1"),
    (r"roi_head\.mask_head\.conv_logits\.(weight|bias)", r"detector.mask_head.classifier.\1"),
]

RETINANET_NAMES = [
    *ADAPTER_NAMES,
    *_PYRAMID_NAMES,
    *_outputs(r"([0-2])", r"output.\1", r"\2"),
    *_outputs("3", "extra.0", r"\1"),
    *_outputs("4", "extra.1", r"\1"),
    *_stack(r"bbox_head\.cls_convs", "detector.head.class_convolutions"),
    *_stack(r"bbox_head\.reg_convs", "detector.head.box_convolutions"),
    (r"bbox_head\.retina_cls\.(weight|bias)", r"detector.head.classifier.\1"),
    (r"bbox_head\.retina_reg\.(weight|bias)", r"detector.head.deltas.\1"),
]

NAMES = {"instance-segmentation": MASK_RCNN_NAMES, "object-detection": RETINANET_NAMES}
