# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What one training process keeps in memory and sends, counted for every preset: no GPU is needed.

    python benchmarks/training_memory.py --image_size 224 --task classification
    python benchmarks/training_memory.py --image_size 512 --task segmentation --presets gpvit-l1 hrvit-b1

Counted are the bytes of weights, gradients and AdamW's two averages in float32, of the tensors that autograd keeps for
the backward pass of one picture (bfloat16 autocast halves most of them on a GPU), and of what DDP sends in a step.
"""

import gc
import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter

import torch

from hf_gpvit.saved_models import presets
from hf_gpvit.training import build_model
from memory import kept_bytes


TASKS = {"classification": "image-classification", "segmentation": "semantic-segmentation"}
NUM_LABELS = {"classification": 1000, "segmentation": 150}
BATCH = 2  # BatchNorm needs more than one
MEBIBYTE = 2**20


def measure(preset: str, task: str, image_size: int) -> dict[str, float]:
    """Mebibytes by what they are for."""
    names = [str(index) for index in range(NUM_LABELS[task])]
    model = build_model(preset, TASKS[task], names, image_size).train()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    pixel_values = torch.randn(BATCH, 3, image_size, image_size)
    shape = (BATCH, image_size, image_size) if task == "segmentation" else (BATCH,)
    labels = torch.randint(len(names), shape)

    def loss() -> torch.Tensor:
        return model(pixel_values=pixel_values, labels=labels).loss

    plain = kept_bytes(model, loss)
    model.gradient_checkpointing_enable()
    checkpointed = kept_bytes(model, loss)
    return {
        "parameters": parameters,
        "weights_gradients_and_adamw": 16 * parameters / MEBIBYTE,
        "activations_per_picture": plain / BATCH / MEBIBYTE,
        "with_checkpointing": checkpointed / BATCH / MEBIBYTE,
        "gradients_sent_per_step": 4 * parameters / MEBIBYTE,
    }


def main() -> None:
    names = [*presets()]
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, default=224, help="side of the pictures in pixels")
    parser.add_argument("--task", choices=TASKS, default="classification")
    parser.add_argument("--presets", nargs="+", choices=names, default=names, metavar="PRESET")
    arguments = parser.parse_args()
    for preset in arguments.presets:
        print(json.dumps({"preset": preset, **measure(preset, arguments.task, arguments.image_size)}), flush=True)
        gc.collect()  # models refer to themselves in circles, and would wait here


if __name__ == "__main__":
    main()
