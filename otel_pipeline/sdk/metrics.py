"""The process's own metrics about its runs: the rows of the KPI catalogue, as far as one process can count them.

::

    a run or stage ends ──append──► ended ──when the SDK collects──► counting.py ─┬─ counters: summed, handed over
                                                                                └─ histograms: one by one

The pipeline pays for an append; what is counted is what the processor beside a Collector counts (``kpi/facts.py`` and
the catalogue), but for what needs more than one run: attempts, rates, ages.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from opentelemetry.metrics import Counter, Histogram, Observation

from otel_pipeline.instrument import registry
from otel_pipeline.instrument.measuring import NOWHERE, instrument_of
from otel_pipeline.instrument.scope import SCOPE_NAME
from otel_pipeline.queue.transport import importing
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import metrics as m
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions, MeterProvider

    from otel_pipeline.kpi.engine import Series
    from otel_pipeline.model import Run, Stage
    from otel_pipeline.sdk.counting import Counting
    from otel_pipeline.semconv.catalogue import Kpi
    from otel_pipeline.semconv.tables import Metric

_MOST_ENDED = 1000  # between two collections; then they are counted at once


class RunMetrics:
    """The counters and histograms, on a meter of ``provider``."""

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter(SCOPE_NAME, __version__)
        self._instruments: dict[str, Counter | Histogram] = {}
        self._counting: Counting | None = None
        # Taken one by one: a list that is swapped for an empty one may still be added to, by whoever fetched it before.
        self._ended: deque[Run | Stage] = deque()
        active = m.RUN_ACTIVE
        # The SDK calls this before it collects, and so the counters are up to date in the same collection.
        self._meter.create_observable_up_down_counter(
            active.name, [self._collected], active.unit, active.description
        )  # fmt: skip
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def count(self, ended: Run | Stage) -> None:
        """Count a run or stage, at the latest when the SDK collects."""
        if self._counting is None:
            with importing():
                from otel_pipeline.sdk.counting import Counting  # noqa: PLC0415 - see there
            self._counting = Counting()
        self._ended.append(ended)
        if len(self._ended) >= _MOST_ENDED:
            self._count_ended()

    def _after_fork(self) -> None:
        # What the parent has counted is the parent's.
        self._ended.clear()

    def _collected(self, options: CallbackOptions) -> Iterator[Observation]:
        del options
        self._count_ended()
        active: dict[str, int] = {}
        for run in registry.open_runs():
            active[run.name] = active.get(run.name, 0) + 1
        for name, number in active.items():
            yield Observation(number, {a.PIPELINE_NAME: name})

    def _count_ended(self) -> None:
        if self._counting is None:
            return
        for kpi, series, amounts in self._counting.of(self._taken()):
            self._hand_over(kpi, series, amounts)

    def _taken(self) -> Iterator[Run | Stage]:
        """What has ended, each for one caller only."""
        while self._ended:
            try:
                yield self._ended.popleft()
            except IndexError:  # another thread has taken the last one
                return

    def _hand_over(self, kpi: Kpi, series: Series, amounts: Iterable[float]) -> None:
        labels = {key: text for key, text in zip(kpi.metric.attributes, series.labels, strict=True) if text}
        instrument = self._instrument(kpi.metric)
        take = instrument.record if isinstance(instrument, Histogram) else instrument.add
        for amount in amounts:
            take(amount if kpi.divisor == 1 else amount / kpi.divisor, labels, context=NOWHERE)

    def _instrument(self, metric: Metric) -> Counter | Histogram:
        """Made when first used: a metric without a value is none."""
        if (found := self._instruments.get(metric.name)) is None:
            found = self._instruments[metric.name] = instrument_of(self._meter, metric)
        return found
