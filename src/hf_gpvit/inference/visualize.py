# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: segmentation overlays, heatmaps, group maps and assignments, stripe attention of GPViT.

Every picture is a new RGB PIL image for the caller to show or save; the inputs stay as they are. Text and colour maps
are matplotlib's, imported when first needed and drawn without pyplot, so no display is needed and no state is left.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel

from ..data.labels import load_label_set
from ..data.pictures import to_rgb
from ..extras import import_extra
from ..models.inputs import check_pixel_values, usual_ignore_index
from ..models.layers import Windows
from .canvas import DPI, blank_figure, blend, check_alpha, check_image, drawn_names, font_size, points, rendered
from .fonts import drawable, families


_RGB_TO_CONES = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
_CONES_TO_OKLAB = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
_GROUP_PANEL_HEIGHT = 256
# Of a legend: with more entries, or longer ones, it would be too wide to be saved.
_MAX_ENTRIES, _MAX_NAME_LENGTH = 256, 60
_LABEL_SETS_WITH_PALETTE = ("ade20k", "camvid", "cityscapes", "coco")


def color_palette(num_labels: int, palette: Sequence[Sequence[int]] | np.ndarray | None = None) -> np.ndarray:
    """One colour per class id: (num_labels, 3) uint8, red, green and blue.

    Args:
        num_labels: Number of classes, at least 1.
        palette: (num_labels, 3) integers in 0..255, such as `LabelSet.palette`. Default: colours far apart, the
            same for an id whatever `num_labels`; they repeat after some thousands.

    Raises:
        ValueError: If `num_labels` is below 1, or `palette` has another shape or other values.
    """
    if num_labels < 1:
        raise ValueError(f"num_labels must be at least 1, got {num_labels}.")
    if palette is None:
        return _distinct_colors(num_labels)
    colors = np.asarray(palette)
    if colors.shape != (num_labels, 3):
        raise ValueError(f"palette must have shape ({num_labels}, 3) for {num_labels} labels, got {colors.shape}.")
    if colors.dtype.kind not in "iu" or colors.min() < 0 or colors.max() > 255:
        raise ValueError(
            f"palette must hold integers in 0..255, got {colors.dtype} in {colors.min()}..{colors.max()}."
        )
    return colors.astype(np.uint8)


def label_set_palette(id2label: Mapping[int, str]) -> tuple[tuple[int, int, int], ...] | None:
    """The palette of the label set that has just these classes, or None."""
    label_sets = map(load_label_set, _LABEL_SETS_WITH_PALETTE)
    return next((label_set.palette for label_set in label_sets if label_set.id2label == dict(id2label)), None)


def overlay_segmentation(
    image: Image.Image,
    segmentation_map: torch.Tensor | np.ndarray,
    id2label: Mapping[int, str],
    palette: Sequence[Sequence[int]] | np.ndarray | None = None,
    alpha: float = 0.5,
    ignore_index: int | None = None,
    legend: bool = True,
) -> Image.Image:
    """The picture with the colour of its class over every pixel, and a legend of the classes that occur beside it.

    The picture keeps its size and stands at the top left; the legend adds to the width, and to the height where the
    picture is lower than its entries. Entries give the class's share of all pixels, largest first; the smallest beyond
    256 are one entry. Names are drawn with installed fonts: letters that none of them has become escapes, and long
    names are cut, which the class id behind such a name makes up for.

    Args:
        image: Picture of any mode.
        segmentation_map: (image height, image width) integer class ids.
        id2label: Name by class id, as in `model.config.id2label`.
        palette: One colour for each id up to the largest of `id2label`; see `color_palette`.
        alpha: Opacity of the colours in [0, 1]. Default 0.5.
        ignore_index: Id of pixels that keep the picture's own colour and aren't in the legend. Default 255, or -100
            where 255 is a class.
        legend: Whether to add the legend. Default True.

    Raises:
        ValueError: If an argument is out of range, the sizes differ, or ids are not in `id2label`.
        ImportError: If matplotlib, which draws the legend, is missing.
    """
    check_image("image", image)
    check_alpha(alpha)
    image = to_rgb(image)
    if ignore_index is None:
        ignore_index = usual_ignore_index(len(id2label))
    ids = _checked_segmentation_map(segmentation_map, image, id2label, ignore_index)
    colors = color_palette(max(id2label) + 1, palette)
    labelled = ids != ignore_index
    pixels = np.asarray(image)
    blended = blend(pixels, colors[np.where(labelled, ids, 0)], alpha)
    picture = Image.fromarray(np.where(labelled[..., None], blended, pixels))
    if not legend or not labelled.any():
        return picture
    present, counts = np.unique(ids[labelled], return_counts=True)
    largest_first = np.argsort(-counts, kind="stable")
    order, others = np.split(largest_first, [_MAX_ENTRIES])
    names = drawn_names([int(index) for index in present[order]], id2label, _MAX_NAME_LENGTH)
    entries = [f"{_percentage(counts[index] / ids.size)}  {name}" for index, name in zip(order, names, strict=True)]
    swatches = colors[present[order]]
    if len(others):
        entries.append(f"{_percentage(counts[others].sum() / ids.size)}  {len(others)} more classes")
        swatches = np.append(swatches, [[255, 255, 255]], axis=0)
    return _tile([[picture, _legend(entries, swatches, image.height)]])


def side_by_side(
    images: Mapping[str, Image.Image], columns: int | None = None, height: int | None = None
) -> Image.Image:
    """Titled panels on white, from left to right and from top to bottom.

    Args:
        images: Picture by title.
        columns: Panels in a row. Default: all of them.
        height: Height in pixels to which every picture is resized, keeping its ratio. Default: the tallest one's.

    Raises:
        ValueError: If there are no images, or `columns` or `height` is below 1.
        ImportError: If matplotlib, which draws the titles, is missing.
    """
    if not images:
        raise ValueError("images must hold at least one picture, got none.")
    for title, image in images.items():
        check_image(f"images[{title!r}]", image)
    columns = len(images) if columns is None else columns
    height = max(image.height for image in images.values()) if height is None else height
    for field, value in (("columns", columns), ("height", height)):
        if value < 1:
            raise ValueError(f"{field} must be at least 1, got {value}.")
    size = font_size(height)
    pictures = [_with_height(image, height) for image in images.values()]
    titles = [_wrap(title, picture.width, size) for title, picture in zip(images, pictures, strict=True)]
    title_height = math.ceil(1.5 * size * max(map(len, titles)))
    panels = [
        _tile([[_title("\n".join(lines), picture.width, title_height, size)], [picture]])
        for lines, picture in zip(titles, pictures, strict=True)
    ]
    return _tile([panels[start : start + columns] for start in range(0, len(panels), columns)], gap=size)


def overlay_heatmap(
    image: Image.Image, heatmap: torch.Tensor | np.ndarray, alpha: float = 0.6, colormap: str = "inferno"
) -> Image.Image:
    """The picture under a heatmap that is resized bilinearly to it, in the picture's size.

    The smallest value takes the colormap's first colour, the largest its last; a constant map takes the first.

    Args:
        image: Picture of any mode.
        heatmap: (h, w) finite values of any size and range, such as one map of `model.group_maps`.
        alpha: Opacity of the heatmap in [0, 1]. Default 0.6.
        colormap: Name of a matplotlib colormap. Default "inferno".

    Raises:
        ValueError: If an argument is out of range, or there is no such colormap.
        ImportError: If matplotlib, which has the colormaps, is missing.
    """
    check_image("image", image)
    check_alpha(alpha)
    image = to_rgb(image)
    values = _checked_heatmap(heatmap)
    colormaps = import_extra("matplotlib").colormaps
    if colormap not in colormaps:
        raise ValueError(f"colormap must be one of matplotlib's (inferno, viridis, gray, ...), got {colormap!r}.")
    values = values - values.min()
    values = values / max(values.max(), np.finfo(np.float32).tiny)
    resized = Image.fromarray(values).resize(image.size, Image.Resampling.BILINEAR)
    colors = colormaps[colormap](np.asarray(resized), bytes=True)[..., :3]
    return Image.fromarray(blend(np.asarray(image), colors, alpha))


def group_heatmaps(
    model: PreTrainedModel, pixel_values: torch.Tensor, image: Image.Image, block: int = -1, num_groups: int = 8
) -> dict[int, Image.Image]:
    """The picture under the maps of what the groups of one GP Block gather from where (Figure 6 of the paper).

    Takes the most peaked map, and then the one that differs most from those taken, again and again; each heatmap has
    its own scale.

    Args:
        model: GPViT of any task, in eval mode.
        pixel_values: (1, num_channels, height, width), as the image processor makes them.
        image: What `pixel_values` shows, at any size: the centre crop where the processor crops.
        block: Index among the GP Blocks, from the end where negative. Default: the last one.
        num_groups: Number of groups to show. Default 8.

    Returns:
        Heatmap by group, in the image's size.

    Raises:
        ValueError: If the model has no GP Blocks or is in train mode, there is not just one picture, or `block` or
            `num_groups` is out of range.
        ImportError: If matplotlib is missing.
    """
    group_count = _checked_group_count(model, block)
    check_image("image", image)
    _check_one_picture(model, pixel_values)
    if not 1 <= num_groups <= group_count:
        raise ValueError(f"num_groups must be in 1..{group_count}, the groups of GP Block {block}, got {num_groups}.")
    maps = model.group_maps(pixel_values)[block][0].float()
    points = maps.flatten(1).cpu().numpy()
    groups = _far_apart(points, int(points.var(axis=1).argmax()), num_groups)
    return {group: overlay_heatmap(image, maps[group]) for group in groups}


def group_map_panel(
    model: PreTrainedModel, pixel_values: torch.Tensor, image: Image.Image, block: int = -1, num_groups: int = 8
) -> Image.Image:
    """`group_heatmaps` in titled panels beside the picture; takes and raises the same."""
    heatmaps = group_heatmaps(model, pixel_values, image, block, num_groups)
    panels = {"picture": image} | {f"group {group}": heatmap for group, heatmap in heatmaps.items()}
    return side_by_side(panels, columns=math.ceil(math.sqrt(len(panels))), height=_GROUP_PANEL_HEIGHT)


@torch.no_grad()
def group_assignment_map(model: PreTrainedModel, pixel_values: torch.Tensor, block: int = -1) -> torch.Tensor:
    """The group of one GP Block from which each token takes most: (grid rows, grid columns) int64.

    These are the largest of the ungrouping weights (Equation 5 of the paper), averaged over the heads.

    Args:
        model: GPViT of any task, in eval mode.
        pixel_values: (1, num_channels, height, width), as the image processor makes them.
        block: Index among the GP Blocks, from the end where negative. Default: the last one.

    Raises:
        ValueError: If the model has no GP Blocks or is in train mode, there is not just one picture, or `block` is
            out of range.
    """
    _checked_group_count(model, block)
    _check_one_picture(model, pixel_values)
    weights = model.base_model(pixel_values, output_ungroup_attentions=True).ungroup_attentions[block]
    groups = weights[0].float().mean(dim=0).argmax(dim=-1)
    return groups.unflatten(0, model.token_grid(*pixel_values.shape[-2:]))


def group_assignment(
    model: PreTrainedModel,
    pixel_values: torch.Tensor,
    image: Image.Image,
    block: int = -1,
    alpha: float = 0.6,
    palette: Sequence[Sequence[int]] | np.ndarray | None = None,
) -> Image.Image:
    """The picture under `group_assignment_map`, each token in the colour of its group (Figure 6 of the paper).

    `group_heatmaps` shows what groups gather from where, and each of them by itself; this shows what goes back, and
    divides the picture among the groups. The paper doesn't say which of both it draws.

    Args:
        model: GPViT of any task, in eval mode.
        pixel_values: (1, num_channels, height, width), as the image processor makes them.
        image: What `pixel_values` shows, at any size: the centre crop where the processor crops.
        block: Index among the GP Blocks, from the end where negative. Default: the last one.
        alpha: Opacity of the colours in [0, 1]; 1 leaves nothing of the picture. Default 0.6.
        palette: One colour for each group; see `color_palette`.

    Returns:
        Picture in the image's size.

    Raises:
        ValueError: As `group_assignment_map`, or `image`, `alpha` or `palette` is not valid.
    """
    colors = color_palette(_checked_group_count(model, block), palette)
    check_image("image", image)
    check_alpha(alpha)
    groups = group_assignment_map(model, pixel_values, block).cpu().numpy()
    patches = Image.fromarray(colors[groups]).resize(image.size, Image.Resampling.NEAREST)
    return Image.fromarray(blend(np.asarray(to_rgb(image)), np.asarray(patches), alpha))


def seen_picture(pixel_values: torch.Tensor, image_processor: BaseImageProcessor) -> Image.Image:
    """What an image processor made of a picture, as a picture again: resized, and cropped where it crops.

    Args:
        pixel_values: (1, 3, height, width), as `image_processor` makes them.
        image_processor: With `image_mean` and `image_std`.
    """
    mean, std = torch.tensor([image_processor.image_mean, image_processor.image_std])[..., None, None]
    pixels = (pixel_values[0].cpu() * std + mean).clamp(0, 1)
    return Image.fromarray((255 * pixels).round().byte().permute(1, 2, 0).numpy())


@torch.no_grad()
def stripe_attention_map(
    model: PreTrainedModel, pixel_values: torch.Tensor, token: tuple[int, int], layer: int = 0
) -> torch.Tensor:
    """Where one token looks in its vertical and its horizontal stripe: (grid rows, grid columns) float32.

    The weights are averaged over the heads of each direction. Each direction sums to 1, so the map sums to 2: it is
    zero outside the two stripes and adds them up where they cross. `overlay_heatmap` shows it.

    Args:
        model: GPViT of any task, in eval mode.
        pixel_values: (1, num_channels, height, width), as the image processor makes them.
        token: Row and column on the token grid, `model.token_grid(height, width)`.
        layer: Index among all layers, from the end where negative; it must be a LePE layer. Default 0.

    Raises:
        ValueError: If the model has no LePE layers or is in train mode, there is not just one picture, `token` or
            `layer` is out of range, or the layer is a GP Block.
    """
    config = model.config
    if not hasattr(config, "group_layer_indices"):
        raise ValueError(f"model must be a GPViT, but this {type(model).__name__} has no LePE layers and GP Blocks.")
    _check_one_picture(model, pixel_values)
    local_layers = _local_layers(config)
    layer = _checked_local_layer(layer, config.num_hidden_layers, local_layers)
    grid = model.token_grid(*pixel_values.shape[-2:])
    if len(token) != 2 or not all(0 <= place < side for place, side in zip(token, grid, strict=True)):
        raise ValueError(
            f"token must be a (row, column) in rows 0..{grid[0] - 1} and columns 0..{grid[1] - 1}, got {token}."
        )
    first = 2 * local_layers.index(layer)
    vertical, horizontal = model.base_model(pixel_values, output_attentions=True).attentions[first : first + 2]
    vertical = _scatter_stripe(vertical, (grid[0], config.stripe_width), token, grid)
    return vertical + _scatter_stripe(horizontal, (config.stripe_width, grid[1]), token, grid)


def _distinct_colors(number: int) -> np.ndarray:
    """(number, 3) uint8, each as far as can be from those before it, as the eye sees it."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    places = _oklab(candidates)
    # Neither near black, which hides the picture, nor near white or grey, which look like no class at all.
    is_color = (np.abs(places[:, 0] - 0.62) < 0.28) & (np.hypot(places[:, 1], places[:, 2]) > 0.05)
    candidates, places = candidates[is_color], places[is_color]
    red = int(np.abs(candidates - np.array([221, 34, 34])).sum(axis=1).argmin())
    return candidates[_far_apart(places, red, number)]


def _far_apart(points: np.ndarray, first: int, number: int) -> list[int]:
    """Indices of some of the points (N, D), each after the first as far as can be from those before it."""
    chosen = [first]
    distances = np.full(len(points), np.inf)
    while len(chosen) < number:
        distances = np.minimum(distances, np.linalg.norm(points - points[chosen[-1]], axis=1))
        distances[chosen[-1]] = -1  # not again, even where all points are the same
        chosen.append(int(distances.argmax()))
    return chosen


def _oklab(colors: np.ndarray) -> np.ndarray:
    """(N, 3) sRGB uint8 -> lightness and two chroma axes of OKLab, in which distances are about those that one sees.

    https://www.w3.org/TR/css-color-4/#ok-lab
    """
    values = colors / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _RGB_TO_CONES.T) @ _CONES_TO_OKLAB.T


def _check_index(field: str, index: int, length: int, what: str) -> None:
    if not -length <= index < length:
        raise ValueError(f"{field} must be in {-length}..{length - 1} ({length} {what}), got {index}.")


def _checked_group_count(model: PreTrainedModel, block: int) -> int:
    """Number of groups of a GP Block."""
    if not hasattr(model, "group_maps") or not model.config.group_layer_indices:
        raise ValueError(f"model must have groups to show, but this {type(model).__name__} has no GP Blocks.")
    group_counts = model.config.num_group_tokens
    _check_index("block", block, len(group_counts), "GP Blocks")
    return group_counts[block]


def _check_one_picture(model: PreTrainedModel, pixel_values: torch.Tensor) -> None:
    check_pixel_values(pixel_values, model.config.num_channels)
    if len(pixel_values) != 1:
        raise ValueError(f"pixel_values must hold one picture (batch size 1), got batch size {len(pixel_values)}.")
    if model.training:
        raise ValueError("model must be in eval mode, else BatchNorm learns from this picture: call model.eval().")


def _checked_segmentation_map(
    segmentation_map: Any, image: Image.Image, id2label: Mapping[int, str], ignore_index: int
) -> np.ndarray:
    """The (image height, image width) ids as int64."""
    if not id2label or not all(isinstance(index, int) and index >= 0 for index in id2label):
        raise ValueError(f"id2label must map class ids (integers from 0) to names, got keys {list(id2label)[:10]}.")
    ids = _to_numpy(segmentation_map)
    if ids.dtype.kind not in "iu":
        raise ValueError(f"segmentation_map must hold integer class ids, got {ids.dtype}.")
    if ids.shape != (image.height, image.width):
        raise ValueError(
            f"segmentation_map must have the image's size (height {image.height}, width {image.width}), "
            f"got shape {ids.shape}."
        )
    unknown = sorted(set(np.unique(ids).tolist()) - set(id2label) - {ignore_index})
    if unknown:
        raise ValueError(
            f"segmentation_map must hold ids of id2label ({min(id2label)}..{max(id2label)}) or {ignore_index} "
            f"(ignored), got {unknown[:10]}."
        )
    return ids.astype(np.int64)


def _checked_heatmap(heatmap: Any) -> np.ndarray:
    """The (h, w) values as float32."""
    values = _to_numpy(heatmap).astype(np.float32)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"heatmap must be (height, width) with at least one value, got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("heatmap must hold finite values, got NaN or infinity.")
    return values


def _local_layers(config) -> list[int]:
    """Indices of the LePE layers among all layers."""
    return [index for index in range(config.num_hidden_layers) if index not in config.group_layer_indices]


def _checked_local_layer(layer: int, num_layers: int, local_layers: list[int]) -> int:
    """The index counted from the first layer."""
    _check_index("layer", layer, num_layers, "layers")
    if layer % num_layers not in local_layers:
        raise ValueError(f"layer must be a LePE layer, one of {local_layers}, but {layer} is a GP Block.")
    return layer % num_layers


def _scatter_stripe(
    weights: torch.Tensor, stripe: tuple[int, int], token: tuple[int, int], grid: tuple[int, int]
) -> torch.Tensor:
    """Weights (stripes, heads, L, L) of one direction -> what `token` gives to each token of the grid, (h, w)."""
    stripes = Windows(grid, stripe)
    row, column = token
    window = row // stripe[0] * stripes.grid[1] + column // stripe[1]
    query = row % stripe[0] * stripe[1] + column % stripe[1]
    shares = torch.zeros(*weights.shape[:1], weights.shape[-1], 1, device=weights.device)
    shares[window, :, 0] = weights[window, :, query].float().mean(dim=0)
    return stripes.join(shares)[0, ..., 0]


def _to_numpy(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        # NumPy has no bfloat16.
        values = values.detach().cpu().float() if values.is_floating_point() else values.cpu()
    return np.asarray(values)


def _percentage(share: float) -> str:
    """One decimal, aligned: in most fonts a digit is as wide as two spaces."""
    text = f"{share:.1%}" if share >= 0.001 else "<0.1%"
    return "  " * (len("10.0%") - len(text)) + text


def _legend(entries: Sequence[str], colors: np.ndarray, height: int) -> Image.Image:
    """One swatch and text per entry, in as many columns as it takes to stay about as high as the picture."""
    size = font_size(height)
    rows = max(int(height / (1.6 * size)), 12)
    patch_class = import_extra("matplotlib.patches").Patch
    figure = blank_figure(1, 1)
    legend = figure.legend(
        handles=[patch_class(facecolor=color / 255) for color in colors],
        labels=entries,
        loc="upper left",
        ncols=math.ceil(len(entries) / rows),
        prop={"family": families(entries), "size": points(size)},
        labelspacing=0.5,
        borderpad=0,
        borderaxespad=0.8,
        handlelength=1.4,
        handleheight=1.0,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    extent = legend.get_window_extent()
    figure.set_size_inches(*(math.ceil(side + 1.6 * size) / DPI for side in extent.size))
    return rendered(figure)


def _title(text: str, width: int, height: int, size: int) -> Image.Image:
    """Text of that size, centred at the bottom of a white strip; all in pixels."""
    figure = blank_figure(width, height)
    style = {"size": points(size), "family": families([text]), "parse_math": False}
    figure.text(0.5, 0.15 * size / height, text, ha="center", va="bottom", **style)
    return rendered(figure)


def _wrap(text: str, width: int, size: int) -> list[str]:
    """The text in lines of about `width` pixels: letters are about 0.6 of their size wide, Chinese ones all of it."""
    share = 1.0 if any(east_asian_width(char) in "WF" for char in text) else 0.6
    return textwrap.wrap(drawable(text), max(int(width / (share * size)), 1)) or [""]


def _with_height(image: Image.Image, height: int) -> Image.Image:
    image = to_rgb(image)
    width = max(round(image.width * height / image.height), 1)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _tile(rows: Sequence[Sequence[Image.Image]], gap: int = 0) -> Image.Image:
    """Rows of pictures on white with `gap` pixels between, each at the top of its row, centred in its column."""
    widths = [max(image.width for image in column if image is not None) for column in zip_longest(*rows)]
    heights = [max(image.height for image in row) for row in rows]
    size = (sum(widths) + gap * (len(widths) - 1), sum(heights) + gap * (len(heights) - 1))
    canvas = Image.new("RGB", size, "white")
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            left = sum(widths[:j]) + gap * j + (widths[j] - image.width) // 2
            canvas.paste(image, (left, sum(heights[:i]) + gap * i))
    return canvas
