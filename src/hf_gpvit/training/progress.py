# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Where a run stands."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any


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
