# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Every recipe of configs/ is what it says, and trains: here a tiny model of its family on drawn scenes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from families import FAMILIES
from hf_gpvit.data import loading
from hf_gpvit.saved_models import class_for, presets
from hf_gpvit.tasks import find_task
from hf_gpvit.tasks.recipe import recipe_fields
from hf_gpvit.training import (
    ClassificationRecipe,
    DetectionRecipe,
    InstanceSegmentationRecipe,
    SegmentationRecipe,
    load_recipe,
    train,
)
from hf_gpvit.training.run_log import read_log
from small_detectors import KINDS, SHALLOW, small_detector


CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "accelerate")
DISTRIBUTED = {"ddp": "MULTI_GPU", "multi_node": "MULTI_GPU", "fsdp2": "FSDP", "deepspeed_zero2": "DEEPSPEED"}
# What makes a run small; all else is the recipe's. The published sizes of windows and pictures go down together.
SMALL = {
    "dataset": "shapes",
    "train_split": "train",
    "eval_split": None,
    "class_names": None,
    "batch_size": 8,
    "max_steps": 3,
    "eval_steps": 3,
    "logging_steps": 1,
    "num_workers": 0,
    "sync_batch_norm": False,
}
SMALL_TASK = {
    ClassificationRecipe: {"image_size": 32},
    SegmentationRecipe: {"crop_size": 32, "resize_size": [64, 256]},
    DetectionRecipe: {"resize_size": [64, 128], "batch_size": 4},
    InstanceSegmentationRecipe: {"resize_size": [64, 128], "batch_size": 4},
}
# Detectors whose recipes train by default: each type, each way of resizing, masks and none.
QUICK = ("coco/gpvit-l1-mask_rcnn-3x.yaml", "coco/gpvit-l1-retinanet-1x.yaml", "small/shapes-detection.yaml")


def trained(path: Path):
    """A parameter; slow where a quicker recipe, or that of the family's smallest model, does much the same."""
    name = path.relative_to(CONFIGS).as_posix()
    is_detector = recipe_fields(path)["task"] in ("object-detection", "instance-segmentation")
    is_slow = name not in QUICK if is_detector else re.search("-(l[2-4]|b[23])", name)
    return pytest.param(path, id=name, marks=[pytest.mark.slow] if is_slow else [])


@pytest.fixture(scope="module")
def segmentors(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        for head in ("segformer", "upernet"):
            config = family.config(decode_head_type=head)
            family.segmentor_class(config).save_pretrained(root / f"{family.name}-{head}")
    for kind in KINDS:
        small_detector(kind, **SHALLOW).save_pretrained(root / f"gpvit-{kind}")
    return root


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    monkeypatch.setattr(loading, "TRAIN_SCENES", {"num_scenes": 12, "seed": 0})
    monkeypatch.setattr(loading, "TEST_SCENES", {"num_scenes": 2, "seed": 1})


def load(path: Path):
    return load_recipe(find_task(recipe_fields(path)["task"]).recipe_class, path)


@pytest.mark.parametrize("path", map(trained, FILES))
def test_recipe_trains(path, segmentors, tmp_path):
    recipe = load(path)
    fields = SMALL | SMALL_TASK[type(recipe)] | {"output_dir": str(tmp_path / "run")}
    parts = recipe.gradient_accumulation_steps
    fields["gradient_accumulation_steps"] = min(parts, fields["batch_size"])
    if getattr(recipe, "train_sides", None):
        fields |= {"train_sides": [48, 64], "crop_size": recipe.crop_size and 96}
    if isinstance(recipe, SegmentationRecipe) and recipe.test_window_size:
        fields |= {"test_window_size": 48, "test_window_stride": 36}
    head = getattr(recipe, "decode_head_type", None) or "segformer"
    if isinstance(recipe, DetectionRecipe):
        has_masks = isinstance(recipe, InstanceSegmentationRecipe)
        head = "masks" if has_masks else {"mask_rcnn": "boxes", "retinanet": "retinanet"}[recipe.detector_type]
    family = recipe.model.partition("-")[0]
    fields["model"] = str(segmentors / f"{family}-{head}")
    train(replace(recipe, **fields))
    losses = [record["loss"] for record in read_log(tmp_path / "run/log.jsonl") if "loss" in record]
    assert len(losses) == 3


def config_of(recipe):
    model_class = class_for(presets()[recipe.model], find_task(recipe.task).auto_class)
    return model_class.config_class.from_preset(recipe.model, **recipe.config_fields)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_recipe_fits_its_preset(path):
    recipe = load(path)
    config = config_of(recipe)
    for name, value in recipe.config_fields.items():
        assert getattr(config, name) == value


def test_published_recipes_name_their_model():
    for path in FILES:
        if path.parent.name == "coco":
            recipe = load(path)
            schedule = {12: "1x", 36: "3x"}[recipe.num_train_epochs]
            assert path.stem == f"{recipe.model}-{recipe.detector_type}-{schedule}"
            assert (recipe.task == "instance-segmentation") == (recipe.detector_type == "mask_rcnn")
        if path.parent.name in ("imagenet1k", "ade20k", "cityscapes"):
            recipe = load(path)
            head = f"-{recipe.decode_head_type}" if path.parent.name != "imagenet1k" else ""
            assert path.stem == recipe.model + head


# Fields that differ between the papers' models: drop path, learning rate, the head's factor.
PUBLISHED = {
    "imagenet1k/gpvit-l1": (0.2, 2e-3, 1),
    "imagenet1k/gpvit-l2": (0.2, 2e-3, 1),
    "imagenet1k/gpvit-l3": (0.3, 2e-3, 1),
    "imagenet1k/gpvit-l4": (0.3, 2e-3, 1),
    "imagenet1k/hrvit-b1": (0.1, 1e-3, 1),
    "imagenet1k/hrvit-b2": (0.1, 1e-3, 1),
    "imagenet1k/hrvit-b3": (0.1, 1e-3, 1),
    "ade20k/gpvit-l1-segformer": (0.1, 1.2e-4, 10),
    "ade20k/gpvit-l2-segformer": (0.1, 1.2e-4, 10),
    "ade20k/gpvit-l3-segformer": (0.2, 1.2e-4, 10),
    "ade20k/gpvit-l4-segformer": (0.2, 1.2e-4, 10),
    "ade20k/gpvit-l1-upernet": (0.1, 1.2e-4, 1),
    "ade20k/gpvit-l2-upernet": (0.1, 1.2e-4, 1),
    "ade20k/gpvit-l3-upernet": (0.2, 1.2e-4, 1),
    "ade20k/gpvit-l4-upernet": (0.2, 1.2e-4, 1),
    "ade20k/hrvit-b1-segformer": (0.1, 6e-5, 10),
    "ade20k/hrvit-b2-segformer": (0.2, 6e-5, 10),
    "ade20k/hrvit-b3-segformer": (0.3, 6e-5, 1),
    "ade20k/hrvit-b1-upernet": (0.1, 6e-5, 10),
    "ade20k/hrvit-b2-upernet": (0.2, 6e-5, 10),
    "ade20k/hrvit-b3-upernet": (0.3, 6e-5, 10),
    "cityscapes/hrvit-b1-segformer": (0.15, 6e-5, 10),
    "cityscapes/hrvit-b2-segformer": (0.2, 6e-5, 10),
    "cityscapes/hrvit-b3-segformer": (0.3, 6e-5, 10),
    "cityscapes/hrvit-b1-upernet": (0.15, 6e-5, 10),
    "cityscapes/hrvit-b2-upernet": (0.2, 6e-5, 10),
    "cityscapes/hrvit-b3-upernet": (0.3, 6e-5, 10),
}


# Drop path of the detectors by model: Mask R-CNN's 1x and 3x, RetinaNet's 1x and 3x.
DETECTORS = {
    "gpvit-l1": (0.1, 0.1, 0.1, 0.1),
    "gpvit-l2": (0.1, 0.1, 0.1, 0.1),
    "gpvit-l3": (0.1, 0.2, 0.1, 0.2),
    "gpvit-l4": (0.2, 0.2, 0.1, 0.2),
}


@pytest.mark.parametrize("model", DETECTORS)
def test_published_values_of_detectors(model):
    names = [f"{model}-{kind}-{schedule}" for kind in ("mask_rcnn", "retinanet") for schedule in ("1x", "3x")]
    recipes = [load(CONFIGS / f"coco/{name}.yaml") for name in names]
    assert tuple(recipe.drop_path_rate for recipe in recipes) == DETECTORS[model]
    assert [recipe.max_grad_norm for recipe in recipes] == [0, 0, 35, 35]
    for recipe in recipes:
        values = (recipe.batch_size, recipe.learning_rate, recipe.weight_decay, recipe.no_decay)
        assert values == (16, 2e-4, 0.05, "layer_norms_and_biases")
        assert (recipe.schedule, recipe.warmup_steps, recipe.warmup_start_ratio) == ("step", 500, 1e-3)
        assert (recipe.resize_size, recipe.head_learning_rate_factor) == ([800, 1333], 1)
    for short, long in (recipes[:2], recipes[2:]):
        assert (short.num_train_epochs, short.milestone_epochs) == (12, [8, 11])
        assert (short.train_sides, short.zoom_rate, short.crop_size) == (None, 0, None)
        assert (long.num_train_epochs, long.milestone_epochs) == (36, [27, 33])
        assert (long.train_sides, long.zoom_rate, long.crop_size) == ([*range(480, 801, 32)], 0.5, 1024)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    recipe = load(CONFIGS / f"{name}.yaml")
    assert (config_of(recipe).drop_path_rate, recipe.learning_rate, recipe.head_learning_rate_factor) == PUBLISHED[
        name
    ]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("imagenet1k/")])
def test_published_augmentation(name):
    recipe = load(CONFIGS / f"{name}.yaml")
    assert (recipe.rand_augment_magnitude, recipe.random_erasing, recipe.label_smoothing) == (9, 0.25, 0.1)
    assert (recipe.mixup_alpha, recipe.cutmix_alpha, recipe.crop_scale) == (0.8, 1.0, [0.08, 1.0])


def test_the_table_of_published_values_is_whole():
    folders = ("imagenet1k", "ade20k", "cityscapes")
    found = {f"{path.parent.name}/{path.stem}" for path in FILES if path.parent.name in folders}
    assert found == set(PUBLISHED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_files_hold_no_field_twice(path):
    lines = [line.partition(":")[0] for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(set(lines)) == len(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_takes_its_settings(path):
    config = load_config_from_file(str(path))
    assert config.distributed_type.value == DISTRIBUTED[path.stem]
    assert config.num_processes >= config.num_machines >= 1


def test_sharding_wraps_the_models_own_layers():
    settings = load_config_from_file(str(CONFIGS / "accelerate/fsdp2.yaml")).fsdp_config
    assert settings["fsdp_version"] == 2 and settings["fsdp_auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"
    assert "fsdp_transformer_layer_cls_to_wrap" not in settings  # which would be one family's
    for family in FAMILIES:
        names = {type(module).__name__ for module in family.classifier_class(family.config()).modules()}
        assert set(family.classifier_class._no_split_modules) <= names
