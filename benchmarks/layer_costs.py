# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Figure 5 of GPViT's paper: what one layer takes, against the size of the picture and the number of channels.

The text doesn't say whether a layer is counted with its feed-forward network; both are counted here.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_gpvit.ablations import GPViTAblationConfig, GPViTAblationModel
from hf_gpvit.models.modeling_gpvit import token_grid
from hf_gpvit.models.shortcuts import plain_forwards
from report import MARKERS, markdown_table, new_figure


# type of the layer and its number of groups
CURVES = {
    "self-attention": ("full_attention", 0),
    "window attention": ("window_attention", 0),
    "LePE attention": ("lepe_attention", 0),
    "GPBlock-16": ("group_propagation", 16),
    "GPBlock-32": ("group_propagation", 32),
    "GPBlock-64": ("group_propagation", 64),
}
CHANNELS = 348
SIDES = (224, 384, 512, 768, 1024, 1280, 1536, 2048)
WIDTHS = (96, 216, 348, 432, 624, 768, 1008)
SIZES = ((224, 224), (800, 1280), (512, 2048))
MLP_RATIO = 4


def layer_macs(curve: str, channels: int, size: tuple[int, int]) -> int:
    """Multiply-adds of one layer in the plain order, closing convolution included, for a picture of `size`."""
    layer_type, num_groups = CURVES[curve]
    config = GPViTAblationConfig(
        hidden_size=channels,
        num_hidden_layers=1,
        layer_types=[layer_type],
        num_group_tokens=[num_groups] if num_groups else [],
        out_features=["stage1"],
        mlp_ratio=MLP_RATIO,
    )
    grid = token_grid(*size)
    with torch.device("meta"):
        layer = GPViTAblationModel(config, add_pooling_layer=False).layers[0].eval()
        tokens = torch.zeros(1, grid[0] * grid[1], channels)
    with plain_forwards(), torch.no_grad(), FlopCounterMode(display=False) as flops:
        layer(tokens, grid)
    return flops.get_total_flops() // 2


def mlp_macs(channels: int, size: tuple[int, int]) -> int:
    """Multiply-adds of the feed-forward network that every one of these layers has."""
    rows, columns = token_grid(*size)
    return 2 * MLP_RATIO * channels**2 * rows * columns


def panels() -> list[dict]:
    """The figure's four panels: title, label and values of the axis, and multiply-adds by curve."""
    by_size = {side: (CHANNELS, (side, side)) for side in SIDES}
    found = [_panel(f"{CHANNELS} channels", "side of the picture in pixels", by_size)]
    for height, width in SIZES:
        by_width = {channels: (channels, (height, width)) for channels in WIDTHS}
        found.append(_panel(f"{height}x{width}", "channels", by_width))
    return found


def _panel(title: str, label: str, points: dict[int, tuple[int, tuple[int, int]]]) -> dict:
    return {
        "title": title,
        "label": label,
        "values": list(points),
        "layer": {curve: [layer_macs(curve, *point) for point in points.values()] for curve in CURVES},
        "mlp": [mlp_macs(*point) for point in points.values()],
    }


def without_mlp(panel: dict) -> dict[str, list[int]]:
    """Multiply-adds by curve without those of the feed-forward network."""
    return {
        curve: [macs - mlp for macs, mlp in zip(layer, panel["mlp"], strict=True)]
        for curve, layer in panel["layer"].items()
    }


def layer_tables(found: Sequence[dict]) -> str:
    """Markdown: GMAC of whole layers, a table for each panel."""
    texts = []
    for panel in found:
        lines = [[f"GMAC, {panel['title']}", *CURVES, "of these the MLP"]]
        for index, value in enumerate(panel["values"]):
            cells = [panel["layer"][curve][index] for curve in CURVES] + [panel["mlp"][index]]
            lines.append([f"{panel['label']}: {value}", *(_gmac(macs) for macs in cells)])
        texts.append(markdown_table(lines, 1))
    return "\n".join(texts)


def _gmac(macs: int) -> str:
    return f"{macs / 1e9:.2f}" if macs < 100e9 else f"{macs / 1e9:,.0f}"


def plot_layers(found: Sequence[dict], path: Path) -> None:
    """Multiply-adds of whole layers, without the feed-forward network, and in units of layers of LePE attention."""
    figure = new_figure((15, 11))
    all_axes = figure.subplots(3, len(found))
    for index, panel in enumerate(found):
        layers, first = panel["layer"], panel["layer"]["LePE attention"]
        ratios = {curve: [own / unit for own, unit in zip(macs, first, strict=True)] for curve, macs in layers.items()}
        _draw(all_axes[0, index], panel, _in_billions(layers), "GMAC of a layer")
        _draw(all_axes[1, index], panel, _in_billions(without_mlp(panel)), "GMAC without MLP")
        _draw(all_axes[2, index], panel, ratios, "layer / LePE layer")
        all_axes[0, index].set_yscale("log")
        all_axes[1, index].set_yscale("log")
        all_axes[2, index].set_ylim(0.7, 1.4)
    all_axes[0, 0].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)


def _in_billions(curves: dict[str, list[int]]) -> dict[str, list[float]]:
    return {name: [macs / 1e9 for macs in values] for name, values in curves.items()}


def _draw(axes, panel: dict, curves: dict[str, list[float]], what: str) -> None:
    for (name, values), marker in zip(curves.items(), MARKERS, strict=False):
        style = "-" if name.startswith("GPBlock") else "--"
        axes.plot(panel["values"], values, style, marker=marker, markersize=4, label=name)
    axes.set_title(f"{what}, {panel['title']}", fontsize="medium", loc="left")
    axes.set_xlabel(panel["label"])
    axes.grid(alpha=0.3)
