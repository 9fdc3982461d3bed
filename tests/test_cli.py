# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
import os
import re
import runpy
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.version import Version
from PIL import Image

import hf_gpvit
import hf_gpvit_cli
from families import GPVIT
from hf_gpvit.commands import train as train_command
from hf_gpvit.commands.train import parse_recipe
from hf_gpvit.data import image_processor_for
from hf_gpvit.models.configuration_base import MAX_SIDE
from hf_gpvit.tasks.fields import LIMIT
from hf_gpvit.tasks.recipe import MAX_WORKERS
from hf_gpvit.training import ClassificationRecipe


SCRIPTS = Path(__file__).parents[1] / "scripts"
TASK = "image-classification"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["presets"], *([command, "--help"] for command in hf_gpvit_cli.COMMANDS)],
    ids=" ".join,
)
def test_what_is_known_without_the_package_loads_no_torch(arguments):
    code = f"""
import sys
import hf_gpvit_cli
try:
    hf_gpvit_cli.main({arguments})
finally:
    assert not {{"torch", "transformers", "hf_gpvit"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_all_commands_are_listed(capsys):
    with pytest.raises(SystemExit):
        hf_gpvit_cli.main(["--help"])
    shown = capsys.readouterr().out
    for command, (summary, _) in hf_gpvit_cli.COMMANDS.items():
        assert re.search(rf"^ +{command} +{summary}$", shown, re.MULTILINE)


def help_of(run, capsys):
    """What `--help` shows, on one line and without the program's name."""
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 0
    return " ".join(re.sub(r"hf-gpvit \w+|\w+\.py", "", capsys.readouterr().out).split())


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("predict", "predict.py"),
        ("evaluate", "evaluate_model.py"),
        ("convert", "convert_checkpoint.py"),
        ("push", "push_to_hub.py"),
    ],
)
def test_commands_are_the_scripts(command, script, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    of_script = help_of(lambda: runpy.run_path(str(SCRIPTS / script), run_name="__main__"), capsys)
    of_command = help_of(lambda: hf_gpvit_cli.main([command, "--help"]), capsys)
    assert of_command == of_script
    assert "%(prog)s" not in of_command


def test_unknown_command(capsys):
    with pytest.raises(SystemExit) as ended:
        hf_gpvit_cli.main(["convrt"])
    assert ended.value.code == 2
    assert "'convrt'" in capsys.readouterr().err


MISTAKES = {
    "info": (["nothing-here"], "model must be one of"),
    "predict": (["nothing-here", "--model", "nothing-here"], "nothing-here does not exist"),
    "convert": (["nothing-here", "model"], "There is no checkpoint file nothing-here"),
    "evaluate": (["--model", "not-looked-at", "--dataset", "shapes", "--window_stride", "8"], "window_stride needs"),
    "push": (["nothing-here", "you/model"], "There is no folder nothing-here"),
    "train": (["--config", "nothing-here"], "There is no recipe 'nothing-here'"),
}


@pytest.mark.parametrize("command", MISTAKES)
def test_messages_begin_with_the_command(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments, message = MISTAKES[command]
    with pytest.raises(SystemExit, match=f"^hf-gpvit {command}: {message}"):
        hf_gpvit_cli.main([command, *arguments])


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "hf_gpvit.commands.evaluate", raising=False)
    with pytest.raises(SystemExit, match=r'^hf-gpvit evaluate: .*accelerate.*pip install "hf-gpvit\[train\]"'):
        hf_gpvit_cli.main(["evaluate", "--model", "not-looked-at", "--dataset", "shapes"])


def test_the_package_itself_is_the_command():
    answer = subprocess.run([sys.executable, "-m", "hf_gpvit", "--version"], capture_output=True, text=True)
    assert answer.stdout.split() == ["hf-gpvit", hf_gpvit.__version__]


def test_version(capsys):
    try:
        hf_gpvit_cli.main(["--version"])
    except SystemExit as stopped:
        assert stopped.code == 0
    assert capsys.readouterr().out.split() == ["hf-gpvit", hf_gpvit.__version__]


@pytest.mark.skipif(
    find_spec("torchao") is not None and Version(version("torchao")) < Version("0.18"),
    reason="older ones print at once that they don't know this torch",
)
def test_no_warning_of_another_package(tmp_path):
    """In a process of its own, whose first import of everything this is."""
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    model = GPVIT.classifier_class(GPVIT.config())
    model.save_pretrained(tmp_path / "model")
    image_processor_for(model).save_pretrained(tmp_path / "model")
    arguments = ["predict", "--model", "model", "photo.png", "--output_dir", "predictions"]
    result = subprocess.run(
        [sys.executable, "-c", f"import hf_gpvit_cli; hf_gpvit_cli.main({arguments})"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"TQDM_DISABLE": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "gpvit-nano", "--image_size", "100000000"], "image_size: must be at most 16384, got 100000000"),
        (["predict", "a.png", "--model", "m", "--window_size", "9" * 99], "window_size: must be at most 16384"),
        (["predict", "a.png", "--model", "m", "--top_k", "9" * 99], "top_k: must be at most 2147483647"),
        (["evaluate", "--model", "m", "--dataset", "d", "--batch_size", "1e3"], "invalid integer value: '1e3'"),
    ],
)
def test_numbers_beyond_all_use(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        hf_gpvit_cli.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_bounds_are_those_of_models_and_recipes():
    own = hf_gpvit_cli.arguments
    assert (own.MAX_SIDE, own.MAX_COUNT, own.MAX_WORKERS) == (MAX_SIDE, LIMIT - 1, MAX_WORKERS)


def test_values_may_begin_with_a_dash():
    options = hf_gpvit_cli.arguments.evaluate(
        ["--class_names", "-a", "b", "--model", "m", "--dataset", "d"], "evaluate"
    )
    assert options.class_names == ["-a", "b"]
    train = hf_gpvit_cli.arguments.train(
        ["--class_names", "-a", "b", "--config", "c", "--seed", "1", "--task", TASK], "train"
    )
    assert (train.config, train.fields) == ("c", ["--class_names", "-a", "b", "--seed", "1"])
    recipe = parse_recipe(ClassificationRecipe, "", train.fields, "train")
    assert (recipe.class_names, recipe.seed) == (["-a", "b"], 1)


def test_a_saved_recipe_says_its_task(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(train_command, "_train", trained.append)
    recipe = ClassificationRecipe(class_names=["-a", "no"])
    recipe.save(tmp_path / "recipe.yaml")
    hf_gpvit_cli.main(["train", "--config", str(tmp_path / "recipe.yaml")])
    assert trained == [recipe]
