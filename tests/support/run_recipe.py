# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Trains the recipe of a YAML file in this process, in ways that no recipe has.

    python run_recipe.py recipe.yaml [frozen] [fsdp2]

"frozen": BatchNorm normalises with its running statistics, because those of a batch depend on how it is shared out.
"fsdp2": sharded on CPU, which Accelerate offers for accelerators alone.
"""

import sys

import torch
from accelerate import DistributedType, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import FullyShardedDataParallelPlugin

from hf_gpvit.tasks import find_task
from hf_gpvit.tasks.recipe import recipe_fields
from hf_gpvit.training import engine, load_recipe, train


def freeze_batch_norm() -> None:
    torch.nn.BatchNorm2d.train = lambda module, mode=True: torch.nn.Module.train(module, False)


def shard_on_cpu() -> None:
    build = engine.build_accelerator

    def build_sharded(recipe):
        accelerator = build(recipe)
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            cpu_ram_efficient_loading=False,
            state_dict_type="FULL_STATE_DICT",
        )
        for state in (AcceleratorState, PartialState):
            state._shared_state["distributed_type"] = DistributedType.FSDP
        return accelerator

    engine.build_accelerator = build_sharded


if __name__ == "__main__":
    path, *ways = sys.argv[1:]
    if "frozen" in ways:
        freeze_batch_norm()
    if "fsdp2" in ways:
        shard_on_cpu()
    train(load_recipe(find_task(recipe_fields(path)["task"]).recipe_class, path))
