# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are not as they were written are named, and so is an older one that is."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from hf_gpvit.training import manifest, train
from hf_gpvit.training.checkpoints import check_newest
from hf_gpvit.training.manifest import check_manifest, write_manifest


FILES = ["custom_checkpoint_0.pkl", "custom_checkpoint_1.pkl", "data.json", "model.safetensors", "optimizer.bin"]


@pytest.fixture(scope="module")
def finished(models, photos, tmp_path_factory):
    """A run of four steps, with a checkpoint after each."""
    from short_runs import short_run

    output_dir = tmp_path_factory.mktemp("finished") / "run"
    recipe = short_run(
        models / "gpvit", photos, output_dir, max_steps=4, eval_steps=2, save_steps=1, max_checkpoints=4
    )
    train(recipe)
    return recipe


@pytest.fixture
def run(finished, tmp_path):
    """A copy of its folder, and the recipe to go on with."""
    shutil.copytree(finished.output_dir, tmp_path / "run")
    return replace(finished, output_dir=str(tmp_path / "run"), resume=True)


def step(run, number: int) -> Path:
    return Path(run.output_dir) / f"checkpoints/step-{number:08d}"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 0x20
    path.write_bytes(content)


def test_every_file_is_in_the_manifest(run):
    noted = json.loads((step(run, 4) / "manifest.json").read_text())["sha256"]
    names = {path.name for path in step(run, 4).iterdir()}
    assert noted.keys() | {"manifest.json"} == names
    assert {*FILES, "recipe.yaml", "random_states_0.pkl"} <= noted.keys()


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit(run, name):
    flip(step(run, 4) / name)
    with pytest.raises(ValueError, match=rf"step-00000004 can't .*{name} is not as it was .*step-00000003 is whole"):
        train(run)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "optimizer.bin").unlink(), "optimizer.bin is missing"),
        (lambda folder: (folder / "optimizer.bin").write_bytes(b""), "optimizer.bin is not as it was written"),
        (lambda folder: (folder / "model-2.safetensors").write_bytes(b""), "model-2.safetensors is not one of its"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is no JSON"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "must hold a JSON object"),
        (lambda folder: (folder / "manifest.json").write_text('{"sha256": 3}'), "must have an entry sha256"),
        (lambda folder: (folder / "manifest.json").write_text('{"sha256": {}}'), "is not one of its files"),
    ],
)
def test_other_damage(run, damage, message):
    damage(step(run, 4))
    with pytest.raises(ValueError, match=message):
        check_newest(step(run, 4).parent)


def test_the_newest_sound_one_is_named(run):
    flip(step(run, 4) / "model.safetensors")
    flip(step(run, 3) / "optimizer.bin")
    spoil(step(run, 2))
    with pytest.raises(ValueError, match="step-00000001 is whole: remove what is newer"):
        train(run)
    flip(step(run, 1) / "optimizer.bin")
    with pytest.raises(ValueError, match="No older one is whole: remove .*checkpoints, and the run begins anew"):
        train(run)


def test_the_advice_works(run, finished):
    flip(step(run, 4) / "model.safetensors")
    with pytest.raises(ValueError, match="step-00000003 is whole"):
        train(run)
    shutil.rmtree(step(run, 4))
    train(run)
    for folder in ("best", "last"):
        weights, expected = (load_file(Path(of.output_dir) / folder / "model.safetensors") for of in (run, finished))
        assert all(weights[name].equal(expected[name]) for name in expected)


def test_checkpoints_of_older_versions_have_no_manifest(run, monkeypatch, caplog):
    monkeypatch.setattr(manifest.logger, "propagate", True)
    for name in ("manifest.json", "data.json", "recipe.yaml"):
        (step(run, 4) / name).unlink()
    assert train(run).keys() == {"accuracy"}
    assert "step-00000004 has no manifest.json" in caplog.text


def test_what_a_file_manager_leaves_is_no_damage(tmp_path):
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested/part.bin").write_bytes(b"1")
    write_manifest(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"2")
    check_manifest(tmp_path)
    (tmp_path / "nested/part.bin").write_bytes(b"2")
    with pytest.raises(ValueError, match="nested/part.bin is not as it was written"):
        check_manifest(tmp_path)


def spoil(folder: Path, name: str = "gpvit.layers.0.mlp.fc1.weight") -> None:
    """A NaN among the weights, with a manifest that says so, as if it had been written with it."""
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[1] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "manifest.json").unlink()
    write_manifest(folder)


def test_a_checkpoint_with_nan_is_not_gone_on_from(run):
    spoil(step(run, 4))
    spoil(step(run, 3))
    best = (Path(run.output_dir) / "best/model.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"step-00000004 .*\(gpvit.layers.0.mlp.fc1.weight has .*step-00000002 is wh"):
        train(run)
    assert (Path(run.output_dir) / "best/model.safetensors").read_bytes() == best
