"""Series of streams as figures, beside those of the catalogue: a row for each metric that processes have sent."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from otel_pipeline.kpi.names import names_of, prometheus_name
from otel_pipeline.kpi.state import Figure
from otel_pipeline.semconv.catalogue import Kpi
from otel_pipeline.semconv.tables import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from otel_pipeline.kpi.streams import Measure, Total


def served(catalogue: Sequence[Kpi], figures: Iterable[Figure]) -> list[Kpi]:
    """The rows of ``catalogue``, then those of streams among ``figures`` under names that nothing else has."""
    taken = {name.name for name in names_of(catalogue)}
    sent = {figure.kpi.metric.prometheus: figure.kpi for figure in figures if figure.kpi.event == "stream"}
    return [*catalogue, *(kpi for name, kpi in sent.items() if name not in taken)]


def figures_of(totals: Iterable[Total]) -> Iterator[Figure]:
    """The series of each metric, under one row; its labels are all that any of its series has."""
    for measure, group in groupby(totals, key=lambda total: total.measure):
        series = list(group)
        keys = tuple(sorted({key for total in series for key, _ in total.labels}))
        kpi = Kpi(_metric(measure, keys), "stream", "value")
        for total in series:
            labels = dict(total.labels)
            yield Figure(kpi, tuple(labels.get(key, "") for key in keys), total.numbers)


def _metric(measure: Measure, keys: tuple[str, ...]) -> Metric:
    name = prometheus_name(measure.name, measure.unit, measure.instrument)
    return Metric(
        measure.name, measure.instrument, measure.unit, measure.description, keys, name, measure.bounds
    )  # fmt: skip
