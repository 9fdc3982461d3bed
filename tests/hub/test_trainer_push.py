# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What save_pretrained writes and transformers' Trainer pushes loads where this package is not installed."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments

from elsewhere import without
from fake_hub import hub_environment, running_hub
from families import GPVIT
from hf_gpvit import GPViTConfig
from hf_gpvit.data import image_processor_for


ROOT = Path(__file__).parents[2]

# Classifies a picture as somebody without the package does, and saves the weights that were loaded.
CLASSIFY = (
    without("hf_gpvit")
    + """
import torch, transformers
name, picture, weights = sys.argv[1:]
run = transformers.pipeline("image-classification", model=name, trust_remote_code=True)
assert type(run.model).__module__.startswith("transformers_modules.")
assert run(picture)[0]["label"] in run.model.config.id2label.values()
transformers.AutoModel.from_pretrained(name, trust_remote_code=True)
torch.save(run.model.state_dict(), weights)
"""
)


def code_of(family):
    return {f"configuration_{family.name}.py", f"modeling_{family.name}.py", "modeling_base.py", "layers.py"}


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def auto_map(folder):
    return json.loads((folder / "config.json").read_text()).get("auto_map", {})


def assert_loads_elsewhere(name, model, folder, environment=os.environ):
    Image.new("RGB", (40, 30), "tan").save(folder / "photo.png")
    environment = environment | {"HF_MODULES_CACHE": str(folder / "modules")}
    command = [sys.executable, "-c", CLASSIFY, name, folder / "photo.png", folder / "weights.pt"]
    result = subprocess.run(list(map(str, command)), env=environment, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    loaded, expected = torch.load(folder / "weights.pt"), model.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in expected.items())


def test_a_saved_model_has_its_code(family, tmp_path):
    model = family.classifier_class(family.config())
    before = model.config.to_dict()
    model.save_pretrained(tmp_path / "model")
    assert code_of(family) <= names_in(tmp_path / "model")
    assert auto_map(tmp_path / "model").keys() > {"AutoConfig", "AutoModel", "AutoModelForImageClassification"}
    assert model.config.to_dict().get("auto_map") == before.get("auto_map")


def test_code_of_another_repository_is_not_named_any_more(tmp_path):
    """A config from the Hub says where its code is; the fine-tuned model brings its own."""
    config = GPVIT.config()
    config.auto_map = {"AutoModel": "you/old--modeling_gpvit.GPViTModel"}
    GPVIT.classifier_class(config).save_pretrained(tmp_path)
    assert not any("--" in name for name in auto_map(tmp_path).values())
    assert config.auto_map == {"AutoModel": "you/old--modeling_gpvit.GPViTModel"}


def test_derived_classes_are_saved_without_code(tmp_path):
    """Theirs is elsewhere."""

    class OwnConfig(GPViTConfig):
        model_type = "own"

    OwnConfig().save_pretrained(tmp_path)
    assert names_in(tmp_path) == {"config.json"}
    assert auto_map(tmp_path) == {}


def trainer_of(model, folder, **arguments):
    options = {"output_dir": str(folder), "report_to": "none", "use_cpu": True, "save_strategy": "no"}
    return Trainer(model, TrainingArguments(**options | arguments), processing_class=image_processor_for(model))


@pytest.mark.slow
def test_what_the_trainer_saves_loads_elsewhere(tmp_path):
    model = GPVIT.classifier_class(GPVIT.config()).eval()
    trainer_of(model, tmp_path / "model").save_model()
    assert_loads_elsewhere("model", model, tmp_path)
    AutoModelForImageClassification.from_pretrained(tmp_path / "model")  # asks nothing where the package is


@pytest.mark.slow
def test_what_the_script_pushes_loads_elsewhere(tmp_path):
    for split in ("train", "test"):
        for color in ("red", "green"):
            (tmp_path / "photos" / split / color).mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (40, 30 + index), color).save(tmp_path / "photos" / split / color / f"{index}.png")
    options = "--dataset photos --image_size 32 --output_dir run --max_steps 2 --per_device_train_batch_size 2"
    options += " --report_to none --use_cpu --push_to_hub --hub_model_id you/trained --save_steps 1"
    with running_hub() as hub:
        environment = hub_environment(hub, tmp_path)
        command = [sys.executable, ROOT / "scripts/finetune_with_trainer.py", *options.split()]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        for commit in hub.repos["you/trained"].branches["main"][1:]:
            assert {"config.json", "modeling_gpvit.py", "preprocessor_config.json"} <= commit.files.keys()
        assert "eval_results.json" in commit.files
        model = AutoModelForImageClassification.from_pretrained(tmp_path / "run")
        assert_loads_elsewhere("you/trained", model, tmp_path, environment)


# ---- permissions


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_weights_are_as_readable_as_their_neighbours(mask, tmp_path):
    former = os.umask(mask)
    try:
        model = GPVIT.classifier_class(GPVIT.config())
        model.save_pretrained(tmp_path / "one")
        model.save_pretrained(tmp_path / "several", max_shard_size="100KB")
    finally:
        os.umask(former)
    files = [*(tmp_path / "one").iterdir(), *(tmp_path / "several").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~mask}
