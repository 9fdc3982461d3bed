# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Detectors are evaluated on all pictures, each of them once, whatever the number of processes."""

import json
import math
import os
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import accelerate
import numpy as np
import pytest
import torch
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from hf_gpvit.data import image_processor_for
from hf_gpvit.inference.detection import DetectionSettings, detect
from hf_gpvit.inference.segmentation import SegmentationSettings
from hf_gpvit.metrics.coco_precision import FIGURES, CocoPrecision
from hf_gpvit.tasks import detection, task_of_model
from hf_gpvit.training import evaluate_model
from small_detectors import KINDS, small_detector


SIZES = [(64, 48), (50, 70), (40, 40), (64, 64), (33, 57)]
MAIN = {"retinanet": "map", "boxes": "map", "masks": "segm_map"}


def truth_of(found, number):
    """Of every other detection: boxes a little smaller, the last one a crowd."""
    some = slice(1, 2 * number, 2)
    boxes = found.boxes[some].round().double()
    boxes[:, 2:] = (boxes[:, 2:] - boxes[:, :2] - 1).clamp(min=2)
    objects = {
        "bbox": boxes.tolist(),
        "category": found.class_labels[some].tolist(),
        "area": boxes[:, 2:].prod(dim=1).tolist(),
        "iscrowd": [0] * (len(boxes) - 1) + [1] if len(boxes) else [],
    }
    if found.masks is not None:
        runs = [mask | {"counts": mask["counts"].decode()} for mask in found.masks[some]]
        objects["segmentation"] = list(map(json.dumps, runs))
    return objects


@cache
def case_of(kind):
    return Case(kind)


class Case:
    """A tiny detector, its image processor, and pictures of which it knows something."""

    def __init__(self, kind):
        torch.manual_seed(0)
        generator = np.random.default_rng(0)
        self.kind, self.model = kind, small_detector(kind)
        self.processor = image_processor_for(self.model, 64)
        images = [Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]
        self.found = [detect(self.model, self.processor, image) for image in images]
        rows = [
            {"image": image, "image_id": 100 - index, "objects": truth_of(found, number)}
            for index, (image, found, number) in enumerate(zip(images, self.found, (4, 0, 3, 6, 2), strict=True))
        ]
        self.dataset = Dataset.from_list(rows, features=features_of(rows[0]["objects"]))

    def evaluate(self, dataset=None, **options):
        return evaluate_model(self.model, self.processor, self.dataset if dataset is None else dataset, **options)


def features_of(objects):
    kinds = {"bbox": List(Value("float64")), "segmentation": Value("string")}
    kinds |= {"category": Value("int64"), "area": Value("float64"), "iscrowd": Value("int64")}
    columns = {name: List(kinds[name]) for name in objects}
    return Features({"image": ImageFeature(), "image_id": Value("int64"), "objects": columns})


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    return case_of(request.param)


@pytest.fixture(scope="module")
def masks():
    return case_of("masks")


@pytest.fixture
def remembered(masks, monkeypatch):
    """The same with its detections known beforehand, which takes no time."""
    known = {found.image.size: found for found in masks.found}
    monkeypatch.setattr(
        detection, "detect_prepared", lambda model, image_processor, seen, settings: known[seen.image.size]
    )
    return masks


def test_figures_are_those_of_all_detections(case):
    """Of all, however low they score, and the crowd is no object."""
    metric = task_of_model(case.model).metric(case.model.config)
    figures = case.evaluate(metric=metric)
    assert next(iter(figures)) == MAIN[case.kind] and 0 < figures[MAIN[case.kind]] < 1
    names = list(case.model.config.id2label.values())
    kinds = ["segm_", "bbox_"] if case.kind == "masks" else [""]
    assert list(figures) == [
        kind + name for kind in kinds for name in (*FIGURES, *(f"map/{label}" for label in names))
    ]
    by_hand = CocoPrecision(case.model.config.num_labels, case.model.config.id2label, case.kind == "masks")
    reader = task_of_model(case.model).reader(case.model.config, case.processor, None)
    targets = [reader.read(row, "row")[1] for row in case.dataset]
    by_hand.count(case.found, targets)
    assert repr(by_hand.figures()) == repr(figures)
    assert len(metric.state) == len(SIZES)
    results = list(metric.results())
    assert len(results) == sum(len(found.scores) for found in case.found)
    assert list(dict.fromkeys(result["image_id"] for result in results)) == [
        96 + index for index, found in enumerate(reversed(case.found)) if len(found.scores)
    ]
    assert ("segmentation" in results[0]) == (case.kind == "masks")


def accelerator(rank, count):
    return SimpleNamespace(
        num_processes=count,
        process_index=rank,
        is_main_process=rank == 0,
        device=torch.device("cpu"),
        unwrap_model=lambda model: model,
        reduce=lambda tensor, reduction: tensor,
    )


@pytest.mark.parametrize("count", [2, 7])
def test_records_of_all_processes_in_any_order(remembered, count, monkeypatch):
    """Equal to the last bit, with more processes than pictures too."""
    shares = []
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda records: shares.append(records) or records)
    for rank in range(min(count, len(SIZES))):
        remembered.evaluate(accelerator=accelerator(rank, count))
    assert sorted(record.position for share in shares for record in share) == list(range(len(SIZES)))
    gathered = [record for share in reversed(shares) for record in share]
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda records: gathered)
    figures = remembered.evaluate(accelerator=accelerator(0, count))
    assert repr(figures) == repr(remembered.evaluate())


def test_streams_and_pictures_that_cannot_be_read(remembered):
    """Which are left out with what is in them."""
    whole = remembered.evaluate()
    assert repr(remembered.evaluate(remembered.dataset.to_iterable_dataset())) == repr(whole)
    undecoded = remembered.dataset.cast_column("image", ImageFeature(decode=False))
    rows = undecoded.to_list()
    rows.insert(1, rows[0] | {"image": {"bytes": b"no picture", "path": "broken.png"}})
    broken = Dataset.from_list(rows, features=undecoded.features)
    with pytest.raises(ValueError, match=r"Can't read the image broken\.png \(row 1\)"):
        remembered.evaluate(broken)
    metric = task_of_model(remembered.model).metric(remembered.model.config)
    figures = remembered.evaluate(broken, skip_corrupt=True, metric=metric)
    assert figures.pop("num_corrupt") == 1
    assert repr(figures) == repr(whole)
    assert [record.position for record in metric.state] == [0, 2, 3, 4, 5]


def test_nothing_to_find(remembered):
    """No figure is made up."""
    rows = [row | {"objects": {name: [] for name in row["objects"]}} for row in remembered.dataset]
    assert all(
        map(math.isnan, remembered.evaluate(Dataset.from_list(rows, features=remembered.dataset.features)).values())
    )


def test_settings(masks):
    """Windows see objects larger; what is shown makes no difference; the model stays in its mode."""
    masks.model.train()
    some = masks.dataset.select(range(2))
    whole, windows = (
        masks.evaluate(some, settings=settings)
        for settings in (DetectionSettings(threshold=0.9), DetectionSettings(window_size=40))
    )
    assert masks.model.training
    masks.model.eval()
    assert repr(whole) == repr(masks.evaluate(some)) != repr(windows)


def test_settings_of_another_task(masks):
    with pytest.raises(ValueError, match=r"must be DetectionSettings for a GPViTForInstanceSeg.*, got Seg.*flip=True"):
        masks.evaluate(settings=SegmentationSettings(flip=True))


PROGRAM = """
import sys
from accelerate import Accelerator
from hf_gpvit.training import evaluate_model
from test_detection_evaluation import Case

accelerator = Accelerator()
assert accelerator.num_processes == int(sys.argv[1])
results = []
for kind in ("retinanet", "boxes", "masks"):
    case = Case(kind)
    wrapped = accelerator.prepare(case.model)
    for length in (1, 4, 5):
        dataset = case.dataset.select(range(length))
        for data in (dataset, dataset.to_iterable_dataset()):
            results.append(evaluate_model(wrapped, case.processor, data, accelerator=accelerator))
            accelerator.wait_for_everyone()
if accelerator.is_main_process:
    print(results)
accelerator.end_training()
"""


@pytest.mark.slow
def test_two_real_processes(tmp_path):
    """Figures are those of one, to the last bit."""
    (tmp_path / "program.py").write_text(PROGRAM)
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    outputs = []
    for count in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        command += [str(tmp_path / "program.py"), str(count)]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert answer.returncode == 0, answer.stderr
        outputs.append(answer.stdout.strip().splitlines()[-1])
    assert "'segm_map': 0." in outputs[0]
    assert outputs[0] == outputs[1]
