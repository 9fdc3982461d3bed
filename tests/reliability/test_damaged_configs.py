# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""config.json with any field missing, of another type, negative or huge: a model, or an error that names the field."""

import json
import shutil
from dataclasses import fields

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import StrictDataclassError

import hf_gpvit_cli
from families import FAMILIES
from hf_gpvit import saved_models
from hf_gpvit.saved_models import AUTO_CLASSES, load_image_processor, load_model, read_config


DROPPED = object()
VALUES = {
    "dropped": DROPPED,
    "null": None,
    "string": "many",
    "empty string": "",
    "list": [1, 2, 3],
    "empty list": [],
    "nested list": [[1], ["a"]],
    "object": {"a": 1},
    "true": True,
    "zero": 0,
    "negative": -1,
    "negative list": [-1, -1],
    "fraction": 0.5,
    "huge": 10**9,
    "larger than 64 bits": 10**30,
    "huge list": [10**9] * 4,
    "huge fraction": 1e308,
    "infinite": float("inf"),
    "nan": float("nan"),
}
QUICK = ("dropped", "null", "string", "list", "negative", "huge", "infinite")
# Neither decides anything here.
FREE = {"transformers_version", "model_type", "architectures", "return_dict"}
# What an error may name instead: `out_features` of the file contradict the stages that the field makes.
RELATED = dict.fromkeys(("out_features", "out_indices"), "out_") | dict.fromkeys(
    ("num_hidden_layers", "hidden_sizes"), "out_features must be a subset"
)


def written(family) -> dict:
    return json.loads(family.config(num_labels=2, id2label={0: "blue", 1: "red"}).to_json_string(use_diff=False))


def names_of(family) -> list[str]:
    """All fields of the config, those of transformers too, as they are written."""
    own = {field.name.lstrip("_") for field in fields(family.config_class)}
    return sorted(
        (own | {"num_labels", "torch_dtype", "stage_names", "attn_implementation"} | set(written(family))) - FREE
    )


FIELDS = [(family, name) for family in FAMILIES for name in names_of(family)]


def damaged(family, name, value) -> dict:
    record = written(family)
    if value is DROPPED:
        record.pop(name, None)
    else:
        record[name] = value
    if name == "num_labels":
        record.pop("id2label")
        record.pop("label2id", None)
    return record


@pytest.mark.parametrize(("family", "name"), FIELDS, ids=[f"{family.name}-{name}" for family, name in FIELDS])
def test_every_field(family, name):
    for kind in QUICK:
        record = damaged(family, name, VALUES[kind])
        try:
            config = family.config_class.from_dict(record)
        except (ValueError, StrictDataclassError) as error:
            assert name in str(error) or RELATED.get(name, name) in str(error), (kind, error)
            continue
        assert len(config.stage_names) < 100, kind
        assert len(config.id2label) <= 2**20, kind


@pytest.mark.slow
@pytest.mark.parametrize(("family", "name"), FIELDS, ids=[f"{family.name}-{name}" for family, name in FIELDS])
def test_what_is_taken_works(family, name):
    for kind, value in VALUES.items():
        try:
            config = family.config_class.from_dict(damaged(family, name, value))
        except (ValueError, StrictDataclassError) as error:
            assert name in str(error) or RELATED.get(name, name) in str(error), (kind, error)
            continue
        try:
            models = [cls(config).eval() for cls in (family.model_class, family.segmentor_class)]
            with torch.no_grad():
                for model in models:
                    model(torch.randn(1, config.num_channels, 40, 48), return_dict=True)
        except ValueError as error:
            assert name in str(error), (kind, error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a valid JSON file"),
        ("{", "not a valid JSON file"),
        ("\x00\x01", "not a valid JSON file"),
        ("[]", "config.json"),
        ("3", "config.json"),
        ("null", "config.json"),
        ("{}", "model_type"),
        ('{"model_type": "resnext9"}', "resnext9"),
        ('{"model_type": 3}', "config.json"),
        ('{"model_type": "gpvit"}', "architectures"),
        ('{"model_type": "gpvit", "architectures": 3}', "architectures"),
        (
            '{"model_type": "gpvit", "architectures": ["GPViTForImageClassification"], "hidden_size": "a"}',
            "hidden_size",
        ),
        ('{"model_type": "gpvit", "architectures": ["GPViTForImageClassification"], "num_labels": 1e9}', "num_labels"),
        ('{"model_type": "hrvit", "architectures": ["GPViTForImageClassification"]}', "weights"),
    ],
)
def test_commands_on_a_broken_config(text, message, saved, photos, tmp_path):
    folder = shutil.copytree(saved / "gpvit", tmp_path / "model")
    (folder / "config.json").write_text(text)
    with pytest.raises(SystemExit) as ended:
        pictures = str(photos / "classification")
        hf_gpvit_cli.main(["predict", "--model", str(folder), pictures, "--output_dir", str(tmp_path / "out")])
    assert isinstance(ended.value.code, str)
    assert "\n" not in ended.value.code
    assert str(folder) in ended.value.code
    assert message in ended.value.code


def test_a_config_that_is_not_utf_8(saved, tmp_path):
    folder = shutil.copytree(saved / "gpvit", tmp_path / "model")
    (folder / "config.json").write_bytes(b'{"model_type": "\xff\xfe"}')
    with pytest.raises(OSError, match="not a valid JSON"):
        read_config(folder)


def test_fields_that_are_unknown_are_kept(family):
    assert family.config_class.from_dict(written(family) | {"of_tomorrow": [1]}).of_tomorrow == [1]


@pytest.mark.parametrize(
    ("load", "auto_class", "part"),
    [
        (read_config, "AutoConfig", "config.json"),
        (load_image_processor, "AutoImageProcessor", "preprocessor_config.json"),
        (lambda name: load_model(name, "image-classification"), None, "weights"),
    ],
)
@pytest.mark.parametrize(
    "error", [OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, json.JSONDecodeError]
)
def test_what_a_hub_gives_ends_in_one_line(load, auto_class, part, error, monkeypatch):
    """One that names model and Hub, however much is answered."""

    def fail(*args, **kwargs):
        page = "<html>\x1b]0;x\x07\n" + "log in " * 9999
        raise error(page, page, 0) if error is json.JSONDecodeError else error(page)

    cls = getattr(saved_models, auto_class) if auto_class else AUTO_CLASSES["image-classification"]
    monkeypatch.setattr(cls, "from_pretrained", fail)
    with pytest.raises((OSError, ValueError)) as raised:
        load("you/model")
    told = str(raised.value)
    assert told.startswith(f"The {part} of you/model ({constants.ENDPOINT}) can't be ")
    assert told.isprintable()
    assert len(told) < 1200
