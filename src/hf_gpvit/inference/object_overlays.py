# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of objects for people: boxes, names, scores and masks, of what was found or of what is there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..data.pictures import to_rgb
from ..extras import import_extra
from ..models.detection_masks import decode_segmentation, resize_mask
from .canvas import blank_figure, blend, check_alpha, check_image, drawn_names, points
from .fonts import families
from .visualize import color_palette


# Height of letters in pixels: this share of the picture's sides, within limits.
_LETTER_SHARE, _LEAST_LETTERS, _LARGEST_LETTERS = 1 / 48, 12, 28
_MAX_NAME_LENGTH = 24
# A tag that would cover more than this share of itself of better objects' tags is left out.
_MAX_COVERED = 0.25
# More than these can't be read, and take long to be placed.
_MAX_TAGS = 200


def overlay_objects(
    image: Image.Image,
    objects: Any,
    id2label: Mapping[int, str],
    palette: Sequence[Sequence[int]] | np.ndarray | None = None,
    alpha: float = 0.45,
    scale: float = 1.0,
) -> Image.Image:
    """The picture with a box around each object, its class and score on a tag, and its mask, in the class's colour.

    Tags stand where they hide no other one; of objects so close that this can't be, only the better ones have tags.
    Names are drawn with installed fonts: letters that none of them has become escapes, and long names are cut, which
    the class id behind such a name makes up for.

    Args:
        image: Picture of any mode, as large as the one that the objects are in.
        objects: Prediction (`Detected`) or truth (`hf_gpvit.data.objects.Objects`), the best first: `boxes` (N, 4) as
            x1, y1, x2, y2 in pixels and `class_labels` (N,), and where there are, `scores` (N,) and `masks`, bool
            (N, height, width) or COCO's RLE of each. Of a prediction all is drawn; `Detected.shown` leaves out what
            is below the threshold.
        id2label: Name by class id, as in `model.config.id2label`.
        palette: One colour for each id up to the largest of `id2label`; see `color_palette`.
        alpha: Opacity of the masks in [0, 1]. Default 0.45.
        scale: Factor of the picture's size at which all is drawn: large pictures get smaller files by one below 1,
            and small ones become legible by one above. Default 1.

    Raises:
        ValueError: An argument is out of range, or an id is not in `id2label`.
        ImportError: matplotlib, which draws boxes and tags, is missing.
    """
    check_image("image", image)
    check_alpha(alpha)
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be greater than 0, got {scale}.")
    labels = [int(label) for label in objects.class_labels]
    unknown = sorted(set(labels) - set(id2label))
    if unknown:
        raise ValueError(f"objects must be of the classes in id2label, got class_labels {unknown[:10]}.")
    size = tuple(max(round(scale * side), 1) for side in image.size)
    shown = to_rgb(image).resize(size, Image.Resampling.BICUBIC) if size != image.size else to_rgb(image)
    if not labels:
        return shown.copy()
    colors = color_palette(max(id2label) + 1, palette)[labels]
    if objects.masks is not None:
        shown = _with_masks(shown, objects.masks, colors, alpha, (image.height, image.width))
    ratios = torch.tensor([new / old for new, old in zip(size, image.size, strict=True)] * 2)
    return _with_boxes(shown, (objects.boxes.cpu() * ratios).tolist(), _tags(objects, labels, id2label), colors)


def _tags(objects: Any, labels: list[int], id2label: Mapping[int, str]) -> list[str]:
    present = sorted(set(labels))
    names = dict(zip(present, drawn_names(present, id2label, _MAX_NAME_LENGTH), strict=True))
    scores = getattr(objects, "scores", None)
    if scores is None:
        return [names[label] for label in labels]
    return [f"{names[label]} {score:.0%}" for label, score in zip(labels, scores.tolist(), strict=True)]


# --- masks


def _with_masks(
    image: Image.Image, masks: Sequence[Any], colors: np.ndarray, alpha: float, size: tuple[int, int]
) -> Image.Image:
    """Masks of a picture of that height and width, the first on top, each with a line along its border."""
    pixels = np.array(image)
    for mask, color in zip(reversed(masks), reversed(colors), strict=True):
        mask = mask.cpu().bool() if isinstance(mask, torch.Tensor) else decode_segmentation(mask, size)
        mask = np.pad(resize_mask(mask, pixels.shape[:2]).numpy(), 1)
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if len(rows) == 0:
            continue
        around = mask[rows[0] - 1 : rows[-1] + 2, columns[0] - 1 : columns[-1] + 2]
        inside = around[1:-1, 1:-1]
        is_border = inside & ~(around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:])
        part = pixels[rows[0] - 1 : rows[-1], columns[0] - 1 : columns[-1]]
        part[inside] = blend(part[inside], color, alpha)
        part[is_border] = color
    return Image.fromarray(pixels)


# --- boxes and tags


class _Rectangle(NamedTuple):
    """Sides in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def common_area(self, other: "_Rectangle") -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)


def _with_boxes(image: Image.Image, boxes: list[list[float]], tags: list[str], colors: np.ndarray) -> Image.Image:
    figure = blank_figure(*image.size)
    figure.patch.set_alpha(0)
    letters = min(max(min(image.size) * _LETTER_SHARE, _LEAST_LETTERS), _LARGEST_LETTERS)
    line = letters / 6
    patches = import_extra("matplotlib.patches")
    for order, (box, color) in enumerate(zip(boxes, colors, strict=True)):
        left, top, right, bottom = box
        for width, edge in ((line + 1.2, "black"), (line, color / 255)):
            style = {"fill": False, "edgecolor": edge, "linewidth": points(width), "joinstyle": "miter"}
            corner = (left, image.height - bottom)
            style |= {"transform": None, "zorder": len(boxes) - order}  # the best on top
            figure.add_artist(patches.Rectangle(corner, right - left, bottom - top, **style))
    texts = [_text(figure, tag, color, letters) for tag, color in zip(tags[:_MAX_TAGS], colors, strict=False)]
    places = _places([_size(text, letters) for text in texts], boxes, image.size, line)
    for order, (text, place) in enumerate(zip(texts, places, strict=True)):
        if place is None:
            text.remove()
            continue
        text.set_position((place.left + letters / 4, image.height - (place.top + place.bottom) / 2))
        text.set_zorder(len(boxes) + len(texts) - order)
    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba()).copy())
    return Image.alpha_composite(image.convert("RGBA"), drawn).convert("RGB")


def _text(figure, tag: str, color: np.ndarray, letters: float):
    """A text of a figure on its class's colour, in black or white, whichever is easier to read there."""
    is_light = color @ [0.299, 0.587, 0.114] > 140
    return figure.text(
        0,
        0,
        tag,
        transform=None,
        va="center_baseline",
        color="black" if is_light else "white",
        fontsize=points(letters),
        family=families([tag]),
        parse_math=False,
        bbox={"facecolor": color / 255, "edgecolor": "none", "pad": points(letters / 5)},
    )


def _size(text, letters: float) -> tuple[float, float]:
    """Width and height of a tag in pixels."""
    return text.get_window_extent().width + letters / 2, 1.5 * letters


def _places(
    sizes: list[tuple[float, float]], boxes: list[list[float]], canvas: tuple[int, int], line: float
) -> list[_Rectangle | None]:
    """Where the tags of boxes stand, the first ones best; None for those that are left out."""
    taken, places = [], []
    for (width, height), box in zip(sizes, boxes, strict=False):
        best, least = None, _MAX_COVERED * width * height
        for place in _candidates(width, height, box, canvas, line):
            covered = sum(place.common_area(other) for other in taken)
            if covered < least:
                best, least = place, covered
            if covered == 0:
                break
        places.append(best)
        taken += [] if best is None else [best]
    return places


def _candidates(
    width: float, height: float, box: list[float], canvas: tuple[int, int], line: float
) -> Iterator[_Rectangle]:
    """Above the box, below it, and within it above and below, on the left and on the right; all in the picture."""
    left, top, right, bottom = box
    half = line / 2
    for y in (top - height - half, bottom + half, top + half, bottom - height - half):
        for x in (left - half, right + half - width):
            if 0 <= y <= canvas[1] - height:
                start = min(max(x, 0), max(canvas[0] - width, 0))
                yield _Rectangle(start, y, start + width, y + height)
