# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, and checkpoints of it that are there whole or not at all."""

import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import load
from safetensors import SafetensorError

from ..files import PARTIAL, one_line, remove_partial, remove_tree, share_files
from ..saved_models import check_finite, read_weights
from .manifest import check_manifest, write_manifest


_NAME = re.compile(r"step-(\d+)")


@dataclass
class Progress:
    """Where a run stands; part of its checkpoints."""

    step: int = 0
    epoch: int = 0  # of a stream, whose length nobody knows
    num_corrupt: int = 0
    best: float = -math.inf
    metrics: dict[str, float] = field(default_factory=dict)  # of the last evaluation
    evaluated: int = 0  # the step of it

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state_dict = {"evaluated": 0, **state_dict}  # checkpoints of older versions have none
        wrong = [name for name, value in vars(self).items() if not isinstance(state_dict.get(name), type(value))]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be those of a run, got {state_dict!r:.200}.")
        vars(self).update(state_dict)


class Checkpoints:
    """The folders `step-<number>` below `root`, which hold all that a run needs to go on.

    A folder is written under another name, flushed to the disk and then renamed, so that one with this name is always
    complete; older ones go only after that. Its manifest says what is in each file.

    Args:
        accelerator: Whose state they are: model, optimizer, scaler, random numbers, and what was registered with it.
        root: Folder to keep them in.
        keep: How many to keep.
        write_notes: Writes what else belongs into the folder that it is given.
        loader: A DataLoader with a `state_dict` of its own, different in each process. Default: none.
    """

    def __init__(
        self, accelerator: Accelerator, root: Path, keep: int, write_notes: Callable[[Path], None], loader: Any = None
    ):
        self.accelerator = accelerator
        self.root = root
        self.keep = keep
        self.write_notes = write_notes
        self.loader = loader
        self.loader_file = f"loader_{accelerator.process_index}.bin"

    def save(self, step: int) -> Path:
        """Saves the state after `step` optimizer steps. Every process must call it.

        Raises:
            OSError: It can't be written; what was there before stays.
        """
        folder, partial = self.root / f"step-{step:08d}", self.root / f".step-{step:08d}{PARTIAL}"
        if self.accelerator.is_main_process:
            self.root.mkdir(parents=True, exist_ok=True)
            remove_partial(self.root)
        self.accelerator.wait_for_everyone()
        try:
            self._write(partial)
        except BaseException as error:
            remove_tree(partial, ignore_errors=True)
            # what torch and safetensors make of a full disk
            if isinstance(error, (RuntimeError, SafetensorError)):
                raise OSError(f"Can't save the checkpoint {folder}: {error}") from error
            raise
        if self.accelerator.is_main_process:
            _flush(partial)
            os.replace(partial, folder)
            _flush_names(self.root)
            for older in complete_checkpoints(self.root)[: -self.keep]:
                self._remove(older)
        self.accelerator.wait_for_everyone()
        return folder

    def _write(self, folder: Path) -> None:
        self.accelerator.save_state(str(folder))
        share_files(folder)
        if self.loader is not None:
            torch.save(self.loader.state_dict(), folder / self.loader_file)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.write_notes(folder)
            write_manifest(folder)

    def load_newest(self) -> Path | None:
        """Puts the newest complete checkpoint into what the accelerator prepared; None where there is none.

        Raises:
            ValueError: It can't be loaded, or is of a stream with fewer processes.
        """
        folder = newest_checkpoint(self.root)
        if folder is None:
            return None
        if self.loader is not None and not (folder / self.loader_file).exists():
            raise ValueError(f"{folder} is of a run with fewer processes: a stream goes on with as many only.")
        try:
            self._read(folder)
        except Exception as error:  # a damaged file can break torch's readers anywhere
            raise unusable(folder, f"{type(error).__name__}: {one_line(error)}") from error
        return folder

    def _read(self, folder: Path) -> None:
        self.accelerator.load_state(str(folder))
        # random numbers that can't be loaded are no error to Accelerate; processes that are new have none
        index = self.accelerator.process_index
        states = folder / f"random_states_{index}.pkl"
        if (index == 0 or states.exists()) and not load(states)["torch_manual_seed"].equal(torch.get_rng_state()):
            raise ValueError(f"{states.name} does not hold the state of random numbers")
        if self.loader is not None:
            self.loader.load_state_dict(torch.load(folder / self.loader_file))

    def _remove(self, folder: Path) -> None:
        """Renames it first: half of it must not look complete."""
        removed = self.root / f".{folder.name}{PARTIAL}"
        os.replace(folder, removed)
        remove_tree(removed)


def complete_checkpoints(root: Path) -> list[Path]:
    """Their folders, oldest first."""
    folders = [folder for folder in root.glob("step-*") if _NAME.fullmatch(folder.name) and folder.is_dir()]
    return sorted(folders, key=_step)


def newest_checkpoint(root: Path) -> Path | None:
    return next(reversed(complete_checkpoints(root)), None)


def check_newest(root: Path) -> Path | None:
    """The newest checkpoint, if there is one, with its files as they were written.

    Raises:
        ValueError: They are not; the message names the file, and an older checkpoint that is sound.
    """
    folder = newest_checkpoint(root)
    if folder is None:
        return None
    try:
        check_manifest(folder)
    except (ValueError, OSError) as error:
        raise unusable(folder, one_line(error)) from error
    return folder


def unusable(folder: Path, reason: str) -> ValueError:
    """An error that says why a run can't go on from a checkpoint, and from which one it could."""
    older = [other for other in complete_checkpoints(folder.parent) if _step(other) < _step(folder)]
    sound = next(filter(_is_sound, reversed(older)), None)
    if sound is not None:
        advice = f"{sound} is whole: remove what is newer, and the run goes on from there."
    elif older:
        advice = f"No older one is whole: remove {folder.parent}, and the run begins anew."
    else:
        advice = "There is no older one: remove it, and the run begins anew."
    return ValueError(f"The checkpoint {folder} can't be loaded ({reason}). {advice}")


def _is_sound(folder: Path) -> bool:
    """Whether its files are as they were written, and its weights finite, if they have a file of their own."""
    try:
        check_manifest(folder)
        if (folder / "model.safetensors").exists():  # weights that are shared out have other files
            check_finite(read_weights(folder), folder)
    except (ValueError, OSError):
        return False
    return True


def _step(folder: Path) -> int:
    return int(_NAME.fullmatch(folder.name)[1])


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    _flush_names(folder)


def _flush_names(folder: Path) -> None:
    """Makes it last that files are in `folder`. Windows can't open a folder, and needs no such thing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
