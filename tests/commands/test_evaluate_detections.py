# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit evaluate` prints and writes of a detector, and which options it refuses."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import config
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import hf_gpvit_cli
from hf_gpvit.commands import evaluate as command
from hf_gpvit.commands.evaluate import metrics_table
from hf_gpvit.data import image_processor_for
from hf_gpvit.inference.detection import Detected
from hf_gpvit.inference.rle import encode_mask
from hf_gpvit.tasks import detection
from small_detectors import small_detector


SIZES = [(60, 40), (50, 70), (30, 30)]
IDS = [1, 4, 7, 11, 90]


def found_in(image):
    """Some objects, by the width of the picture, the best first."""
    generator = np.random.default_rng(image.width)
    number = image.width // 10
    corners = generator.integers(0, 15, (number, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + 12], axis=1)).float()
    masks = torch.zeros(number, image.height, image.width, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    scores = torch.linspace(0.9, 0.1, number)
    labels = torch.from_numpy(generator.integers(0, 4, number))
    return Detected(image, scores, labels, boxes, list(map(encode_mask, masks)))


@pytest.fixture(autouse=True)
def _caches_stay_here(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    saved = {}
    for kind in ("boxes", "masks"):
        saved[kind] = tmp_path_factory.mktemp(kind)
        model = small_detector(kind)
        for part in (model, image_processor_for(model, 64)):
            part.save_pretrained(saved[kind])
    return saved


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder in COCO's format with every other object that is found, and ids of its own in it; one is a crowd."""
    root = tmp_path_factory.mktemp("cells")
    images, annotations = [], []
    (root / "annotations").mkdir()
    (root / "val").mkdir()
    for index, size in enumerate(SIZES):
        image = Image.new("RGB", size)
        image.save(root / "val" / f"{index}.png")
        images.append({"id": 1000 - index, "file_name": f"{index}.png", "width": size[0], "height": size[1]})
        found = found_in(image)
        for place in range(0, len(found.scores), 2):
            left, top, right, bottom = found.boxes[place].tolist()
            mask = found.masks[place] | {"counts": found.masks[place]["counts"].decode()}
            annotation = {"id": len(annotations) + 1, "image_id": 1000 - index, "segmentation": mask}
            annotation |= {"bbox": [left, top, right - left, bottom - top], "iscrowd": int(place == 4)}
            annotations.append(annotation | {"category_id": IDS[found.class_labels[place]], "area": 100.0})
    categories = [{"id": number, "name": f"LABEL_{index}"} for index, number in enumerate(IDS)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """The command with these arguments, and what it prints; detections are known beforehand."""
    monkeypatch.setattr(detection, "detect_prepared", lambda model, processor, seen, settings: found_in(seen.image))

    def run(*arguments):
        hf_gpvit_cli.main(["evaluate", *map(str, arguments)])
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_detections_in_cocos_format(models, data, evaluate, tmp_path, kind):
    """With the dataset's own ids; the official evaluation reads them and finds the same."""
    file, output = tmp_path / "new" / "detections.json", tmp_path / "metrics.json"
    printed = evaluate("--model", models[kind], "--dataset", data, "--save_json", file, "--output", output)
    results = json.loads(file.read_text())
    assert len(results) == sum(width // 10 for width, _ in SIZES)
    assert list(dict.fromkeys(result["image_id"] for result in results)) == [998, 999, 1000]
    assert {result["category_id"] for result in results} <= set(IDS[:4])
    assert {("segmentation" in result) for result in results} == {kind == "masks"}
    metrics = json.loads(output.read_text())
    prefix = "bbox_" if kind == "masks" else ""
    coco = COCO(data / "annotations" / "instances_val.json")
    evaluation = COCOeval(coco, coco.loadRes(str(file)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    for index, name in enumerate(("map", "map_50", "map_75", "map_small")):
        assert metrics[prefix + name] == pytest.approx(evaluation.stats[index], abs=1e-6)
    assert 0 < metrics[f"{prefix}map"] < 1
    main = f"{'segm_' if kind == 'masks' else ''}map"
    assert printed.splitlines()[0].split() == [main, f"{metrics[main]:.4f}"]
    assert printed.splitlines()[-1].split()[0] == "LABEL_4"


def test_class_indices_where_there_are_no_ids(models, data, evaluate, tmp_path, monkeypatch):
    load_data = command.load_data
    without = lambda *arguments, **options: replace(load_data(*arguments, **options), category_ids=None)  # noqa: E731
    monkeypatch.setattr(command, "load_data", without)
    evaluate("--model", models["boxes"], "--dataset", data, "--save_json", tmp_path / "detections.json")
    results = json.loads((tmp_path / "detections.json").read_text())
    assert {result["category_id"] for result in results} <= set(range(4))


def test_windows_are_settings(models, data, evaluate, monkeypatch):
    seen = []
    detect = detection.detect_prepared

    def seeing(model, image_processor, image, settings):
        seen.append(settings)
        return detect(model, image_processor, image, settings)

    monkeypatch.setattr(detection, "detect_prepared", seeing)
    evaluate("--model", models["boxes"], "--dataset", data, "--window_size", 32, "--window_stride", 20)
    assert len(seen) == len(SIZES) and {(each.window_size, each.window_stride) for each in seen} == {(32, 20)}


def test_detections_are_there_whole_or_not_at_all(models, data, evaluate, tmp_path, monkeypatch):
    file = tmp_path / "detections.json"
    file.write_text("former")

    def fail(*arguments):
        raise ValueError("it broke")

    monkeypatch.setattr(detection, "detect_prepared", fail)
    with pytest.raises(SystemExit, match="it broke"):
        evaluate("--model", models["boxes"], "--dataset", data, "--save_json", file)
    assert file.read_text() == "former" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--flip",), "--flip is for semantic-segmentation, but .* is for object-detection, got True"),
        (("--scales", "1", "2"), r"--scales is for semantic-segmentation, .*, got \[1.0, 2.0\]"),
        (("--size_divisor", "32"), "--size_divisor is for semantic-segmentation, .*, got 32"),
        (("--reduce_labels",), "--reduce_labels is for semantic-segmentation, .*, got True"),
        (("--window_stride", "8"), "window_stride needs a window_size"),
        (("--save_json", "."), r"--save_json must be the name of a file, but \. is a folder"),
        (("--save_json", "a.json", "--output", "./a.json"), "--output and --save_json must be two files"),
    ],
)
def test_options_that_are_refused(models, data, evaluate, monkeypatch, options, message):
    """Before any work."""
    monkeypatch.setattr(command, "load_model", None)
    with pytest.raises(SystemExit, match=message):
        evaluate("--model", models["boxes"], "--dataset", data, *options)


def test_table():
    """A column for masks and one for boxes; a class may be called anything."""
    metrics = {"segm_map": 0.5, "segm_map/class": 0.25, "segm_map/a/b": float("nan"), "bbox_map": 0.75}
    metrics |= {"bbox_map/class": 1.0, "bbox_map/a/b": float("nan"), "num_corrupt": 1}
    lines = metrics_table(metrics).splitlines()
    assert [line.split() for line in lines] == [
        ["segm_map", "0.5000"], ["bbox_map", "0.7500"], ["num_corrupt", "1"], [],
        ["class", "mask", "mAP", "box", "mAP"], ["class", "0.2500", "1.0000"], ["a/b", "-", "-"],
    ]  # fmt: skip
    assert len({len(line) for line in lines[4:]}) == 1


@pytest.mark.slow
def test_two_processes(models, data, tmp_path):
    """Figures and detections are those of one, and only one prints and writes."""
    outputs = []
    for count in (1, 2):
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(count)]
        files = [tmp_path / f"{name}-{count}.json" for name in ("detections", "metrics")]
        command = [*launch, "--module", "hf_gpvit_cli", "evaluate", "--model", models["masks"], "--dataset", data]
        command += ["--save_json", files[0], "--output", files[1]]
        answer = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.count("segm_map_50") == 1
        outputs.append([file.read_text() for file in files])
    assert outputs[0] == outputs[1]
    assert len(json.loads(outputs[0][0])) > 10
