# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""model.safetensors that is broken: our commands end with one line that names it, and no weight is a random one."""

import json
import random
import shutil
import struct

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, pipeline

import hf_gpvit_cli
from hf_gpvit.training import build_model


COMMANDS = ("predict", "evaluate", "push")
# Where the file is cut off, as a part of it.
CUTS = (0.0, 1e-9, 0.01, 0.3, 0.999)


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved / "gpvit", tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def run(photos, tmp_path):
    """A command on the model in a folder."""

    def command(name, folder):
        photo = photos / "classification/test/red/9.png"
        arguments = {
            "predict": ["--model", folder, photo, "--output_dir", tmp_path / "predictions"],
            "evaluate": ["--model", folder, "--dataset", photos / "classification"],
            "push": [folder, "you/model"],
        }
        hf_gpvit_cli.main([name, *map(str, arguments[name])])

    return command


def message_of(run, name, folder):
    """The one line that a command ends with, which names the folder."""
    with pytest.raises(SystemExit) as ended:
        run(name, folder)
    message = ended.value.code
    assert isinstance(message, str), "the command ended well"
    assert "\n" not in message
    assert str(folder) in message
    return message


def change(folder, edit):
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def header_of(folder):
    with (folder / "model.safetensors").open("rb") as file:
        return 8 + struct.unpack("<Q", file.read(8))[0]


def cut(folder, part):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part + (part > 0))])


def flip(folder, bit):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def lose(weights):
    del weights["gpvit.layers.0.mlp_norm.weight"]


def reshape(weights):
    weights["gpvit.norm.weight"] = torch.ones(25)


def make_integers(weights):
    weights["gpvit.norm.weight"] = torch.ones(24, dtype=torch.int32)


def make_nan(weights):
    weights["gpvit.norm.weight"][3] = torch.nan


def make_infinite(weights):
    weights["classifier.bias"][1] = -torch.inf


EDITS = {
    "missing": (lose, "gpvit.layers.0.mlp_norm.weight"),
    "shape": (reshape, r"gpvit.norm.weight must be of shape [24], and is of shape [25]"),
    "integers": (make_integers, r"gpvit.norm.weight must be of shape [24], and is of shape [24] and of integers"),
    "nan": (make_nan, "gpvit.norm.weight has numbers that are not finite"),
    "infinite": (make_infinite, "classifier.bias has numbers that are not finite"),
    "all missing": (dict.clear, "are missing"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_on_damaged_weights(name, run, folder):
    whole = (folder / "model.safetensors").read_bytes()
    for part in CUTS:
        cut(folder, part)
        assert "model.safetensors is broken" in message_of(run, name, folder)
        (folder / "model.safetensors").write_bytes(whole)
    for edit, expected in EDITS.values():
        change(folder, edit)
        assert expected in message_of(run, name, folder)
        (folder / "model.safetensors").write_bytes(whole)
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in message_of(run, name, folder)


def outcome(run, name, folder):
    try:
        run(name, folder)
    except SystemExit as ended:
        assert ended.code in (0, None) or (isinstance(ended.code, str) and "\n" not in ended.code), ended.code
        return "refused" if ended.code else "loaded"
    return "loaded"


@pytest.mark.slow
def test_every_kind_of_flipped_bit_in_the_header(run, folder):
    """Refused with one line, unless the bit makes no difference to the weights: spaces and metadata."""
    whole = (folder / "model.safetensors").read_bytes()
    size, chance = header_of(folder), random.Random(0)
    before = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    bits = [*range(64), *chance.sample(range(64, 8 * size), 300)]
    outcomes = []
    for bit in bits:
        flip(folder, bit)
        outcomes.append(outcome(run, "predict", folder))
        if outcomes[-1] == "loaded":
            after = load_file(folder / "model.safetensors")
            assert before.keys() <= after.keys()
            # the offsets of two weights of one shape could be exchanged, by many bits but not by one
            assert all(torch.equal(value, after[name]) for name, value in before.items())
        (folder / "model.safetensors").write_bytes(whole)
    assert outcomes.count("refused") > 0.9 * len(bits)


def test_flipped_bits_in_the_data_are_not_found(folder, run):
    """safetensors has no checksum: only numbers that are no longer finite are."""
    whole = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    flip(folder, 8 * header_of(folder) + 3)
    changed = load_file(folder / "model.safetensors")
    assert sum(not torch.equal(value, changed[name]) for name, value in whole.items()) == 1
    assert outcome(run, "predict", folder) == "loaded"


def test_weights_that_the_model_does_not_have_are_left_out(run, folder):
    change(folder, lambda weights: weights.update(more=torch.ones(3)))
    assert outcome(run, "predict", folder) == "loaded"


def test_damaged_shards(run, folder):
    model = AutoModelForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    index = folder / "model.safetensors.index.json"
    whole = index.read_text()
    assert outcome(run, "predict", folder) == "loaded"
    weight_map = json.loads(whole)["weight_map"]
    name, shard = next(iter(weight_map.items()))
    for text in ("{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../a"}}'):
        index.write_text(text)
        assert "model.safetensors.index.json" in message_of(run, "predict", folder)
    index.write_text(whole)
    content = (folder / shard).read_bytes()
    (folder / shard).write_bytes(content[:1000])
    assert f"{shard} is broken" in message_of(run, "predict", folder)
    (folder / shard).unlink()
    assert shard in message_of(run, "predict", folder)


def test_what_transformers_makes_of_them(folder, caplog):
    """Its own classes: an error, or a warning that names the weights that start anew."""
    whole = (folder / "model.safetensors").read_bytes()
    for part in CUTS:
        cut(folder, part)
        with pytest.raises((SafetensorError, OSError)):
            pipeline("image-classification", model=str(folder))
    (folder / "model.safetensors").write_bytes(whole)
    change(folder, reshape)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(whole)
    change(folder, lose)
    _, loading = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert loading["missing_keys"] == {"gpvit.layers.0.mlp_norm.weight"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: cut(folder, 0.5), "weights of .*can't be used"),
        (lambda folder: change(folder, lose), "are not all there: 1 are missing, such as gpvit.layers.0.mlp_norm"),
        (lambda folder: change(folder, reshape), "gpvit.norm.weight"),
        (lambda folder: change(folder, make_nan), "gpvit.norm.weight has numbers that are not finite"),
    ],
)
def test_training_does_not_begin_with_them(damage, message, folder):
    damage(folder)
    with pytest.raises(ValueError, match=message):
        build_model(str(folder), "image-classification", ["blue", "red"])


def test_a_head_of_its_own_is_no_damage(folder):
    change(folder, lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("classifier.")])
    build_model(str(folder), "image-classification", ["blue", "red"])
    build_model(str(folder), "semantic-segmentation", ["blue", "red"])
