# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The weights of a run as they are evaluated and saved, whatever Accelerate puts around the model."""

import copy

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel

from ..extras import import_extra


accelerate = import_extra("accelerate")


class Weights:
    """Averages the weights if they are to be averaged, and gathers them if they are shared out (FSDP).

    Args:
        accelerator: What has prepared, or will prepare, the model.
        model: The model before that, because shards can't be evaluated, nor saved as a model.
        ema_decay: Of the average over all steps; 0: none.

    Attributes:
        stateful: What a checkpoint must keep besides the model: the average, if there is one.

    Raises:
        ValueError: Weights that are shared out can't be averaged.
    """

    def __init__(self, accelerator: accelerate.Accelerator, model: PreTrainedModel, ema_decay: float):
        is_sharded = accelerator.distributed_type == accelerate.DistributedType.FSDP
        if is_sharded and ema_decay:
            raise ValueError(f"ema_decay must be 0 where weights are shared out (FSDP), got {ema_decay}.")
        self.accelerator = accelerator
        self.ema_decay = ema_decay
        self.whole = copy.deepcopy(model).to(accelerator.device) if is_sharded else None

    def follow(self, model: torch.nn.Module) -> None:
        """Begins with the weights of the prepared model."""
        self.unwrapped = self.accelerator.unwrap_model(model, keep_torch_compile=False)
        self.stateful = []
        if self.ema_decay:
            average = get_ema_multi_avg_fn(self.ema_decay)
            self.stateful = [AveragedModel(self.unwrapped, multi_avg_fn=average, use_buffers=True)]

    def update(self) -> None:
        """Counts the weights of one more step."""
        for average in self.stateful:
            average.update_parameters(self.unwrapped)

    def model(self) -> PreTrainedModel:
        """What is evaluated and saved. All processes must ask for it together."""
        if self.whole is not None:
            options = StateDictOptions(full_state_dict=True)
            self.whole.load_state_dict(get_model_state_dict(self.unwrapped, options=options))
            return self.whole
        return self.stateful[0].module if self.stateful else self.unwrapped

    def are_finite(self) -> bool:
        """Whether all weights that were trained are, in all processes."""
        parts = (getattr(weight, "to_local", lambda weight=weight: weight)() for weight in self.unwrapped.parameters())
        infinite = torch.tensor(sum(not part.isfinite().all() for part in parts), device=self.accelerator.device)
        return self.accelerator.reduce(infinite, "sum") == 0
