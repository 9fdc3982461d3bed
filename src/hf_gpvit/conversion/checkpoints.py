# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What is in a checkpoint file, read without running anything of it."""

import pickle
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging


logger = logging.get_logger(__name__)

# What toolkits put the weights under, and a second copy of them that was averaged over training.
_WEIGHTS = ("state_dict", "model")
_AVERAGED = ("ema_state_dict", "state_dict_ema", "model_ema")
# Counters that lie among averaged weights.
_COUNTERS = ("steps", "n_averaged")
# Prefix of averaged weights that lie among the others; dots of the name became underscores.
_AVERAGED_PREFIX = "ema_"
_UNKNOWN_TYPE = re.compile(r"GLOBAL (\S+)")


class _Skipped:
    """Stands in for what toolkits write beside the weights, so that nothing of numpy or of theirs is called."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        pass


# numpy's scalars, as numpy 1 and 2 write them: best scores, losses and times are such.
_SKIPPED_TYPES = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


def read_state_dict(checkpoint: str | PathLike | Mapping[str, Any], ema: bool = False) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, by name and without the prefix `module.` that all names may have.

    Args:
        checkpoint: Path of a file, or what it holds: a state dict, or a dict with one under `state_dict` or `model`,
            beside which anything may lie. Files are read with `weights_only=True`.
        ema: Whether to take the copy that is stored as an exponential moving average: under `ema_state_dict`,
            `state_dict_ema` or `model_ema`, or under names that begin with `ema_`; what it lacks is of the others.
            mmcv exchanges the two before it saves after an epoch: its `ema_` names then hold the plain weights.
            Default False: a warning says that there is such a copy.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or unsafe, holds no weights, or no averaged ones and `ema` asks for them.
    """
    content = checkpoint if isinstance(checkpoint, Mapping) else load_file(Path(checkpoint))
    nested = _nested(content, _WEIGHTS)
    plain, averaged = _split(_unwrapped(content if nested is None else nested))
    nested = _nested(content, _AVERAGED)
    if nested is not None:
        averaged = _unwrapped({name: value for name, value in nested.items() if name not in _COUNTERS})
    if averaged and not ema:
        logger.warning(
            "The checkpoint holds a second copy of the weights, from averaging; the first is taken, --ema or ema=True "
            "takes the second."
        )
    if ema and not averaged:
        raise ValueError(
            f"The checkpoint holds no averaged weights: neither one of {list(_AVERAGED)} nor names with "
            f"{_AVERAGED_PREFIX!r}."
        )
    return plain | averaged if ema else plain


def load_file(path: Path) -> Any:
    """What a checkpoint file holds, read with `weights_only=True`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or unsafe.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint file {path}.")
    try:
        with torch.serialization.safe_globals([(_Skipped, name) for name in _SKIPPED_TYPES]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unknown = _UNKNOWN_TYPE.search(str(error))
        found = f"It names {unknown[1]}." if unknown else _first_line(error)
        raise ValueError(
            f"{path} holds more than tensors and plain containers, or is damaged; it was not loaded, since loading "
            f"it could run code. {found} If you trust it, save its state_dict alone with the software that made it."
        ) from error
    except Exception as error:  # a damaged file can break torch's readers anywhere
        raise ValueError(f"{path} is truncated, empty or no PyTorch checkpoint: {_first_line(error)}") from error


def _nested(content: Any, keys: tuple[str, ...]) -> Mapping | None:
    if not isinstance(content, Mapping):
        return None
    return next((content[key] for key in keys if isinstance(content.get(key), Mapping)), None)


def _split(state_dict: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The plain weights, and the averaged ones among them, under the names of the plain ones."""
    names = {_AVERAGED_PREFIX + name.replace(".", "_"): name for name in state_dict}
    names |= {_AVERAGED_PREFIX + name: name for name in state_dict}
    plain = {name: value for name, value in state_dict.items() if name not in names}
    return plain, {names[name]: value for name, value in state_dict.items() if name in names}


def _unwrapped(state_dict: Any) -> dict[str, torch.Tensor]:
    """The state dict without `module.`, which data-parallel training and averaging put before all names."""
    if not isinstance(state_dict, Mapping) or not all(_is_entry(*item) for item in state_dict.items()):
        raise ValueError(
            "The checkpoint holds neither a dict of names and floating-point tensors nor a dict with one under "
            f"{' or '.join(map(repr, _WEIGHTS))}."
        )
    while state_dict and all(name.startswith("module.") for name in state_dict):
        state_dict = {name.removeprefix("module."): value for name, value in state_dict.items()}
    return dict(state_dict)


def _is_entry(name: Any, value: Any) -> bool:
    """Whether it belongs in a state dict: only BatchNorm's counters are integers."""
    if not isinstance(name, str) or not isinstance(value, torch.Tensor):
        return False
    return value.is_floating_point() or (value.dtype == torch.int64 and name.endswith("num_batches_tracked"))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
