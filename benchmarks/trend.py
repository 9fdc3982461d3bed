# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a series of samples grows, or only scatters.

The first third of a run is warm-up: caches fill, and the heap of the C library grows to hold the largest request. The
rest is cut into twenty blocks with equally many samples, and each is reduced to its least one: what is leaked is there
in every sample, while garbage that waits for Python's collector and gaps in the heap only ever add to some. The slope
through these floors is Theil and Sen's, the median of the slopes of all pairs, on which a few odd blocks have no
influence.

The slope is given as growth over the time after warm-up. Its standard error comes from the scatter of the floors
about the line (median absolute deviation), times sqrt((1 + r) / (1 - r)), where r is the correlation of neighbours:
memory wanders rather than jumps, and blocks that resemble each other tell less than as many independent ones.

A series grows if growth is both more than three standard errors, which chance gives in one run of a hundred, or a few
where memory wanders for many minutes, and more than 1 % of the level. The second is there because a heap that serves
blocks of random sizes goes on creeping, ever slower, for as long as one looks. What it lets pass is little: for half a
gigabyte and ten thousand steps it is five hundred bytes a step, and tensors that are kept show in their number. Growth
above 1 % that is within three standard errors is neither flat nor certain, and is called unclear.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_gpvit.extras import import_extra


stats = import_extra("scipy.stats", "benchmark")

WARM_UP = 1 / 3
MIN_BLOCKS, MAX_BLOCKS = 8, 20
SAMPLES_PER_BLOCK = 3  # at least, so that one of them may be the floor
ERRORS = 3
TOLERANCE = 0.01
MAX_CORRELATION = 0.9  # that of so few blocks is not known well enough to divide by less


@dataclass(frozen=True)
class Trend:
    """Where a series stands after warm-up, and where it goes; in the unit of its values.

    Attributes:
        level: Its median.
        growth: From the end of the warm-up to the end of the run, by the slope.
        error: Standard error of `growth`.
        times, floors: Of the blocks.
    """

    level: float
    growth: float
    error: float
    times: tuple[float, ...]
    floors: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """ "flat", "grows" or "unclear"."""
        if self.growth <= TOLERANCE * self.level:
            return "flat"
        return "grows" if self.growth > ERRORS * self.error else "unclear"


def find_trend(seconds: Sequence[float], values: Sequence[float | None]) -> Trend | None:
    """The trend of values sampled at these times since the start; None if there are too few after the warm-up.

    Args:
        seconds: In ascending order.
        values: As many; None where a sample lacks this value.
    """
    start = WARM_UP * seconds[-1] if len(seconds) else 0
    samples = [
        (time, value) for time, value in zip(seconds, values, strict=True) if time >= start and value is not None
    ]
    if len(samples) < SAMPLES_PER_BLOCK * MIN_BLOCKS:
        return None
    num_blocks = min(len(samples) // SAMPLES_PER_BLOCK, MAX_BLOCKS)
    blocks = np.array_split(np.array(samples, dtype=float), num_blocks)
    times, floors = np.array([(np.median(block[:, 0]), block[:, 1].min()) for block in blocks]).T
    slope, intercept, *_ = stats.theilslopes(floors, times)
    duration = samples[-1][0] - samples[0][0]
    return Trend(
        level=float(np.median([value for _, value in samples])),
        growth=float(slope * duration),
        error=float(_slope_error(times, floors - intercept - slope * times) * duration),
        times=tuple(times.tolist()),
        floors=tuple(floors.tolist()),
    )


def _slope_error(times: np.ndarray, residuals: np.ndarray) -> float:
    scatter = stats.median_abs_deviation(residuals, scale="normal")
    independent = math.sqrt(math.pi / 3) * scatter / np.linalg.norm(times - times.mean())  # of Theil-Sen slopes
    correlation = _correlation_of_neighbours(residuals)
    return independent * math.sqrt((1 + correlation) / (1 - correlation))


def _correlation_of_neighbours(residuals: np.ndarray) -> float:
    """Within 0 and `MAX_CORRELATION`; what the line takes from that of so few is put back (Kendall's correction)."""
    centred = residuals - residuals.mean()
    square = centred @ centred
    correlation = float(centred[1:] @ centred[:-1] / square) if square > 0 else -1.0
    corrected = (len(centred) * correlation + 2) / (len(centred) - 4)
    return min(max(corrected, 0.0), MAX_CORRELATION)
