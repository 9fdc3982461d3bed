# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Official-style checkpoints, inputs and the numbers that the official code gave for them.

`tests/fixtures` holds what the default tests need. The environment variable HF_GPVIT_PARITY names a folder with all
figures, every array in full and the other variants' names; tests that want those are skipped without it.
"""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch


FIXTURES = Path(__file__).parents[1] / "fixtures"
REFERENCES = Path(os.environ.get("HF_GPVIT_PARITY", FIXTURES))

# The official code in float32 is within 2e-6 (logits) and 6e-6 (features) of itself in float64.
LOGITS = {"atol": 2e-5, "rtol": 1e-4}
FEATURES = {"atol": 3e-5, "rtol": 1e-4}

needs_references = pytest.mark.skipif(
    REFERENCES == FIXTURES or not REFERENCES.is_dir(),
    reason="HF_GPVIT_PARITY names no folder with the full reference figures",
)


def fixture(name: str) -> Path:
    """Path of a reference file, from the clone or from the folder with all of them."""
    return FIXTURES / name if (FIXTURES / name).exists() else REFERENCES / name


def arrays(name: str) -> dict[str, torch.Tensor]:
    """The arrays of a reference file as tensors."""
    with np.load(fixture(name)) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def checkpoint(name: str) -> dict[str, torch.Tensor]:
    """The official state dict listed in the reference file `name`, with the values of the reference run."""
    entries = json.loads(fixture(name).read_text())
    return {entry: _value(entry, tuple(shape)) for entry, shape, _ in entries}


def hrvit_checkpoint(variant: str, head: str | None = None, num_labels: int = 19) -> dict[str, torch.Tensor]:
    """As `checkpoint`, for an HRViT classifier or, with "segformer" or "upernet" for `head`, a segmentor."""
    parts = json.loads(fixture(f"hrvit/{variant}_statedict.json").read_text())
    classifier = {entry: tuple(shape) for entry, shape, *_ in parts["classifier"]}
    if head is None:
        return {entry: _value(entry, shape) for entry, shape in classifier.items()}
    # the trunk's values are those of the classifier, whose entries have no prefix
    trunk = {f"backbone.{name}": _value(name, shape) for name, shape in classifier.items() if "head." not in name}
    heads = parts[f"decode_head_{head}_19"] + (parts["auxiliary_head_fcn_19"] if head == "upernet" else [])
    shapes = {name: [num_labels, *shape[1:]] if "conv_seg" in name else shape for name, shape, *_ in heads}
    return trunk | {name: _value(name, tuple(shape)) for name, shape in shapes.items()}


def detector(kind: str) -> dict[str, torch.Tensor]:
    """The official state dict of a detector on GPViT-L1, "maskrcnn" or "retinanet", with such values."""
    backbone = checkpoint("detection/gpvit_l1_adapter_statedict.json")
    if kind == "retinanet":  # has no map at stride 4
        finest = ("backbone.spm.fc1.", "backbone.up.", "backbone.ad_norm1.")
        backbone = {name: value for name, value in backbone.items() if not name.startswith(finest)}
    return backbone | checkpoint(f"detection/gpvit_l1_{kind}_heads_statedict.json")


def detection_figures(name: str) -> dict[str, torch.Tensor]:
    """The arrays of a reference file of detectors on GPViT-L1, such as "adapter_128x192": in full, or thinned."""
    file = REFERENCES / f"detection/gpvit_l1_{name}.npz"
    if file.exists():
        return arrays(f"detection/gpvit_l1_{name}.npz")
    prefix = f"{name}/"
    thinned = arrays("detection/gpvit_l1.npz")
    return {key.removeprefix(prefix): value for key, value in thinned.items() if key.startswith(prefix)}


def worst_difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Of a tensor from its reference, which may be thinned: every 37th value."""
    flat = actual.detach().flatten()
    flat = flat if expected.numel() == flat.numel() else flat[::37]
    return (flat - expected.flatten()).abs().max().item()


def image(batch: int, height: int, width: int) -> torch.Tensor:
    """The white noise that the reference figures belong to."""
    return torch.from_numpy(np.random.RandomState(0).randn(batch, 3, height, width).astype(np.float32))


def piecewise_image(batch: int, height: int, width: int) -> torch.Tensor:
    """Cells of 16 pixels of one colour: logits depend on it far more than on white noise."""
    grid = np.random.RandomState(1).randn(batch, 3, -(-height // 16), -(-width // 16))
    cells = np.kron(grid, np.ones((1, 1, 16, 16)))[:, :, :height, :width]
    return torch.from_numpy(cells.astype(np.float32))


def _value(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The value of an entry, drawn from a generator that its name seeds."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        value = 0.5 + random.rand(*shape)
    elif name.endswith("running_mean"):
        value = 0.1 * random.randn(*shape)
    elif name.endswith(("pos_embed", "group_token", "gamma", "level_embed")):
        value = 0.5 * random.randn(*shape)
    elif len(shape) == 1:
        value = 1 + 0.1 * random.randn(*shape) if name.endswith(".weight") else 0.05 * random.randn(*shape)
    else:
        value = random.randn(*shape) / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(value, dtype=np.float32))
