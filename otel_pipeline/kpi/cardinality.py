"""A bound on the number of series of each KPI: beyond it everything is added to one overflow series.

The sum over all series stays right, and a number of what went there is kept; memory and disk stay bounded.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from otel_pipeline.kpi.engine import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST_SERIES = 10_000
OVERFLOW = "__overflow__"
"""Every label of the overflow series."""


def bounded(
    sums: Mapping[Series, list[int]],
    exists: Callable[[Series], bool],
    size: Callable[[str], int],
    most: int = MOST_SERIES,
) -> tuple[dict[Series, list[int]], Counter[str]]:
    """``sums`` with at most ``most`` series for each KPI, and how many additions overflowed, by KPI.

    ``exists`` tells whether a series is there already, ``size`` how many a KPI has.
    """
    kept: dict[Series, list[int]] = {}
    sizes: dict[str, int] = {}
    overflowed: Counter[str] = Counter()
    for series, amounts in sums.items():
        if not exists(series):
            room = sizes.setdefault(series.kpi, size(series.kpi))
            if room >= most:
                overflowed[series.kpi] += any(amounts)
                series = Series(series.kpi, (OVERFLOW,) * len(series.labels))  # noqa: PLW2901 - the same amounts
            else:
                sizes[series.kpi] = room + 1
        before = kept.get(series, [0] * len(amounts))
        kept[series] = [total + amount for total, amount in zip(before, amounts, strict=True)]
    return kept, overflowed
