# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Links and names that lead elsewhere: nothing outside of a folder is written, removed or published."""

import json
import os
import pickle
import shutil
import sys
from dataclasses import replace

import pytest
from PIL import Image

from hf_gpvit.conversion import convert_checkpoint
from hf_gpvit.data.folders import load_folder
from hf_gpvit.files import atomic_folder, write_whole
from hf_gpvit.hub import push_folder, save_for_hub
from hf_gpvit.inference import find_pictures, predict_pictures
from hf_gpvit.saved_models import load_image_processor, load_model, read_config
from hf_gpvit.training import build_model, train


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    return folder


def untouched(outside):
    return {path.name: path.read_text() for path in outside.iterdir()} == {"precious": "precious"}


@pytest.mark.parametrize("keep_former", [True, False])
@pytest.mark.parametrize("is_dangling", [True, False])
def test_output_that_is_a_link(keep_former, is_dangling, outside, tmp_path):
    """The link makes room, as a folder would, where it is told to."""
    (tmp_path / "model").symlink_to(tmp_path / "nowhere" if is_dangling else outside)
    with (
        pytest.raises(FileExistsError, match="model is there already, and is a link"),
        atomic_folder(tmp_path / "model"),
    ):
        pytest.fail("the block ran")
    with atomic_folder(tmp_path / "model", overwrite=True, keep_former=keep_former) as folder:
        (folder / "file").write_text("new")
    assert (tmp_path / "model/file").read_text() == "new"
    assert not (tmp_path / "model").is_symlink()
    assert (tmp_path / "model-1").is_symlink()
    assert untouched(outside)
    assert not list(tmp_path.glob(".*"))


def test_a_dangling_link_is_no_free_name(tmp_path):
    (tmp_path / "model-1").symlink_to(tmp_path / "nowhere")
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "model", overwrite=True) as folder:
            (folder / "file").write_text(text)
    assert (tmp_path / "model-1").is_symlink()
    assert (tmp_path / "model-2/file").read_text() == "old"


def test_a_file_that_is_a_link(outside, tmp_path):
    (tmp_path / "metrics.json").symlink_to(outside / "precious")
    write_whole(tmp_path / "metrics.json", "new")
    assert (tmp_path / "metrics.json").read_text() == "new"
    assert untouched(outside)


@pytest.mark.slow
def test_checkpoints_that_are_or_hold_links(recipe, outside, tmp_path):
    """Pruning removes the links alone."""
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("step-00000001", ".step-00000003.partial", ".anything.partial"):
        (checkpoints / name).symlink_to(outside)
    (checkpoints / "step-00000000").mkdir()
    (checkpoints / "step-00000000/link").symlink_to(outside)
    (checkpoints / "step-99999999").write_text("a file")
    (tmp_path / "run/.best-abc.partial").symlink_to(outside)
    (tmp_path / "run/best").symlink_to(outside)
    with pytest.raises(FileExistsError):
        train(recipe)
    shutil.copytree(tmp_path / "run", tmp_path / "kept", symlinks=True)
    shutil.rmtree(checkpoints / "step-00000000")
    (checkpoints / "step-00000001").unlink()
    train(replace(recipe, resume=True, max_checkpoints=1))
    (checkpoints / "step-00000001").symlink_to(outside)
    (checkpoints / "step-00000002").mkdir()
    (checkpoints / "step-00000002/link").symlink_to(outside)
    train(replace(recipe, output_dir=str(tmp_path / "run"), resume=True, max_checkpoints=1, max_steps=4))
    assert untouched(outside)
    assert not (tmp_path / "run/best").is_symlink()


def test_links_in_a_folder_to_be_published(saved, outside, tmp_path):
    folder = save_for_hub(load_model(saved / "gpvit", "image-classification"), tmp_path / "model")
    (folder / "notes.txt").symlink_to(outside / "precious")
    with pytest.raises(ValueError, match=r"notes.txt is a link to .*precious, which would be uploaded"):
        push_folder(folder, "you/model", allow_unevaluated=True)
    (folder / "notes.txt").unlink()
    (folder / "sub").symlink_to(outside)
    (folder / ".hidden").symlink_to(outside / "precious")
    with pytest.raises(PermissionError, match="token"):
        push_folder(folder, "you/model", allow_unevaluated=True)


CODE = """
import pathlib
pathlib.Path({path!r}).write_text("it ran")
from transformers import PreTrainedConfig, PreTrainedModel
class Config(PreTrainedConfig):
    model_type = "gpvit"
class Model(PreTrainedModel):
    config_class = Config
"""


@pytest.mark.parametrize("model_type", ["gpvit", "no_such_type"])
def test_code_in_a_model_folder_is_not_run(model_type, saved, photos, tmp_path, monkeypatch):
    """Nor is anybody asked whether it may be."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    folder = shutil.copytree(saved / "gpvit", tmp_path / "model")
    (folder / "evil.py").write_text(CODE.format(path=str(tmp_path / "proof")))
    names = ("AutoModel", "AutoModelForImageClassification", "AutoImageProcessor")
    auto_map = {"AutoConfig": "evil.Config"} | dict.fromkeys(names, "evil.Model")
    for name in ("config.json", "preprocessor_config.json"):
        fields = json.loads((folder / name).read_text())
        fields |= {"auto_map": auto_map} | ({"model_type": model_type} if name == "config.json" else {})
        (folder / name).write_text(json.dumps(fields))
    if model_type == "gpvit":
        read_config(folder)
        load_model(folder, "image-classification")
        load_image_processor(folder)
        build_model(str(folder), "image-classification", ["blue", "red"])
    else:
        with pytest.raises(ValueError, match=r"config.json of .* can't be used"):
            read_config(folder)
        with pytest.raises(ValueError, match=r"config.json of .* can't be used"):
            predict_pictures(folder, [photos], tmp_path / "out")
        with pytest.raises(ValueError, match="can't be used"):
            build_model(str(folder), "image-classification", ["blue", "red"])
    assert not (tmp_path / "proof").exists()


class Evil:
    def __reduce__(self):
        return os.mkdir, (Evil.path,)


def test_pickles_are_not_run(tmp_path):
    Evil.path = str(tmp_path / "proof")
    for content in (pickle.dumps(Evil()), pickle.dumps({"state_dict": Evil()}, protocol=2)):
        (tmp_path / "official.pth").write_bytes(content)
        with pytest.raises(ValueError, match="official.pth"):
            convert_checkpoint(tmp_path / "official.pth")
    assert not (tmp_path / "proof").exists()


def test_names_of_classes_that_look_like_paths(tmp_path):
    """They stay names."""
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/masks").mkdir()
    for number in range(4):
        Image.new("RGB", (4, 4)).save(tmp_path / f"data/images/{number}.png")
        mask = Image.new("L", (4, 4))
        mask.putpixel((0, 0), 1)
        mask.save(tmp_path / f"data/masks/{number}.png")
    (tmp_path / "data/classes.json").write_text('["../../outside", "/etc/passwd"]')
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    _, names = load_folder(tmp_path / "data")
    assert names == ["../../outside", "/etc/passwd"]
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before


def test_metadata_of_a_folder_of_pictures_leads_nowhere(photos, outside, tmp_path):
    """Files are those in the folders, whatever metadata say."""
    root = shutil.copytree(photos / "classification", tmp_path / "data")
    for name in ("metadata.csv", "train/metadata.csv", "train/red/metadata.csv"):
        (root / name).write_text("file_name,label\n../../outside/precious,red\n/etc/passwd,blue\n")
    splits, _ = load_folder(root)
    paths = [row["path"] for split in splits.values() for row in split.cast_column("image", undecoded())["image"]]
    assert all(path.startswith(str(root)) for path in paths)
    assert len(paths) == 12


def undecoded():
    from datasets import Image as ImageFeature

    return ImageFeature(decode=False)


def test_predictions_stay_in_their_folder(saved, photos, tmp_path, monkeypatch):
    """However the pictures were named."""
    monkeypatch.chdir(tmp_path)
    source = photos / "classification/test/red/9.png"
    (tmp_path / "pictures").mkdir()
    shutil.copy(source, tmp_path / "pictures/a.png")
    shutil.copy(source, tmp_path / "pictures/...png")
    shutil.copy(source, tmp_path / "up.png")
    (tmp_path / "pictures/loop").symlink_to(tmp_path / "pictures")
    paths = ["pictures/../up.png", str(tmp_path / "up.png"), "pictures", "pictures/../pictures/a.png"]
    names = find_pictures(paths).values()
    assert all(".." not in name.split("/") and not name.startswith("/") for name in names)
    predict_pictures(saved / "gpvit", paths, "out")
    assert {path.name for path in tmp_path.iterdir()} <= {"pictures", "up.png", "out", "cache"}
