# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/convert_checkpoint.py, which is also `hf-gpvit convert`: from an official file to a folder that loads."""

import runpy
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, pipeline

import hf_gpvit_cli
from hf_gpvit import GPViTConfig, GPViTForImageClassification, HRViTConfig, HRViTForImageClassification
from hf_gpvit.commands import convert as convert_command
from hf_gpvit.conversion import RELEASES, convert_checkpoint
from hf_gpvit.conversion.releases import RELEASE_BY_NAME
from hf_gpvit.data import load_label_set
from hf_gpvit.hub import model_card
from hf_gpvit.hub.checks import check_model_folder
from hf_gpvit.inference import load_picture, segment
from hf_gpvit.models.configuration_gpvit_detection import GPViTDetectionConfig
from hf_gpvit.models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection
from hf_gpvit.saved_models import class_and_config
from official import checkpoint, detector, hrvit_checkpoint


SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_checkpoint.py"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    torch.save({"state_dict": checkpoint("gpvit/gpvit_l1_statedict.json")}, folder / "classifier.pth")
    torch.save(hrvit_checkpoint("hrvit_b1", "segformer", 150), folder / "segmentor.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((96, 64)).save(folder / "picture.png")
    return folder


@pytest.fixture
def convert(monkeypatch, capsys):
    """The script with these arguments, in this process -> the lines it prints."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def test_classifier(files, convert):
    lines = convert(files / "classifier.pth", "model", "--picture", files / "picture.png")
    assert lines[0].split() == ["model/:".replace("/", "\\" if sys.platform == "win32" else "/"),
                                "GPViTForImageClassification,", "1000", "classes"]  # fmt: skip
    expected = pipeline("image-classification", model="model")(str(files / "picture.png"), top_k=5)
    assert [line.split(maxsplit=1) for line in lines[1:]] == [
        [f"{record['score']:.1%}", record["label"]] for record in expected
    ]
    assert AutoImageProcessor.from_pretrained("model").crop_size == {"height": 224, "width": 224}
    loaded = GPViTForImageClassification.from_pretrained("model").state_dict()
    expected = convert_checkpoint(files / "classifier.pth").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in expected.items())


def test_segmentor(files, capsys):
    hf_gpvit_cli.main(["convert", str(files / "segmentor.pth"), "model", "--picture", str(files / "picture.png")])
    lines = capsys.readouterr().out.splitlines()
    assert "HRViTForSemanticSegmentation, 150 classes" in lines[0]
    model = convert_checkpoint(files / "segmentor.pth")
    ids = segment(model, AutoImageProcessor.from_pretrained("model"), load_picture(files / "picture.png"))
    names = load_label_set("ade20k").names
    shares = torch.bincount(ids.ravel(), minlength=150) / ids.numel()
    order = [index for index in shares.argsort(descending=True, stable=True).tolist() if shares[index]]
    assert len(order) > 1
    assert [line.split(maxsplit=1) for line in lines[1:]] == [
        [f"{shares[index]:.1%}", names[index]] for index in order
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        # its card counts the multiply-adds of 1000 regions
        pytest.param("maskrcnn", "InstanceSegmentation", marks=pytest.mark.slow),
        ("retinanet", "ObjectDetection"),
    ],
)
def test_detectors(files, convert, kind, name, monkeypatch):
    """The picture is looked at in the official size, here a small one."""
    monkeypatch.setattr("hf_gpvit.data.image_processors.DETECTION_SIDE", 64)
    torch.save({"state_dict": detector(kind)}, "official.pth")
    lines = convert("official.pth", "model", "--picture", files / "picture.png")
    assert f"GPViTFor{name}, 80 classes" in lines[0]
    assert {line.split(maxsplit=1)[1] for line in lines[1:]} <= set(load_label_set("coco").names)
    image_processor = AutoImageProcessor.from_pretrained("model")
    assert (image_processor.size["shortest_edge"], image_processor.size["longest_edge"]) == (64, 106)
    model_class, config = class_and_config("model")
    loaded, expected = model_class.from_pretrained("model").state_dict(), convert_checkpoint("official.pth")
    assert config.id2label == load_label_set("coco").id2label
    assert all(torch.equal(value, loaded[name]) for name, value in expected.state_dict().items())
    check_model_folder(Path("model"))  # what `hf-gpvit push` asks before it writes the card
    card = str(model_card(expected, image_processor, model_name="you/detector"))
    assert f"Of one image of 64x128 pixels{', with 1000 regions and 100 masks' if kind == 'maskrcnn' else ''}:" in card
    assert f"| {expected.num_parameters():,} | " in card


class Malicious:
    def __reduce__(self):
        return (open, ("victim", "w"))


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def weights_with_nan():
    weights = checkpoint("gpvit/gpvit_l1_statedict.json")
    return weights | {name: value.fill_(torch.nan) for name, value in weights.items() if name.endswith("pos_embed")}


BROKEN = {
    "malicious": (lambda path: torch.save({"state_dict": {}, "meta": Malicious()}, path), "It names _?io.open"),
    "empty": (lambda path: path.write_bytes(b""), "truncated, empty or no PyTorch checkpoint"),
    "page": (lambda path: path.write_text("<html>404</html>"), "file.pth"),
    "half": (lambda path: (torch.save({"a": torch.zeros(5000)}, path), half(path)), "truncated, empty"),
    "nan": (
        lambda path: torch.save(weights_with_nan(), path),
        "file.pth are broken: .*position_embeddings has numbers",
    ),
    "resnet": (lambda path: torch.save({"conv1.weight": torch.zeros(1)}, path), "another architecture"),
    "missing": (lambda path: None, "no checkpoint file file.pth"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_leave_nothing(kind, convert, tmp_path):
    write, message = BROKEN[kind]
    write(tmp_path / "file.pth")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit, match=f"^convert_checkpoint.py: .*{message}") as ended:
        convert("file.pth", "outputs/model")
    assert "\n" not in str(ended.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("output_dir", "picture", "message"),
    [("taken", "picture.png", "taken is a file"), ("model", "classifier.pth", "Can't read the picture")],
)
def test_mistakes_are_told_before_the_work(files, convert, tmp_path, output_dir, picture, message):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(SystemExit, match=message):
        convert("not-looked-at.pth", output_dir, "--picture", files / picture)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_picture_that_the_model_refuses_leaves_nothing(files, convert, tmp_path, monkeypatch):
    def refuse(model, image_processor, image):
        raise ValueError(f"image of {image.width}x{image.height} pixels is too thin")

    monkeypatch.setattr(convert_command, "describe_picture", refuse)
    with pytest.raises(SystemExit, match="^convert_checkpoint.py: image of 96x64 pixels is too thin"):
        convert(files / "classifier.pth", "model", "--picture", files / "picture.png")
    assert not list(tmp_path.iterdir())


def test_averaged_weights_are_asked_for(convert, tmp_path):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, "file.pth")
    with pytest.raises(SystemExit, match="holds no averaged weights"):
        convert("file.pth", "model", "--ema")


def test_releases():
    """Each tells models of its kind from all others."""
    mask_rcnn = {"detector_type": "mask_rcnn", "num_labels": 80}
    retinanet = {"detector_type": "retinanet", "num_labels": 80}
    with torch.device("meta"):
        models = {
            "gpvit-l2": GPViTForImageClassification(GPViTConfig.from_preset("gpvit-l2", num_labels=1000)),
            "gpvit-l1-maskrcnn": GPViTForInstanceSegmentation(
                GPViTDetectionConfig.from_preset("gpvit-l1", **mask_rcnn)
            ),
            "gpvit-l4-retinanet": GPViTForObjectDetection(GPViTDetectionConfig.from_preset("gpvit-l4", **retinanet)),
        }
        others = [
            GPViTForImageClassification(GPViTConfig.from_preset("gpvit-l2", num_labels=10)),
            HRViTForImageClassification(HRViTConfig.from_preset("hrvit-b1", num_labels=1000)),
            GPViTForObjectDetection(GPViTDetectionConfig.from_preset("gpvit-l1", **retinanet | {"num_labels": 3})),
        ]
    fitting = {name: [release.name for release in RELEASES if release.fits(models[name])] for name in models}
    assert fitting == {
        "gpvit-l2": ["gpvit-l2"],
        "gpvit-l1-maskrcnn": ["gpvit-l1-maskrcnn-1x", "gpvit-l1-maskrcnn-3x"],
        "gpvit-l4-retinanet": ["gpvit-l4-retinanet-1x", "gpvit-l4-retinanet-3x"],
    }
    assert not any(release.fits(model) for release in RELEASES for model in others)
    assert len(RELEASE_BY_NAME) == len({release.file for release in RELEASES}) == len(RELEASES) == 28
    assert {release.variant for release in RELEASES} < set(GPViTConfig.presets())


def test_releases_of_detectors():
    """Names, files and figures are those of the paper's Tables 3 and 4."""
    release = RELEASE_BY_NAME["gpvit-l4-maskrcnn-3x"]
    assert (release.file, release.dataset) == ("gpvit_l4_maskrcnn_3x.pth", "coco")
    assert release.figures == {"box AP": 52.1, "mask AP": 45.7}
    assert RELEASE_BY_NAME["gpvit-l1-retinanet-1x"].figures == {"box AP": 45.8}
    detectors = [release for release in RELEASES if release.dataset == "coco"]
    assert len(detectors) == 16
    assert all(release.file == f"{release.name.replace('-', '_')}.pth" for release in detectors)


@pytest.fixture
def downloads(tmp_path_factory, monkeypatch):
    """The official downloads' folder, served on loopback; what is fetched is kept in a fresh TORCH_HOME."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    folder = tmp_path_factory.mktemp("downloads")
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("hf_gpvit.conversion.releases._FOLDER", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) // 2] if "upernet" in self.path else content)


def test_an_official_name_is_downloaded(files, downloads, convert, tmp_path):
    shutil.copy(files / "classifier.pth", downloads / "gpvit_l1_in1k_300e.pth")
    lines = convert("gpvit-l1", "model")
    assert lines[1] == "as published, gpvit-l1 has top-1 accuracy 80.5 % on imagenet-1k, Apache-2.0"
    assert GPViTForImageClassification.from_pretrained("model").config.hidden_size == 216
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_download_is_kept_and_a_folder_hides_no_name(files, downloads, convert, tmp_path):
    shutil.copy(files / "classifier.pth", downloads / "gpvit_l1_in1k_300e.pth")
    first = convert("gpvit-l1", "gpvit-l1")
    (downloads / "gpvit_l1_in1k_300e.pth").unlink()
    assert convert("gpvit-l1", "gpvit-l1") == first
    assert {path.name for path in tmp_path.iterdir()} == {"gpvit-l1", "gpvit-l1-1"}


def test_a_broken_download_is_not_kept(downloads, convert, tmp_path):
    """A connection that breaks is no error in torch.hub: the file is only cut short."""
    torch.save({"state_dict": {"conv1.weight": torch.zeros(5000)}}, downloads / "gpvit_l1_upernet.pth")
    with pytest.raises(SystemExit, match="was removed; trying again downloads it anew: .* is truncated"):
        convert("gpvit-l1-upernet", "model")
    assert not [*Path(torch.hub.get_dir(), "checkpoints").iterdir()]


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("gpvit-l2", "gpvit_l2_in1k_300e.pth", "300e.pth holds another model than gpvit-l2: GPViTFor"),
        ("gpvit-l3", "gpvit_l2_in1k_300e.pth", "Can't download http://.*/gpvit_l3_in1k_300e.pth: .*404"),
        ("gpvit-l1-upernet", "gpvit_l1_upernet.pth", "gpvit_l1_upernet.pth is truncated"),
    ],
)
def test_downloads_that_fail_leave_nothing(files, downloads, convert, tmp_path, name, file, message):
    shutil.copy(files / "classifier.pth", downloads / file)
    with pytest.raises(SystemExit, match=message):
        convert(name, "model")
    assert not list(tmp_path.iterdir())


def test_a_file_with_an_official_name_goes_first(convert):
    Path("gpvit-l1").write_bytes(b"")
    with pytest.raises(SystemExit, match="gpvit-l1 is truncated, empty"):
        convert("gpvit-l1", "model")
