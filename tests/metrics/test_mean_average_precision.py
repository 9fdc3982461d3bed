# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Figures against pycocotools; how the metric is fed, merged and loaded, and what it keeps."""

import importlib
import json
import math
import pickle
import sys
import time

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hf_gpvit.metrics import MeanAveragePrecision, mean_average_precision
from hf_gpvit.metrics.coco_precision import FIGURES, CocoPrecision
from hf_gpvit.tasks import TASKS
from small_detectors import small_config


NUM_LABELS = 5
KINDS = [False, True]  # with_masks
SIZE = (150, 180)


def drawn(boxes):
    """(N, height, width) bool: what is in each box, without a corner."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    left, top, right, bottom = (boxes[:, side, None, None] for side in range(4))
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return inside & (x + y >= left + top + 0.2 * (right - left))


def random_boxes(generator, number):
    """On a grid, so that an IoU is often just one of the thresholds; small, medium and large ones."""
    sides = generator.choice([10, 20, 30, 60, 120], (number, 2))
    corners = (generator.random((number, 2)) * (np.array(SIZE[::-1]) - sides) / 5).astype(int) * 5
    return np.concatenate([corners, corners + sides], axis=1).astype(float)


def random_reference(generator, number):
    """Class 3 is never there, class 4 neither there nor detected."""
    boxes = random_boxes(generator, number)
    return {
        "boxes": boxes,
        "labels": generator.integers(0, 3, number),
        "area": (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * generator.choice([0.5, 1], number),
        "iscrowd": (generator.random(number) < 0.2).astype(int),
        "masks": drawn(boxes),
    }


def random_prediction(generator, number, reference):
    """Objects that are there, moved, and some that aren't; many score the same."""
    boxes, labels = random_boxes(generator, number), generator.integers(0, 4, number)
    if len(reference["labels"]):
        which = generator.integers(0, len(reference["labels"]), number)
        is_there = generator.random(number) < 0.7
        moved = reference["boxes"][which] + generator.choice([0, 0, 0, 5, 10], (number, 1))
        moved = np.minimum(moved, [*SIZE[::-1]] * 2)
        boxes[is_there], labels[is_there] = moved[is_there], reference["labels"][which][is_there]
    scores = generator.integers(1, 10, number) / 10
    return {"boxes": boxes, "labels": labels, "scores": scores, "masks": drawn(boxes)}


def random_pictures(seed, numbers=((5, 8), (0, 3), (4, 0), (0, 0), (9, 30), (3, 4), (6, 140))):
    """References and predictions, of so many objects there and detections in each picture."""
    generator = np.random.default_rng(seed)
    references = [random_reference(generator, there) for there, _ in numbers]
    predictions = [
        random_prediction(generator, found, reference)
        for (_, found), reference in zip(numbers, references, strict=True)
    ]
    return predictions, references


def annotations(pictures, with_masks):
    """In COCO's format."""
    found = []
    for image_id, objects in enumerate(pictures):
        for index, (x1, y1, x2, y2) in enumerate(np.asarray(objects["boxes"], np.float32)):
            box = [x1.item(), y1.item(), (x2 - x1).item(), (y2 - y1).item()]
            annotation = {"id": len(found) + 1, "image_id": image_id, "bbox": box, "area": box[2] * box[3]}
            if with_masks:
                annotation["segmentation"] = coco_masks.encode(np.asfortranarray(objects["masks"][index], np.uint8))
                annotation["area"] = coco_masks.area(annotation["segmentation"])
            for name, part in {"area": "area", "iscrowd": "iscrowd", "score": "scores"}.items():
                if part in objects:
                    annotation[name] = objects[part][index].item()
            found.append(annotation | {"category_id": int(objects["labels"][index])})
    return [{"iscrowd": 0} | annotation for annotation in found]


def coco(pictures, with_masks, num_labels):
    result = COCO()
    images = [{"id": index, "height": SIZE[0], "width": SIZE[1]} for index in range(len(pictures))]
    categories = [{"id": index} for index in range(num_labels)]
    objects = annotations(pictures, with_masks)
    result.dataset = {"images": images, "annotations": objects, "categories": categories, "info": {}}
    result.createIndex()
    return result


def by_pycocotools(truth, found, iou_type, prefix=""):
    evaluation = COCOeval(truth, found, iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    figures = {prefix + name: value for name, value in zip(FIGURES, evaluation.stats, strict=True)}
    for index, category in enumerate(evaluation.params.catIds):
        precision = evaluation.eval["precision"][:, :, index, 0, -1]
        counted = precision[precision > -1]
        figures[f"{prefix}map/{category}"] = counted.mean() if counted.size else -1
    return {name: math.nan if value == -1 else value for name, value in figures.items()}


def expected_figures(predictions, references, with_masks, num_labels=NUM_LABELS):
    if not with_masks:
        truth, found = (coco(pictures, False, num_labels) for pictures in (references, predictions))
        return by_pycocotools(truth, found, "bbox")
    # with the areas of detected masks and boxes in turn
    truth = coco(references, True, num_labels)
    masks, boxes = (coco(predictions, with_masks, num_labels) for with_masks in (True, False))
    return by_pycocotools(truth, masks, "segm", "segm_") | by_pycocotools(truth, boxes, "bbox", "bbox_")


def computed_figures(predictions, references, with_masks, num_labels=NUM_LABELS):
    metric = MeanAveragePrecision(num_labels=num_labels, with_masks=with_masks)
    for prediction, reference in zip(predictions, references, strict=True):
        metric.add(prediction=prediction, reference=reference)
    return metric.compute()


def equal(figures, expected):
    assert list(figures) == list(expected)
    assert figures == pytest.approx(expected, nan_ok=True, abs=1e-6)


# --- what is computed


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("with_masks", KINDS)
def test_equals_pycocotools(with_masks, seed):
    """With crowds, equal scores, pictures of nothing, and one of more than a hundred detections."""
    pictures = random_pictures(seed)
    expected = expected_figures(*pictures, with_masks)
    assert sum(0 < value < 1 for value in expected.values()) >= 12 * (1 + with_masks)
    equal(computed_figures(*pictures, with_masks), expected)


def test_more_than_a_hundred_of_a_class():
    """Only the hundred best count, here all of those that are wrong."""
    predictions, references = random_pictures(0, [(3, 150), (2, 1)])
    predictions[0]["labels"][:] = 1
    predictions[0]["scores"] = np.linspace(1, 0.1, 150)
    predictions[0]["boxes"][100:103] = references[0]["boxes"]
    equal(computed_figures(predictions, references, False), expected_figures(predictions, references, False))


@pytest.mark.parametrize("numbers", [[(4, 0), (2, 0)], [(0, 3), (0, 2)], [(0, 0)]], ids=["truth", "found", "nothing"])
@pytest.mark.parametrize("with_masks", KINDS)
def test_nothing_found_or_there(with_masks, numbers):
    pictures = random_pictures(0, numbers)
    figures = computed_figures(*pictures, with_masks)
    equal(figures, expected_figures(*pictures, with_masks))
    assert numbers[0][0] or all(map(math.isnan, figures.values()))


@pytest.mark.parametrize("with_masks", KINDS)
def test_only_crowds(with_masks):
    predictions, references = random_pictures(1)
    for reference in references:
        reference["iscrowd"][:] = 1
    assert all(map(math.isnan, computed_figures(predictions, references, with_masks).values()))


def test_no_pictures():
    figures = MeanAveragePrecision(num_labels=2, id2label={0: "cat"}).compute()
    assert list(figures) == [*FIGURES, "map/cat", "map/1"]
    assert all(map(math.isnan, figures.values()))


def test_an_area_of_nothing_is_small():
    """Rather than that of the box, as torchmetrics has it for an area that isn't given."""
    predictions, references = random_pictures(2)
    for reference in references:
        reference["area"][:] = 0
    figures = computed_figures(predictions, references, False)
    equal(figures, expected_figures(predictions, references, False))
    assert math.isnan(figures["map_large"]) and not math.isnan(figures["map_small"])


def test_parts_that_may_be_missing():
    """Areas are then those of masks or boxes, and there are no crowds."""
    predictions, references = random_pictures(3)
    areas = {
        False: [(reference["boxes"][:, 2:] - reference["boxes"][:, :2]).prod(axis=1) for reference in references],
        True: [reference["masks"].sum(axis=(1, 2)) for reference in references],
    }
    for reference in references:
        del reference["iscrowd"], reference["area"]
    for with_masks in KINDS:
        given = [reference | {"area": area} for reference, area in zip(references, areas[with_masks], strict=True)]
        equal(computed_figures(predictions, references, with_masks), expected_figures(predictions, given, with_masks))


def test_names():
    names = {0: "cat", 1: "dog", 2: "dog", 3: "bird", 4: "cow"}
    metric = MeanAveragePrecision(num_labels=NUM_LABELS, id2label=names, with_masks=True)
    predictions, references = random_pictures(0)
    metric.add_batch(predictions=predictions, references=references)
    figures = metric.compute()
    expected = ["cat", "dog (1)", "dog (2)", "bird", "cow"]
    assert list(figures)[0] == "segm_map"
    assert [name for name in figures if "/" in name] == [
        f"{kind}_map/{name}" for kind in ("segm", "bbox") for name in expected
    ]
    assert all(type(value) is float for value in figures.values())


# --- how it is fed


@pytest.mark.parametrize("with_masks", KINDS)
def test_kinds_of_input(with_masks):
    predictions, references = random_pictures(4)
    expected = computed_figures(predictions, references, with_masks)

    def converted(pictures, convert):
        return [{name: convert(part) for name, part in objects.items()} for objects in pictures]

    for convert in (torch.from_numpy, lambda part: part.tolist()):
        if with_masks and convert is not torch.from_numpy:  # an empty list has no size
            continue
        some = converted(predictions, convert), converted(references, convert)
        equal(computed_figures(*some, with_masks), expected)


@pytest.mark.parametrize("way", ["merge", "state"])
def test_parts_of_the_data(way):
    """However they were divided and in which order they come together."""
    predictions, references = random_pictures(5)
    whole = computed_figures(predictions, references, True)
    parts = []
    for rank in range(2):
        part = MeanAveragePrecision(num_labels=NUM_LABELS, with_masks=True)
        found, true = predictions[rank::2], references[rank::2]
        part.add_batch(predictions=found, references=true)
        places = [2 * record.position + rank for record in part.state]
        part.state = [
            record._replace(position=place, image_id=place) for record, place in zip(part.state, places, strict=True)
        ]
        parts.append(part)
    other, metric = parts
    before = other.state
    if way == "merge":
        metric.merge(other)
    else:
        metric.state = metric.state + other.state
    assert other.state == before
    assert repr(metric.compute()) == repr(whole)  # to the last bit, NaN among it


def test_order_decides_between_equal_scores():
    """As pictures are ordered by their ids in COCO's own evaluation."""
    right, wrong = (np.array([box], float) for box in ([0, 0, 40, 40], [60, 60, 90, 90]))
    pictures = [
        ({"boxes": boxes, "labels": [0], "scores": [0.5]}, {"boxes": right, "labels": [0]}) for boxes in (right, wrong)
    ]
    first, last = (
        computed_figures(*zip(*ordered, strict=True), False, 1)["map_50"] for ordered in (pictures, pictures[::-1])
    )
    assert first == pytest.approx(51 / 101) and last == pytest.approx(51 / 101 / 2)


def test_pictures_without_numbers_are_ordered_by_position():
    """Names of pictures may be anything, also where some are numbers."""
    predictions, references = random_pictures(0)
    expected, metric = (MeanAveragePrecision(num_labels=NUM_LABELS) for _ in range(2))
    expected.add_batch(predictions=predictions, references=references)
    ids = ["b", 3, "a", 2, "d", "c", 1]
    metric.state = [record._replace(image_id=name) for record, name in zip(expected.state, ids, strict=True)][::-1]
    assert list(dict.fromkeys(result["image_id"] for result in metric.results())) == ["b", 3, "d", "c", 1]
    assert repr(metric.compute()) == repr(expected.compute())


def test_loads_by_path(load_by_path):
    metric = load_by_path(mean_average_precision.__file__, num_labels=NUM_LABELS, with_masks=True)
    assert type(metric) is not MeanAveragePrecision
    predictions, references = random_pictures(0)
    metric.add_batch(predictions=predictions, references=references)
    assert repr(metric.compute()) == repr(computed_figures(predictions, references, True))


def test_libraries_are_needed_late_and_asked_for_early(monkeypatch):
    """Importing needs none of them; a task says which is missing before anything is predicted."""
    config = small_config()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchmetrics", "faster_coco_eval")]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("torchmetrics", "faster_coco_eval"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in ("coco_precision", "mean_average_precision"):
        monkeypatch.delitem(sys.modules, f"hf_gpvit.metrics.{module}")
        importlib.import_module(f"hf_gpvit.metrics.{module}")
    with pytest.raises(ImportError, match=r'needs torchmetrics, .*: pip install "hf-gpvit\[train\]"'):
        TASKS["object-detection"].metric(config)


# --- what it keeps


def test_records_are_compact(tmp_path, monkeypatch):
    """Masks of a picture of a megapixel are runs, and nothing is written."""
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "missing"))
    size = (1000, 1000)
    masks = torch.zeros(3, *size, dtype=torch.bool)
    masks[:, 200:700, 100:800] = True
    boxes = torch.tensor([[100.0, 200, 800, 700]])
    metric = MeanAveragePrecision(num_labels=2, with_masks=True)
    number = 20
    labels = torch.zeros(number, dtype=torch.int64)
    prediction = {"boxes": boxes.expand(number, 4), "labels": labels, "scores": torch.ones(number)}
    prediction["masks"] = masks[:1].expand(number, -1, -1)
    metric.add(prediction=prediction, reference={"boxes": boxes.expand(3, 4), "labels": labels[:3], "masks": masks})
    [record] = metric.state
    assert len(pickle.dumps(record)) < 2000 * number
    assert (record.size, record.true_areas.tolist()) == (size, [350_000] * 3)
    assert metric.compute()["segm_map"] == pytest.approx(1)
    assert metric.state == [] and not list(tmp_path.iterdir())


def test_results_are_cocos(tmp_path):
    """pycocotools reads them, and finds the same figures."""
    predictions, references = random_pictures(0)
    ids = [7, 1, 90, 3, 5]
    metric = MeanAveragePrecision(num_labels=NUM_LABELS, with_masks=True)
    metric.add_batch(predictions=predictions, references=references)
    file = tmp_path / "results.json"
    file.write_text(json.dumps(list(metric.results(ids))))
    results = json.loads(file.read_text())
    assert len(results) == sum(len(prediction["scores"]) for prediction in predictions)
    assert list(results[0]) == ["image_id", "category_id", "bbox", "score", "segmentation"]
    assert isinstance(results[0]["segmentation"]["counts"], str) and results[0]["segmentation"]["size"] == list(SIZE)
    assert [result["score"] for result in results if result["image_id"] == 4] == sorted(
        (np.float32(score).item() for score in predictions[4]["scores"]), reverse=True
    )
    truth = coco(references, True, NUM_LABELS)
    for annotation in truth.dataset["annotations"]:
        annotation["category_id"] = ids[annotation["category_id"]]
    truth.dataset["categories"] = [{"id": index} for index in ids]
    truth.createIndex()
    boxes = by_pycocotools(truth, truth.loadRes(str(file)), "bbox")
    for result in results:
        del result["bbox"]  # else the areas of masks are those of boxes
    masks = by_pycocotools(truth, truth.loadRes(results), "segm")
    figures = metric.compute()
    for prefix, expected in {"bbox_": boxes, "segm_": masks}.items():
        assert {name: figures[prefix + name] for name in FIGURES} == pytest.approx(
            {name: expected[name] for name in FIGURES}, nan_ok=True, abs=1e-6
        )
        assert figures[f"{prefix}map/2"] == pytest.approx(expected["map/90"], abs=1e-6)
    without = CocoPrecision(NUM_LABELS)
    assert list(without.results()) == []


# --- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_labels": 0}, "num_labels must be at least 1, got 0"),
        ({"num_labels": 2, "id2label": {2: "b"}}, r"id2label has the ids \[2\], but num_labels is 2"),
        ({"num_labels": 2, "num_process": 2, "process_id": 1}, "num_process must be 1, got 2"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MeanAveragePrecision(**settings)


BOXES = np.array([[0.0, 0, 10, 10]])
MASKS = np.ones((1, 20, 30), bool)
PREDICTION = {"boxes": BOXES, "labels": [1], "scores": [0.5], "masks": MASKS}
REFERENCE = {"boxes": BOXES, "labels": [0], "masks": MASKS}


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        ({"labels": [2]}, {}, "predictions have the id 2, but num_labels is 2: ids are 0 to 1"),
        ({}, {"labels": [-1]}, "references have the id -1"),
        ({"scores": [math.nan]}, {}, "predictions have scores that are not finite, in picture 0"),
        ({"boxes": BOXES + math.inf}, {}, "predictions have boxes that are not finite"),
        ({"scores": [1, 1]}, {}, "predictions must have as many scores as class_labels, got 2 and 1"),
        ({}, {"boxes": np.ones((3, 4))}, "references must have as many boxes as class_labels, got 3 and 1"),
        ({}, {"area": [1, 2]}, "references must have as many areas as class_labels, got 2 and 1"),
        ({"masks": MASKS[:0]}, {}, "predictions must have as many masks as class_labels, got 0 and 1"),
        ({}, {"masks": MASKS[:, 0]}, r"masks of references must be \(N, height, width\), got the shape \(1, 30\)"),
        ({"masks": MASKS[:, :10]}, {}, r"of the references' size, \(20, 30\), got \(10, 30\)"),
    ],
)
def test_batches_that_are_refused(prediction, reference, message):
    """And nothing of them counts."""
    metric = MeanAveragePrecision(num_labels=2, with_masks=True)
    predictions, references = [PREDICTION, PREDICTION | prediction], [REFERENCE, REFERENCE | reference]
    with pytest.raises(ValueError, match=message.replace("picture 0", "picture 1")):
        metric.add_batch(predictions=predictions, references=references)
    assert metric.state == []


def test_parts_that_are_missing():
    metric = MeanAveragePrecision(num_labels=2, with_masks=True)
    for part in PREDICTION:
        incomplete = {name: value for name, value in PREDICTION.items() if name != part}
        with pytest.raises(ValueError, match=f"Each of predictions must have {part}, got "):
            metric.add(prediction=incomplete, reference=REFERENCE)
    with pytest.raises(ValueError, match="Each of references must have masks, got boxes, labels"):
        metric.add(prediction=PREDICTION, reference={"boxes": BOXES, "labels": [0]})
    with pytest.raises(ValueError, match="equally many, got 2 predictions and 1 references"):
        metric.add_batch(predictions=[PREDICTION] * 2, references=[REFERENCE])


@pytest.mark.parametrize(("name", "value"), [("num_labels", 3), ("with_masks", False)])
def test_others_are_not_merged(name, value):
    settings = {"num_labels": 2, "with_masks": True}
    with pytest.raises(ValueError, match=f"metrics of the same {name} can be merged"):
        MeanAveragePrecision(**settings).merge(MeanAveragePrecision(**settings | {name: value}))


# --- the size of COCO's validation set


@pytest.mark.slow
@pytest.mark.parametrize("with_masks", KINDS)
def test_five_thousand_pictures(with_masks):
    """Truths of 80 classes, moved, lost and made up."""
    numbers = np.random.default_rng(0).integers(0, [15, 25], (5000, 2))
    predictions, references = [], []
    generator = np.random.default_rng(1)
    for there, found in numbers:
        reference = random_reference(generator, there)
        reference["labels"] = generator.integers(0, 80, there)
        prediction = random_prediction(generator, found, reference)
        prediction["boxes"] = prediction["boxes"] + generator.normal(0, 2, (found, 4))
        prediction["boxes"][:, 2:] = np.maximum(prediction["boxes"][:, 2:], prediction["boxes"][:, :2] + 1)
        prediction["scores"] = generator.random(found)
        prediction["masks"] = drawn(prediction["boxes"])
        references.append(reference)
        predictions.append(prediction)
    start = time.perf_counter()
    figures = computed_figures(predictions, references, with_masks, 80)
    middle = time.perf_counter()
    equal(figures, expected_figures(predictions, references, with_masks, 80))
    print(f"\n{middle - start:.1f} s, pycocotools {time.perf_counter() - middle:.1f} s")
