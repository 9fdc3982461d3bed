# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What drawing takes: matplotlib figures of so many pixels, without pyplot, and pixels that are blended."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from ..extras import import_extra
from .fonts import drawable


# A power of two: pixels / dpi * dpi is exact, so figures have just as many pixels as asked for.
DPI = 64


def check_image(field: str, image: Image.Image) -> None:
    if not isinstance(image, Image.Image):
        raise ValueError(f"{field} must be a PIL image, got {type(image).__name__}.")


def check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}.")


def blend(pixels: np.ndarray, colors: np.ndarray, alpha: float) -> np.ndarray:
    """(H, W, 3) uint8, `alpha` of it `colors`."""
    return np.rint((1 - alpha) * pixels + alpha * colors).astype(np.uint8)


def font_size(height: int) -> int:
    """Height in pixels of text that goes with a picture of that height."""
    return max(14, height // 28)


def blank_figure(width: int, height: int):
    """An empty matplotlib figure of that many pixels, with an Agg canvas."""
    figure_class = import_extra("matplotlib.figure").Figure
    figure = figure_class(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    import_extra("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def rendered(figure) -> Image.Image:
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")


def points(pixels: float) -> float:
    """A length in pixels in matplotlib's unit for fonts."""
    return pixels * 72 / DPI


def drawn_names(indices: Sequence[int], id2label: Mapping[int, str], max_length: int) -> list[str]:
    """Names of the classes as they can be drawn, with the id behind those that were changed or are there twice."""
    drawn = [drawable(id2label[index]) for index in indices]
    drawn = [f"{name[:max_length]}..." if len(name) > max_length else name for name in drawn]
    counts = Counter(drawn)
    return [
        name if name == id2label[index] and counts[name] == 1 else f"{name} ({index})"
        for index, name in zip(indices, drawn, strict=True)
    ]
