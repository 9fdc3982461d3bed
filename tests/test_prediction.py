# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From pictures to a folder of predictions, in Python and by scripts/predict.py as a user runs it."""

import copy
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hf_gpvit_cli
from families import GPVIT, HRVIT, awake
from hf_gpvit.data import image_processor_for, load_label_set
from hf_gpvit.inference import (
    SegmentationSettings,
    classify,
    color_palette,
    label_set_palette,
    load_picture,
    predict_pictures,
    segment,
)
from hf_gpvit.tasks import semantic_segmentation


SCRIPT = Path(__file__).parents[1] / "scripts" / "predict.py"


def save(model, folder):
    awake(model).save_pretrained(folder)
    processor = image_processor_for(model, 40)
    processor.save_pretrained(folder)
    return folder, model, processor


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory):
    torch.manual_seed(0)
    model = HRVIT.segmentor_class(HRVIT.config(num_labels=11, id2label=load_label_set("camvid").id2label))
    return save(model, tmp_path_factory.mktemp("segmentor"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    torch.manual_seed(0)
    names = ("wall", "sky", "tree", "road", "cat")
    return save(
        GPVIT.classifier_class(GPVIT.config(id2label=dict(enumerate(names)))), tmp_path_factory.mktemp("model")
    )


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two pictures of one name in two folders, one of another suffix, and two that can't be read."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for number, name in enumerate(("cat.png", "cat.bmp", "sub/cat.png", "sub/dog.png")):
        values = generator.integers(0, 256, (3 + number, 5, 3), dtype=np.uint8)
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).resize((50 + number, 30)).save(path)
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    (tmp_path / "photos" / "sub" / "empty.jpg").write_bytes(b"")
    return tmp_path


FILES = ["broken.jpg", "cat.bmp", "cat.png", "sub/cat.png", "sub/dog.png", "sub/empty.jpg"]
NAMES = {"cat.bmp": "cat", "cat.png": "cat-1", "sub/cat.png": "sub/cat", "sub/dog.png": "sub/dog"}


def listing(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def records(folder):
    return json.loads((folder / "predictions.json").read_text(encoding="utf-8"))


def test_segmentation(segmentor, photos):
    folder, model, processor = segmentor
    settings = SegmentationSettings(window_size=32, flip=True)
    returned = predict_pictures(folder, ["photos"], "out/masks", settings)
    output = photos / "out" / "masks"
    assert returned == records(output)
    assert [record["file"] for record in returned] == [f"photos/{name}" for name in FILES]
    expected = {f"{name}{end}" for name in NAMES.values() for end in (".png", "-overlay.jpg")}
    assert listing(output) == expected | {"predictions.json", "predictions.csv"}
    palette = np.array(load_label_set("camvid").palette)
    assert max(len(record.get("shares", [])) for record in returned) > 1
    for record in (record for record in returned if "error" not in record):
        name = record["file"].removeprefix("photos/")
        assert (record["mask"], record["overlay"]) == (f"{NAMES[name]}.png", f"{NAMES[name]}-overlay.jpg")
        image = load_picture(record["file"])
        ids = segment(model, processor, image, settings).numpy()
        mask = Image.open(output / record["mask"])
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), ids)
        assert np.array_equal(np.asarray(mask.convert("RGB")), palette[ids])
        shares = {model.config.label2id[entry["label"]]: entry["share"] for entry in record["shares"]}
        assert shares == {index: (ids == index).mean() for index in np.unique(ids)}
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        overlay = np.asarray(Image.open(output / record["overlay"]).convert("RGB"), float)[:30, : image.width]
        blended = (palette[ids] + np.asarray(image)) / 2
        assert np.abs(overlay - blended).mean() < 12  # what JPEG loses


@pytest.mark.parametrize("num_workers", [0, 2])
def test_classification(classifier, photos, num_workers):
    """Over several batches, with pictures that can't be read in between."""
    folder, model, processor = classifier
    returned = predict_pictures(str(folder), ["photos"], "out", top_k=3, batch_size=2, num_workers=num_workers)
    assert listing(photos / "out") == {"predictions.json", "predictions.csv"}
    assert returned == records(photos / "out")
    assert [record["file"] for record in returned] == [f"photos/{name}" for name in FILES]
    for record in (record for record in returned if "error" not in record):
        [scores] = classify(model, processor, [load_picture(record["file"])])
        best = scores.argsort(descending=True)[:3].tolist()
        assert [entry["label"] for entry in record["predictions"]] == [model.config.id2label[index] for index in best]
        given = [entry["score"] for entry in record["predictions"]]
        assert given == pytest.approx(scores[best].tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "key", "column"), [("classifier", "predictions", "score"), ("segmentor", "shares", "share")]
)
def test_tables_have_what_the_records_have(kind, key, column, photos, request):
    returned = predict_pictures(request.getfixturevalue(kind)[0], ["photos"], "out")
    with open("out/predictions.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "label", column]
    expected = [(record["file"], *entry.values()) for record in returned for entry in record.get(key, [])]
    assert [(file, label, float(value)) for file, label, value in rows] == expected
    assert len({row[0] for row in rows}) == 4


def test_batches_and_workers_change_nothing(segmentor, photos):
    """In a batch are two pictures of one size, others, and some that can't be read."""
    Image.open("photos/cat.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("photos/tac.png")
    alone = predict_pictures(segmentor[0], ["photos"], "alone", batch_size=1)
    for options in ({"batch_size": 4}, {"batch_size": 3, "num_workers": 2}):
        assert predict_pictures(segmentor[0], ["photos"], "out", **options) == alone
        for name in listing(photos / "alone") - {"predictions.csv"}:
            assert (photos / "alone" / name).read_bytes() == (photos / "out" / name).read_bytes()


def test_fewer_labels_than_asked_for(classifier, photos):
    [record] = predict_pictures(classifier[0], ["photos/cat.png"], "out", top_k=100)
    assert len(record["predictions"]) == 5


@pytest.mark.parametrize("kind", ["segmentor", "classifier"])
def test_unreadable_pictures_are_named(kind, photos, request):
    folder = request.getfixturevalue(kind)[0]
    errors = {
        record["file"]: record["error"] for record in predict_pictures(folder, ["photos"], "out") if "error" in record
    }
    assert errors.keys() == {"photos/broken.jpg", "photos/sub/empty.jpg"}
    for file, error in errors.items():
        assert Path(file).name in error and "\n" not in error


def test_picture_that_is_too_thin_does_not_stop_the_others(segmentor, photos):
    Image.new("RGB", (4000, 1)).save("photos/thin.png")
    returned = predict_pictures(segmentor[0], ["photos/thin.png", "photos/cat.png"], "out")
    assert "image of 4000x1 pixels" in returned[0]["error"]
    assert "mask" in returned[1]


def test_large_overlays_are_scaled_down(segmentor, photos, monkeypatch):
    """The picture is, from a width of 52 to 20; the legend beside it is as wide as before, and the mask too."""
    _, model, processor = segmentor
    model = copy.deepcopy(model)
    torch.nn.init.constant_(model.decode_head.classifier.bias[:1], 1e3)  # one class, in either size
    model.save_pretrained(photos / "sure")
    processor.save_pretrained(photos / "sure")
    sizes = []
    for side in (2048, 20):
        monkeypatch.setattr(semantic_segmentation, "OVERLAY_SIDE", side)
        [record] = predict_pictures("sure", ["photos/sub/cat.png"], "out")
        assert Image.open(photos / "out" / record["mask"]).size == (52, 30)
        sizes.append(Image.open(photos / "out" / record["overlay"]).width)
    assert sizes[0] - sizes[1] == 52 - 20


def test_more_classes_than_a_palette_has(photos, tmp_path):
    model = GPVIT.segmentor_class(GPVIT.config(num_labels=300))
    with torch.no_grad():
        model.decode_head.classifier.bias[290:] += 100
    folder, _, _ = save(model, tmp_path / "many")
    [record] = predict_pictures(folder, ["photos/cat.png"], "out")
    ids = np.asarray(Image.open(photos / "out" / record["mask"]))
    assert ids.min() >= 290


def test_older_predictions_move_aside(classifier, photos):
    for _ in range(2):
        predict_pictures(classifier[0], ["photos/cat.png"], "out")
    assert records(photos / "out") == records(photos / "out-1")


def test_a_folder_of_something_else_is_refused(classifier, photos):
    """Before a model is loaded: also one with a note beside predictions, or with predictions of another program."""
    for name, text in (("notes.txt", "mine"), ("predictions.json", '[{"image_id": 1}]'), ("predictions.json", "[")):
        (photos / "mine").mkdir(exist_ok=True)
        (photos / "mine" / name).write_text(text)
        with pytest.raises(FileExistsError, match="mine is there already, and holds"):
            predict_pictures("not-looked-at", ["photos"], "mine")
        assert (photos / "mine" / name).read_text() == text
        (photos / "mine" / name).unlink()
    (photos / "mine/predictions.json").write_text('[{"file": "a.png", "mask": "*"}]')  # a name rather than a pattern
    (photos / "mine/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes\.txt"):
        predict_pictures("not-looked-at", ["photos"], "mine")
    (photos / "mine/notes.txt").unlink()
    predict_pictures(classifier[0], ["photos/cat.png"], "mine")
    (photos / "mine/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes\.txt"):
        predict_pictures("not-looked-at", ["photos/cat.png"], "mine")
    predict_pictures(classifier[0], ["photos/cat.png"], "mine", overwrite=True)
    assert listing(photos / "mine-2") == {"predictions.json", "predictions.csv", "notes.txt"}
    assert listing(photos / "mine") == {"predictions.json", "predictions.csv"}


def test_older_masks_move_aside_too(segmentor, photos):
    for _ in range(2):
        predict_pictures(segmentor[0], ["photos/cat.png", "photos/sub"], "out")
    assert listing(photos / "out") == listing(photos / "out-1")
    assert len(listing(photos / "out")) == 8


@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "a.png/b.png"],
        ["a.png", "a-overlay.jpg/b.png", "A-OVERLAY.jpg/b.png"],
        ["c.png", "predictions.json/b.png", "Predictions.JSON/b.png"],
        ["a.png/b.png/c.jpg", "a.png/b.jpg", "a.jpg"],
    ],
)
def test_pictures_called_as_what_is_written(segmentor, tmp_path, names):
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "in" / name)
    returned = predict_pictures(segmentor[0], [tmp_path / "in"], tmp_path / "out")
    assert len(returned) == len(names)
    paths = [record[key] for record in returned for key in ("mask", "overlay")]
    assert listing(tmp_path / "out") == {"predictions.json", "predictions.csv", *paths}
    assert len({path.casefold() for path in paths}) == 2 * len(names)


def test_a_picture_of_which_nothing_can_be_said_does_not_stop_the_others(classifier, photos, tmp_path, capsys):
    """One of which the model makes numbers that are too large."""
    _, model, processor = classifier
    model = copy.deepcopy(model)
    for weight in model.parameters():
        weight.data.fill_(1e30)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    Image.new("RGB", (50, 30), (127, 127, 127)).save("photos/grey.png")
    Image.new("RGB", (50, 30), "white").save("photos/white.png")
    returned = predict_pictures(tmp_path / "model", ["photos/white.png", "photos/grey.png", "photos/cat.png"], "out")
    assert all("error" in record for record in returned)
    assert returned[0]["error"].startswith("photos/white.png: The model's logits are not finite: ")
    with pytest.raises(SystemExit) as ended:
        hf_gpvit_cli.main(["predict", "--model", str(tmp_path / "model"), "photos/white.png"])
    assert ended.value.code == 1
    assert "photos/white.png: The model's logits are not finite" in capsys.readouterr().err


def test_palettes_of_label_sets():
    for name in ("ade20k", "camvid", "cityscapes"):
        label_set = load_label_set(name)
        assert label_set_palette(label_set.id2label) == label_set.palette
    names = load_label_set("camvid").id2label
    assert label_set_palette(names | {0: "heaven"}) is None
    assert label_set_palette({0: "sky", 1: "building"}) is None
    assert color_palette(2, label_set_palette({0: "a", 1: "b"})).shape == (2, 3)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"pictures": ["nowhere"]}, FileNotFoundError, "nowhere does not exist"),
        ({"pictures": ["out"]}, ValueError, "no pictures in out"),
        ({"output_dir": "photos/out"}, ValueError, "output_dir must be outside of the folders of pictures"),
        ({"output_dir": "photos"}, ValueError, "output_dir must be outside of the folders of pictures"),
        ({"top_k": 0}, ValueError, "top_k must be at least 1, got 0"),
        ({"device": "toaster"}, ValueError, "device must be one that torch has here, such as cpu, got 'toaster'"),
        ({"model": "nothing-here"}, OSError, "model must be the folder or Hub name of a model, got 'nothing-here'"),
    ],
)
def test_bad_arguments_are_told_before_a_model_is_loaded(photos, change, error, message):
    (photos / "out").mkdir()
    arguments = {"model": "not-looked-at", "pictures": ["photos"], "output_dir": "elsewhere"} | change
    with pytest.raises(error, match=message):
        predict_pictures(**arguments)
    assert not (photos / "elsewhere").exists()


def test_model_of_another_task(photos, tmp_path):
    GPVIT.model_class(GPVIT.config()).save_pretrained(tmp_path / "trunk")
    with pytest.raises(ValueError, match=r"model must be one of .* has architectures \['GPViTModel'\]"):
        predict_pictures(tmp_path / "trunk", ["photos"], "out")


def test_settings_for_a_classifier(classifier, photos):
    with pytest.raises(ValueError, match="settings must be None, since .* is for image-classification, got Segm"):
        predict_pictures(classifier[0], ["photos"], "out", SegmentationSettings(flip=True))


def test_a_failure_leaves_nothing(segmentor, photos, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(semantic_segmentation, "segment_prepared", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        predict_pictures(segmentor[0], ["photos"], "out")
    assert [path.name for path in photos.iterdir()] == ["photos"]


# --- the script


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.slow
def test_script_on_a_classifier(classifier, photos):
    answer = run("--model", classifier[0], "photos/cat.png", "photos/sub", "--output_dir", "out", "--top_k", 2)
    assert answer.returncode == 1
    lines = answer.stdout.splitlines()
    found = records(photos / "out")
    assert [record["file"] for record in found] == [
        "photos/cat.png", "photos/sub/cat.png", "photos/sub/dog.png", "photos/sub/empty.jpg",
    ]  # fmt: skip
    for record, line in zip(found[:3], lines, strict=False):
        best, second = record["predictions"]
        told = f"{best['label']} {best['score']:.1%}, {second['label']} {second['score']:.1%}"
        assert line.split(maxsplit=1) == [record["file"], told]
    assert re.fullmatch(r"3 of 4 pictures, \d+\.\d in a second: " + re.escape(os.path.join("out", "")), lines[-1])
    assert [line for line in answer.stderr.splitlines() if line.startswith("predict.py: ")] == [
        f"predict.py: {found[3]['error']}"
    ]


def test_script_on_a_segmentor(segmentor, photos):
    """All options of segmentation reach the package."""
    options = ("--window_size", 32, "--window_stride", 20, "--scales", 0.75, 1, "--flip", "--size_divisor", 32)
    answer = run("--model", segmentor[0], "photos/cat.png", *options, "--device", "cpu")
    assert answer.returncode == 0, answer.stderr
    settings = SegmentationSettings(32, 20, (0.75, 1.0), True, 32)
    ids = segment(segmentor[1], segmentor[2], load_picture("photos/cat.png"), settings).numpy()
    assert np.array_equal(np.asarray(Image.open("outputs/predictions/cat.png")), ids)
    assert answer.stdout.startswith("photos/cat.png  ")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmentor", "classifier"])
def test_several_processes_predict_as_one(kind, photos, request):
    """Three for six pictures, two of which can't be read, and for one."""
    folder = request.getfixturevalue(kind)[0]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "3", "-m", "hf_gpvit_cli"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    for pictures, code in (("photos", 1), ("photos/cat.png", 0)):
        alone = predict_pictures(folder, [pictures], "alone", overwrite=True)
        arguments = ["predict", "--model", folder, pictures, "--output_dir", "out", "--overwrite"]
        answer = subprocess.run(
            [sys.executable, *launch, *map(str, arguments)], capture_output=True, text=True, env=environment
        )
        assert answer.returncode == code, answer.stderr
        assert records(photos / "out") == alone
        assert listing(photos / "out") == listing(photos / "alone")
        told = [record["file"] for record in alone if "error" not in record]
        assert [line.split()[0] for line in answer.stdout.splitlines()[: len(told)]] == told
        assert answer.stdout.count("in a second") == 1
