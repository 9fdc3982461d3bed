# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Keys of variants go where presets go."""

import pytest
import torch

from colored_photos import draw_photos
from hf_gpvit.ablations.variants import VARIANTS
from hf_gpvit.saved_models import class_and_config, is_preset, load_model, preset_config, presets
from hf_gpvit.training import train
from hf_gpvit.training.building import build_model
from short_runs import fresh_accelerator, short_run  # noqa: F401


def test_they_are_no_presets_of_the_papers_models():
    assert not set(VARIANTS) & set(presets()) - {"hrvit-b1", "hrvit-b2"}
    assert all(map(is_preset, [*VARIANTS, *presets()]))
    assert not is_preset("l1-windows-none")


@pytest.mark.parametrize("key", ["gpvit-nano-window-shift", "hrvit-nano-without-des"])
def test_a_model_for_a_dataset(key):
    model = build_model(key, "semantic-segmentation", ["sky", "road"], image_size=64, drop_path_rate=0.25)
    assert type(model.config) is type(preset_config(key))
    assert (model.config.num_labels, model.config.image_size, model.config.drop_path_rate) == (2, 64, 0.25)
    assert model(torch.randn(1, 3, 64, 64)).logits.shape[1] == 2
    with pytest.raises(ValueError, match="has no 'stripes'"):
        build_model(key, "semantic-segmentation", ["sky", "road"], stripes=3)


def test_a_run(tmp_path):
    draw_photos(tmp_path)
    train(short_run("gpvit-nano-window-conv", tmp_path, tmp_path / "run", max_steps=2, eval_steps=2, logging_steps=1))
    model_class, config = class_and_config(tmp_path / "run/best")
    assert model_class.__name__ == "GPViTAblationForImageClassification"
    assert config.layer_types == VARIANTS["gpvit-nano-window-conv"].fields["layer_types"]
    assert torch.isfinite(
        load_model(tmp_path / "run/best", "image-classification")(torch.zeros(1, 3, 40, 56)).logits
    ).all()
