"""Bounds that are learned from the runs before: how far from their median a run may lie.

The logarithms of the values are taken, since twice as much and half as much are equally far away, and their median
absolute deviation, which a few strange runs do not move. Only runs that succeeded teach. With fewer than ``WARM_UP``
nothing is said; with as many of the same weekday those alone count. The same history always gives the same bounds.

    bounds = median ± sensitivity × 1.4826 × MAD, and never nearer than half as much again
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from otel_pipeline.spellings import Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WARM_UP = 8
"""Runs without which nothing is learned."""
MOST = 100
"""Runs that are looked at: so many that started before, those that succeeded among them."""
WIDTHS: Mapping[str, float] = {"low": 8.0, "normal": 5.0, "high": 3.5}
"""Deviations that a run may lie off, by sensitivity."""
_SCALE = 1.4826  # of the median absolute deviation: then it is the standard deviation of a normal distribution
_NEAREST = math.log(1.5)


class Learned(NamedTuple):
    """Bounds, from how many ``runs``, and whether of one ``weekday`` alone."""

    bounds: Bounds
    runs: int
    weekday: bool


def learned(history: Sequence[tuple[int, int]], weekday: int, sensitivity: str, *, offset: int) -> Learned | None:
    """What values to expect on ``weekday``, from (weekday, value) of earlier runs; None in warm-up.

    ``offset`` is added before the logarithm is taken: differences among values far below it do not matter.
    """
    same = [value for day, value in history if day == weekday]
    values = same if len(same) >= WARM_UP else [value for _, value in history]
    if len(values) < WARM_UP:
        return None
    logs = sorted(math.log(value + offset) for value in values)
    middle = _median(logs)
    spread = _SCALE * _median(sorted(abs(value - middle) for value in logs))
    width = max(WIDTHS[sensitivity] * spread, _NEAREST)
    low, high = (math.exp(middle + side * width) - offset for side in (-1, 1))
    return Learned(Bounds(max(math.floor(low), 0), math.ceil(min(high, 2.0**62))), len(values), len(same) >= WARM_UP)


def _median(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
