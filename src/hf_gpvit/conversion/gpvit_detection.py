# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Official GPViT detectors: their names in ours. Data only."""

from . import gpvit
from .heads import BATCH_NORM_ENTRY


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
    *((pattern, "backbone." + name) for pattern, name in gpvit.NAMES if name.startswith(("gpvit.embed", "gpvit.layers"))),
    (r"backbone\.level_embed", r"backbone.level_embeddings"),
    *(
        pair
        for place, (convolution, norm) in enumerate(((0, 1), (3, 4), (6, 7)))
        for pair in (
            (rf"backbone\.spm\.stem\.{convolution}\.weight", rf"backbone.spatial_prior.stem.{place}.convolution.weight"),
            (rf"backbone\.spm\.stem\.{norm}\." + BATCH_NORM_ENTRY, rf"backbone.spatial_prior.stem.{place}.batch_norm.\1"),
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
