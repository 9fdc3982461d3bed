# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""How the processes of an accelerator share work. Without one, this process does all, and needs no accelerate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .extras import import_extra


if TYPE_CHECKING:
    from accelerate import Accelerator


def share_of(accelerator: Accelerator | None) -> tuple[int, int]:
    """Which process this is, and of how many: it takes every so-manieth piece of work from that one on."""
    return (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)


def of_all_processes(counted: torch.Tensor | list, accelerator: Accelerator | None) -> torch.Tensor | list:
    """The sum of the tensors of all processes, or all that is in their lists."""
    if accelerator is None or accelerator.num_processes == 1:
        return counted
    if isinstance(counted, torch.Tensor):
        return accelerator.reduce(counted.to(accelerator.device), "sum").cpu()
    return import_extra("accelerate.utils").gather_object(counted)
