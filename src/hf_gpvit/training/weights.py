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
        accelerator: It is to prepare the model.
        model: The model before that, because shards can't be evaluated, nor saved as a model.
        ema_decay: Of the average over all steps; 0: none.

    Raises:
        ValueError: Weights that are shared out can't be averaged.
    """

    def __init__(self, accelerator: accelerate.Accelerator, model: PreTrainedModel, ema_decay: float):
        self.accelerator, self.ema_decay = accelerator, ema_decay
        self.average = self.whole = None
        if accelerator.distributed_type == accelerate.DistributedType.FSDP:
            if ema_decay:
                raise ValueError(f"ema_decay must be 0 where weights are shared out (FSDP), got {ema_decay}.")
            self.whole = copy.deepcopy(model).to(accelerator.device)

    def follow(self, model: torch.nn.Module) -> None:
        """Begins with the weights of the prepared model."""
        self.trained = self.accelerator.unwrap_model(model, keep_torch_compile=False)
        if self.ema_decay:
            average = get_ema_multi_avg_fn(self.ema_decay)
            self.average = AveragedModel(self.trained, multi_avg_fn=average, use_buffers=True)

    def model(self) -> PreTrainedModel:
        """What is evaluated and saved. All processes must ask for it together."""
        if self.whole is not None:
            options = StateDictOptions(full_state_dict=True)
            self.whole.load_state_dict(get_model_state_dict(self.trained, options=options))
            return self.whole
        return self.trained if self.average is None else self.average.module

    def are_finite(self) -> bool:
        """Whether those that are trained are, in all processes."""
        parts = (getattr(weight, "to_local", lambda weight=weight: weight)() for weight in self.trained.parameters())
        infinite = torch.tensor(sum(not part.isfinite().all() for part in parts), device=self.accelerator.device)
        return self.accelerator.reduce(infinite, "sum") == 0
