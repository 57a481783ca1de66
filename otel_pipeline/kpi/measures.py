"""Series of streams as figures: under their row of the catalogue, or under one of their own.

A row of the catalogue says under which other names a stream is served. Those of a family are found here, from what
there is: ``pipeline_urls_status_404`` is there once somebody got a 404.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from otel_pipeline.kpi.names import names_of, prometheus_name
from otel_pipeline.kpi.state import Figure
from otel_pipeline.semconv.catalogue import Kpi
from otel_pipeline.semconv.operations import OVERFLOW
from otel_pipeline.semconv.tables import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from otel_pipeline.kpi.streams import Measure, Total
    from otel_pipeline.semconv.kpi import Alias


def served(catalogue: Sequence[Kpi], figures: Iterable[Figure]) -> list[Kpi]:
    """The rows of ``catalogue``, then those of other streams among ``figures`` under names that nothing else has."""
    sent: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.kpi.event == "stream":
            sent.setdefault(figure.kpi.key, []).append(figure)
    rows = [sent[kpi.key][0].kpi if kpi.event == "stream" and kpi.key in sent else kpi for kpi in catalogue]
    known, taken = {kpi.key for kpi in rows}, {name.name for name in names_of(rows)}
    for key, (first, *_) in sent.items():
        if key not in known and first.kpi.metric.prometheus not in taken:
            taken.add(first.kpi.metric.prometheus)
            rows.append(first.kpi)
    return [_with_families(kpi, sent.get(kpi.key, ()), taken) for kpi in rows]


def _with_families(kpi: Kpi, figures: Sequence[Figure], taken: set[str]) -> Kpi:
    if not any(alias.family for alias in kpi.aliases):
        return kpi
    made = [each for alias in kpi.aliases for each in (_members(kpi, alias, figures, taken) if alias.family else ())]
    return replace(kpi, aliases=(*(alias for alias in kpi.aliases if alias.family is None), *made))


def _members(kpi: Kpi, alias: Alias, figures: Sequence[Figure], taken: set[str]) -> Iterator[Alias]:
    """The aliases of a family: by the order in which the values were first seen, so that each keeps its name."""
    assert alias.family is not None
    named: dict[str, set[tuple[str, ...]]] = {}
    rest: set[tuple[str, ...]] = set()
    for figure in figures:
        by_key = dict(zip(kpi.metric.attributes, figure.labels, strict=True))
        values = [by_key[key] for key in alias.family.attributes]
        if not all(values):
            continue
        name = "_".join([alias.name, *(re.sub(r"[^A-Za-z0-9]+", "_", value).strip("_") for value in values)])
        if name not in named and (len(named) >= alias.family.most or name in taken or OVERFLOW in values):
            rest.add(figure.labels)
        else:
            named.setdefault(name, set()).add(figure.labels)
    for name, series in named.items():
        yield replace(alias, name=name, family=None, series=frozenset(series))
    if rest and alias.family.rest:
        yield replace(alias, name=alias.family.rest, family=None, series=frozenset(rest))


def figures_of(totals: Iterable[Total], catalogue: Iterable[Kpi] = ()) -> Iterator[Figure]:
    """The series of each metric, under one row: its labels are those of the catalogue, and what else any series has."""
    rows = {kpi.name: kpi for kpi in catalogue if kpi.event == "stream"}
    for measure, group in groupby(totals, key=lambda total: total.measure):
        series = list(group)
        kpi = _row(measure, {key for total in series for key, _ in total.labels}, rows)
        for total in series:
            labels = dict(total.labels)
            yield Figure(kpi, tuple(labels.get(key, "") for key in kpi.metric.attributes), total.numbers)


def _row(measure: Measure, keys: set[str], rows: Mapping[str, Kpi]) -> Kpi:
    known = rows.get(measure.name)
    if known is not None and known.metric.instrument != measure.instrument:
        known = None
    first = known.metric.attributes if known is not None else ()
    name = prometheus_name(measure.name, measure.unit, measure.instrument)
    metric = Metric(
        measure.name,
        measure.instrument,
        measure.unit,
        measure.description,
        (*first, *sorted(keys.difference(first))),
        name,
        measure.bounds,
    )
    return Kpi(metric, "stream", "value") if known is None else replace(known, metric=metric)
