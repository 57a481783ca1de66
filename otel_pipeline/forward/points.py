"""A moment as OTLP: every KPI under every name, from one stable source.

No process, host or instance is named: the series are those of the pipelines, whoever runs them and wherever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from otel_pipeline.kpi.exposition import QUANTILES, quantile_of_buckets, series_of_name
from otel_pipeline.kpi.measures import served
from otel_pipeline.kpi.names import names_of
from otel_pipeline.semconv.attributes import SERVICE_NAME
from otel_pipeline.store.exports import Begun
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from otel_pipeline.kpi.exposition import Labels
    from otel_pipeline.kpi.names import Name
    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.semconv.catalogue import Kpi
    from otel_pipeline.store.exports import Moment

SERVICE = "otel-pipeline"
SCOPE = "otel_pipeline_kpis"
"""Not a scope of the processes' own (``otel_pipeline`` or below): a gateway tells the two apart by it."""
MOST_POINTS = 5000
"""Points in one request: some 200 bytes each, and gRPC servers refuse more than 4 MiB."""


class Point(NamedTuple):
    """A number of a series at a time, or several: of a histogram sum, count, and the count of each bucket."""

    labels: Labels
    time: int
    start: int
    numbers: Sequence[float]


def requests(
    moment: Moment, catalogue: Sequence[Kpi], packs: Iterable[str] | None = None, *, most: int = MOST_POINTS
) -> Iterator[bytes]:
    """Serialized ``ExportMetricsServiceRequest`` of at most ``most`` points, to be sent in this order.

    A series whose zero is due has it directly before its value. Aliases of ``packs`` alone, where given.
    """
    request, size, open_metric = ExportMetricsServiceRequest(), 0, None
    for name, point in _points(moment, catalogue, packs):
        if size == most:
            yield request.SerializeToString()
            request, size, open_metric = ExportMetricsServiceRequest(), 0, None
        if open_metric is None or open_metric[0] != name:
            open_metric = name, _add_metric(_metrics(request), name)
        _add_point(open_metric[1], name, point)
        size += 1
    if size:
        yield request.SerializeToString()


def _points(moment: Moment, catalogue: Sequence[Kpi], packs: Iterable[str] | None) -> Iterator[tuple[Name, Point]]:
    by_kpi: dict[str, list[Figure]] = {}
    for figure in moment.figures:
        by_kpi.setdefault(figure.kpi.key, []).append(figure)
    for name in names_of(served(catalogue, moment.figures), packs):
        figures = by_kpi.get(name.kpi.key, [])
        begun = _begun(name, figures, moment)
        for labels, numbers in series_of_name(name, figures).items():
            start = begun.get(labels)
            if start is not None and start.due:
                yield name, Point(labels, start.zero, start.zero, [0] * len(numbers))
            yield name, Point(labels, moment.time, start.zero if start is not None else 0, numbers)


def _begun(name: Name, figures: Iterable[Figure], moment: Moment) -> dict[Labels, Begun]:
    """How each series of a name began: with the first of those that it adds up; it was 0 if all of them were."""
    found: dict[Labels, Begun] = {}
    for figure in figures:
        labels, begun = name.labels(figure.labels), moment.begun.get(figure.series)
        if labels is not None and begun is not None:
            before = found.get(tuple(labels.items()), begun)
            found[tuple(labels.items())] = Begun(min(begun.zero, before.zero), begun.due and before.due)
    return found


def _metrics(request: ExportMetricsServiceRequest) -> Any:
    if not request.resource_metrics:
        resource = request.resource_metrics.add()
        resource.resource.attributes.append(KeyValue(key=SERVICE_NAME, value=AnyValue(string_value=SERVICE)))
        scope = resource.scope_metrics.add().scope
        scope.name, scope.version = SCOPE, __version__
    return request.resource_metrics[0].scope_metrics[0].metrics


def _add_metric(metrics: Any, name: Name) -> Any:
    """The metric under the name and unit from which Prometheus makes ``name``."""
    alias = name.alias is not None
    metric = metrics.add(
        name=name.name if alias else name.kpi.name,
        unit="" if alias else name.unit,
        description=name.kpi.metric.description,
    )
    data = getattr(metric, _field(name))
    if name.type in ("counter", "histogram"):
        data.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    if name.type == "counter":
        # Prometheus would add `_total` to the name of a monotonic sum, and some aliases have none: docs/decisions/0011.
        data.is_monotonic = not alias or name.name.endswith("_total")
    data.SetInParent()
    return metric


def _add_point(metric: Any, name: Name, point: Point) -> None:
    data = getattr(metric, _field(name)).data_points.add(
        time_unix_nano=point.time,
        start_time_unix_nano=point.start,
        attributes=[KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in _attributes(name, point)],
    )
    if name.type not in ("histogram", "summary"):
        data.as_double = point.numbers[0]
        return
    data.sum, count, *buckets = point.numbers
    data.count = int(count)
    if name.type == "histogram":
        data.explicit_bounds.extend(name.kpi.metric.buckets)
        data.bucket_counts.extend(int(number) for number in buckets)
        return
    for share in QUANTILES:
        data.quantile_values.add(quantile=share, value=quantile_of_buckets(share, name.kpi.metric.buckets, buckets))


def _attributes(name: Name, point: Point) -> Iterable[tuple[str, str]]:
    if name.alias is not None:
        return point.labels
    return zip(name.kpi.metric.attributes, (text for _, text in point.labels), strict=True)


def _field(name: Name) -> str:
    return {"counter": "sum"}.get(name.type, name.type)
