"""OTLP metrics ─► points of cumulative streams: of the metrics of ours that no span tells of.

What the catalogue counts from spans a process publishes as well, for deployments without a processor: those are passed
over here, since they are the same counts a second time.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from otel_pipeline.kpi import layers
from otel_pipeline.kpi.cardinality import MOST_BUCKETS
from otel_pipeline.kpi.otlp import MOST_NAME, NAME_BYTES, NotOtlpError, Read, is_ours, time_limit
from otel_pipeline.kpi.streams import Labels, Measure, Numbers, Point
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv.catalogue import COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_pipeline.semconv.tables import Instrument

MOST_LABELS = 20
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_IDENTITY = (a.SERVICE_NAME, "service.namespace", a.SERVICE_INSTANCE_ID)
"""The resource attributes that tell a process; all of them where it has no instance id."""
_INSTRUMENTS: dict[str, Instrument] = {"gauge": "gauge", "sum": "counter", "histogram": "histogram"}


def read_metrics(payload: bytes, *, now: int | None = None) -> Read:
    """The points in a serialized ``ExportMetricsServiceRequest``. Raises NotOtlpError.

    Left out: ``foreign`` (another scope, or counted from spans), ``metric`` (an exponential histogram or summary, or
    more than ``MOST_BUCKETS`` buckets), ``temporality`` (not cumulative), ``time``, ``value`` (NaN, infinite, or
    negative where it can only grow), ``labels`` (more than ``MOST_LABELS``, or values that are no scalars).
    """
    read, limit = Read(), time_limit(now)
    try:
        if NAME_BYTES not in payload:
            read.left_out["foreign"] += sum(map(layers.items, layers.scopes(payload)))
            return read
        request = ExportMetricsServiceRequest.FromString(payload)
    except (DecodeError, TypeError) as error:
        raise NotOtlpError(f"not an ExportMetricsServiceRequest: {str(error)[:200]}") from None
    for resource in request.resource_metrics:
        process: bytes | None = None
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                points = getattr(metric, kind).data_points if kind is not None else ()
                if not is_ours(scope.scope.name) or metric.name in COUNTED:
                    read.left_out["foreign"] += len(points)
                    continue
                process = _process(resource.resource) if process is None else process
                read.values.extend(_points(metric, kind, process + scope.scope.name.encode(), read, limit))
    return read


def _points(metric: Any, kind: str | None, source: bytes, read: Read, limit: int) -> Iterator[Point]:
    data = getattr(metric, kind) if kind is not None else None
    if data is None or kind not in _INSTRUMENTS:
        read.left_out["metric"] += len(data.data_points) if data is not None else 1
        return
    if kind != "gauge" and data.aggregation_temporality != _CUMULATIVE:
        read.left_out["temporality"] += len(data.data_points)
        return
    instrument: Instrument = "updowncounter" if kind == "sum" and not data.is_monotonic else _INSTRUMENTS[kind]
    for point in data.data_points:
        bounds = tuple(point.explicit_bounds) if kind == "histogram" else ()
        numbers, labels = _numbers(point, kind), _labels(point.attributes)
        time, start = point.time_unix_nano, point.start_time_unix_nano
        if len(bounds) >= MOST_BUCKETS or (kind == "histogram" and len(point.bucket_counts) != len(bounds) + 1):
            read.left_out["metric"] += 1
        elif numbers is None or (instrument in ("counter", "histogram") and min(numbers) < 0):
            read.left_out["value"] += 1
        elif labels is None:
            read.left_out["labels"] += 1
        elif not (0 < time <= limit and 0 <= start <= limit):
            read.left_out["time"] += 1
        else:
            measure = Measure(_clean(metric.name), instrument, _clean(metric.unit), _clean(metric.description), bounds)
            yield Point(measure, labels, _digest(source, metric.name, labels, start), start, time, numbers)


def _numbers(point: Any, kind: str) -> Numbers | None:
    if kind == "histogram":
        numbers = (point.sum, float(point.count), *map(float, point.bucket_counts))
    else:
        which = point.WhichOneof("value")
        numbers = (float(getattr(point, which)),) if which is not None else ()
    return numbers if numbers and all(map(math.isfinite, numbers)) else None


def _labels(attributes: Any) -> Labels | None:
    if len(attributes) > MOST_LABELS:
        return None
    found: dict[str, str] = {}
    for pair in attributes:
        text = _text(pair.value)
        if text is None or not pair.key:
            return None
        found[_clean(pair.key)] = text
    return tuple(sorted(found.items()))


def _text(value: Any) -> str | None:
    kind = value.WhichOneof("value")
    if kind == "bool_value":
        return str(value.bool_value).lower()
    if kind in ("string_value", "int_value", "double_value"):
        return _clean(str(getattr(value, kind)))
    return None


def _clean(text: str) -> str:
    return text[:MOST_NAME].replace("\0", "\ufffd")


def _digest(*identity: object) -> bytes:
    return hashlib.sha256(repr(identity).encode()).digest()[:16]


def _process(resource: Any) -> bytes:
    pairs = {pair.key: pair.value.SerializeToString(deterministic=True) for pair in resource.attributes}
    if a.SERVICE_INSTANCE_ID in pairs:
        pairs = {key: pairs[key] for key in _IDENTITY if key in pairs}
    return repr(sorted(pairs.items())).encode()
