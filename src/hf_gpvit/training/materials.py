# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a recipe names: processes, data, and the model that it begins with."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from ..data.loading import LoadedData, load_data
from ..extras import import_extra
from ..tasks import TASKS
from ..tasks.recipe import Recipe
from .building import build_model
from .run_log import check_trackers


accelerate = import_extra("accelerate")


def build_accelerator(recipe: Recipe) -> accelerate.Accelerator:
    """The processes of a run, with precision, accumulation, compilation and trackers as the recipe says.

    Raises:
        ValueError: There is no such tracker; Accelerate would go on without it.
    """
    check_trackers(recipe.trackers)
    return accelerate.Accelerator(
        mixed_precision=recipe.mixed_precision,
        gradient_accumulation_plugin=accelerate.utils.GradientAccumulationPlugin(
            num_steps=recipe.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        dataloader_config=accelerate.DataLoaderConfiguration(use_seedable_sampler=True, non_blocking=True),
        dynamo_backend="inductor" if recipe.compile else "no",
        log_with=recipe.trackers or None,
        project_dir=recipe.output_dir,
    )


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
            reduce_labels=getattr(recipe, "reduce_labels", False),
        )


def build_training_model(recipe: Recipe, class_names: Sequence[str], image_size: int | None) -> PreTrainedModel:
    """The recipe's model for these classes, as it trains; see `build_model`.

    Raises:
        ValueError: As `build_model`, or BatchNorm is to be frozen in a model of another package.
    """
    model = build_model(recipe.model, recipe.task, class_names, image_size, **recipe.config_fields)
    if recipe.freeze_batch_norm:
        if not hasattr(model, "freeze_batch_norm"):
            raise ValueError(f"freeze_batch_norm is for models of this package, but model={recipe.model!r} isn't one.")
        model.freeze_batch_norm()
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if recipe.sync_batch_norm:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model
