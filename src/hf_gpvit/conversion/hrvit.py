# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""HRViT checkpoints in the official layout: their names in ours, and what tells the variants apart. Data only."""

from ..models.configuration_hrvit import HRViTConfig
from ..models.modeling_hrvit import HRViTForImageClassification, HRViTForSemanticSegmentation
from . import heads
from .heads import BATCH_NORM_ENTRY, Classifier


CONFIG_CLASS = HRViTConfig
MODEL_CLASSES = {
    "image-classification": HRViTForImageClassification,
    "semantic-segmentation": HRViTForSemanticSegmentation,
}

# The entry that every checkpoint of the family has under one of these names, and the axis of its shape that tells
# variants apart. Segmentors have the prefix, classifiers have not.
SIGNATURE = (("features.1.patch_embed.0.proj.0.weight", "backbone.features.1.patch_embed.0.proj.0.weight"), 0)
PRESET_BY_SIZE = {32: "hrvit-b1", 48: "hrvit-b2", 64: "hrvit-b3"}
POSITIONS = None
CLASSIFIERS = {
    "image-classification": Classifier("head.classifier.weight"),
    "semantic-segmentation": heads.CLASSIFIER,
}

# What no entry shows of models for a task, and what else of those with a number of classes: 19 is Cityscapes.
FIELDS = {
    ("semantic-segmentation", "hrvit-b1"): {"drop_path_rate": 0.1},
    ("semantic-segmentation", "hrvit-b1", 19): {"drop_path_rate": 0.15},
    ("semantic-segmentation", "hrvit-b2"): {"drop_path_rate": 0.2},
    ("semantic-segmentation", "hrvit-b3"): {"drop_path_rate": 0.3},
    ("semantic-segmentation", "hrvit-b3", 19): {"stripe_widths": [1, 2, 9, 9]},
}

_TRUNK = r"(?:backbone\.)?"
_NUM_MODULES = 6
_NUM_BRANCHES = 4

_STEM = [
    (r"stem\.conv1\.(weight|bias)", r"hrvit.embeddings.stem.0.convolution.\1"),
    (r"stem\.bn1\." + BATCH_NORM_ENTRY, r"hrvit.embeddings.stem.0.batch_norm.\1"),
    (r"stem\.conv2\.(weight|bias)", r"hrvit.embeddings.stem.1.convolution.\1"),
    (r"stem\.bn2\." + BATCH_NORM_ENTRY, r"hrvit.embeddings.stem.1.batch_norm.\1"),
]
_DOWNSAMPLING = [
    (r"0\.weight", r"depthwise.convolution.weight"),
    (r"1\." + BATCH_NORM_ENTRY, r"depthwise.batch_norm.\1"),
    (r"2\.(weight|bias)", r"pointwise.convolution.\1"),
    (r"3\." + BATCH_NORM_ENTRY, r"pointwise.batch_norm.\1"),
]
_UPSAMPLING = [
    (r"0\.(weight|bias)", r"pointwise.convolution.\1"),
    (r"1\." + BATCH_NORM_ENTRY, r"pointwise.batch_norm.\1"),
]
_BLOCK = r"branches\.(\d+)\.(\d+)\."
_OUR_BLOCK = r"branches.\1.blocks.\2."
_BRANCHES = [
    (r"patch_embed\.(\d+)\.proj\.0\.(weight|bias)", r"branches.\1.patch_embedding.pointwise.\2"),
    (r"patch_embed\.(\d+)\.proj\.1\.(weight|bias)", r"branches.\1.patch_embedding.depthwise.\2"),
    (r"patch_embed\.(\d+)\.norm\.(weight|bias)", r"branches.\1.patch_embedding.norm.\2"),
    (_BLOCK + r"attn_norm\.(weight|bias)", _OUR_BLOCK + r"attention.norm.\3"),
    (_BLOCK + r"attn\.to_qkv\.(weight|bias)", _OUR_BLOCK + r"attention.query_value.\3"),
    (_BLOCK + r"attn\.parallel_conv\.1\.(weight|bias)", _OUR_BLOCK + r"attention.convolution.\3"),
    (_BLOCK + r"attn\.to_out\.0\.(weight|bias)", _OUR_BLOCK + r"attention.projection.\3"),
    (_BLOCK + r"attn\.attn_bn\." + BATCH_NORM_ENTRY, _OUR_BLOCK + r"batch_norm.\3"),
    (_BLOCK + r"des\.proj_right\.(weight|bias)", _OUR_BLOCK + r"shortcut.right.\3"),
    (_BLOCK + r"des\.proj_left\.(weight|bias)", _OUR_BLOCK + r"shortcut.left.\3"),
    (_BLOCK + r"ffn_norm\.(weight|bias)", _OUR_BLOCK + r"mlp.norm.\3"),
    (_BLOCK + r"ffn\.fc1\.(weight|bias)", _OUR_BLOCK + r"mlp.fc1.\3"),
    (_BLOCK + r"ffn\.conv\.conv_3\.(weight|bias)", _OUR_BLOCK + r"mlp.convolution3.\3"),
    (_BLOCK + r"ffn\.conv\.conv_5\.(weight|bias)", _OUR_BLOCK + r"mlp.convolution5.\3"),
    (_BLOCK + r"ffn\.fc2\.(weight|bias)", _OUR_BLOCK + r"mlp.fc2.\3"),
    (r"norm\.(\d+)\.(weight|bias)", r"branches.\1.norm.\2"),
]
_BOTTLENECK = r"head\.incre_modules\.(\d+)\.0\."
_CLASSIFIER = [
    (_BOTTLENECK + r"conv1\.weight", r"classifier.bottlenecks.\1.reduction.convolution.weight"),
    (_BOTTLENECK + r"bn1\." + BATCH_NORM_ENTRY, r"classifier.bottlenecks.\1.reduction.batch_norm.\2"),
    (_BOTTLENECK + r"conv2\.weight", r"classifier.bottlenecks.\1.convolution.convolution.weight"),
    (_BOTTLENECK + r"bn2\." + BATCH_NORM_ENTRY, r"classifier.bottlenecks.\1.convolution.batch_norm.\2"),
    (_BOTTLENECK + r"conv3\.weight", r"classifier.bottlenecks.\1.expansion.convolution.weight"),
    (_BOTTLENECK + r"bn3\." + BATCH_NORM_ENTRY, r"classifier.bottlenecks.\1.expansion.batch_norm.\2"),
    (_BOTTLENECK + r"downsample\.0\.weight", r"classifier.bottlenecks.\1.shortcut.convolution.weight"),
    (_BOTTLENECK + r"downsample\.1\." + BATCH_NORM_ENTRY, r"classifier.bottlenecks.\1.shortcut.batch_norm.\2"),
    (r"head\.downsamp_modules\.(\d+)\.0\.(weight|bias)", r"classifier.downsamplings.\1.convolution.\2"),
    (r"head\.downsamp_modules\.(\d+)\.1\." + BATCH_NORM_ENTRY, r"classifier.downsamplings.\1.batch_norm.\2"),
    (r"head\.final_layer\.0\.(weight|bias)", r"classifier.projection.convolution.\1"),
    (r"head\.final_layer\.1\." + BATCH_NORM_ENTRY, r"classifier.projection.batch_norm.\1"),
    (r"head\.classifier\.(weight|bias)", r"classifier.linear.\1"),
]

# (pattern of the whole official name, our name); exactly one pattern matches each entry. The official list of
# features holds a fusion layer at each even place and the branches that follow it at the next.
_NAMES = [
    *((_TRUNK + pattern, name) for pattern, name in _STEM),
    *(
        (
            rf"{_TRUNK}features\.{2 * index}\.blocks\.{target}\.{source}\." + pattern,
            f"hrvit.layers.{index}.fusion.paths.{target}.{source}." + name,
        )
        for index in range(_NUM_MODULES)
        for target in range(_NUM_BRANCHES)
        for source in range(_NUM_BRANCHES)
        for pattern, name in (_DOWNSAMPLING if source < target else _UPSAMPLING)
    ),
    *(
        (rf"{_TRUNK}features\.{2 * index + 1}\." + pattern, f"hrvit.layers.{index}." + name)
        for index in range(_NUM_MODULES)
        for pattern, name in _BRANCHES
    ),
    *_CLASSIFIER,
    (r"decode_head\.convs\.(\d+)\.conv\.(weight|bias)", r"decode_head.levels.\1.\2"),
]
NAMES = dict.fromkeys(CLASSIFIERS, _NAMES)
