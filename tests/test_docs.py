# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The Python blocks of the pages in docs/ run, in order and in one namespace, as a reader would paste them."""

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    SegformerImageProcessor,
    ViTImageProcessor,
)

import hf_gpvit_cli
from fake_hub import hub_environment, running_hub
from families import GPVIT
from hf_gpvit import GPViTAdapterBackbone, GPViTConfig, GPViTForImageClassification
from hf_gpvit.commands.train import parse_recipe
from hf_gpvit.data import image_processor_for, loading
from hf_gpvit.hub import save_for_hub
from hf_gpvit.tasks import find_task
from hf_gpvit.tasks.recipe import recipe_fields
from official import checkpoint
from pages import DOCS, python_blocks
from small_detectors import small_detector


def draw_photos(root):
    for color, name in (("orange", "cat"), ("brown", "dog")):
        (root / name).mkdir(parents=True)
        for index in range(1, 6):
            image = Image.new("RGB", (60 + index, 50), "skyblue")
            ImageDraw.Draw(image).ellipse((10, 10, 40, 40), fill=color)
            image.save(root / name / f"{index}.jpg")


def draw_scenes(root):
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for index in range(1, 6):
        box = (5 * index, 10, 5 * index + 30, 40)
        for folder, mode, ground, ball in (("images/{}.jpg", "RGB", "green", "white"), ("masks/{}.png", "L", 0, 1)):
            image = Image.new(mode, (70, 50), ground)
            ImageDraw.Draw(image).ellipse(box, fill=ball)
            image.save(root / folder.format(index))
    (root / "classes.json").write_text(json.dumps(["background", "ball"]))


def draw_boxes(root):
    (root / "train").mkdir(parents=True)
    images, annotations = [], []
    for index in range(5):
        image = Image.new("RGB", (70, 50 + index), "green")
        ImageDraw.Draw(image).rectangle((5 * index, 10, 5 * index + 29, 39), fill="white")
        image.save(root / f"train/{index}.jpg")
        images.append({"id": index, "file_name": f"{index}.jpg", "width": 70, "height": 50 + index})
        box = {"bbox": [5 * index, 10, 30, 30], "category_id": 1 + index % 2, "iscrowd": 0, "area": 900}
        annotations.append(box | {"id": index, "image_id": index})
    categories = [{"id": 1, "name": "ball"}, {"id": 2, "name": "cube"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "train/_annotations.coco.json").write_text(json.dumps(content))


def test_fine_tune_on_my_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_photos(tmp_path / "my-photos")
    draw_scenes(tmp_path / "my-scenes")
    torch.save(checkpoint("gpvit/gpvit_l1_statedict.json"), "gpvit_l1.pth")
    hf_gpvit_cli.main(["convert", "gpvit_l1.pth", "gpvit-l1-imagenet"])
    namespace = {}
    code = python_blocks("fine-tune-on-my-folder.md")
    assert sum("num_train_epochs=30" in block for block in code) == 1
    for block in code:
        exec(compile(block.replace("num_train_epochs=30", "num_train_epochs=1"), "page", "exec"), namespace)

    classifier = AutoModelForImageClassification.from_pretrained("outputs/my-classifier")
    assert classifier.config.id2label == {0: "cat", 1: "dog"}
    assert {result["label"] for result in namespace["classify"]("my-photos/cat/1.jpg")} == {"cat", "dog"}
    segmentor = AutoModelForSemanticSegmentation.from_pretrained("outputs/my-segmentor")
    assert segmentor.config.id2label == {0: "background", 1: "ball"}
    segments = namespace["segment"]("my-scenes/images/1.jpg")
    assert {segment["label"] for segment in segments} <= {"background", "ball"}
    assert np.sum([np.asarray(segment["mask"]) == 255 for segment in segments], axis=0).tolist() == [[1] * 70] * 50
    assert namespace["segment"].image_processor.size["height"] == 128
    assert namespace["model"].config.label2id == {"background": 0, "ball": 1}


def transforms():
    """Those of the page, each with what is imported above it: of a classifier and of a segmentor."""
    code = [block for block in python_blocks("fine-tune-on-my-folder.md") if "def transform" in block]
    lines = [line for block in code for line in block.splitlines() if line.startswith(("from ", "import "))]
    namespace = {}
    exec("\n".join(lines), namespace)
    for block in code:
        exec(re.search(r"def transform\(.*?\n(?=\n|\S)", block, re.DOTALL)[0], namespace)
        yield namespace["transform"], namespace


def test_transforms_read_16_bits_and_refuse_floats():
    """Pictures of a class are dark, of the other one bright: cut to 8 bits, all would be white."""
    for transform, namespace in transforms():
        namespace["image_processor"] = ViTImageProcessor(size={"height": 16, "width": 16}, do_convert_rgb=False)
        if "masks" in transform.__code__.co_varnames:
            namespace["image_processor"] = SegformerImageProcessor(size={"height": 16, "width": 16})
        mask = png_row(np.full((20, 20), 300, np.uint16))
        rows = [png_row(np.full((20, 20), level, np.uint16)) for level in (5000, 60000)]
        batch = transform({"image": rows, "label": [0, 1], "annotation": [mask, mask]})
        dark, bright = batch["pixel_values"].mean(dim=(1, 2, 3))
        assert bright - dark > 1
        assert set(torch.as_tensor(batch["labels"]).flatten().tolist()) in ({0, 1}, {300})
        floats = io.BytesIO()
        Image.fromarray(np.zeros((20, 20), np.float32)).save(floats, "tiff")
        row = {"path": "floats.tif", "bytes": floats.getvalue()}
        with pytest.raises(ValueError, match=r"floats\.tif: its pixels are floats"):
            transform({"image": [row], "label": [0], "annotation": [mask]})


def png_row(values):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "png")
    return {"path": None, "bytes": file.getvalue()}


def test_pictures(tmp_path, monkeypatch):
    """Among them pictures of two shapes in one batch of a pipeline."""
    monkeypatch.chdir(tmp_path)
    for kind in ("classifier", "segmentor"):
        model = getattr(GPVIT, f"{kind}_class")(GPVIT.config())
        model.save_pretrained(f"outputs/my-{kind}")
        image_processor_for(model, 32).save_pretrained(f"outputs/my-{kind}")
    Image.new("RGB", (70, 50), "tan").save("photo.png")
    Image.new("RGB", (40, 90), "tan").save("other.png")
    Image.new("L", (70, 50), 2).save("mask.png")
    namespace = {}
    for code in python_blocks("pictures.md"):
        exec(compile(code.replace("512", "64"), "page", "exec"), namespace)
    assert namespace["picture"].size == (70, 50)
    assert np.unique(namespace["ids"]).tolist() == [2]
    pictures = [namespace["read_rgb"](name) for name in ("photo.png", "other.png")]
    answers = namespace["segment"](pictures, batch_size=2)
    assert [answer[0]["mask"].size for answer in answers] == [(70, 50), (40, 90)]
    assert len(namespace["heatmaps"]) == 4
    assert namespace["assigned"].size == namespace["colours"].size == namespace["seen"].size


def test_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "TRAIN_SCENES", {"num_scenes": 16, "seed": 0})
    monkeypatch.setattr(loading, "TEST_SCENES", {"num_scenes": 2, "seed": 1})
    [code] = python_blocks("train.md")
    namespace = {}
    exec(compile(code, "page", "exec"), namespace)
    assert {"mean_iou", "iou/ground"} <= namespace["metrics"].keys()
    assert type(AutoModelForSemanticSegmentation.from_pretrained("runs/from-python/best")).__name__.startswith("GPViT")


def test_frameworks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GPViTForImageClassification(GPViTConfig.from_preset("gpvit-nano")).save_pretrained("my-classifier")
    namespace = {}
    for code in python_blocks("frameworks.md"):
        exec(compile(code, "page", "exec"), namespace)
    assert namespace["outputs"].logits.shape == (2, 11, 128, 128)
    pyramid = namespace["detector"].model.backbone.model
    assert all(parameter.grad is not None for parameter in pyramid.parameters())
    assert isinstance(pyramid, GPViTAdapterBackbone)


def test_detect_on_my_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = small_detector("boxes", num_labels=3)
    save_for_hub(model, "runs/boxes/best", image_processor_for(model, 64))
    Image.fromarray(np.random.RandomState(0).randint(256, size=(50, 70, 3), dtype=np.uint8)).save("photo.jpg")
    draw_boxes(tmp_path / "my-boxes")
    small = {"you/boxes": "runs/boxes/best", "threshold=0.5": "threshold=0.1", "_epochs=20": "_epochs=1", "240": "64"}
    namespace = {}
    for code in python_blocks("detect-on-my-folder.md"):
        for written, tried in small.items():
            code = code.replace(written, tried)
        exec(compile(code, "page", "exec"), namespace)
    assert Image.open("found.jpg").size == (70, 50)
    assert len(namespace["detections"]) == len(namespace["found"]["scores"]) > 0
    assert namespace["find"](Image.open("photo.jpg"), threshold=0.1)[0]["label"].startswith("LABEL_")
    trained = AutoModelForObjectDetection.from_pretrained("outputs/my-detector")
    assert trained.config.id2label == {0: "ball", 1: "cube"}
    assert AutoImageProcessor.from_pretrained("outputs/my-detector").size["shortest_edge"] == 64


def shell_commands():
    """The lines `hf-gpvit ...` of all pages, by page."""
    for page in [DOCS.parent / "README.md", *DOCS.glob("*.md")]:
        blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
        yield from ((page.name, line) for line in lines if line.lstrip().startswith("hf-gpvit "))


def test_commands_take_the_arguments_that_pages_give(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my-recipe.yaml").write_text("task: semantic-segmentation\n")
    found = list(shell_commands())
    assert len(found) > 20
    for page, line in found:
        _, name, *given = shlex.split(line, comments=True)
        _, parse = hf_gpvit_cli.COMMANDS[name]
        try:
            options = parse(given, "hf-gpvit")
            if name == "train":
                recipe_class = find_task(options.task or recipe_fields(options.config)["task"]).recipe_class
                parse_recipe(recipe_class, "", ["--config", options.config, *options.fields], "train")
        except (SystemExit, ValueError) as error:
            raise AssertionError(f"{page}: {line}") from error


def test_use():
    namespace = {}
    for code in python_blocks("use.md"):
        exec(compile(code, "page", "exec"), namespace)
    assert [tuple(maps.shape) for maps in namespace["group_maps"]] == [(1, groups, 16, 16) for groups in (32, 16, 16)]
    assert namespace["fused"].is_fused


@pytest.mark.slow
def test_publish(tmp_path):
    """On a Hub of this machine, in a fresh process, which reads its address when it begins."""
    best = tmp_path / "runs/photos/best"
    model = GPVIT.classifier_class(GPVIT.config())
    save_for_hub(model, best, metrics={"accuracy": 0.5}, dataset="my-photos")
    (best / "recipe.yaml").write_text("dataset: my-photos\n")
    code = "\n".join(python_blocks("publish.md")) + "\nprint(url, type(backbone).__name__)"
    with running_hub() as hub:
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=hub_environment(hub, tmp_path),
        )
        assert result.returncode == 0, result.stderr
        sha = hub.repos["you/gpvit-photos"].branches["main"][-1].sha
        assert result.stdout.split() == [f"{hub.url}/you/gpvit-photos/commit/{sha}", "GPViTBackbone"]


def test_pages_name_recipes_and_scripts_that_exist():
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"(?:configs|scripts)/[\w/-]+\.(?:yaml|py)", text):
            assert (DOCS.parent / path).exists(), f"{page.name}: {path}"


def test_pages_refer_to_files_that_exist():
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert text.startswith("<!-- Copyright 2026 The hf-gpvit authors -->\n")
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (DOCS / link).exists(), f"{page.name}: {link}"
