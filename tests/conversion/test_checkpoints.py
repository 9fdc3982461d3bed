# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What toolkits put into checkpoint files is taken, left out or refused by name, and never run."""

import collections
import logging
import sys
import types

import numpy as np
import pytest
import torch

from hf_gpvit.conversion.checkpoints import read_state_dict


NAMES = ("backbone.pos_embed", "head.fc.weight")
PLAIN = {name: torch.full((2,), 1.0) for name in NAMES}
AVERAGED = {name: torch.full((2,), 2.0) for name in NAMES}


def values(state_dict):
    return {name: value[0].item() for name, value in state_dict.items()}


def with_prefix(prefix, state_dict):
    return {prefix + name: value for name, value in state_dict.items()}


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        collections.OrderedDict(PLAIN),
        {"state_dict": PLAIN, "meta": {"epoch": 3, "CLASSES": ("a", "b"), "config": "model = dict()"}},
        {"model": PLAIN, "epoch": 3},
        {"state_dict": with_prefix("module.", PLAIN)},
        with_prefix("module.module.", PLAIN),
        {"state_dict": PLAIN, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []}},
        {"state_dict": PLAIN, "message_hub": {"loss": np.float64(0.5), "step": np.int64(7), "best": np.float32(1)}},
        {"state_dict": PLAIN, "param_schedulers": [{"last_step": 3, "_last_lr": [1e-3]}]},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_among_other_things(content, zipped, tmp_path, caplog):
    torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=zipped)
    assert values(read_state_dict(tmp_path / "file.pth")) == dict.fromkeys(NAMES, 1.0)
    assert not caplog.records


def test_scalars_of_older_numpy(tmp_path):
    """numpy 1 wrote another name of the same function. Only the older format has no checksum of it."""
    path = tmp_path / "file.pth"
    torch.save({"state_dict": PLAIN, "loss": np.float64(0.5)}, path, _use_new_zipfile_serialization=False)
    renamed = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(renamed)
    assert b"numpy.core.multiarray" in renamed
    assert values(read_state_dict(path)) == dict.fromkeys(NAMES, 1.0)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": PLAIN, "ema_state_dict": with_prefix("module.", AVERAGED) | {"steps": torch.tensor(9)}},
        {"state_dict": PLAIN, "state_dict_ema": AVERAGED},
        {"model": with_prefix("module.", PLAIN), "model_ema": AVERAGED},
        {"state_dict": PLAIN | {f"ema_{name.replace('.', '_')}": value for name, value in AVERAGED.items()}},
        {"state_dict": with_prefix("module.", PLAIN | with_prefix("ema_", AVERAGED))},
    ],
)
def test_averaged_weights(content, caplog):
    with caplog.at_level(logging.WARNING):
        assert values(read_state_dict(content)) == dict.fromkeys(NAMES, 1.0)
    assert "--ema" in caplog.text
    caplog.clear()
    assert values(read_state_dict(content, ema=True)) == dict.fromkeys(NAMES, 2.0)
    assert not caplog.records


def test_what_has_no_average_is_of_the_plain_weights():
    content = {"state_dict": PLAIN | {"ema_head_fc_weight": AVERAGED["head.fc.weight"]}}
    assert values(read_state_dict(content, ema=True)) == {"backbone.pos_embed": 1.0, "head.fc.weight": 2.0}


def test_an_average_of_nothing_is_not_hidden():
    assert "ema_other" in read_state_dict(PLAIN | {"ema_other": torch.zeros(1)})


def test_averaged_weights_that_are_not_there():
    with pytest.raises(ValueError, match="holds no averaged weights.*ema_state_dict"):
        read_state_dict({"state_dict": PLAIN}, ema=True)


@pytest.mark.parametrize("content", [{"state_dict": PLAIN | {"loss": np.float64(1)}}, [PLAIN], {"meta": {}}, 3])
def test_what_is_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ValueError, match="neither a dict of names and floating-point tensors"):
        read_state_dict(tmp_path / "file.pth")


def test_types_of_toolkits_are_refused_by_name(tmp_path, monkeypatch):
    module = types.ModuleType("toolkit.logging")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": "toolkit.logging"})
    monkeypatch.setitem(sys.modules, "toolkit", types.ModuleType("toolkit"))
    monkeypatch.setitem(sys.modules, "toolkit.logging", module)
    torch.save({"state_dict": PLAIN, "message_hub": module.HistoryBuffer()}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"file.pth holds more.*It names toolkit\.logging\.HistoryBuffer") as raised:
        read_state_dict(tmp_path / "file.pth")
    assert "\n" not in str(raised.value)
