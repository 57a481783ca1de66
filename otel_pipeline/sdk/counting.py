"""Ended runs and stages, summed up by the rows of the KPI catalogue.

Apart from ``metrics.py``, which loads it when there is something to count: the catalogue and what reads it would be a
tenth of ``setup()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_pipeline.kpi.engine import Feeds
from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.model import Run
from otel_pipeline.semconv.catalogue import CATALOGUE, EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otel_pipeline.kpi.engine import Series
    from otel_pipeline.model import Stage
    from otel_pipeline.semconv.catalogue import Kpi


class Counting:
    """What values feed is remembered by their labels, so that it is worked out once."""

    def __init__(self) -> None:
        self._feeds = {event: Feeds(kpi for kpi in CATALOGUE if kpi.event == event) for event in EVENTS}

    def of(self, ended: Iterable[Run | Stage]) -> Iterator[tuple[Kpi, Series, list[float]]]:
        """The series that these runs and stages feed: a counter's with one number, a histogram's with each value."""
        rows: dict[Series, Kpi] = {}
        sums: dict[Series, int] = {}
        spread: dict[Series, list[float]] = {}
        for value in ended:
            for event, fact in facts_of_run(value) if isinstance(value, Run) else facts_of_stage(value):
                for feed, series in self._feeds[event].of(fact):
                    if not isinstance(amount := fact.get(feed.value), (int, float)):
                        continue
                    rows[series] = feed.kpi
                    if feed.bounds is not None:
                        spread.setdefault(series, []).append(amount)
                    else:
                        sums[series] = sums.get(series, 0) + int(amount)
        for series, kpi in rows.items():
            yield kpi, series, spread.get(series) or [sums[series]]
