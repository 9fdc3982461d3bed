# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Figure 6 of GPViT's paper: what the groups of every GP Block of a trained model make of a picture, in both readings.

Soft: what single groups gather from where. Hard: the group that each token takes most of.
"""

from pathlib import Path
from typing import Any

from PIL import Image

from hf_gpvit.inference import (
    group_assignment,
    group_assignment_map,
    group_heatmaps,
    load_picture,
    seen_picture,
    side_by_side,
    task_of,
)
from hf_gpvit.saved_models import load_image_processor, load_model


NUM_GROUPS = 4
PANEL_HEIGHT = 224


def draw_groups(folder: str, picture: Path) -> tuple[Image.Image, list[dict[str, Any]]]:
    """A row of panels for each GP Block, and by block which groups are some token's first choice.

    Args:
        folder: Folder or Hub name of a GPViT of any task.
        picture: Its file.

    Raises:
        OSError, ValueError: There is no such model or picture, or the model has no GP Blocks.
    """
    model = load_model(folder, task_of(folder)).eval()
    image_processor = load_image_processor(folder)
    pixel_values = image_processor(load_picture(picture), return_tensors="pt")["pixel_values"]
    seen = seen_picture(pixel_values, image_processor)
    panels, blocks = {}, []
    for block, layer in enumerate(getattr(model.config, "group_layer_indices", ())):
        assignment = group_assignment_map(model, pixel_values, block)
        taken, counts = assignment.unique(return_counts=True)
        blocks.append(
            {
                "layer": layer,
                "groups": model.config.num_group_tokens[block],
                "tokens_by_group": dict(zip(taken.tolist(), counts.tolist(), strict=True)),
            }
        )
        panels |= _panels(model, pixel_values, seen, block, len(taken))
    if not blocks:
        raise ValueError(f"--model must be a GPViT with GP Blocks, but {folder} has none.")
    return side_by_side(panels, columns=len(panels) // len(blocks), height=PANEL_HEIGHT), blocks


def _panels(model, pixel_values, seen: Image.Image, block: int, num_taken: int) -> dict[str, Image.Image]:
    number = model.config.num_group_tokens[block]
    name = f"block {block + 1}"
    panels = {
        f"{name}: {number} groups": seen,
        f"{name}: {num_taken} of them are chosen": group_assignment(model, pixel_values, seen, block),
        f"{name}: colours alone": group_assignment(model, pixel_values, seen, block, alpha=1),
    }
    heatmaps = group_heatmaps(model, pixel_values, seen, block, min(NUM_GROUPS, *model.config.num_group_tokens))
    return panels | {f"{name}: group {group} gathers": heatmap for group, heatmap in heatmaps.items()}
