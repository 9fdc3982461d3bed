# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Broken preprocessor_config.json, metrics.json, recipe.yaml, logs and checkpoints."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

import hf_gpvit_cli
from hf_gpvit.commands import train as train_command
from hf_gpvit.hub import push
from hf_gpvit.saved_models import load_image_processor
from hf_gpvit.training import engine, train


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved / "gpvit", tmp_path / "model")


def one_line(call, *arguments):
    with pytest.raises(SystemExit) as ended:
        call(*arguments)
    assert isinstance(ended.value.code, str)
    assert "\n" not in ended.value.code
    return ended.value.code


def message_of_predicting(folder, photos, output):
    photo = photos / "classification/test/red/9.png"
    return one_line(hf_gpvit_cli.main, ["predict", "--model", str(folder), str(photo), "--output_dir", str(output)])


def edited(path, **changes):
    fields = json.loads(path.read_text())
    for name, value in changes.items():
        if value is None:
            fields.pop(name)
        else:
            fields[name] = value
    path.write_text(json.dumps(fields))


BROKEN_PROCESSORS = [
    {"size": "large"},
    {"size": {"shortest_edge": -3}},
    {"size": {"shortest_edge": "a"}},
    {"size": {"shortest_edge": 10**9}},
    {"size": {"height": 10**30, "width": 3}},
    {"size": {"weight": 3}},
    {"crop_size": {"height": 0, "width": 0}},
    {"crop_size": {"height": 10**8, "width": 10**8}},
    {"image_mean": "grey"},
    {"image_std": [0, 0, 0]},
    {"image_std": [1, 2]},
    {"rescale_factor": "a"},
    {"rescale_factor": float("nan")},
    {"resample": 99},
    {"resample": "cubic"},
    {"image_processor_type": "NoSuchProcessor"},
    {"image_processor_type": 3},
]


@pytest.mark.slow
@pytest.mark.parametrize("changes", BROKEN_PROCESSORS, ids=str)
def test_broken_image_processor(changes, folder, photos, tmp_path):
    edited(folder / "preprocessor_config.json", **changes)
    message = message_of_predicting(folder, photos, tmp_path / "out")
    assert f"The preprocessor_config.json of {folder} can't be used: " in message
    assert not (tmp_path / "out").exists()


BEYOND_REASON = [
    ("image_std", [1e-38] * 3),
    ("image_std", [0.2, 0.0, 0.2]),
    ("image_std", [0.2, -0.2, 0.2]),
    ("image_std", [0.2, float("nan"), 0.2]),
    ("image_std", float("inf")),
    ("image_std", [1e30] * 3),
    ("image_std", ["0.2"] * 3),
    ("image_mean", [1e7, 0, 0]),
    ("image_mean", [10**400, 0, 0]),
    ("rescale_factor", 0),
    ("rescale_factor", 1e-30),
    ("rescale_factor", 1e9),
    ("size", {"height": 5000, "width": 5000}),
    ("size", {"shortest_edge": 5000}),
    ("size", {"shortest_edge": 2048, "longest_edge": 16000}),
    ("size", {"shortest_edge": float("nan")}),
    ("size", {"max_height": 5000, "max_width": 5000}),
    ("crop_size", {"height": 5000, "width": 5000}),
    ("pad_size", {"height": 5000, "width": 5000}),
    ("pad_size", {"height": 8, "width": 10**9}),
]


@pytest.mark.parametrize(("field", "value"), BEYOND_REASON, ids=str)
def test_image_processor_beyond_reason(field, value, folder):
    """Refused with field and value, before any picture is made so."""
    edited(folder / "preprocessor_config.json", **{field: value})
    with pytest.raises(
        ValueError, match=rf"preprocessor_config.json of {folder} can't be used: .*\b{field}\b"
    ) as caught:
        load_image_processor(folder)
    numbers = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    assert any(repr(number) in str(caught.value) or str(number) in str(caught.value) for number in numbers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "meta"},
        {"rescale_factor": 1e6, "image_std": [1e-6] * 3},
        {"image_processor_type": "VivitImageProcessor"},
    ],
    ids=str,
)
def test_image_processor_whose_result_is_of_no_use(changes, folder):
    edited(folder / "preprocessor_config.json", **changes)
    with pytest.raises(ValueError, match=f"preprocessor_config.json of {folder} can't be used: "):
        load_image_processor(folder)


@pytest.mark.parametrize("num_channels", [1, 4])
def test_image_processor_for_other_channels(num_channels, folder, photos, tmp_path):
    """The models of the package have no such image processor, but somebody may have put one beside one."""
    edited(folder / "config.json", num_channels=num_channels)
    message = message_of_predicting(folder, photos, tmp_path / "out")
    assert (
        f"The image processor of {folder} makes 3 channels of a picture, but its model takes {num_channels}" in message
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "\x00"])
def test_image_processor_that_is_no_json(text, folder):
    (folder / "preprocessor_config.json").write_text(text)
    with pytest.raises((OSError, ValueError), match=str(folder)):
        load_image_processor(folder)


def test_no_image_processor(folder, photos, tmp_path):
    (folder / "preprocessor_config.json").unlink()
    message = message_of_predicting(folder, photos, tmp_path / "out")
    assert "preprocessor_config.json" in message


def test_image_processor_without_sizes_has_those_of_its_class(folder):
    edited(folder / "preprocessor_config.json", size=None, crop_size=None, do_center_crop=False)
    pixel_values = load_image_processor(folder)(Image.new("RGB", (8, 8)), return_tensors="pt")["pixel_values"]
    assert pixel_values.shape == (1, 3, 224, 224)


METRICS = ["", "{", "[]", '{"accuracy": "high"}', '{"accuracy": true}', '{"accuracy": 7}', '{"accuracy": {}}']


@pytest.mark.slow
@pytest.mark.parametrize("text", [*METRICS, '{"accuracy": 0.5, "dataset": 3}', "{}"])
def test_push_with_broken_metrics(text, folder, monkeypatch):
    monkeypatch.setattr(push, "_check_token", lambda: None)
    (folder / "metrics.json").write_text(text)
    message = one_line(hf_gpvit_cli.main, ["push", str(folder), "you/model"])
    assert "metrics" in message


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"just text", b"\xff\xfe", b"a: [1", b"a: b: c"])
def test_push_with_a_broken_recipe(content, folder, monkeypatch):
    monkeypatch.setattr(push, "_check_token", lambda: None)
    (folder / "recipe.yaml").write_bytes(content)
    assert "recipe.yaml" in one_line(hf_gpvit_cli.main, ["push", str(folder), "you/model"])


AUTO_MAPS = ["evil.Model", ["evil.Model"], {"AutoModel": 3}, {"AutoModel": ["a", "b"]}, 3]


@pytest.mark.slow
@pytest.mark.parametrize("auto_map", AUTO_MAPS, ids=str)
def test_push_with_a_broken_auto_map(auto_map, folder, monkeypatch):
    monkeypatch.setattr(push, "_check_token", lambda: None)
    edited(folder / "config.json", auto_map=auto_map)
    (folder / "README.md").write_text("a card")
    message = one_line(hf_gpvit_cli.main, ["push", str(folder), "you/model"])
    assert "auto_map" in message or "config.json" in message


# --- what a run goes on from


@pytest.fixture
def stopped(recipe, tmp_path):
    """A run with a checkpoint after step 2 of 4."""
    train(replace(recipe, max_steps=2))
    path = tmp_path / "run/recipe.yaml"
    path.write_text(path.read_text().replace("max_steps: 2", "max_steps: 4"))
    return replace(recipe, resume=True)


def message_of_resuming(recipe, monkeypatch):
    monkeypatch.setattr(train_command, "parse_recipe", lambda *_: recipe)
    return one_line(train_command.train_command, type(recipe), "")


STATES = ("model.safetensors", "optimizer.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl")


@pytest.fixture
def checkpoint(stopped, tmp_path):
    """That of the run, as older versions wrote it: without digests, which would find all damage at once."""
    folder = tmp_path / "run/checkpoints/step-00000002"
    (folder / "manifest.json").unlink()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_a_damaged_file_of_a_checkpoint_is_named(name, stopped, tmp_path, monkeypatch):
    path = tmp_path / "run/checkpoints/step-00000002" / name
    content = path.read_bytes()
    for broken in (b"", content[:-1], content[:-1] + bytes([content[-1] ^ 1]), content + b"0"):
        path.write_bytes(broken)
        assert f"{name} is not as it was written" in message_of_resuming(stopped, monkeypatch)
    path.unlink()
    assert f"{name} is missing" in message_of_resuming(stopped, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_a_damaged_checkpoint(name, stopped, checkpoint, monkeypatch):
    """Named; without it the run begins anew."""
    content = (checkpoint / name).read_bytes()
    for broken in (b"", content[:50], content[: len(content) // 2], b"\x80\x04cos\nsystem\n(S'false'\ntR.", b"{}"):
        (checkpoint / name).write_bytes(broken)
        assert f"The checkpoint {checkpoint} can't be loaded" in message_of_resuming(stopped, monkeypatch)
    (checkpoint / name).unlink()
    assert f"The checkpoint {checkpoint} can't be loaded" in message_of_resuming(stopped, monkeypatch)
    if name == STATES[0]:
        shutil.rmtree(checkpoint)
        assert train(stopped).keys() == {"accuracy"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "state", [{}, [], {"step": "two", "epoch": 0, "num_corrupt": 0, "best": 0.5, "metrics": {}}, {"step": 2}]
)
def test_progress_of_another_kind(state, stopped, checkpoint, monkeypatch):
    torch.save(state, checkpoint / "custom_checkpoint_1.pkl")
    message = message_of_resuming(stopped, monkeypatch)
    assert "step-00000002 can't be loaded" in message


@pytest.mark.slow
@pytest.mark.parametrize("state", [{}, {"torch_manual_seed": torch.zeros(8, dtype=torch.uint8)}])
def test_random_numbers_of_another_kind(state, stopped, checkpoint, monkeypatch):
    """Accelerate would go on with others."""
    torch.save(state, checkpoint / "random_states_0.pkl")
    assert "step-00000002 can't be loaded" in message_of_resuming(stopped, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("line", [b"{", b"null", b"[1]", b'{"loss": 1}', b'{"step": "1"}', b"\xff", b""])
def test_a_broken_log(line, stopped, tmp_path, monkeypatch):
    log = tmp_path / "run/log.jsonl"
    log.write_bytes(log.read_bytes() + line + b"\n")
    assert f"{log}, line 4 is no record" in message_of_resuming(stopped, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds a run with"),
        (b"[", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"- 1", "must hold a mapping"),
        (b"batch_size: many", "batch_size"),
        (b"dataset: a", "holds a run with"),
        (b"1: 2", "is no recipe to go on with"),
        (b"no_such_field: 2", "no_such_field"),
        (b"batch_size: {a: 3}", "batch_size"),
        (b"base: recipe.yaml", "is its own base"),
    ],
)
def test_a_broken_recipe(text, message, stopped, tmp_path, monkeypatch):
    path = tmp_path / "run/recipe.yaml"
    path.write_bytes(text)
    said = message_of_resuming(stopped, monkeypatch)
    assert str(path if "holds" not in message else path.parent) in said
    assert message in said


@pytest.mark.slow
def test_a_recipe_cut_short_is_another_recipe(stopped, tmp_path, monkeypatch):
    path = tmp_path / "run/recipe.yaml"
    lines = path.read_text().splitlines()
    lines = lines[: lines.index("image_size: 32") + 1]  # the rest are defaults
    for count in range(3, len(lines), 9):
        path.write_text("\n".join(lines[:count]))
        said = message_of_resuming(stopped, monkeypatch)
        assert "run" in said


@pytest.mark.slow
def test_a_run_goes_on_from_the_former_checkpoint_where_the_newest_is_removed(recipe, tmp_path, monkeypatch):
    train(replace(recipe, max_steps=4))
    newest = tmp_path / "run/checkpoints/step-00000004"
    whole = (tmp_path / "run/last/model.safetensors").read_bytes()
    (newest / "optimizer.bin").write_bytes(b"")
    message_of_resuming(replace(recipe, resume=True), monkeypatch)
    shutil.rmtree(newest)
    monkeypatch.setattr(engine, "push_best", lambda *_: None)
    train(replace(recipe, resume=True))
    assert (tmp_path / "run/last/model.safetensors").read_bytes() == whole
