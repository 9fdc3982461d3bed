# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Official GPViT checkpoints: their names in ours, and what tells the variants apart. Data only."""

from ..models.configuration_gpvit import GPViTConfig
from ..models.modeling_gpvit import GPViTForImageClassification, GPViTForSemanticSegmentation
from . import heads
from .heads import BATCH_NORM_ENTRY, Classifier


CONFIG_CLASS = GPViTConfig
MODEL_CLASSES = {
    "image-classification": GPViTForImageClassification,
    "semantic-segmentation": GPViTForSemanticSegmentation,
}

# The entry that every checkpoint of the family has, under one of these names, the axis of its shape that tells
# variants apart, the pixels per side of a stored position, and what holds the classifier's weight for each task.
SIGNATURE = (("backbone.pos_embed",), -1)
PRESET_BY_SIZE = {216: "gpvit-l1", 348: "gpvit-l2", 432: "gpvit-l3", 624: "gpvit-l4"}
POSITIONS = ("backbone.pos_embed", 8)
CLASSIFIERS = {
    "image-classification": Classifier("head.fc.weight"),
    "semantic-segmentation": heads.CLASSIFIER,
}

# What no entry shows of models for a task.
FIELDS = {
    ("semantic-segmentation", "gpvit-l1"): {"drop_path_rate": 0.1},
    ("semantic-segmentation", "gpvit-l2"): {"drop_path_rate": 0.1},
    ("semantic-segmentation", "gpvit-l3"): {"drop_path_rate": 0.2},
    ("semantic-segmentation", "gpvit-l4"): {"drop_path_rate": 0.2},
}

# (pattern of the whole official name, our name); exactly one pattern matches each entry.
_LAYER = r"backbone\.layers\.(\d+)\."
_PROPAGATION = r"gpvit.layers.\1.propagation."
_NAMES = [
    (r"backbone\.pos_embed", r"gpvit.embeddings.position_embeddings"),
    (r"backbone\.patch_embed\.stem\.0\.weight", r"gpvit.embeddings.stem.0.convolution.weight"),
    (r"backbone\.patch_embed\.stem\.1\." + BATCH_NORM_ENTRY, r"gpvit.embeddings.stem.0.batch_norm.\1"),
    (r"backbone\.patch_embed\.convs\.0\.weight", r"gpvit.embeddings.stem.1.convolution.weight"),
    (r"backbone\.patch_embed\.convs\.1\." + BATCH_NORM_ENTRY, r"gpvit.embeddings.stem.1.batch_norm.\1"),
    (r"backbone\.patch_embed\.convs\.3\.weight", r"gpvit.embeddings.stem.2.convolution.weight"),
    (r"backbone\.patch_embed\.convs\.4\." + BATCH_NORM_ENTRY, r"gpvit.embeddings.stem.2.batch_norm.\1"),
    (r"backbone\.patch_embed\.projection\.(weight|bias)", r"gpvit.embeddings.projection.\1"),
    # LePE layers
    (_LAYER + r"norm1\.(weight|bias)", r"gpvit.layers.\1.attention_norm.\2"),
    (_LAYER + r"qkv\.(weight|bias)", r"gpvit.layers.\1.attention.qkv.\2"),
    (_LAYER + r"attns\.0\.get_v\.(weight|bias)", r"gpvit.layers.\1.attention.vertical.position_encoding.\2"),
    (_LAYER + r"attns\.1\.get_v\.(weight|bias)", r"gpvit.layers.\1.attention.horizontal.position_encoding.\2"),
    (_LAYER + r"proj\.(weight|bias)", r"gpvit.layers.\1.attention.projection.\2"),
    (_LAYER + r"norm2\.(weight|bias)", r"gpvit.layers.\1.mlp_norm.\2"),
    (_LAYER + r"ffn\.layers\.0\.0\.(weight|bias)", r"gpvit.layers.\1.mlp.fc1.\2"),
    (_LAYER + r"ffn\.layers\.1\.(weight|bias)", r"gpvit.layers.\1.mlp.fc2.\2"),
    (_LAYER + r"dw\.weight", r"gpvit.layers.\1.convolution.weight"),
    # GP Blocks
    (_LAYER + r"group_token", _PROPAGATION + r"group_tokens"),
    (_LAYER + r"group_layer\.norm_query\.(weight|bias)", _PROPAGATION + r"grouping.query_norm.\2"),
    (_LAYER + r"group_layer\.norm_key\.(weight|bias)", _PROPAGATION + r"grouping.key_norm.\2"),
    (_LAYER + r"group_layer\.attn\.k_proj\.(weight|bias)", _PROPAGATION + r"grouping.key.\2"),
    (_LAYER + r"mixer\.layers\.0\.norm1\.(weight|bias)", _PROPAGATION + r"mixer.token_norm.\2"),
    (_LAYER + r"mixer\.layers\.0\.patch_mixer\.0\.(weight|bias)", _PROPAGATION + r"mixer.token_mlp.fc1.\2"),
    (_LAYER + r"mixer\.layers\.0\.patch_mixer\.3\.(weight|bias)", _PROPAGATION + r"mixer.token_mlp.fc2.\2"),
    (_LAYER + r"mixer\.layers\.0\.norm2\.(weight|bias)", _PROPAGATION + r"mixer.channel_norm.\2"),
    (_LAYER + r"mixer\.layers\.0\.channel_mixer\.0\.(weight|bias)", _PROPAGATION + r"mixer.channel_mlp.fc1.\2"),
    (_LAYER + r"mixer\.layers\.0\.channel_mixer\.3\.(weight|bias)", _PROPAGATION + r"mixer.channel_mlp.fc2.\2"),
    (_LAYER + r"un_group_layer\.norm_query\.(weight|bias)", _PROPAGATION + r"ungrouping.query_norm.\2"),
    (_LAYER + r"un_group_layer\.norm_key\.(weight|bias)", _PROPAGATION + r"ungrouping.key_norm.\2"),
    (_LAYER + r"un_group_layer\.attn\.q_proj\.(weight|bias)", _PROPAGATION + r"ungrouping.query.\2"),
    (_LAYER + r"un_group_layer\.attn\.k_proj\.(weight|bias)", _PROPAGATION + r"ungrouping.key.\2"),
    (_LAYER + r"un_group_layer\.attn\.v_proj\.(weight|bias)", _PROPAGATION + r"ungrouping.value.\2"),
    (_LAYER + r"un_group_layer\.attn\.proj\.(weight|bias)", _PROPAGATION + r"ungrouping.projection.\2"),
    (_LAYER + r"un_group_layer\.proj\.(weight|bias)", _PROPAGATION + r"projection.\2"),
    (_LAYER + r"un_group_layer\.norm2\.(weight|bias)", _PROPAGATION + r"mlp_norm.\2"),
    (_LAYER + r"un_group_layer\.ffn\.layers\.0\.0\.(weight|bias)", _PROPAGATION + r"mlp.fc1.\2"),
    (_LAYER + r"un_group_layer\.ffn\.layers\.1\.(weight|bias)", _PROPAGATION + r"mlp.fc2.\2"),
    (_LAYER + r"dwconv\.0\.weight", r"gpvit.layers.\1.convolution.convolution.weight"),
    (_LAYER + r"dwconv\.1\." + BATCH_NORM_ENTRY, r"gpvit.layers.\1.convolution.batch_norm.\2"),
    # end of the trunk, pooling, classifier; the segmentors' norms count layers from 0, stages count from 1
    (r"backbone\.ln1\.(weight|bias)", r"gpvit.norm.\1"),
    (r"backbone\.norm2\.(weight|bias)", r"feature_norms.stage3.\1"),
    (r"backbone\.norm5\.(weight|bias)", r"feature_norms.stage6.\1"),
    (r"backbone\.norm8\.(weight|bias)", r"feature_norms.stage9.\1"),
    (r"neck\.group_token", r"gpvit.pooler.group_token"),
    (r"neck\.norm_query\.(weight|bias)", r"gpvit.pooler.query_norm.\1"),
    (r"neck\.attn\.k_proj\.weight", r"gpvit.pooler.key.weight"),
    (r"head\.fc\.(weight|bias)", r"classifier.\1"),
    (r"decode_head\.convs\.(\d+)\.conv\.weight", r"decode_head.levels.\1.convolution.weight"),
    (r"decode_head\.convs\.(\d+)\.bn\." + BATCH_NORM_ENTRY, r"decode_head.levels.\1.batch_norm.\2"),
]
NAMES = dict.fromkeys(CLASSIFIERS, _NAMES)
