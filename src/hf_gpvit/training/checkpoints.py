# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, and checkpoints of it that are there whole or not at all."""

import math
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import load
from safetensors import SafetensorError

from ..files import PARTIAL, one_line, remove_partial, remove_tree, share_files


_NAME = re.compile(r"step-(\d+)")


@dataclass
class Progress:
    """Where a run stands; part of its checkpoints."""

    step: int = 0
    epoch: int = 0  # of a stream, whose length nobody knows
    num_corrupt: int = 0
    best: float = -math.inf
    metrics: dict[str, float] = field(default_factory=dict)  # of the last evaluation

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        wrong = [name for name, value in vars(self).items() if not isinstance(state_dict.get(name), type(value))]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be those of a run, got {state_dict!r:.200}.")
        vars(self).update(state_dict)


class Checkpoints:
    """The folders `step-<number>` below `root`, which hold all that a run needs to go on.

    A folder is written under another name, flushed to the disk and then renamed, so that one with this name is always
    complete; older ones go only after that.

    Args:
        accelerator: Whose state they are: model, optimizer, scaler, random numbers, and what was registered with it.
        root: Folder to keep them in.
        keep: How many to keep.
        loader: A DataLoader with a `state_dict` of its own, different in each process. Default: none.
    """

    def __init__(self, accelerator: Accelerator, root: Path, keep: int, loader: Any = None):
        self.accelerator = accelerator
        self.root = root
        self.keep = keep
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
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            _flush(partial)
            os.replace(partial, folder)
            _flush_names(self.root)
            for _, older in self.complete()[: -self.keep]:
                self._remove(older)
        self.accelerator.wait_for_everyone()
        return folder

    def _write(self, folder: Path) -> None:
        self.accelerator.save_state(str(folder))
        share_files(folder)
        if self.loader is not None:
            torch.save(self.loader.state_dict(), folder / self.loader_file)

    def load_newest(self) -> Path | None:
        """Puts the newest complete checkpoint into what the accelerator prepared; None where there is none.

        Raises:
            ValueError: It is damaged, or of a stream with fewer processes.
        """
        complete = self.complete()
        if not complete:
            return None
        _, folder = complete[-1]
        if self.loader is not None and not (folder / self.loader_file).exists():
            raise ValueError(f"{folder} is of a run with fewer processes: a stream goes on with as many only.")
        try:
            self._read(folder)
        except Exception as error:  # a damaged file can break torch's readers anywhere
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise ValueError(
                f"The checkpoint {folder} can't be loaded ({reason}). If it is damaged, remove it: the run then goes "
                "on from the one before, or from its beginning."
            ) from error
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

    def complete(self) -> list[tuple[int, Path]]:
        """Steps and folders, oldest first."""
        folders = [folder for folder in self.root.glob("step-*") if _NAME.fullmatch(folder.name) and folder.is_dir()]
        return sorted((int(_NAME.fullmatch(folder.name)[1]), folder) for folder in folders)

    def _remove(self, folder: Path) -> None:
        """Renames it first: half of it must not look complete."""
        removed = self.root / f".{folder.name}{PARTIAL}"
        os.replace(folder, removed)
        remove_tree(removed)


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
