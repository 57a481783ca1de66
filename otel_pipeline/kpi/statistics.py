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

from otel_pipeline.kpi.engine import amounts_of, series_of
from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.kpi.names import Name, label_text
from otel_pipeline.kpi.times import iso
from otel_pipeline.model import Run, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.kpi.values import Value

STATISTICS = ("count", "min", "max", "mean", "median", "p95", "p99", "last")


@dataclass(frozen=True)
class Statistic:
    """The figures of one series; ``last_updated`` in nanoseconds since the epoch."""

    labels: Mapping[str, str]
    count: int
    min: float
    max: float
    mean: float
    median: float
    p95: float
    p99: float
    last: float
    last_updated: int


def statistics(name: Name, values: Iterable[Value], figures: Iterable[Figure], now: int) -> list[Statistic]:
    """One for each series of ``name``, by labels; from ``values``, or for a computed gauge from ``figures``."""
    samples: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
    found = _computed(name, figures, now) if name.kpi.derived else _counted(name, values)
    for labels, when, number in found:
        if (shown := name.labels(labels)) is not None:
            samples.setdefault(tuple(shown.items()), []).append((when, number * name.scale))
    return [_statistic(dict(labels), series) for labels, series in sorted(samples.items())]


def _computed(name: Name, figures: Iterable[Figure], now: int) -> Iterator[tuple[tuple[str, ...], int, float]]:
    for figure in figures:
        if figure.kpi.name == name.kpi.name:
            yield figure.labels, now, figure.numbers[0]


def _counted(name: Name, values: Iterable[Value]) -> Iterator[tuple[tuple[str, ...], int, float]]:
    kpi = name.kpi
    for value in values:
        facts = (
            facts_of_run(value) if isinstance(value, Run) else facts_of_stage(value) if isinstance(value, Stage) else ()
        )
        for event, fact in facts:
            if event == kpi.event and (amounts := amounts_of(kpi, fact)) is not None:
                number = amounts[0] if kpi.divisor == 1 else amounts[0] / kpi.divisor
                yield series_of(kpi, fact).labels, 0 if not isinstance(value, (Run, Stage)) else value.ended, number


def _statistic(labels: Mapping[str, str], samples: list[tuple[int, float]]) -> Statistic:
    ordered = sorted(number for _, number in samples)
    when, last = max(samples)
    return Statistic(
        labels,
        len(ordered),
        ordered[0],
        ordered[-1],
        math.fsum(ordered) / len(ordered),
        quantile(ordered, 0.5),
        quantile(ordered, 0.95),
        quantile(ordered, 0.99),
        last,
        when,
    )


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
    ]
    return "\n".join(lines) + "\n"
