# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Official checkpoints in, our models out; anything else is refused by name."""

import pickle
import re

import pytest
import torch

from hf_gpvit import HRViTConfig, HRViTForSemanticSegmentation
from hf_gpvit.conversion import convert, convert_checkpoint, hrvit
from hf_gpvit.data import load_label_set
from hf_gpvit.models.configuration_gpvit_detection import GPViTDetectionConfig
from hf_gpvit.models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection
from official import checkpoint, detector, hrvit_checkpoint


OFFICIAL = {
    "gpvit": {
        None: lambda: checkpoint("gpvit/gpvit_l1_statedict.json"),
        "segformer": lambda: checkpoint("gpvit/gpvit_l1_segformer_statedict.json"),
        "upernet": lambda: checkpoint("gpvit/gpvit_l1_upernet_statedict.json"),
    },
    "hrvit": {
        None: lambda: hrvit_checkpoint("hrvit_b1"),
        "segformer": lambda: hrvit_checkpoint("hrvit_b1", "segformer", 150),
        "upernet": lambda: hrvit_checkpoint("hrvit_b1", "upernet", 150),
    },
}
# What the checkpoints are of, and an entry that is easily mixed up, with our name for it.
FIELDS = {
    "gpvit": {"hidden_size": 216, "pooling_type": "group", "image_size": 224},
    "hrvit": {"hidden_sizes": (32, 64, 128, 256), "stripe_widths": (1, 2, 7, 7), "image_size": 224},
}
DELICATE_ENTRY = {
    "gpvit": (
        "backbone.layers.1.un_group_layer.attn.k_proj.bias",
        "gpvit.layers.1.propagation.ungrouping.key.bias",
    ),
    "hrvit": (
        "features.8.blocks.3.1.2.bias",
        "hrvit.layers.4.fusion.paths.3.1.pointwise.convolution.bias",
    ),
}


@pytest.fixture
def official_classifier(family):
    return OFFICIAL[family.name][None]()


@pytest.fixture(params=["segformer", "upernet"])
def head(request):
    return request.param


@pytest.fixture
def official_segmentor(family, head):
    return OFFICIAL[family.name][head]()


@pytest.fixture(scope="module")
def official():
    return OFFICIAL["gpvit"][None]()


@pytest.fixture(scope="module")
def official_segmentors():
    return {head: OFFICIAL["gpvit"][head]() for head in ("segformer", "upernet")}


def test_a_file_and_what_it_holds_give_the_same_model(family, official_classifier, tmp_path):
    torch.save({"meta": {"epoch": 300}, "state_dict": official_classifier}, tmp_path / "official.pth")
    from_file = convert_checkpoint(tmp_path / "official.pth")
    assert isinstance(from_file, family.classifier_class)
    assert not from_file.training
    for same in (str(tmp_path / "official.pth"), {"state_dict": official_classifier}, official_classifier):
        state_dict = convert_checkpoint(same).state_dict()
        assert all(torch.equal(value, state_dict[name]) for name, value in from_file.state_dict().items())


def signatures(values):
    return sorted((tuple(value.shape), value.double().sum().item()) for value in values)


def test_every_value_arrives(family, official_classifier):
    """Also those that no forward pass shows, like key biases: the values are all different and all there."""
    converted = convert_checkpoint(official_classifier).state_dict()
    assert len(converted) == len(official_classifier)
    assert signatures(converted.values()) == signatures(official_classifier.values())
    entry, name = DELICATE_ENTRY[family.name]
    assert torch.equal(converted[name], official_classifier[entry])


def test_every_value_of_a_segmentor_arrives(official_segmentor):
    converted = convert_checkpoint(official_segmentor).state_dict()
    assert len(converted) == len(official_segmentor)
    assert signatures(converted.values()) == signatures(official_segmentor.values())


def test_variant_task_and_labels_are_inferred(family, official_classifier):
    config = convert_checkpoint(official_classifier).config
    assert {field: getattr(config, field) for field in FIELDS[family.name]} == FIELDS[family.name]
    assert config.id2label == load_label_set("imagenet-1k").id2label
    assert config.label2id["golden retriever"] == 207


def test_head_and_labels_are_inferred(family, head, official_segmentor):
    model = convert_checkpoint(official_segmentor)
    assert isinstance(model, family.segmentor_class)
    assert (model.config.decode_head_type, model.config.drop_path_rate) == (head, 0.1)
    assert model.config.id2label == load_label_set("ade20k").id2label
    assert model.config.label2id == load_label_set("ade20k").label2id


@pytest.mark.parametrize(
    ("variant", "num_labels", "stripe_widths", "drop_path_rate", "width"),
    [
        ("b1", 19, [1, 2, 7, 7], 0.15, 256),
        ("b2", 150, [1, 2, 7, 7], 0.2, 256),
        ("b3", 150, [1, 2, 7, 7], 0.3, 768),
        ("b3", 19, [1, 2, 9, 9], 0.3, 768),
    ],
)
def test_hrvit_variants_and_their_settings(variant, num_labels, stripe_widths, drop_path_rate, width):
    """What the entries do not show depends on variant and classes: 19 are Cityscapes. Only shapes are looked at."""
    hidden_sizes = HRViTConfig.from_preset(f"hrvit-{variant}").hidden_sizes
    entries = {
        "backbone.features.1.patch_embed.0.proj.0.weight": torch.empty(hidden_sizes[0], 64, 1, 1),
        "decode_head.conv_seg.weight": torch.empty(num_labels, 256, 1, 1),
        "decode_head.fusion_conv.conv.weight": torch.empty(256, 1024, 1, 1),
    }
    config = convert._config(hrvit, "semantic-segmentation", entries)
    assert list(config.stripe_widths) == stripe_widths
    assert config.drop_path_rate == drop_path_rate
    assert config.hidden_sizes == hidden_sizes
    with torch.device("meta"):
        assert HRViTForSemanticSegmentation(config).decode_head.classifier.in_channels == width


@pytest.mark.parametrize(("num_labels", "last"), [(19, "bicycle"), (11, "bicyclist"), (7, "LABEL_6")])
def test_labels_by_number_of_classes(official_segmentors, num_labels, last):
    state_dict = dict(official_segmentors["segformer"])
    for name in ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias"):
        state_dict[name] = state_dict[name][:num_labels]
    config = convert_checkpoint(state_dict).config
    assert config.num_labels == num_labels
    assert config.id2label[num_labels - 1] == last
    assert config.label2id[last] == num_labels - 1


DETECTORS = {
    "maskrcnn": (GPViTForInstanceSegmentation, "mask_rcnn"),
    "retinanet": (GPViTForObjectDetection, "retinanet"),
}


@pytest.fixture(scope="module")
def official_detectors():
    return {kind: detector(kind) for kind in DETECTORS}


@pytest.mark.parametrize("kind", DETECTORS)
def test_detectors(kind, official_detectors, tmp_path):
    """Every value arrives; class, labels and image size are read off the entries, and all else is the preset's."""
    official_detector = official_detectors[kind]
    torch.save({"meta": {"CLASSES": ("person",)}, "state_dict": official_detector}, tmp_path / "official.pth")
    model = convert_checkpoint(tmp_path / "official.pth")
    cls, detector_type = DETECTORS[kind]
    assert type(model) is cls and not model.training
    expected = GPViTDetectionConfig.from_preset(
        "gpvit-l1", detector_type=detector_type, id2label=load_label_set("coco").id2label
    )
    assert model.config.to_dict() == expected.to_dict()
    assert model.config.label2id["toothbrush"] == 79
    converted = model.state_dict()
    assert len(converted) == len(official_detector)
    assert signatures(converted.values()) == signatures(official_detector.values())


def test_the_background_stays_last_and_levels_go_where_they_belong(official_detectors):
    official = official_detectors["maskrcnn"]
    converted = convert_checkpoint(official).state_dict()
    for ours, theirs in {
        "detector.box_head.classifier.weight": "roi_head.bbox_head.fc_cls.weight",
        "detector.box_head.deltas.bias": "roi_head.bbox_head.fc_reg.bias",
        "detector.pyramid.output.3.batch_norm.bias": "neck.fpn_convs.3.bn.bias",
        "backbone.interactions.3.extractors.2.mlp.convolution.bias": (
            "backbone.interactions.3.extra_extractors.1.ffn.dwconv.dwconv.bias"
        ),
    }.items():
        assert torch.equal(converted[ours], official[theirs])
    official = official_detectors["retinanet"]
    converted = convert_checkpoint(official).state_dict()
    assert torch.equal(converted["detector.pyramid.extra.0.batch_norm.bias"], official["neck.fpn_convs.3.bn.bias"])


def test_detectors_of_other_classes(official_detectors):
    """Of five classes the box head has six rows, and RetinaNet's classifier nine for each."""
    state_dict = dict(official_detectors["maskrcnn"])
    for name, rows in {
        "roi_head.bbox_head.fc_cls": 6, "roi_head.bbox_head.fc_reg": 20, "roi_head.mask_head.conv_logits": 5
    }.items():  # fmt: skip
        for kind in ("weight", "bias"):
            state_dict[f"{name}.{kind}"] = state_dict[f"{name}.{kind}"][:rows]
    assert convert_checkpoint(state_dict).config.id2label == {index: f"LABEL_{index}" for index in range(5)}
    state_dict["roi_head.bbox_head.fc_cls.bias"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"fc_cls\.bias \(5,\) for detector\.box_head\.classifier\.bias \(6,\)"):
        convert_checkpoint(state_dict)
    state_dict = dict(official_detectors["retinanet"])
    for kind in ("weight", "bias"):
        state_dict[f"bbox_head.retina_cls.{kind}"] = state_dict[f"bbox_head.retina_cls.{kind}"][:45]
    assert convert_checkpoint(state_dict).config.num_labels == 5
    state_dict["bbox_head.retina_cls.weight"] = torch.zeros(44, 256, 3, 3)
    with pytest.raises(ValueError, match=r"retina_cls.weight must hold .* \(9 \* classes, ...\), got shape \(44, 256"):
        convert_checkpoint(state_dict)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {name: value for name, value in state.items() if "mask_head" not in name},
            r"exactly one of the classifiers \['roi_head.mask_head.conv_logits.weight', 'bbox_head.retina_cls.weight'",
        ),
        (
            lambda state: {name: value for name, value in state.items() if "interactions.2" not in name},
            "backbone.interactions.2.injector.layer_scale.* and .* more.* unfilled",
        ),
        (
            lambda state: state | {"roi_head.semantic_head.conv.weight": torch.zeros(1)},
            "'roi_head.semantic_head.conv.weight'. are entries the model does not have",
        ),
        (lambda state: state | {"backbone.level_embed": torch.zeros(3, 217)}, r"unknown variant.*\(3, 217\)"),
    ],
)
def test_other_detectors(official_detectors, change, message):
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(change(official_detectors["maskrcnn"]))


def test_positions_of_another_image_size(official):
    state_dict = official | {"backbone.pos_embed": torch.randn(1, 48 * 48, 216)}
    assert convert_checkpoint(state_dict).config.image_size == 384
    with pytest.raises(ValueError, match=r"square grid of positions.*\(1, 50, 216\)"):
        convert_checkpoint(official | {"backbone.pos_embed": torch.randn(1, 50, 216)})


def test_missing_unexpected_and_misshapen_entries_are_named(official):
    state_dict = dict(official)
    del state_dict["backbone.layers.4.mixer.layers.0.norm1.weight"]
    state_dict["backbone.layers.12.qkv.weight"] = torch.zeros(1)
    state_dict["backbone.ln1.weight"] = torch.zeros(7)
    with pytest.raises(ValueError) as raised:
        convert_checkpoint(state_dict)
    unknown, missing, misshapen = str(raised.value).split("; ")
    assert "['backbone.layers.12.qkv.weight'] are entries the model does not have" in unknown
    assert "['gpvit.layers.4.propagation.mixer.token_norm.weight'] are parameters and buffers" in missing
    assert "['backbone.ln1.weight (7,) for gpvit.norm.weight (216,)'] are of another shape" in misshapen


def test_messages_are_one_line_however_many_entries_differ(official):
    with pytest.raises(ValueError, match=r"layers\.2\S+'\] and \d+ more are entries") as raised:
        convert_checkpoint({re.sub(r"layers\.(\d)\.", r"layers.2\1.", name): official[name] for name in official})
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1000
    assert "another shape" not in str(raised.value)


def test_missing_unexpected_and_misshapen_entries_of_hrvit_are_named():
    state_dict = OFFICIAL["hrvit"][None]()
    del state_dict["features.5.branches.2.3.attn.attn_bn.running_mean"]
    state_dict["features.12.blocks.0.1.0.weight"] = torch.zeros(1)
    state_dict["features.9.norm.3.weight"] = torch.zeros(7)
    state_dict["features.2.blocks.1.1.0.weight"] = torch.zeros(1)  # no path from a branch to itself
    with pytest.raises(ValueError) as raised:
        convert_checkpoint(state_dict)
    unknown, missing, misshapen = str(raised.value).split("; ")
    assert "features.12.blocks.0.1.0.weight" in unknown
    assert "features.2.blocks.1.1.0.weight" in unknown
    assert "hrvit.layers.2.branches.2.blocks.3.batch_norm.running_mean" in missing
    assert "features.9.norm.3.weight (7,) for hrvit.layers.4.branches.3.norm.weight (256,)" in misshapen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state | {"features.1.patch_embed.0.proj.0.weight": torch.zeros(40, 64, 1, 1)},
            r"unknown variant.*\(40, 64, 1, 1\)",
        ),
        (
            lambda state: {name: value for name, value in state.items() if "head" not in name},
            "exactly one of the classifiers",
        ),
        (
            lambda state: {name: value for name, value in state.items() if "features.1." not in name},
            "another architecture.*stem.conv1.weight",
        ),
    ],
)
def test_other_architectures_than_hrvit(change, message):
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(change(OFFICIAL["hrvit"][None]()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"conv1.weight": torch.zeros(1)}, "another architecture.*conv1.weight"),
        (lambda state: {}, "another architecture"),
        (lambda state: state | {"backbone.pos_embed": torch.zeros(1, 784, 100)}, r"unknown variant.*\(1, 784, 100\)"),
        (lambda state: {k: v for k, v in state.items() if "head" not in k}, "exactly one of the classifiers"),
        (lambda state: {"state_dict": {"epoch": 3}}, "neither a dict of names"),
        (lambda state: state | {7: torch.zeros(1)}, "neither a dict of names"),
        (lambda state: state | {"head.fc.bias": torch.zeros(1000, dtype=torch.int32)}, "floating-point tensors"),
        (lambda state: state | {"head.fc.weight": torch.tensor(1.0)}, r"head.fc.weight must hold .*got shape \(\)"),
        (lambda state: state | {"backbone.pos_embed": torch.zeros(1, 0, 216)}, r"square grid.*\(1, 0, 216\)"),
    ],
)
def test_other_architectures(official, change, message):
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(change(official))


def test_unknown_decode_head(official_segmentors):
    state_dict = {name: value for name, value in official_segmentors["segformer"].items() if "fusion_conv" not in name}
    with pytest.raises(ValueError, match="unknown decode head.*decode_head.conv_seg.weight"):
        convert_checkpoint(state_dict)


def test_damaged_files(official, tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": official}, path)
    whole = path.read_bytes()
    flipped = whole[:1000] + bytes(255 - byte for byte in whole[1000:3000]) + whole[3000:]
    torch.save({"state_dict": official}, path, _use_new_zipfile_serialization=False)
    legacy = path.read_bytes()
    cuts = [legacy[:length] for length in (16, 28, 52, 1000, len(legacy) // 2)]
    for content in (b"", b"no checkpoint at all", whole[: len(whole) // 2], whole[:100], flipped, *cuts):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="checkpoint.pth"):
            convert_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="elsewhere.pth"):
        convert_checkpoint(tmp_path / "elsewhere.pth")


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (open, (str(self.victim), "w"))


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_that_would_run_code_runs_nothing(save, tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "checkpoint.pth"
    save({"state_dict": {}, "meta": Malicious(victim)}, path)
    with pytest.raises(ValueError, match="not loaded"):
        convert_checkpoint(path)
    assert not victim.exists()
