# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/evaluate_model.py: figures are those of `evaluate_model` on the same data, and mistakes are told."""

import json
import math
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, config, load_dataset
from PIL import Image

from families import GPVIT, HRVIT, awake
from hf_gpvit.commands.evaluate import metrics_table
from hf_gpvit.data import image_processor_for, loading
from hf_gpvit.data.shapes import SCENE_NAMES
from hf_gpvit.inference import SegmentationSettings
from hf_gpvit.tasks import TASKS
from hf_gpvit.training import evaluate_model


SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate_model.py"
CLASSES = {"classifier": ["cat", "cow", "dog", "fox", "owl"], "segmentor": ["sky", "tree", "road"]}


@pytest.fixture(autouse=True)
def _caches_stay_here(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder, model and image processor of each kind."""
    torch.manual_seed(0)
    saved = {}
    for kind, family in (("classifier", GPVIT), ("segmentor", HRVIT)):
        id2label = dict(enumerate(CLASSES[kind]))
        model = awake(getattr(family, f"{kind}_class")(family.config(num_labels=len(id2label), id2label=id2label)))
        folder = tmp_path_factory.mktemp(kind)
        processor = image_processor_for(model, 40)
        for part in (model, processor):
            part.save_pretrained(folder)
        saved[kind] = folder, model, processor
    return saved


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder for each kind of model, with a part to train on and a part to test on."""
    generator = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("photos")

    def draw(path, values):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(values, np.uint8)).save(path)

    for split, count in (("train", 1), ("test", 4)):
        for index in range(count):
            pixels = generator.integers(0, 256, (30 + index, 44, 3))
            for name in CLASSES["classifier"]:
                draw(root / "classifier" / split / name / f"{index}.png", np.roll(pixels, len(name) + index, axis=1))
            draw(root / "segmentor" / split / "images" / f"{index}.png", pixels)
            draw(root / "segmentor" / split / "masks" / f"{index}.png", pixels[..., 0] % 3)
    (root / "segmentor" / "classes.json").write_text(json.dumps(CLASSES["segmentor"]))
    return root


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """The script with these arguments, in this process -> what it prints."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return run


def expected_figures(model, dataset, **options):
    _, model, processor = model
    return evaluate_model(model, processor, dataset, **options)


def test_classifier_on_a_folder(models, photos, evaluate, tmp_path):
    folder = photos / "classifier"
    output = tmp_path / "figures" / "metrics.json"
    printed = evaluate("--model", models["classifier"][0], "--dataset", folder, "--output", output)
    test = loading.load_data(str(folder), TASKS["image-classification"]).test
    assert len(test) == 20
    expected = expected_figures(models["classifier"], test)
    record = json.loads(output.read_text())
    assert (record.pop("dataset"), record.pop("split")) == ("classifier", "test")  # nobody sees where the folder lay
    assert record == pytest.approx(expected)
    assert f"{expected['accuracy']:.4f}" in printed.splitlines()[0]
    assert list(expected) == [line.split()[0] for line in printed.splitlines()]


def test_first_weights_stay_noted(models, photos, evaluate, tmp_path):
    folder = shutil.copytree(models["classifier"][0], tmp_path / "best")
    (folder / "metrics.json").write_text('{"accuracy": 2, "base_model": "you/gpvit-l1"}')
    evaluate("--model", folder, "--dataset", photos / "classifier", "--output", folder / "metrics.json")
    record = json.loads((folder / "metrics.json").read_text())
    assert record["base_model"] == "you/gpvit-l1"
    assert record["accuracy"] <= 1


def test_segmentor_on_a_folder(models, photos, evaluate, tmp_path):
    """All options of segmentation reach the evaluation."""
    options = ("--window_size", 32, "--window_stride", 20, "--scales", 0.75, 1, "--flip", "--size_divisor", 32)
    arguments = ("--model", models["segmentor"][0], "--dataset", photos / "segmentor")
    printed = evaluate(*arguments, *options, "--output", tmp_path / "metrics.json")
    test = loading.load_data(str(photos / "segmentor"), TASKS["semantic-segmentation"]).test
    settings = SegmentationSettings(32, 20, (0.75, 1.0), True, 32)
    expected = expected_figures(models["segmentor"], test, settings=settings)
    assert expected != pytest.approx(expected_figures(models["segmentor"], test), nan_ok=True)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert (record.pop("dataset"), record.pop("split")) == ("segmentor", "test")
    assert {name: math.nan if value is None else value for name, value in record.items()} == pytest.approx(
        expected, nan_ok=True
    )
    for name in CLASSES["segmentor"]:
        assert [f"{expected[f'iou/{name}']:.4f}"] == [
            line.split()[1] for line in printed.splitlines() if line.startswith(name)
        ]


def test_drawn_scenes_without_output(models, evaluate, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(loading.TEST_SCENES, "num_scenes", 3)
    model = GPVIT.classifier_class(GPVIT.config(id2label=dict(enumerate(SCENE_NAMES))))
    model.save_pretrained("model")
    image_processor_for(model, 40).save_pretrained("model")
    assert evaluate("--model", "model", "--dataset", "shapes").startswith("accuracy ")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.fixture
def parquet(photos, tmp_path):
    """Annotations whose classes have no names, with columns of other names and no split to train on."""
    test = loading.load_data(str(photos / "segmentor"), TASKS["semantic-segmentation"]).test
    folder = tmp_path / "parquet"
    folder.mkdir()
    pictures = test.rename_columns({"image": "photo", "annotation": "mask"})
    pictures.to_parquet(folder / "validation-00000-of-00001.parquet")
    return folder, test


PARQUET = ("--image_column", "photo", "--target_column", "mask")


@pytest.mark.parametrize("options", [(), ("--streaming",), ("--class_names", *CLASSES["segmentor"])])
def test_parquet(models, evaluate, parquet, tmp_path, options):
    """What has no names takes the model's."""
    folder, test = parquet
    output = tmp_path / "metrics.json"
    evaluate("--model", models["segmentor"][0], "--dataset", folder, *PARQUET, *options, "--output", output)
    figures = expected_figures(models["segmentor"], test)
    assert json.loads(output.read_text())["mean_iou"] == pytest.approx(figures["mean_iou"])


def test_part_of_a_split_with_reduced_labels(models, evaluate, parquet, tmp_path):
    folder, test = parquet
    output = tmp_path / "metrics.json"
    options = (*PARQUET, "--split", "validation[:2]", "--reduce_labels", "--output", output)
    evaluate("--model", models["segmentor"][0], "--dataset", folder, *options)

    def reduced(row):
        ids = np.asarray(row["annotation"]).astype(int)
        return {"annotation": Image.fromarray(np.where(ids == 0, 255, ids - 1).astype(np.uint8))}

    rows = [row | reduced(row) for row in test.select(range(2))]
    expected = expected_figures(models["segmentor"], Dataset.from_list(rows))
    record = json.loads(output.read_text())
    assert record["overall_accuracy"] == pytest.approx(expected["overall_accuracy"])
    assert (record["dataset"], record["split"]) == ("parquet", "validation[:2]")
    whole = expected_figures(models["segmentor"], test)
    assert whole["overall_accuracy"] != pytest.approx(expected["overall_accuracy"])


def test_corrupt_pictures_are_counted(models, evaluate, parquet, tmp_path):
    folder, _ = parquet
    file = folder / "validation-00000-of-00001.parquet"
    broken = {"photo": {"bytes": b"no picture", "path": "broken.png"}}
    whole = load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    features, rows = whole.features, whole.to_list()
    Dataset.from_list([rows[0] | broken, *rows[1:]], features=features).to_parquet(file)
    arguments = ("--model", models["segmentor"][0], "--dataset", folder, *PARQUET)
    with pytest.raises(SystemExit, match=r"Can't read the image broken\.png \(row 0"):
        evaluate(*arguments)
    evaluate(*arguments, "--skip_corrupt", "--output", tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text())["num_corrupt"] == 1


def test_table():
    """Figures, and a line per class; what doesn't occur has a dash."""
    metrics = {"mean_iou": 0.25, "num_corrupt": 2, "iou/road": 0.5, "iou/traffic light": math.nan}
    lines = metrics_table(metrics).splitlines()
    assert [line.rsplit(maxsplit=1) for line in lines if line] == [
        ["mean_iou", "0.2500"], ["num_corrupt", "2"], ["class", "IoU"], ["road", "0.5000"], ["traffic light", "-"]
    ]  # fmt: skip
    assert len({len(line) for line in lines[3:]}) == 1


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("segmentor", ("--class_names", "sky", "road", "tree"), "class 1 is 'road' in the dataset.*'tree' in the mod"),
        (
            "segmentor",
            ("--class_names", "sky", "tree", "road", "sea"),
            "class_names has 4 names, but .*classes.json has 3",
        ),
        ("segmentor", ("--split", "validation"), "no split 'validation'"),
        ("segmentor", ("--window_stride", "8"), "window_stride needs a window_size"),
        ("segmentor", ("--output", "."), "--output must be the name of a file"),
        ("segmentor", ("--dataset", "nowhere/at/all"), "nowhere/at/all does not exist"),
        ("segmentor", ("--dataset", "shapes", "--streaming"), "streaming is for parquet files"),
        ("segmentor", ("--dataset", "shapes", "--dataset_name", "large"), "name 'large' is for parquet files"),
        ("segmentor", ("--model", "nowhere/at/all"), "model must be the folder or Hub name"),
        ("classifier", ("--batch_size", "0"), "--batch_size must be at least 1, got 0"),
        (
            "classifier",
            ("--flip",),
            "--flip is for semantic-segmentation, but .* is for image-cl.*, got True",
        ),
        (
            "classifier",
            ("--window_size", "8"),
            "--window_size is for .*, object-detection, .* for image-cl.*, got 8",
        ),
        ("classifier", ("--no-reduce_labels",), "--reduce_labels is for semantic-segmentation, .*, got False"),
        ("segmentor", ("--save_json", "x.json"), "--save_json is for object-detection, inst.*, got x.json"),
    ],
)
def test_mistakes_end_with_one_message(models, photos, evaluate, kind, options, message):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match=f"^evaluate_model.py: .*{message}"):
        evaluate("--model", models[kind][0], "--dataset", photos / kind, *options)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_two_processes(models, photos, tmp_path, evaluate):
    """The figures are those of one, and only one prints."""
    arguments = ("--model", models["segmentor"][0], "--dataset", photos / "segmentor")
    expected = evaluate(*arguments)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command = [*launch, SCRIPT, *arguments, "--output", tmp_path / "metrics.json"]
    answer = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().endswith(expected.strip())
    assert answer.stdout.count("mean_iou") == 1
    assert "mean_iou" in json.loads((tmp_path / "metrics.json").read_text())
