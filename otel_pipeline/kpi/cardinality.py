"""A bound on the number of series of each KPI: beyond it everything is added to one overflow series.

The sum over all series stays right, and a number of what went there is kept; memory and disk stay bounded.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from otel_pipeline.kpi.engine import Series
from otel_pipeline.semconv.operations import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

MOST_SERIES = 10_000
MOST_BUCKETS = 20
"""Of the widest histogram: the store has a column for each."""


def overflow_of(series: Series) -> Series:
    """Where the additions to ``series`` go when its KPI has too many."""
    return Series(series.kpi, (OVERFLOW,) * len(series.labels))


def bounded(
    sums: Mapping[Series, list[int]],
    existing: Callable[[str], Collection[Series]],
    sizes: Mapping[str, int],
    most: int = MOST_SERIES,
) -> tuple[dict[Series, list[int]], Counter[str]]:
    """``sums`` with at most ``most`` series for each KPI, and how many additions overflowed, by KPI.

    ``existing`` tells which series a KPI has already, ``sizes`` how many.
    """
    touched = Counter(series.kpi for series in sums)
    full = {kpi for kpi, number in touched.items() if sizes[kpi] + number > most}
    if not full:  # nearly always; then nobody need ask which series are there
        return dict(sums), Counter()
    there = {kpi: existing(kpi) for kpi in full}
    new = {kpi: max(most - sizes[kpi], 0) for kpi in full}
    kept: dict[Series, list[int]] = {}
    overflowed: Counter[str] = Counter()
    for series, amounts in sums.items():
        if series.kpi in full and series not in there[series.kpi]:
            if new[series.kpi]:
                new[series.kpi] -= 1
            else:
                overflowed[series.kpi] += any(amounts)
                series = overflow_of(series)  # noqa: PLW2901 - the same amounts
        before = kept.get(series, [0] * len(amounts))
        kept[series] = [total + amount for total, amount in zip(before, amounts, strict=True)]
    return kept, overflowed
