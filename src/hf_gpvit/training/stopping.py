# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Ways for a run to end before its last step."""

import signal
import threading

import torch

from ..extras import import_extra


accelerate = import_extra("accelerate")


class TrainingStopped(RuntimeError):
    """Training ended early: the message says why, and what to go on from.

    Attributes:
        reason: Why.
    """

    reason: str = ""


class StopRequest:
    """While it is entered, a SIGTERM doesn't end the process, but is remembered until all processes agree on it.

    Where signals can't be had, in other threads than the main one, nobody asks.
    """

    def __init__(self, accelerator: accelerate.Accelerator):
        self.accelerator = accelerator
        self.event = threading.Event()
        self.has_signals = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "StopRequest":
        if self.has_signals:
            self.former = signal.signal(signal.SIGTERM, lambda *_: self.event.set())
        return self

    def __exit__(self, *_) -> None:
        if self.has_signals:
            signal.signal(signal.SIGTERM, self.former)

    def is_agreed(self, may_ask: bool) -> bool:
        """Whether the run shall end now; several processes ask each other only with `may_ask`, all of them at once."""
        if self.accelerator.num_processes == 1:
            return self.event.is_set()
        if not may_ask:
            return False
        requests = torch.tensor(int(self.event.is_set()), device=self.accelerator.device)
        return self.accelerator.reduce(requests, "sum").item() > 0
