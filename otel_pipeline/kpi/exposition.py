"""All series as Prometheus's text, under every name (``GET /metrics``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from otel_pipeline.kpi.measures import served
from otel_pipeline.kpi.names import Name, label_text, names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.semconv.catalogue import Kpi

Labels: TypeAlias = "tuple[tuple[str, str], ...]"
QUANTILES = (0.5, 0.95, 0.99)


def series_of_name(name: Name, figures: Iterable[Figure]) -> dict[Labels, list[float]]:
    """The series of one name, by labels. Those that its labels do not tell apart are added up."""
    found: dict[Labels, list[float]] = {}
    for figure in figures:
        labels = name.labels(figure.labels) if figure.kpi.key == name.kpi.key else None
        if labels is None:
            continue
        first, *rest = figure.numbers
        numbers = [first * name.scale if name.scale != 1 else first, *rest]
        before = found.get(tuple(labels.items()), [0] * len(numbers))
        found[tuple(labels.items())] = [a + b for a, b in zip(before, numbers, strict=True)]
    return found


def as_prometheus(catalogue: Sequence[Kpi], figures: Sequence[Figure], packs: Iterable[str] | None = None) -> str:
    """The text format; aliases of ``packs`` alone, where given."""
    by_kpi: dict[str, list[Figure]] = {}
    for figure in figures:
        by_kpi.setdefault(figure.kpi.key, []).append(figure)
    lines = [
        line for name in names_of(served(catalogue, figures), packs)
        for line in _lines(name, series_of_name(name, by_kpi.get(name.kpi.key, ())))
    ]  # fmt: skip
    return "".join(f"{line}\n" for line in lines)


def _lines(name: Name, series: Mapping[Labels, list[float]]) -> Iterator[str]:
    if not series:
        return
    yield f"# HELP {name.name} {name.kpi.metric.description}"
    yield f"# TYPE {name.name} {name.type}"
    for labels, numbers in sorted(series.items()):
        told = dict(labels)
        if len(numbers) == 1:
            yield f"{name.name}{label_text(told)} {_number(numbers[0])}"
            continue
        total, count, *buckets = numbers
        yield from _buckets(name, told, buckets) if name.type == "histogram" else _quantiles(name, told, buckets)
        yield f"{name.name}_sum{label_text(told)} {_number(total)}"
        yield f"{name.name}_count{label_text(told)} {_number(count)}"


def _buckets(name: Name, labels: dict[str, str], buckets: Sequence[float]) -> Iterator[str]:
    below: float = 0
    for bound, count in zip((*name.kpi.metric.buckets, None), buckets, strict=True):
        below += count
        le = "+Inf" if bound is None else _number(float(bound))
        yield f"{name.name}_bucket{label_text({**labels, 'le': le})} {_number(below)}"


def _quantiles(name: Name, labels: dict[str, str], buckets: Sequence[float]) -> Iterator[str]:
    for share in QUANTILES:
        value = quantile_of_buckets(share, name.kpi.metric.buckets, buckets)
        yield f"{name.name}{label_text({**labels, 'quantile': str(share)})} {_number(value)}"


def quantile_of_buckets(share: float, bounds: Sequence[float], buckets: Sequence[float]) -> float:
    """As Prometheus's ``histogram_quantile``: within its bucket the value is interpolated; NaN where there is none.

    >>> quantile_of_buckets(0.5, (1, 2), (0, 4, 0))
    1.5
    """
    rank, below = share * sum(buckets), 0.0
    if not sum(buckets):
        return float("nan")
    for index, count in enumerate(buckets[:-1]):
        if below + count >= rank and count:
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (rank - below) / count
        below += count
    return bounds[-1]


def _number(value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN is the one that is not itself
        return "NaN"
    return str(value) if isinstance(value, int) else repr(float(value))
