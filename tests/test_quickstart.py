# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/quickstart.py as a user runs it, on small folders of pictures that the tests draw."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_hub import TOKEN
from hf_gpvit.data import loading
from hf_gpvit.data.transforms import SegmentationTransform
from hf_gpvit.hub import push
from hf_gpvit.training import engine
from short_runs import fresh_accelerator  # noqa: F401


ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "quickstart.py"
PIPELINES = {"classification": "image-classification", "segmentation": "image-segmentation"}
METRICS = {
    "classification": {"accuracy", "seconds"},
    "segmentation": {"mean_iou", "mean_accuracy", "overall_accuracy", "iou/ground", "iou/thing", "seconds"},
}
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def draw(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder for each task, of pictures of several sizes."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for index in range(10):
        size = (40 + index, 36 + 2 * index)
        pixels = generator.integers(0, 256, (*size, 3))
        draw(root / "classification" / ("cat", "dog")[index % 2] / f"{index}.png", pixels)
        draw(root / "segmentation" / "images" / f"{index}.png", pixels)
        draw(root / "segmentation" / "masks" / f"{index}.png", generator.integers(0, 2, size) * [[1]])
    (root / "segmentation" / "classes.json").write_text('["ground", "thing"]')
    return root


def command(*arguments):
    options = ["--image_size", "32", "--num_train_epochs", "1", "--batch_size", "4"]
    return [sys.executable, str(SCRIPT), *options, *map(str, arguments)]


def start(folder, *arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(*arguments), cwd=folder, text=True, **pipes)


def hidden(folder):
    return [child.name for child in folder.rglob(".*") if child.name != ".lock"]


@pytest.fixture(scope="module")
def working_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("working folder")


@pytest.fixture(scope="module", params=[pytest.param("classification", marks=pytest.mark.slow), "segmentation"])
def task(request):
    return request.param


@pytest.fixture(scope="module")
def printed(task, photos, working_folder):
    """What the script prints for the task."""
    process = start(working_folder, "--data", photos / task, "--output", f"outputs/{task}")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


@pytest.fixture
def quickstart(monkeypatch):
    """The script as a module whose `main` takes the arguments of the command line."""
    spec = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "quickstart", module)
    spec.loader.exec_module(module)

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", command(*arguments)[1:])
        before = signal.getsignal(signal.SIGTERM)
        try:
            module.main()
        finally:
            signal.signal(signal.SIGTERM, before)

    return main, module


# --- from a folder of pictures to a model


def test_folder_is_complete(printed, working_folder, task):
    output = working_folder / "outputs" / task
    names = {path.name for path in output.iterdir() if path.suffix != ".py"}
    assert (output / "modeling_gpvit.py").exists()
    assert names == {
        "config.json", "model.safetensors", "preprocessor_config.json", "metrics.json", "samples", "picture.png",
    }  # fmt: skip
    assert hidden(working_folder) == []
    assert {path.name for path in (working_folder / "outputs").iterdir()} <= set(PIPELINES)
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics.pop("dataset"), metrics.pop("split")) == (task, "test")
    assert metrics.keys() == METRICS[task]
    assert all(value is None or 0 <= value <= 1 for name, value in metrics.items() if name != "seconds")
    assert json.loads((output / "config.json").read_text())["image_size"] == 32
    with Image.open(output / "picture.png") as picture:
        picture.load()
        assert picture.width > picture.height / 3 > 100
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 100


def test_folder_can_be_pushed(task, printed, working_folder, tmp_path, monkeypatch):
    """As it is: with a card that says what was measured, and without the samples."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(push, "prepare_repo", lambda *args, **kwargs: None)
    monkeypatch.setattr(push, "_upload", lambda folder, *args: shutil.copytree(folder, tmp_path / "hub"))
    push.push_model(working_folder / "outputs" / task, "you/model")
    assert f"Measured on {task} (test)" in (tmp_path / "hub/README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "hub/samples").exists()


def test_samples(printed, photos, working_folder, task):
    """Pictures of the test set with their truth."""
    samples = working_folder / "outputs" / task / "samples"
    records = json.loads((samples / "samples.json").read_text())
    assert [record["image"] for record in records] == [f"{number}.png" for number in range(1, len(records) + 1)]
    assert len(records) == 2  # a fifth of the pictures
    pictures = {path: np.asarray(Image.open(path)) for path in (photos / task).rglob("*.png")}
    for record in records:
        shown = np.asarray(Image.open(samples / record["image"]))
        [source] = [path for path, pixels in pictures.items() if np.array_equal(pixels, shown)]
        if task == "classification":
            assert record["label"] == source.parent.name
        else:
            truth = np.asarray(Image.open(samples / record["annotation"]))
            np.testing.assert_array_equal(truth, pictures[photos / task / "masks" / source.name])


def test_printed_figures_are_those_of_the_folder(printed, working_folder, task):
    metrics = json.loads((working_folder / "outputs" / task / "metrics.json").read_text())
    name = next(iter(metrics))
    assert f"{name} {metrics[name]:.3f} on 2 unseen pictures" in printed
    assert "gpvit-nano learns" in printed and "2 classes from 8 pictures" in printed
    assert str(Path("outputs", task, "picture.png")) in printed


LOADED = {
    "classification": "ViTImageProcessor [('cat', 0), ('dog', 1)]",
    "segmentation": "SegformerImageProcessor [('ground', 0), ('thing', 1)]",
}


def test_use_from_a_fresh_process(task, printed, working_folder):
    """The lines that the script prints run as they stand, and Auto classes load the folder."""
    program = printed.partition("Use it from Python:")[2].strip()
    assert len(program.splitlines()) == 3
    assert f'"{PIPELINES[task]}"' in program
    auto_class = {"classification": "ImageClassification", "segmentation": "SemanticSegmentation"}[task]
    program += f"""
from transformers import AutoImageProcessor, AutoModelFor{auto_class}
model, loading = AutoModelFor{auto_class}.from_pretrained("outputs/{task}", output_loading_info=True)
assert not any(loading.values()), loading
processor = AutoImageProcessor.from_pretrained("outputs/{task}")
print(type(processor).__name__, sorted(model.config.label2id.items()))
"""
    run = [sys.executable, "-c", program]
    answer = subprocess.run(run, cwd=working_folder, check=True, capture_output=True, text=True)
    found, loaded = answer.stdout.strip().splitlines()
    assert found.startswith("[{") and "'label'" in found and "'score'" in found
    assert loaded == LOADED[task]


# --- what is there stays


@pytest.mark.parametrize("task", ["segmentation"], indirect=True)
def test_second_run_moves_the_first_aside(printed, photos, working_folder, tmp_path, quickstart, monkeypatch):
    """It may start from the first one's model, too."""
    main, module = quickstart
    first = tmp_path / "model"
    shutil.copytree(working_folder / "outputs" / "segmentation", first)
    weights = (first / "model.safetensors").read_bytes()
    monkeypatch.setattr(module.subprocess, "run", lambda command: subprocess.CompletedProcess(command, 0))
    main("--data", photos / "segmentation", "--model", first, "--output", first)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "model-1"}
    assert (tmp_path / "model-1" / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "model-1" / "picture.png").exists()
    assert (first / "model.safetensors").read_bytes() != weights


def test_failing_picture_keeps_the_model(photos, tmp_path, quickstart, monkeypatch):
    main, module = quickstart
    monkeypatch.setattr(module.subprocess, "run", lambda command: subprocess.CompletedProcess(command, 1))
    with pytest.raises(SystemExit, match=r"^quickstart.py: .*model is there, but drawing what it sees failed"):
        main("--data", photos / "segmentation", "--output", tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert hidden(tmp_path) == []


@posix_only
@pytest.mark.timeout(300)
def test_killed_training_leaves_nothing(photos, tmp_path):
    """`kill` ends it like Ctrl-C."""
    (tmp_path / "old").mkdir()
    process = start(tmp_path, "--data", photos / "classification", "--output", "old", "--num_train_epochs", "100000")
    while not hidden(tmp_path):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    time.sleep(1)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(
        r"quickstart.py: Asked to end, stopped after step \d+ of \d+\. Nothing was written\.$", errors.rstrip()
    )
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]


@posix_only
@pytest.mark.parametrize("moment", ["training", "evaluation", "picture"])
def test_interrupt_leaves_nothing(photos, tmp_path, quickstart, monkeypatch, moment):
    main, module = quickstart
    # pytest may have been started where Ctrl-C is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    folders = []

    def interrupt(*args, **kwargs):
        folders.append(hidden(tmp_path))
        signal.raise_signal(signal.SIGINT)

    owner, name = {
        "training": (SegmentationTransform, "__call__"),
        "evaluation": (engine, "evaluate_model"),
        "picture": (module.subprocess, "run"),
    }[moment]
    monkeypatch.setattr(owner, name, interrupt)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.txt").write_text("old")
    try:
        with pytest.raises(SystemExit, match=r"^Interrupted: nothing was written\.$"):
            main("--data", photos / "segmentation", "--output", tmp_path / "model", "--overwrite")
    finally:
        signal.signal(signal.SIGINT, before)
    assert [len(names) for names in folders] == [1]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model", "old.txt"]


# --- what can't be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--data", "{photos}/segmentation/images"),
            "There are no folders inside.*10 pictures.*Expected\n  image class",
        ),
        (("--data", "nowhere"), "nowhere does not exist; expected a folder.*masks/"),
        (("--data", "{photos}/classification", "--task", "segmentation"), "the layout of image-classification, but"),
        (("--data", "{photos}/classification", "--model", "no/such-model"), "'no/such-model' is no preset"),
        (("--data", "{photos}/classification", "--model", "{photos}/classification"), "classification"),
        (("--batch_size", "0"), "--batch_size must be at least 1, got 0"),
        (("--num_train_epochs", "0"), "--num_train_epochs must be at least 1, got 0"),
        (("--learning_rate", "-1"), "--learning_rate must be greater than 0, got -1.0"),
        (("--min_crop", "1.5"), r"--min_crop must be in \(0, 1\], got 1.5"),
        (("--data", "{photos}/classification", "--output", "{photos}/segmentation/classes.json"), "is a file; give"),
    ],
)
def test_errors_come_before_anything_is_written(photos, tmp_path, quickstart, monkeypatch, arguments, message):
    """Python prints what SystemExit holds, and no traceback."""
    main, _ = quickstart
    monkeypatch.chdir(tmp_path)
    before = sorted(photos.rglob("*"))
    with pytest.raises(SystemExit, match=f"(?s)^quickstart.py: .*{message}"):
        main(*(argument.format(photos=photos) for argument in arguments))
    assert list(tmp_path.rglob("*")) == []
    assert sorted(photos.rglob("*")) == before


# --- the other ways in


@pytest.mark.parametrize(
    ("task", "prefix"),
    [("classification", ""), (None, ""), ("detection", ""), ("instance-segmentation", "segm_")],
)
def test_drawn_scenes(tmp_path, quickstart, monkeypatch, task, prefix):
    """Without --data; segmentation by default."""
    main, module = quickstart
    monkeypatch.setitem(loading.TRAIN_SCENES, "num_scenes", 8)
    monkeypatch.setitem(loading.TEST_SCENES, "num_scenes", 4)
    drawn = []

    def draw_nothing(command):
        drawn.append(command[-1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(module.subprocess, "run", draw_nothing)
    main("--output", tmp_path / "model", *(("--task", task) if task else ()))
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    names = ["disk", "square", "triangle", "ring", "cross"]
    if task == "classification":
        assert list(metrics) == ["accuracy", "top5_accuracy", "seconds", "dataset", "split"]
        assert 0 <= metrics["accuracy"] <= 1
    elif task is None:
        names = ["ground", *names]
        means = ["mean_iou", "mean_accuracy", "overall_accuracy"]
        assert list(metrics) == [*means, *(f"iou/{name}" for name in names), "seconds", "dataset", "split"]
    else:
        assert list(metrics)[:3] == [f"{prefix}map{ending}" for ending in ("", "_50", "_75")]
        assert list(metrics)[-3:] == ["seconds", "dataset", "split"]
        assert metrics.keys() > {f"{prefix}map/{name}" for name in names}
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert [config["id2label"][str(index)] for index in range(len(names))] == names
    assert len(json.loads((tmp_path / "model" / "samples" / "samples.json").read_text())) == 3
    # drawn from what was not yet in its place
    assert len(drawn) == 1 and Path(drawn[0]).parent == tmp_path != Path(drawn[0])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "instance-segmentation"])
def test_picture_of_objects(tmp_path, quickstart, monkeypatch, task):
    """Each sample, its truth, what is found, and what three groups gather."""
    main, _ = quickstart
    monkeypatch.setitem(loading.TRAIN_SCENES, "num_scenes", 8)
    monkeypatch.setitem(loading.TEST_SCENES, "num_scenes", 4)
    main("--task", task, "--output", tmp_path / "model")
    with Image.open(tmp_path / "model/picture.png") as picture:
        assert picture.height > 3 * 224 and picture.width > 6 * 224
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 1000


def test_options_reach_the_recipe(photos, quickstart):
    _, module = quickstart
    arguments = module.Arguments(data=str(photos / "segmentation"), num_train_epochs=30, learning_rate=0.5, seed=3)
    recipe = module.recipe_for(arguments, *module.load_parts(arguments))
    assert recipe.batch_size == 8  # as many pictures as there are
    assert (recipe.max_steps, recipe.warmup_steps, recipe.eval_steps) == (30, 3, 30)
    assert (recipe.learning_rate, recipe.seed, recipe.reduce_labels) == (0.5, 3, False)
    assert (recipe.crop_size, recipe.resize_size) == (128, [128, 512])
    assert recipe.scale_range == pytest.approx([1, 2**0.5])  # half of a square picture at least
    arguments = module.Arguments(data=str(photos / "classification"), min_crop=0.25, batch_size=4)
    recipe = module.recipe_for(arguments, *module.load_parts(arguments))
    assert (recipe.image_size, recipe.crop_scale, recipe.max_steps) == (128, [0.25, 1.0], 6000)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        ([], []),
        (["TASK=classification", "DATA=x", "MODEL=y"], ["--task", "classification", "--data", "x", "--model", "y"]),
        (["DATA=my photos", "ARGS=--num_train_epochs 5"], ["--data", "my photos", "--num_train_epochs", "5"]),
    ],
)
def test_make_target(tmp_path, variables, arguments):
    """The command line that `make quickstart` runs, read by a shell as make does, in an environment that is ready."""
    (tmp_path / ".ready").touch()
    options = [f"VENV={tmp_path}", "-n", "-W", "nothing", "-o", str(tmp_path / ".ready"), "-C", str(ROOT)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    answer = subprocess.run(
        ["make", *options, "quickstart", *variables], check=True, capture_output=True, text=True, env=environment
    )
    [line] = [line for line in answer.stdout.splitlines() if "quickstart.py" in line]
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    interpreter = f"{tmp_path}/bin/python"
    assert line.startswith(f"{interpreter} scripts/quickstart.py")
    line = line.replace(interpreter, f"\"{sys.executable}\" -c '{program}'", 1)
    told = subprocess.run(line, shell=True, check=True, capture_output=True, text=True)
    assert json.loads(told.stdout) == ["scripts/quickstart.py", *arguments]
