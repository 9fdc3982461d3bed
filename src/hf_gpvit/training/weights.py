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

    def broken(self) -> str | None:
        """Name of the first weight or statistic of BatchNorm with a number that isn't finite, in any process.

        Of those that are trained, and those that are evaluated and saved. All processes must ask for it together.
        """
        models = [self.model()] if self.average is None else [self.trained, self.model()]
        named = [(name, value) for model in models for name, value in model.state_dict().items()]
        broken = torch.stack([(~value.isfinite()).any().to(self.accelerator.device) for _, value in named])
        counts = self.accelerator.reduce(broken.int(), "sum").tolist()
        return next((name for (name, _), count in zip(named, counts, strict=True) if count), None)
