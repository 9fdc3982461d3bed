# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a recipe names: its data, and the model that it begins with."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from ..data.loading import LoadedData, load_data
from ..extras import import_extra
from .building import build_model
from ..tasks import TASKS
from ..tasks.recipe import Recipe


accelerate = import_extra("accelerate")


def load_training_data(recipe: Recipe, accelerator: accelerate.Accelerator) -> LoadedData:
    """The recipe's splits and classes; see `load_data`."""
    # the main process first: it fills the cache of `datasets`, the others read it
    with accelerator.main_process_first():
        return load_data(
            recipe.dataset,
            TASKS[recipe.task],
            name=recipe.dataset_name,
            train_split=recipe.train_split,
            eval_split=recipe.eval_split,
            image_column=recipe.image_column,
            target_column=recipe.target_column,
            class_names=recipe.class_names,
            streaming=recipe.streaming,
            skip_corrupt=recipe.skip_corrupt,
        )


def build_training_model(recipe: Recipe, class_names: Sequence[str], image_size: int | None) -> PreTrainedModel:
    """The recipe's model for these classes, as it trains; see `build_model`."""
    model = build_model(recipe.model, recipe.task, class_names, image_size, **recipe.config_fields)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if recipe.sync_batch_norm:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model
