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
from hf_gpvit.data import image_processor_for


SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_presets_are_listed_with_their_sizes(capsys):
    hf_gpvit_cli.main(["presets"])
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert [*rows] == [*hf_gpvit.GPViTConfig.presets(), *hf_gpvit.HRViTConfig.presets()]
    assert rows["gpvit-l1"] == ["216", "9,325,544"]
    assert rows["hrvit-b1"] == ["32-64-128-256", "7,758,008"]


def test_help_loads_no_torch():
    code = """
import sys
import hf_gpvit_cli
try:
    hf_gpvit_cli.main(["--help"])
finally:
    assert not {"torch", "transformers", "hf_gpvit"} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command, (summary, _) in hf_gpvit_cli.COMMANDS.items():
        assert re.search(rf"^ +{command} +{summary}$", result.stdout, re.MULTILINE)


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


@pytest.mark.parametrize("command", ["presets", "info"])
def test_other_commands_have_help(command, capsys):
    assert "usage:" in help_of(lambda: hf_gpvit_cli.main([command, "--help"]), capsys)


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
}


@pytest.mark.parametrize("command", MISTAKES)
def test_messages_begin_with_the_command(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments, message = MISTAKES[command]
    with pytest.raises(SystemExit, match=f"^hf-gpvit {command}: {message}"):
        hf_gpvit_cli.main([command, *arguments])


def test_messages_of_scripts_begin_with_the_script(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scripts/convert_checkpoint.py", "nothing-here", "model"])
    with pytest.raises(SystemExit, match="^convert_checkpoint.py: There is no checkpoint file"):
        runpy.run_path(str(SCRIPTS / "convert_checkpoint.py"), run_name="__main__")


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "hf_gpvit.training.evaluate_command", raising=False)
    with pytest.raises(SystemExit, match=r'^hf-gpvit evaluate: .*accelerate.*pip install "hf-gpvit\[train\]"'):
        hf_gpvit_cli.main(["evaluate", "--help"])


def figures(capsys, *arguments):
    """The figure of each line of `hf-gpvit info`, and its first line."""
    hf_gpvit_cli.main(["info", *map(str, arguments)])
    head, *lines = capsys.readouterr().out.splitlines()
    rows = (re.fullmatch(r"(\S.*?)  +([\d.,]+).*", line) for line in lines)
    return head, {row[1]: float(row[2].replace(",", "")) for row in rows if row}


def test_info_of_a_preset(capsys):
    """Figures of README.md."""
    head, found = figures(capsys, "gpvit-l1")
    assert head == "gpvit-l1: GPViTForImageClassification with 1000 labels"
    assert found["parameters of the backbone"] == 9_325_544
    assert found["parameters of all"] == 9_589_848
    assert found["multiply-adds"] == 5.90
    assert found["weights"] == pytest.approx(4 * 9_589_848 / 2**20, rel=0.01)


def test_info_of_a_segmentor_at_a_size(capsys):
    task = ("--task", "semantic-segmentation")
    head, square = figures(capsys, "hrvit-nano", *task)
    assert head == "hrvit-nano: HRViTForSemanticSegmentation with 150 labels"
    assert square["multiply-adds"] == 1.30
    _, wide = figures(capsys, "hrvit-nano", *task, "--image_size", 512, 1024)
    assert wide["activations at their peak"] == pytest.approx(2 * square["activations at their peak"], rel=0.1)
    assert wide["weights"] == square["weights"]


def test_info_of_a_folder(family, tmp_path, capsys):
    family.segmentor_class(family.config(num_labels=7)).save_pretrained(tmp_path / "model")
    head, found = figures(capsys, tmp_path / "model", "--image_size", 64)
    assert head == f"{tmp_path / 'model'}: {family.segmentor_class.__name__} with 7 labels"
    assert found["parameters of all"] == family.segmentor_class(family.config(num_labels=7)).num_parameters()
    assert found["parameters of the backbone"] < found["parameters of all"]


@pytest.mark.parametrize("kind", ["model_class", "backbone_class"])
def test_info_of_a_folder_without_head(kind, family, tmp_path, capsys):
    model = getattr(family, kind)(family.config(num_labels=7))
    model.save_pretrained(tmp_path)
    head, found = figures(capsys, tmp_path, "--image_size", 64)
    assert head == f"{tmp_path}: {type(model).__name__}"
    assert found["parameters of all"] == model.num_parameters() >= found["parameters of the backbone"]


@pytest.mark.parametrize("name", ["GPViTConfig", "HRViTModel", "ViTModel"])
def test_info_takes_the_models_of_the_config_only(name, tmp_path):
    config = hf_gpvit.GPViTConfig.from_preset("gpvit-nano")
    config.architectures = [name]
    config.save_pretrained(tmp_path)
    with pytest.raises(SystemExit, match=rf"must hold a model of this package, but its config.json names {name}\."):
        hf_gpvit_cli.main(["info", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpvit-l9"], "model must be one of gpvit-l1, .*, hrvit-nano, or the folder .* got 'gpvit-l9'"),
        (["nothing/here", "--task", "image-classification"], "--task is for presets, but nothing/here is none"),
        (["gpvit-nano", "--image_size", "0"], r"--image_size must be .* got \[0\]"),
        (["gpvit-nano", "--image_size", "3", "4", "5"], r"--image_size must be .* got \[3, 4, 5\]"),
    ],
)
def test_info_on_mistakes(arguments, message):
    with pytest.raises(SystemExit, match=message):
        hf_gpvit_cli.main(["info", *arguments])


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
    for arguments in (
        ["info", "model"],
        ["predict", "--model", "model", "photo.png", "--output_dir", "predictions"],
    ):
        code = f"import hf_gpvit_cli; hf_gpvit_cli.main({arguments})"
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"TQDM_DISABLE": "1"},
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
