# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""`hf-gpvit train`, and the training scripts, which know their task."""

import runpy
import sys
from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path

import pytest

import hf_gpvit_cli
from families import HRVIT
from hf_gpvit.data import loading
from hf_gpvit.inference import SegmentationSettings
from hf_gpvit.tasks import TASKS
from hf_gpvit.training import SegmentationRecipe, engine, load_recipe
from hf_gpvit_cli import arguments
from short_runs import fresh_accelerator  # noqa: F401


SCRIPTS = Path(__file__).parents[2] / "scripts"
SMALL = ["--crop_size", "32", "--resize_size", "32", "128", "--batch_size", "4", "--max_steps", "2"]


@pytest.fixture(autouse=True)
def small_world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "TRAIN_SCENES", {"num_scenes": 8, "seed": 0})
    monkeypatch.setattr(loading, "TEST_SCENES", {"num_scenes": 2, "seed": 1})
    HRVIT.segmentor_class(HRVIT.config()).save_pretrained("tiny")


def test_the_task_is_the_recipes(capsys):
    hf_gpvit_cli.main(["train", "--config", "small/shapes-segmentation", *SMALL, "--model", "tiny"])
    assert capsys.readouterr().out.startswith("mean_iou 0.")
    recipe = load_recipe(SegmentationRecipe, "outputs/training/recipe.yaml")
    assert (recipe.max_steps, recipe.learning_rate) == (2, 2e-3)
    assert not recipe.photometric_distortion


def test_the_task_is_given(capsys):
    """As for recipes that a run has left, which don't say it."""
    Path("recipe.yaml").write_text("model: tiny\nlearning_rate: 0.0123\n")
    hf_gpvit_cli.main(["train", "--task", "semantic-segmentation", "--config", "recipe.yaml", *SMALL])
    assert "mean_iou" in capsys.readouterr().out
    assert "learning_rate: 0.0123" in Path("outputs/training/best/recipe.yaml").read_text()


def test_the_figure_shown_is_that_of_the_model_named(capsys, monkeypatch):
    figures = iter([0.25, 0.75, 0.5])
    monkeypatch.setattr(engine, "evaluate_model", lambda *_, **__: {"mean_iou": next(figures)})
    steps = ["--max_steps", "3", "--eval_steps", "1"]
    hf_gpvit_cli.main(["train", "--config", "small/shapes-segmentation", *SMALL, "--model", "tiny", *steps])
    best, last = Path("outputs/training/best"), Path("outputs/training/last")
    assert capsys.readouterr().out == f"mean_iou 0.7500 after step 2; the model is in {best}\n"
    best.rename("taken-away")
    again = ["train", "--config", "outputs/training/recipe.yaml", "--task", "semantic-segmentation", "--resume"]
    hf_gpvit_cli.main(again)
    assert capsys.readouterr().out == f"mean_iou 0.5000 after step 3; the model is in {last}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "silent.yaml"], "silent.yaml must say its task, image-classification or .*, or --task be given"),
        (["--config", "wrong.yaml"], r"wrong.yaml must say its task, .* got task=\['a'\]"),
        (["--config", "small/nothing"], "no recipe 'small/nothing': .* one of .*small/shapes-segmentation"),
        (
            ["--config", "small/shapes-segmentation.yaml", "--task", "image-classification"],
            "is a recipe for semantic-segmentation",
        ),
        (["--task", "image-classification", "--batch_size", "0"], "batch_size must be at least 1"),
    ],
)
def test_mistakes(arguments, message):
    Path("silent.yaml").write_text("batch_size: 3")
    Path("wrong.yaml").write_text("task: [a]")
    with pytest.raises(SystemExit, match=f"^hf-gpvit train: .*{message}"):
        hf_gpvit_cli.main(["train", *arguments])


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["--task", "image-classification", "--help"], 0, "--mixup_alpha"),
        (["--config", "small/shapes-segmentation", "--help"], 0, "--test_flip"),
        (["--config", "small/shapes-segmentation", "--mixup_alpha", "1"], 2, "unrecognized arguments: --mixup_alpha"),
        (["--batch_size", "3"], 2, "--config or --task is needed"),
    ],
)
def test_fields_are_options(arguments, code, shown, capsys):
    with pytest.raises(SystemExit) as ended:
        hf_gpvit_cli.main(["train", *arguments])
    assert ended.value.code == code
    output = capsys.readouterr()
    assert "usage: hf-gpvit train" in output.out + output.err
    assert shown in output.out + output.err


def test_a_script_knows_its_task(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_image_classification.py", "--config", "small/shapes-segmentation"])
    with pytest.raises(SystemExit, match="^train_image_classification.py: .*not for image-classification"):
        runpy.run_path(str(SCRIPTS / "train_image_classification.py"), run_name="__main__")


def test_an_existing_file_goes_before_a_name():
    Path("small").mkdir()
    Path("small/shapes-segmentation").write_text("seed: 77")
    recipe_class = SegmentationRecipe
    assert load_recipe(recipe_class, "small/shapes-segmentation").seed == 77
    assert load_recipe(recipe_class, "small/shapes-segmentation.yaml").seed == 0


# --- what the arguments of commands know of the package, without loading it


def test_tasks():
    assert list(arguments.TASKS) == list(TASKS)


def test_segmentation_options_are_the_settings():
    parser = ArgumentParser()
    arguments.add_window_arguments(parser)
    options = parser.parse_args([])
    assert [*vars(options)] == [field.name for field in fields(SegmentationSettings)]
    assert SegmentationSettings.of(options) == SegmentationSettings()
