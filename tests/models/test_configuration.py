# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of the configurations: presets, defaults, and errors that name field, value and what is valid."""

import pytest
from huggingface_hub.errors import StrictDataclassError

from families import GPVIT, HRVIT
from hf_gpvit import GPViTConfig, HRViTConfig


PRESETS = {
    "gpvit": ("gpvit-l1", "gpvit-l2", "gpvit-l3", "gpvit-l4", "gpvit-nano"),
    "hrvit": ("hrvit-b1", "hrvit-b2", "hrvit-b3", "hrvit-nano"),
}

INVALID_IN_BOTH_FAMILIES = [
    ({"num_channels": 0}, r"num_channels must be at least 1, got 0"),
    ({"image_size": 0}, r"image_size must be .*at least 1, got 0"),
    ({"image_size": [40, 0]}, r"image_size must be .*at least 1, got \[40, 0\]"),
    ({"image_size": [40]}, r"image_size must be .*\(height, width\).*got \[40\]"),
    ({"image_size": []}, r"image_size must be .*\(height, width\).*got \[\]"),
    ({"image_size": [1, 2, 3]}, r"image_size must be .*\(height, width\).*got \[1, 2, 3\]"),
    ({"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\), got 1.0"),
    ({"drop_path_rate": -0.1}, r"drop_path_rate must be in \[0, 1\), got -0.1"),
    ({"decoder_dropout_rate": 1}, r"decoder_dropout_rate must be in \[0, 1\), got 1"),
    ({"decoder_dropout_rate": -0.5}, r"decoder_dropout_rate must be in \[0, 1\), got -0.5"),
    ({"decoder_hidden_size": 0}, r"decoder_hidden_size must be at least 1.*, got 0"),
    ({"decoder_hidden_size": {"upernet": 0}}, r"decoder_hidden_size must be at least 1, got \{'upernet': 0\}"),
    ({"decoder_hidden_size": {"fcn": 8}}, r"decoder_hidden_size must be a width.*'segformer'.*got \{'fcn': 8\}"),
    ({"initializer_range": 0}, r"initializer_range must be greater than 0, got 0"),
    ({"auxiliary_loss_weight": -0.4}, r"auxiliary_loss_weight must be at least 0, got -0.4"),
    ({"auxiliary_hidden_size": -8}, r"auxiliary_hidden_size must be at least 1, got -8"),
    ({"decode_head_type": "fcn"}, r"'decode_head_type' expected one of \('segformer', 'upernet'\), got fcn"),
    ({"num_channels": 3.0}, r"'num_channels' expected int, got float \(value: 3.0\)"),
    ({"image_size": "224"}, r"'image_size' with value '224'.*int"),
    ({"drop_path_rate": None}, r"'drop_path_rate' with value None.*float"),
    ({"decoder_dropout_rate": "0.1"}, r"'decoder_dropout_rate' with value '0.1'.*float"),
    ({"decoder_hidden_size": 16.5}, r"'decoder_hidden_size' with value 16.5.*int"),
    ({"use_auxiliary_head": "yes"}, r"'use_auxiliary_head' expected bool, got str \(value: 'yes'\)"),
    ({"auxiliary_loss_weight": "half"}, r"'auxiliary_loss_weight' with value 'half'.*float"),
    ({"semantic_loss_ignore_index": None}, r"'semantic_loss_ignore_index' expected int, got NoneType"),
    ({"initializer_range": "0.02"}, r"'initializer_range' with value '0.02'.*float"),
    ({"out_features": "stage1"}, r"'_out_features' with value 'stage1'.*list"),
]

INVALID_IN_GPVIT = [
    ({"hidden_size": 0}, r"hidden_size must be at least 1, got 0"),
    (
        {"num_hidden_layers": 0, "group_layer_indices": [], "num_group_tokens": []},
        r"num_hidden_layers must be at least 1, got 0",
    ),
    ({"num_attention_heads": 0}, r"num_attention_heads must be even.*hidden_size=24, got 0"),
    ({"num_attention_heads": 3}, r"num_attention_heads must be even.*hidden_size=24, got 3"),
    ({"num_attention_heads": 10}, r"num_attention_heads must .*divide hidden_size=24, got 10"),
    ({"num_group_attention_heads": 0}, r"num_group_attention_heads must be a divisor of hidden_size=24, got 0"),
    ({"num_group_attention_heads": 5}, r"num_group_attention_heads must be a divisor of hidden_size=24, got 5"),
    ({"stripe_width": 0}, r"stripe_width must be an even number .*2 or more, got 0"),
    ({"stripe_width": 3}, r"stripe_width must be an even number .*2 or more, got 3"),
    ({"stem_hidden_size": 0}, r"stem_hidden_size must be at least 1.*got 0"),
    ({"num_stem_convs": -1}, r"num_stem_convs must be at least 0, got -1"),
    ({"group_layer_indices": [2, 1]}, r"group_layer_indices must be ascending .*\[0, 3\].*got \[2, 1\]"),
    ({"group_layer_indices": [1, 1]}, r"group_layer_indices must be ascending .*\[0, 3\].*got \[1, 1\]"),
    ({"group_layer_indices": [1, 4]}, r"group_layer_indices must be .*\[0, 3\] \(num_hidden_layers=4\), got \[1, 4\]"),
    ({"group_layer_indices": [-1, 1]}, r"group_layer_indices must be .*\[0, 3\].*got \[-1, 1\]"),
    ({"mlp_ratio": -1.0}, r"mlp_ratio must be at least 1 / 24, got -1.0"),
    ({"group_token_mlp_ratio": 0}, r"group_token_mlp_ratio must be at least 1 / 24, got 0"),
    ({"hidden_act": "foo"}, r"hidden_act must be one of .*'gelu'.*got 'foo'"),
    ({"layer_norm_eps": -1.0}, r"layer_norm_eps must be greater than 0, got -1.0"),
    ({"group_layer_norm_eps": 0}, r"group_layer_norm_eps must be greater than 0, got 0"),
    ({"num_group_tokens": [6]}, r"num_group_tokens must be one .*each of the 2 GP Blocks .*got \[6\]"),
    ({"num_group_tokens": [6, 0]}, r"num_group_tokens must be one positive .*got \[6, 0\]"),
    ({"pooling_type": "max"}, r"'pooling_type' expected one of \('group', 'mean'\), got max"),
    ({"hidden_size": "24"}, r"'hidden_size' expected int, got str \(value: '24'\)"),
    ({"num_hidden_layers": 4.0}, r"'num_hidden_layers' expected int, got float \(value: 4.0\)"),
    ({"mlp_ratio": "4"}, r"'mlp_ratio' with value '4'.*float"),
    ({"hidden_act": None}, r"'hidden_act' expected str, got NoneType"),
    ({"layer_norm_eps": "1e-6"}, r"'layer_norm_eps'.*float.*'1e-6'"),
    ({"group_layer_norm_eps": None}, r"'group_layer_norm_eps'.*float"),
    ({"group_layer_indices": ["1", "2"]}, r"'group_layer_indices' with value \['1', '2'\].*int"),
    ({"num_group_tokens": 6}, r"'num_group_tokens' with value 6.*int"),
]

INVALID_IN_HRVIT = [
    ({"hidden_sizes": []}, r"hidden_sizes must be one number for each branch.*got \[\]"),
    ({"hidden_sizes": [8, 16, 0, 24]}, r"hidden_sizes must be .*divisible.*got \[8, 16, 0, 24\]"),
    ({"hidden_sizes": [8, 18, 16, 24]}, r"hidden_sizes must be .*divisible.*got \[8, 18, 16, 24\]"),
    ({"hidden_sizes": 8}, r"'hidden_sizes' with value 8.*int"),
    (
        {"hidden_sizes": [8, 16, 16]},
        r"stripe_widths must be .*3 branches of hidden_sizes=\[8, 16, 16\], got \[1, 2, 2, 1\]",
    ),
    ({"attention_head_dim": 0}, r"attention_head_dim must be at least 1, got 0"),
    ({"attention_head_dim": 3}, r"attention_head_dim must be a divisor .*hidden_sizes=\[8, 16, 16, 24\].*got 3"),
    ({"attention_head_dim": 4.0}, r"'attention_head_dim' expected int, got float \(value: 4.0\)"),
    ({"stripe_widths": [1, 2, 2]}, r"stripe_widths must be one positive .*4 branches.*got \[1, 2, 2\]"),
    ({"stripe_widths": [1, 2, 0, 1]}, r"stripe_widths must be one positive .*got \[1, 2, 0, 1\]"),
    ({"mlp_ratios": [2, 2, 2, -1]}, r"mlp_ratios must be one positive .*got \[2, 2, 2, -1\]"),
    ({"mlp_ratios": [2, 2, 2, 1.125]}, r"mlp_ratios must be such that the products .*even, got \[2, 2, 2, 1.125\]"),
    ({"mlp_ratios": "2"}, r"'mlp_ratios' with value '2'"),
    ({"num_blocks": []}, r"num_blocks must be one list .*got \[\]"),
    (
        {"num_blocks": [[1], [1, 1], [1, 1, 1]]},
        r"num_blocks must be .*the last with 4 .*got \[\[1\], \[1, 1\], \[1, 1, 1\]\]",
    ),
    ({"num_blocks": [[1], [1, 1, 1, 1]]}, r"num_blocks must be .*longer by one.*got \[\[1\], \[1, 1, 1, 1\]\]"),
    ({"num_blocks": [[1], [1, 0], [1, 1, 1], [1, 1, 1, 1]]}, r"num_blocks must be one list of positive"),
    ({"num_blocks": [1, 2]}, r"'num_blocks' with value \[1, 2\]"),
    ({"hidden_act": "foo"}, r"hidden_act must be one of .*'gelu'.*got 'foo'"),
    ({"layer_norm_eps": 0}, r"layer_norm_eps must be greater than 0, got 0"),
    ({"stem_hidden_sizes": [8]}, r"stem_hidden_sizes must be two positive numbers, got \[8\]"),
    ({"stem_hidden_sizes": [0, 8]}, r"stem_hidden_sizes must be two positive numbers, got \[0, 8\]"),
    ({"classifier_hidden_sizes": [2, 4, 4]}, r"classifier_hidden_sizes must be one positive .*got \[2, 4, 4\]"),
    ({"classifier_output_size": 0}, r"classifier_output_size must be at least 1, got 0"),
    ({"classifier_dropout_rate": 1.0}, r"classifier_dropout_rate must be in \[0, 1\), got 1.0"),
]


def test_presets_are_listed(family):
    assert family.config_class.presets() == PRESETS[family.name]


def test_unknown_preset_is_reported_with_the_valid_ones(family):
    with pytest.raises(ValueError, match="'gpvit-xl'") as error:
        family.config_class.from_preset("gpvit-xl")
    assert all(name in str(error.value) for name in PRESETS[family.name])


def test_defaults_are_the_first_preset(family):
    first = family.config_class.from_preset(PRESETS[family.name][0])
    assert first.to_dict() == family.config_class().to_dict()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpvit-l1", {"hidden_size": 216, "num_stem_convs": 0, "pooling_type": "group"}),
        ("gpvit-l2", {"hidden_size": 348, "num_stem_convs": 1, "pooling_type": "group"}),
        ("gpvit-l3", {"hidden_size": 432, "num_stem_convs": 1, "pooling_type": "mean"}),
        ("gpvit-l4", {"hidden_size": 624, "num_stem_convs": 2, "pooling_type": "mean"}),
    ],
)
def test_gpvit_presets_of_the_paper(name, expected):
    config = GPViTConfig.from_preset(name)
    assert {field: getattr(config, field) for field in expected} == expected
    assert config.num_hidden_layers == config.num_attention_heads == 12


@pytest.mark.parametrize(
    ("name", "hidden_sizes", "head_dim", "mlp_ratios", "last_modules"),
    [
        ("hrvit-b1", [32, 64, 128, 256], 32, [4, 4, 4, 4], [[1, 1, 6, 2], [1, 1, 2, 2]]),
        ("hrvit-b2", [48, 96, 240, 384], 24, [2, 3, 3, 3], [[1, 1, 6, 2], [1, 1, 6, 2]]),
        ("hrvit-b3", [64, 128, 256, 512], 32, [2, 2, 2, 2], [[1, 1, 6, 3], [1, 1, 6, 3]]),
    ],
)
def test_hrvit_presets_of_the_paper(name, hidden_sizes, head_dim, mlp_ratios, last_modules):
    config = HRViTConfig.from_preset(name)
    assert list(config.hidden_sizes) == hidden_sizes
    assert list(config.stripe_widths) == [1, 2, 7, 7]
    assert config.attention_head_dim == head_dim
    assert list(config.mlp_ratios) == mlp_ratios
    first_modules = [[1], [1, 1], [1, 1, 6], [1, 1, 6]]
    assert [list(module) for module in config.num_blocks] == first_modules + last_modules
    assert config.drop_path_rate == 0.1


def test_default_stages_of_hrvit_are_its_branches():
    assert HRViTConfig().out_features == ["stage1", "stage2", "stage3", "stage4"]
    assert HRViTConfig().stage_names == ["stem", "stage1", "stage2", "stage3", "stage4"]


def test_overrides_win_and_leave_the_preset_alone(family):
    name = PRESETS[family.name][1]
    plain = family.config_class.from_preset(name)
    changed = family.config_class.from_preset(name, num_labels=7, drop_path_rate=0.45, image_size=(64, 96))
    assert (changed.num_labels, changed.drop_path_rate, changed.image_size) == (7, 0.45, (64, 96))
    assert family.config_class.from_preset(name).to_dict() == plain.to_dict() != changed.to_dict()


@pytest.mark.parametrize(("fields", "message"), INVALID_IN_BOTH_FAMILIES)
def test_invalid_field(family, fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        family.config(**fields)


@pytest.mark.parametrize(("fields", "message"), INVALID_IN_GPVIT)
def test_invalid_field_of_gpvit(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        GPVIT.config(**fields)


@pytest.mark.parametrize(("fields", "message"), INVALID_IN_HRVIT)
def test_invalid_field_of_hrvit(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        HRVIT.config(**fields)


def test_field_is_checked_when_assigned(family):
    config = family.config()
    with pytest.raises(StrictDataclassError, match=r"'num_channels' expected int, got str \(value: 'rgb'\)"):
        config.num_channels = "rgb"


def test_edited_config_is_checked_before_model_or_file(family, tmp_path):
    config = family.config()
    config.drop_path_rate = 2.0
    with pytest.raises(ValueError, match=r"drop_path_rate must be in \[0, 1\), got 2.0"):
        family.model_class(config)
    with pytest.raises(StrictDataclassError, match=r"drop_path_rate must be in \[0, 1\), got 2.0"):
        config.save_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("num_hidden_layers", "expected"),
    [(12, [3, 6, 9, 12]), (8, [2, 4, 6, 8]), (6, [1, 3, 4, 6]), (3, [1, 2, 3]), (1, [1])],
)
def test_default_stages_of_gpvit_are_the_quarters(num_hidden_layers, expected):
    config = GPViTConfig(num_hidden_layers=num_hidden_layers, group_layer_indices=[0], num_group_tokens=[4])
    assert config.out_features == [f"stage{index}" for index in expected]
    assert config.out_indices == expected


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"out_features": ["stage99"]}, r"out_features.*'stem', 'stage1'.*got \['stage99'\]"),
        ({"out_features": ["stage2", "stage1"]}, r"out_features.*order.*got \['stage2', 'stage1'\]"),
        ({"out_features": ["stage1", "stage1"]}, r"out_features.*duplicates.*got \['stage1', 'stage1'\]"),
        ({"out_indices": [99]}, r"out_indices.*'stem', 'stage1'.*got \[99\]"),
    ],
)
def test_invalid_stages(family, stages, message):
    with pytest.raises(ValueError, match=message):
        family.config(**stages)


def test_nano_preset_reloads_equal(family, tmp_path):
    config = family.config_class.from_preset(f"{family.name}-nano", num_labels=3)
    config.save_pretrained(tmp_path)
    loaded = family.config_class.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.out_features == config.out_features


def test_a_changed_config_leaves_its_preset_alone(family):
    for preset in family.config_class.presets():
        config = family.config_class.from_preset(preset)
        expected = config.to_dict()
        for value in vars(config).values():
            if isinstance(value, list):
                value.clear()
        assert family.config_class.from_preset(preset).to_dict() == expected


@pytest.mark.parametrize("config_class, name", [(GPViTConfig, "gpvit-nano"), (HRViTConfig, "hrvit-nano")])
def test_a_mistyped_field_of_a_preset_is_refused_with_the_nearest_one(config_class, name):
    with pytest.raises(ValueError, match="'num_lables'; did you mean num_labels"):
        config_class.from_preset(name, num_lables=11)


def test_types_for_storage_alone_are_refused():
    with pytest.raises(ValueError, match="dtype must be one of float32.*float8_e4m3fn"):
        GPViTConfig.from_preset("gpvit-nano", dtype="float8_e4m3fn")
