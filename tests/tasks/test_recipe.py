# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes from files and command lines."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_gpvit.tasks import find_task
from hf_gpvit.tasks.recipe import recipe_fields
from hf_gpvit.training import (
    ClassificationRecipe,
    DetectionRecipe,
    InstanceSegmentationRecipe,
    SegmentationRecipe,
    load_recipe,
)


CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "accelerate")


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
        ("schedule: linear", "schedule must be one of cosine, poly, step, got schedule='linear'"),
        ("schedule: step", "schedule must be given with milestone_epochs or milestone_steps, got schedule='step'"),
        ("milestone_epochs: [1]", r"milestone_epochs must be left out where schedule isn't step, got .*=\[1.0\]"),
        ("schedule: step\nmilestone_steps: [3, 3]", "milestone_steps must be greater than 0 and ascending"),
        ("schedule: step\nmilestone_epochs: [0, 1]", "milestone_epochs must be greater than 0 and ascending"),
        ("schedule: step\nmilestone_steps: []", "milestone_steps must be of at least one, or left out"),
        ("schedule: step\nmilestone_steps: [3]\nmilestone_epochs: [1]", "milestone_steps must be left out where"),
        ("freeze_batch_norm: true\nsync_batch_norm: true", "freeze_batch_norm must be false where sync_batch_norm"),
        ("batch_size: 6\ngradient_accumulation_steps: 4", "batch_size must be a multiple"),
        ("resize_size: [512, 256]", "resize_size must be"),
        ("streaming: true", "max_steps must be given"),
        ("- a list", "must hold a mapping"),
        ("base: a.yaml", "a.yaml is its own base"),
        ("learning_rate: [1", "a.yaml is no YAML"),
        ("seed: -1", "seed must be at least 0"),
        ("model_fields: 3", "model_fields must be a mapping from names to values, .*'3'"),
        ("model_fields: ['a=[1']", "model_fields must be a mapping"),
        ("batch_size: 16.0", "batch_size must be an integer .*'16.0'"),
        ("batch_size: 010", "batch_size must be an integer"),
        ("batch_size: [4]", "batch_size must be an integer"),
        ("batch_size: 99999999999999999999", "batch_size must be an integer"),
        ("learning_rate: .inf", "learning_rate must be a finite number"),
        ("learning_rate: nan", "learning_rate must be a finite number"),
        ("learning_rate: 1e999", "learning_rate must be a finite number"),
        ("learning_rate: true", "learning_rate must be a finite number"),
        ("scale_range: [1, .nan]", "scale_range must be a list, each a finite number"),
        ("streaming: 2", "streaming must be true or false"),
        ("model: [a]", "model must be text"),
        ('model: "a\\0"', "model must be text"),
        ("class_names: [{a: b}]", "class_names must be a list, each text"),
        ("class_names: []", "class_names must be of at least one"),
        ("model_fields: {mlp_ratio: 1e999}", "model_fields must be made of .*finite"),
        ("crop_size: 1048576", "crop_size must be at least 1 and at most 16384"),
        ("test_scales: [1e6]", "test_scales must be such that resize_size"),
        ("num_workers: 1000000", "num_workers must be at most 1024"),
        ("seed: 1\nseed: 2", "line 2 has 'seed' a second time"),
        ("model_fields: {a: 1, a: 2}", "line 1 has 'a' a second time"),
        ("[a]: 1", "line 1 has a list or mapping as a name"),
        ("class_names: &a [x]", "line 1 has an anchor"),
        ("class_names: [*a]", "line 1 has an anchor or alias"),
        ("model: !!python/name:os.system x", "line 1 has a tag"),
        ("seed: 1\n---\nseed: 2", "must be one document"),
        ("model_fields: " + "[" * 30 + "]" * 30, "nested more than 20 deep"),
        ("model_fields: " + "{a: " * 99999, "a.yaml is no YAML"),
        ("#" * 2**20 + "#", "more than 1,048,576 bytes"),
        ("base: [a]", "base must be the name of a file"),
        ("base: {a: b}", "base must be the name of a file"),
        ("model_fields: {image_size: 64}", "model_fields must be without image_size"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    path = write(tmp_path / "a.yaml", text)
    with pytest.raises(ValueError, match=message):
        load_recipe(SegmentationRecipe, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resize_size: [800]", r"resize_size must be \(shorter, longer\) side of at most 16384, got"),
        ("resize_size: [100, 20000]", "resize_size must be"),
        (
            "train_sides: [480, 2000]",
            r"train_sides must be at least 1 and at most the longer side of resize_size=\[800",
        ),
        ("train_sides: []", "train_sides must be of at least one, or left out"),
        ("zoom_rate: 2", r"zoom_rate must be in \[0, 1\], got zoom_rate=2.0"),
        ("scale_range: [0.1, 2]", r"crop_size must be given with scale_range=\[0.1, 2.0\], got crop_size=None"),
        ("scale_range: [2, 1]\ncrop_size: 64", r"scale_range must be \(least, greatest\) factor"),
        ("scale_range: [1, 400]\ncrop_size: 64", "scale_range must be such that sides are at most 16384"),
        ("scale_range: [1, 2]\ncrop_size: 64\nzoom_rate: 0.5", "zoom_rate must be left out with scale_range"),
        ("crop_size: 0", "crop_size must be at least 1 and at most 16384"),
        ("test_window_size: 0", "test_window_size must be at least 1"),
        ("detector_type: yolo", "detector_type must be one of mask_rcnn, retinanet"),
    ],
)
def test_mistakes_of_detectors_are_named(tmp_path, text, message):
    path = write(tmp_path / "a.yaml", text)
    with pytest.raises(ValueError, match=message):
        load_recipe(DetectionRecipe, path)


def test_retinanet_has_no_masks():
    with pytest.raises(ValueError, match="detector_type must be mask_rcnn, which has masks, or left out, got"):
        InstanceSegmentationRecipe(detector_type="retinanet")


def test_text_is_what_is_written(tmp_path):
    names = "[yes, no, 010, 12:30:45, null, 1e3, 2020-01-01, ~, 0x1F, .inf, -a, '', \"it's\"]"
    path = write(tmp_path / "a.yaml", f"class_names: {names}\nmixed_precision: no\nmodel: 007\neval_split: 'null'\n")
    recipe = load_recipe(ClassificationRecipe, path)
    expected = ["yes", "no", "010", "12:30:45", "null", "1e3", "2020-01-01", "~", "0x1F", ".inf", "-a", "", "it's"]
    assert recipe.class_names == expected
    assert (recipe.mixed_precision, recipe.model, recipe.eval_split) == ("no", "007", "null")
    recipe.save(tmp_path / "saved.yaml")
    assert load_recipe(ClassificationRecipe, tmp_path / "saved.yaml") == recipe


def test_one_name_is_a_list_and_a_byte_order_mark_nothing(tmp_path):
    path = write(tmp_path / "a.yaml", "\ufeffclass_names: ade20k\nseed: '3'\n")
    recipe = load_recipe(SegmentationRecipe, path)
    assert (recipe.class_names, recipe.seed) == (["ade20k"], 3)


@pytest.mark.parametrize("text", ["", "# nothing", "---", "~", "null", "class_names: ~\nmodel_fields:\n"])
def test_nothing_is_the_default(text, tmp_path):
    assert load_recipe(ClassificationRecipe, write(tmp_path / "a.yaml", text)) == ClassificationRecipe()


def test_names_that_begin_with_a_dash():
    recipe = load_recipe(ClassificationRecipe, None, ["--class_names", "-a", "b", "-1", "--seed", "2"])
    assert (recipe.class_names, recipe.seed) == (["-a", "b", "-1"], 2)
    with pytest.raises(ValueError, match="--sed"):
        load_recipe(ClassificationRecipe, None, ["--class_names", "-a", "--sed", "2"])


def test_a_bomb_is_refused_at_once(tmp_path):
    layers = [f"&a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path = write(tmp_path / "a.yaml", f"train_split: [&a0 [{'x,' * 10}], {', '.join(layers)}]")
    with pytest.raises(ValueError, match="has an anchor"):
        load_recipe(ClassificationRecipe, path)


@pytest.mark.parametrize("content", [b"model: \xff", "model: a".encode("utf-16"), b"model: \x07", b"\0"])
def test_other_bytes(content, tmp_path):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.yaml is no YAML"):
        load_recipe(ClassificationRecipe, tmp_path / "a.yaml")


@pytest.mark.parametrize("base", ["3", "nothing.yaml", "''", "..", "/dev/zero"])
def test_a_base_must_be_a_file(base, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.yaml: base must be the name of a file"):
        load_recipe(ClassificationRecipe, write(tmp_path / "a.yaml", f"base: {base}"))


def test_bases_come_round(tmp_path):
    for name, base in ("ab", "bc", "ca"):
        path = write(tmp_path / name, f"base: {base}")
    with pytest.raises(ValueError, match="its own base"):
        load_recipe(ClassificationRecipe, path)
    for number in range(30):
        path = write(tmp_path / f"{number}", f"base: {number + 1}")
    with pytest.raises(ValueError, match="more than 20 bases"):
        load_recipe(ClassificationRecipe, tmp_path / "0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_train_epochs", float("inf")),
        ("warmup_epochs", float("nan")),
        ("learning_rate", 1e39),
        ("learning_rate", True),
        ("learning_rate", "1e-3"),
        ("mixup_alpha", 10**400),
        ("batch_size", True),
        ("batch_size", 16.0),
        ("seed", 2**31),
        ("max_steps", -(2**70)),
        ("max_steps", None),
        ("streaming", 1),
        ("image_size", 2**20),
        ("crop_scale", [0.5, float("nan")]),
        ("class_names", ["a", 3]),
        ("class_names", ["\udcff"]),
        ("dataset", "photos-\udcff"),
        ("output_dir", b"run"),
        ("model_fields", {"mlp_ratio": float("inf")}),
        ("model_fields", {"mlp_ratio": [[object()]]}),
        ("model_fields", [1]),
        ("schedule", "linear"),
    ],
)
def test_wrong_values_from_python(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        ClassificationRecipe(**{name: value})


def test_values_from_python_become_those_of_files(tmp_path):
    fields = {"batch_size": np.int64(4), "learning_rate": np.float32(0.5), "crop_scale": (np.float64(0.5), 1)}
    recipe = ClassificationRecipe(**fields, output_dir=tmp_path, model_fields={"mlp_ratios": (2, 2)})
    recipe.save(tmp_path / "a.yaml")
    assert load_recipe(ClassificationRecipe, tmp_path / "a.yaml") == recipe
    assert (recipe.output_dir, recipe.crop_scale) == (str(tmp_path), [0.5, 1.0])


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["no", "010", "12:30", "null", "~", "1e3", "2020-01-01", "-a", "--b", "*a", "&a", "!a", "a: b", "#", "=", "<<"]
)
NUMBER = st.floats(1e-12, 1e9)
SETTING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e30, 1e30) | TEXT,
    lambda entry: st.lists(entry, max_size=3) | st.dictionaries(TEXT, entry, max_size=3),
    max_leaves=5,
)
SAME = st.shared(st.lists(TEXT, min_size=1, max_size=4), key="the same list, written twice")


@settings(derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model": TEXT,
            "dataset": TEXT,
            "eval_split": st.none() | TEXT,
            "class_names": SAME,
            "trackers": SAME,
            "model_fields": st.dictionaries(TEXT, SETTING, max_size=3),
            "learning_rate": NUMBER,
            "num_train_epochs": NUMBER,
            "warmup_epochs": NUMBER,
            "ema_decay": st.floats(0, 0.999),
            "seed": st.integers(0, 2**31 - 1),
            "streaming": st.just(False),
            "push_to_hub": st.booleans(),
            "hub_model_id": st.just("you/model"),
            "mixed_precision": st.sampled_from(["no", "bf16", "fp16"]),
            "crop_scale": st.just([0.1, 0.7]),
            "image_size": st.none() | st.integers(1, 2**14),
        },
    ).filter(lambda fields: "hub_model_id" in fields or not fields.get("push_to_hub"))
)
def test_saved_recipes_are_the_same(fields):
    recipe = ClassificationRecipe(**fields)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        recipe.save(path)
        assert load_recipe(ClassificationRecipe, path) == recipe
        assert recipe_fields(path)["task"] == recipe.task


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_shipped_recipes_are_the_same_when_saved(path, tmp_path):
    recipe_class = find_task(recipe_fields(path)["task"]).recipe_class
    recipe = load_recipe(recipe_class, path)
    recipe.save(tmp_path / "recipe.yaml")
    assert load_recipe(recipe_class, tmp_path / "recipe.yaml") == recipe


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
