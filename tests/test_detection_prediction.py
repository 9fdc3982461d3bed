# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From pictures to a folder of objects, and to what other packages take."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import hf_gpvit_cli
from families import GPVIT, awake
from hf_gpvit import GPViTDetectionImageProcessor
from hf_gpvit.data import image_processor_for
from hf_gpvit.inference import (
    DetectionSettings,
    SegmentationSettings,
    describe_picture,
    detect,
    load_picture,
    predict_pictures,
    task_of,
)
from hf_gpvit.models.detection_masks import decode_segmentation
from small_detectors import small_detector


NAMES = {0: "RBC", 1: "WBC", 2: "Platelets", 3: "dust, fine", 4: "RBC"}


def saved(folder, kind):
    torch.manual_seed(0)
    model = small_detector(kind, id2label=NAMES)
    image_processor = GPViTDetectionImageProcessor(size={"shortest_edge": 40, "longest_edge": 64})
    for part in (model, image_processor):
        part.save_pretrained(folder)
    return folder, model, image_processor


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Folder, model and image processor by kind."""
    return {kind: saved(tmp_path_factory.mktemp(kind), kind) for kind in ("retinanet", "masks")}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two pictures, one of them on its side, and one that can't be read."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name, rotation in (("a.png", 1), ("sub, b.jpg", 6)):
        values = generator.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = rotation
        Image.fromarray(values).resize((70, 50)).save(tmp_path / "photos" / name, exif=exif)
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    return tmp_path


def listing(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["retinanet", "masks"])
def test_folder_of_predictions(kind, detectors, photos):
    folder, model, image_processor = detectors[kind]
    settings = DetectionSettings(window_size=45, threshold=0.6)
    returned = predict_pictures(folder, ["photos"], "out", settings)
    assert listing(photos / "out") == {
        "predictions.json", "detections.json", "detections.csv", "a-overlay.jpg", "sub, b-overlay.jpg",
    }  # fmt: skip
    assert json.loads((photos / "out/predictions.json").read_text()) == returned
    assert [record["file"] for record in returned] == ["photos/a.png", "photos/broken.jpg", "photos/sub, b.jpg"]
    assert list(returned[1]) == ["file", "error"]
    for record, size in ((returned[0], [70, 50]), (returned[2], [50, 70])):
        found = detect(model, image_processor, load_picture(record["file"]), settings).shown()
        assert record["size"] == size
        assert [item["label_id"] for item in record["detections"]] == found.class_labels.tolist()
        assert [item["label"] for item in record["detections"]] == [
            NAMES[index] for index in found.class_labels.tolist()
        ]
        assert [item["score"] for item in record["detections"]] == found.scores.tolist()
        boxes = torch.tensor([item["box"] for item in record["detections"]])
        torch.testing.assert_close(boxes, found.boxes, atol=0.006, rtol=0)
        assert len(boxes) > 1 and found.scores.min() > 0.6
        if kind == "masks":
            runs = [item["segmentation"] for item in record["detections"]]
            assert [mask | {"counts": mask["counts"].encode()} for mask in runs] == found.masks
        overlay = Image.open(photos / "out" / record["overlay"])
        assert max(overlay.size) == 640 and (overlay.width > overlay.height) == (size[0] > size[1])


@pytest.mark.parametrize("settings", [None, DetectionSettings(window_size=45)], ids=["whole", "windows"])
def test_workers_change_nothing(settings, detectors, photos):
    alone = predict_pictures(detectors["masks"][0], ["photos"], "alone", settings)
    assert predict_pictures(detectors["masks"][0], ["photos"], "out", settings, num_workers=1) == alone
    for name in listing(photos / "alone"):
        assert (photos / "alone" / name).read_bytes() == (photos / "out" / name).read_bytes()


def test_detections_as_a_table(detectors, photos):
    returned = predict_pictures(detectors["masks"][0], ["photos"], "out")
    with open(photos / "out/detections.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "label", "score", "x1", "y1", "x2", "y2"]
    expected = [(record["file"], item) for record in returned for item in record.get("detections", [])]
    assert [(row[0], row[1]) for row in rows] == [(file, item["label"]) for file, item in expected]
    assert [list(map(float, row[2:])) for row in rows] == [[item["score"], *item["box"]] for _, item in expected]


@pytest.mark.parametrize("kind", ["retinanet", "masks"])
def test_coco_takes_the_detections(kind, detectors, photos):
    """As a dataset, for labelling tools, and as results beside the truth of the same pictures."""
    coco = pytest.importorskip("pycocotools.coco")
    returned = predict_pictures(detectors[kind][0], ["photos"], "out")
    dataset = coco.COCO("out/detections.json")
    images = {image["id"]: image for image in dataset.loadImgs(dataset.getImgIds())}
    assert [(image["file_name"], image["width"], image["height"]) for image in images.values()] == [
        ("photos/a.png", 70, 50), ("photos/sub, b.jpg", 50, 70),
    ]  # fmt: skip
    assert {category["id"]: category["name"] for category in dataset.loadCats(dataset.getCatIds())} == NAMES
    found = [item for record in returned for item in record.get("detections", [])]
    annotations = dataset.loadAnns(dataset.getAnnIds())
    assert [annotation["category_id"] for annotation in annotations] == [item["label_id"] for item in found]
    for annotation, item in zip(annotations, found, strict=True):
        left, top, right, bottom = item["box"]
        assert annotation["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=0.006)
        if kind == "masks":
            image = images[annotation["image_id"]]
            mask = decode_segmentation(annotation["segmentation"], (image["height"], image["width"]))
            assert np.array_equal(dataset.annToMask(annotation), mask) and annotation["area"] == mask.sum()
    results = dataset.loadRes(json.loads((photos / "out/detections.json").read_text())["annotations"])
    assert len(results.getAnnIds()) == len(annotations)
    evaluation = pytest.importorskip("pycocotools.cocoeval").COCOeval(dataset, results, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval["precision"].max() > 0.99


@pytest.mark.parametrize("kind", ["retinanet", "masks"])
def test_supervision_takes_the_detections(kind, detectors, photos):
    """Those of the image processor, and those of windows."""
    supervision = pytest.importorskip("supervision")
    _, model, image_processor = detectors[kind]
    picture = load_picture("photos/a.png")
    with torch.no_grad():
        outputs = model(**image_processor(picture, return_tensors="pt"))
    [stock] = image_processor.post_process_object_detection(outputs, 0.5, target_sizes=[(50, 70)])
    theirs = supervision.Detections.from_transformers(stock, id2label=model.config.id2label)
    found = detect(model, image_processor, picture).shown()
    ours = supervision.Detections(
        xyxy=found.boxes.numpy(),
        confidence=found.scores.numpy(),
        class_id=found.class_labels.numpy(),
        mask=found.masks and np.stack([decode_segmentation(mask, (50, 70)) for mask in found.masks]),
    )
    assert len(theirs) == len(ours) > 1
    np.testing.assert_allclose(ours.xyxy, theirs.xyxy, atol=1e-3)
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-6)
    assert ours.class_id.tolist() == theirs.class_id.tolist()
    assert theirs["class_name"].tolist() == [NAMES[index] for index in theirs.class_id.tolist()]
    if kind == "masks":
        [maps] = image_processor.post_process_instance_segmentation(outputs, 0.5, target_sizes=[(50, 70)])
        of_map = supervision.Detections.from_transformers(maps, id2label=model.config.id2label)
        assert len(of_map) == len(maps["segments_info"]) and of_map.mask.shape[1:] == (50, 70)
        assert ours.mask.shape == (len(ours), 50, 70) and ours.mask.any()
    assert np.asarray(supervision.BoxAnnotator().annotate(picture.copy(), ours)).shape == (50, 70, 3)


def test_one_picture(detectors):
    _, model, image_processor = detectors["masks"]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    records = describe_picture(model, image_processor, picture)
    assert records and all(list(record) == ["label", "score", "box", "label_id", "segmentation"] for record in records)


def test_older_detections_move_aside(detectors, photos):
    for _ in range(2):
        predict_pictures(detectors["retinanet"][0], ["photos"], "out")
    assert listing(photos / "out") == listing(photos / "out-1")
    (photos / "out/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes\.txt"):
        predict_pictures("not-looked-at", ["photos"], "out")


def test_a_table_of_something_else_is_refused(photos):
    """Beside predictions of another task, which have none."""
    (photos / "mine").mkdir()
    (photos / "mine/predictions.json").write_text('[{"file": "a.png", "predictions": []}]')
    (photos / "mine/detections.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds detections\.csv"):
        predict_pictures("not-looked-at", ["photos"], "mine")


def test_pictures_called_as_what_is_written(detectors, photos):
    for name in ("detections.csv/a.png", "Detections.json/b.png"):
        (photos / "in" / name).parent.mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(photos / "in" / name)
    returned = predict_pictures(detectors["retinanet"][0], ["in"], "out")
    written = {"predictions.json", "detections.json", "detections.csv"}
    assert listing(photos / "out") == written | {record["overlay"] for record in returned}
    assert len(listing(photos / "out")) == 5


def test_no_picture_can_be_read(detectors, photos):
    for _ in range(2):
        predict_pictures(detectors["retinanet"][0], ["photos/broken.jpg"], "out")
    assert listing(photos / "out") == {"predictions.json"}


def test_settings_of_another_task(detectors, photos):
    folder, _, _ = detectors["retinanet"]
    with pytest.raises(ValueError, match=r"settings must be DetectionSettings, since .* is for object-detection, got"):
        predict_pictures(folder, ["photos"], "out", SegmentationSettings(flip=True))
    assert task_of(folder, DetectionSettings(threshold=0.1)) == "object-detection"
    assert task_of(detectors["masks"][0]) == "instance-segmentation"


# --- the command


def run(folder, *arguments):
    with pytest.raises(SystemExit) as ended:
        hf_gpvit_cli.main(["predict", "--model", str(folder), *map(str, arguments)])
    return ended.value.code


def test_command(detectors, photos, capsys):
    """All options reach the package; a line says how many of which class there are."""
    options = ("--window_size", 45, "--window_stride", 30, "--threshold", 0.7, "--output_dir", "out", "--top_k", 2)
    assert run(detectors["masks"][0], "photos/a.png", *options) == 0
    [record] = json.loads((photos / "out/predictions.json").read_text())
    _, model, image_processor = detectors["masks"]
    found = detect(model, image_processor, load_picture("photos/a.png"), DetectionSettings(45, 30, 0.7)).shown()
    assert [item["score"] for item in record["detections"]] == found.scores.tolist()
    labels = [item["label"] for item in record["detections"]]
    best = max(labels, key=labels.count)
    assert capsys.readouterr().out.startswith(f"photos/a.png  {labels.count(best)} {best}")
    assert run(detectors["masks"][0], "photos/a.png", "--threshold", 1, "--output_dir", "none") == 0
    assert capsys.readouterr().out.startswith("photos/a.png  nothing\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--flip"], "--flip is for semantic-segmentation, but .* is for object-detection, got True"),
        (["--scales", "0.5"], r"--scales is for semantic-segmentation, but .* is for object-detection, got \[0.5\]"),
        (["--threshold", "50"], r"threshold must be a score in \[0, 1\], got 50"),
        (["--window_stride", "8"], "window_stride needs a window_size"),
    ],
)
def test_options_that_are_refused(options, message, detectors, photos):
    code = run(detectors["retinanet"][0], "photos", "--output_dir", "out", *options)
    assert isinstance(code, str) and pytest.raises(ValueError, match=message).matches(ValueError(code))
    assert not (photos / "out").exists()


def test_options_of_detectors_for_a_classifier(photos):
    model = awake(GPVIT.classifier_class(GPVIT.config(num_labels=3)))
    for part in (model, image_processor_for(model, 40)):
        part.save_pretrained("classifier")
    code = run("classifier", "photos/a.png", "--threshold", 0.3)
    assert "--threshold is for object-detection, instance-segmentation, but classifier is for" in code
    assert run("classifier", "photos/a.png") == 0
