"""Statistics of one metric over a window: count, min, max, mean, median, p95, p99 and last, for each of its series.

What was counted in the window is looked at one by one: the durations of the runs, the counts of the stages. A gauge
that is computed has one value, which it has now.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otel_pipeline.kpi.engine import Feeds
from otel_pipeline.kpi.exposition import quantile_of_buckets, series_of_name
from otel_pipeline.kpi.names import label_text
from otel_pipeline.kpi.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from otel_pipeline.kpi.exposition import Labels
    from otel_pipeline.kpi.facts import Dated
    from otel_pipeline.kpi.names import Name
    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.semconv.catalogue import Kpi

STATISTICS = ("count", "min", "max", "mean", "median", "p95", "p99", "last", "sum", "value")


@dataclass(frozen=True)
class Statistic:
    """The figures of one series in the window; what is not known is None.

    ``value`` is what the series stands at now (of a histogram its sum), since ever; ``last_updated`` is in nanoseconds
    since the epoch.
    """

    labels: Mapping[str, str]
    count: int | None
    min: float | None
    max: float | None
    mean: float | None
    median: float | None
    p95: float | None
    p99: float | None
    last: float | None
    sum: float
    value: float | None
    last_updated: int


def statistics(name: Name, facts: Iterable[Dated], figures: Iterable[Figure], now: int) -> list[Statistic]:
    """One for each series of ``name``, by labels: of the ``facts`` of the window, and the value in ``figures``.

    A gauge that is computed has one sample, the value that it has now. Of a counter that processes sent there is its
    sum, and of a histogram the counts of its buckets, both since ever.
    """
    values = series_of_name(name, figures)
    if name.kpi.event == "stream" and name.kpi.metric.instrument == "histogram":
        bounds = name.kpi.metric.buckets
        return [_of_buckets(labels, numbers, bounds, now) for labels, numbers in sorted(values.items()) if numbers[1]]
    if name.kpi.event == "stream" and name.kpi.metric.instrument == "counter":
        return [_of_sum(labels, numbers[0], now) for labels, numbers in sorted(values.items())]
    samples: dict[Labels, list[tuple[int, float]]] = {}
    if name.kpi.derived:
        samples = {labels: [(now, numbers[0])] for labels, numbers in values.items()}
    for when, labels, number in () if name.kpi.derived else _counted(name.kpi, facts):
        if (shown := name.labels(labels)) is not None:
            samples.setdefault(tuple(shown.items()), []).append((when, number * name.scale))
    return [_statistic(labels, series, values.get(labels)) for labels, series in sorted(samples.items())]


def _counted(kpi: Kpi, facts: Iterable[Dated]) -> Iterator[tuple[int, tuple[str, ...], float]]:
    feeds = Feeds([kpi])
    for when, event, fact in facts:
        for feed, series in feeds.of(fact) if event == kpi.event else ():
            if isinstance(value := fact.get(feed.value), (int, float)):
                yield when, series.labels, value if kpi.divisor == 1 else value / kpi.divisor


def _statistic(labels: Labels, samples: list[tuple[int, float]], numbers: list[float] | None) -> Statistic:
    ordered = sorted(number for _, number in samples)
    when, last = max(samples)
    return Statistic(
        dict(labels),
        count=len(ordered),
        min=ordered[0],
        max=ordered[-1],
        mean=math.fsum(ordered) / len(ordered),
        median=quantile(ordered, 0.5),
        p95=quantile(ordered, 0.95),
        p99=quantile(ordered, 0.99),
        last=last,
        sum=math.fsum(ordered),
        value=numbers[0] if numbers is not None else None,
        last_updated=when,
    )


def _of_buckets(labels: Labels, numbers: Sequence[float], bounds: Sequence[float], now: int) -> Statistic:
    total, count, *buckets = numbers
    median, p95, p99 = (quantile_of_buckets(share, bounds, buckets) for share in (0.5, 0.95, 0.99))
    return Statistic(
        dict(labels), int(count), None, None, total / count, median, p95, p99, None, total, total, now,
    )  # fmt: skip


def _of_sum(labels: Labels, total: float, now: int) -> Statistic:
    return Statistic(dict(labels), None, None, None, None, None, None, None, None, total, total, now)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the ordered values lie, interpolated between the two that are nearest.

    >>> quantile([1, 2, 3, 4], 0.5)
    2.5
    """
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def as_objects(name: Name, found: Iterable[Statistic]) -> list[dict[str, Any]]:
    """As JSON has them: one object a series."""
    return [
        {
            "metric": name.name,
            "type": name.type,
            "unit": name.unit,
            "labels": dict(each.labels),
            **{statistic: getattr(each, statistic) for statistic in STATISTICS},
            "last_updated": iso(each.last_updated),
        }
        for each in found
    ]


def as_json(name: Name, found: Iterable[Statistic]) -> str:
    """A JSON list, an object a series."""
    return json.dumps(as_objects(name, found), indent=2, ensure_ascii=False)


def as_csv(name: Name, found: Sequence[Statistic]) -> str:
    """A line a series, a column for each label and statistic."""
    text = io.StringIO()
    labels = list(dict.fromkeys(label for each in found for label in each.labels))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", *labels, *STATISTICS, "last_updated"])
    for each in found:
        shown = [getattr(each, statistic) for statistic in STATISTICS]
        writer.writerow([name.name, *(each.labels.get(label, "") for label in labels), *shown, iso(each.last_updated)])
    return text.getvalue()


def as_prometheus(name: Name, found: Iterable[Statistic]) -> str:
    """Prometheus text: ``name{stat="p95"} …``."""
    lines = [f"# TYPE {name.name} gauge"]
    lines += [
        f"{name.name}{label_text({**each.labels, 'stat': statistic})} {getattr(each, statistic)!r}"
        for each in found
        for statistic in STATISTICS
        if getattr(each, statistic) is not None
    ]
    return "\n".join(lines) + "\n"
