# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes from files and command lines."""

from dataclasses import replace
from pathlib import Path

import pytest

from hf_gpvit.training import ClassificationRecipe, SegmentationRecipe, load_recipe


CONFIGS = Path(__file__).parents[2] / "configs"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_file_then_arguments(tmp_path):
    path = write(tmp_path / "a.yaml", "learning_rate: 2e-3\nscale_range: [1.0, 1.5]\ntest_flip: true\ncrop_size: 64\n")
    recipe = load_recipe(SegmentationRecipe, path, ["--crop_size", "96", "--test_scales", "0.5", "1"])
    assert (recipe.learning_rate, recipe.scale_range, recipe.test_flip) == (2e-3, [1.0, 1.5], True)
    assert (recipe.crop_size, recipe.test_scales) == (96, [0.5, 1.0])
    assert recipe.batch_size == SegmentationRecipe().batch_size


def test_a_file_overrides_its_base_also_with_null(tmp_path):
    write(tmp_path / "base.yaml", "model: gpvit-l1\ntest_size_divisor: 32\nbatch_size: 4\n")
    (tmp_path / "more").mkdir()
    path = write(tmp_path / "more/a.yaml", "base: ../base.yaml\ntest_size_divisor: null\nmodel: hrvit-b1\n")
    recipe = load_recipe(SegmentationRecipe, path)
    assert (recipe.model, recipe.test_size_divisor, recipe.batch_size) == ("hrvit-b1", None, 4)


def test_a_saved_recipe_is_the_same(tmp_path):
    recipe = ClassificationRecipe(class_names=["a", "b"], crop_scale=[0.5, 1.0], streaming=True, max_steps=3)
    recipe.save(tmp_path / "recipe.yaml")
    assert load_recipe(ClassificationRecipe, tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rte: 1e-3", "learning_rte"),
        ("learning_rate: fast", "learning_rate.*'fast'"),
        ("learning_rate: 0", "learning_rate must be greater than 0, got learning_rate=0"),
        ("schedule: step", "schedule.*step.*cosine"),
        ("batch_size: 6\ngradient_accumulation_steps: 4", "batch_size must be a multiple"),
        ("resize_size: [512, 256]", "resize_size must be"),
        ("streaming: true", "max_steps must be given"),
        ("- a list", "must hold a mapping"),
        ("base: a.yaml", "a.yaml is its own base"),
        ("learning_rate: [1", "a.yaml is no YAML"),
        ("seed: -1", "seed must be at least 0"),
        ("model_fields: 3", "model_fields.*must be name=value.*'3'"),
        ("model_fields: ['a=[1']", "model_fields.*must be name=value"),
        ("model_fields: {image_size: 64}", "model_fields must be without image_size"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    path = write(tmp_path / "a.yaml", text)
    with pytest.raises(ValueError, match=message):
        load_recipe(SegmentationRecipe, path)


def test_any_field_of_the_model_from_file_and_command_line(tmp_path):
    write(tmp_path / "base.yaml", "model_fields: {mlp_ratio: 3, stripe_widths: [1, 2, 7, 7], decode_head_type: '3'}\n")
    path = write(
        tmp_path / "a.yaml", "base: base.yaml\nmodel_fields: {mlp_ratio: 3.5, decoder_hidden_size: {upernet: 8}}\n"
    )
    arguments = ["--model_fields", "stripe_widths=[1,2,9,9]", "qkv_bias=false", "a=", "--seed", "1"]
    recipe = load_recipe(SegmentationRecipe, path, arguments)
    fields = {"mlp_ratio": 3.5, "stripe_widths": [1, 2, 9, 9], "decode_head_type": "3"}
    assert recipe.model_fields == fields | {"decoder_hidden_size": {"upernet": 8}, "qkv_bias": False, "a": None}
    recipe.save(tmp_path / "saved.yaml")
    assert load_recipe(SegmentationRecipe, tmp_path / "saved.yaml") == recipe
    assert (
        load_recipe(SegmentationRecipe, write(tmp_path / "b.yaml", "base: a.yaml\nmodel_fields: null")).model_fields
        == {}
    )


def test_shorthands_go_to_the_model_and_agree_with_its_fields():
    recipe = SegmentationRecipe(decode_head_type="upernet", drop_path_rate=0.3, model_fields={"drop_path_rate": 0.3})
    assert recipe.config_fields == {"decode_head_type": "upernet", "drop_path_rate": 0.3}
    assert SegmentationRecipe().config_fields == {}
    with pytest.raises(ValueError, match="model_fields must be in agreement with drop_path_rate=0.3, .*0.2"):
        SegmentationRecipe(drop_path_rate=0.3, model_fields={"drop_path_rate": 0.2})


def test_a_resumed_run_may_have_other_values_of_some_fields():
    recipe = ClassificationRecipe()
    assert recipe.changes_to(replace(recipe, num_workers=3, resume=True, trackers=["tensorboard"])) == []
    assert recipe.changes_to(replace(recipe, seed=3, model_fields={"mlp_ratio": 3})) == ["seed", "model_fields"]


def test_cityscapes_tests_by_sliding_windows_and_b3_has_its_stripes():
    recipe = load_recipe(SegmentationRecipe, CONFIGS / "cityscapes/hrvit-b3-upernet.yaml")
    assert (recipe.test_size_divisor, recipe.test_window_size, recipe.test_window_stride) == (None, 1024, 768)
    assert recipe.config_fields == {
        "drop_path_rate": 0.3,
        "stripe_widths": [1, 2, 9, 9],
        "decode_head_type": "upernet",
    }
    assert recipe.head_learning_rate_factor == 10
