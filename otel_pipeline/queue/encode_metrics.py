"""SDK metrics ─► bytes of OTLP export requests, split so that no request outgrows what servers accept.

Equal to the stock `encode_metrics` (a property test compares the parsed messages), without importing protobuf at a
batch job's exit, where the last collection happens.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Any, Final

from otel_pipeline.queue import wire
from otel_pipeline.queue.encode import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.sdk.metrics import Exemplar
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

__all__ = ["encode_metrics", "split_metrics"]


def encode_metrics(data: MetricsData) -> bytes:
    """One serialized `ExportMetricsServiceRequest`; metrics of unknown kinds are left out of their data."""
    return b"".join(request for request, _ in split_metrics(data, limit=1 << 62))


def split_metrics(data: MetricsData, *, limit: int) -> Iterator[tuple[bytes, int]]:
    """Requests of about `limit` bytes at most, each with its number of data points.

    One metric larger than `limit` is divided among its points; only a single point can exceed it.
    """
    for resource_metrics in data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            messages: list[bytes] = []
            size = points = 0
            for metric in scope_metrics.metrics:
                for message, count in _metric(metric, limit):
                    if messages and size + len(message) > limit:
                        yield envelope(resource_metrics.resource, scope_metrics.scope, messages), points
                        messages, size, points = [], 0, 0
                    messages.append(message)
                    size += len(message)
                    points += count
            yield envelope(resource_metrics.resource, scope_metrics.scope, messages), points


def _metric(metric: Metric, limit: int) -> Iterator[tuple[bytes, int]]:
    head = wire.text(b"\x0a", metric.name) + wire.text(b"\x12", metric.description) + wire.text(b"\x1a", metric.unit)
    kind = _KINDS.get(type(metric.data).__name__)
    if kind is None or not metric.data.data_points:
        yield head, 0
        return
    tag, encode = kind
    tail = wire.number(b"\x10", int(getattr(metric.data, "aggregation_temporality", 0)))
    tail += b"\x18\x01" if getattr(metric.data, "is_monotonic", False) else b""
    for points in _chunks([wire.delimited(b"\x0a", encode(p)) for p in metric.data.data_points], limit):
        yield head + wire.delimited(tag, b"".join(points) + tail), len(points)


def _chunks(items: list[bytes], limit: int) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for item in items:
        if chunk and size + len(item) > limit:
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += len(item)
    if chunk:
        yield chunk


def _number(point: Any) -> bytes:
    value = point.value
    encoded = b"\x31" + pack("<q", value) if isinstance(value, int) else b"\x21" + wire.double(value)
    # A gauge has no start: the stock encoder leaves it out although the point may carry one.
    return (
        wire.time(b"\x19", point.time_unix_nano)
        + encoded
        + _exemplars(b"\x2a", point.exemplars)
        + wire.attributes(b"\x3a", point.attributes)
    )


def _sum(point: Any) -> bytes:
    return wire.time(b"\x11", point.start_time_unix_nano) + _number(point)


def _histogram(point: Any) -> bytes:
    counts, bounds = point.bucket_counts, point.explicit_bounds
    return b"".join(
        (
            wire.time(b"\x11", point.start_time_unix_nano),
            wire.time(b"\x19", point.time_unix_nano),
            wire.time(b"\x21", point.count),
            b"\x29" + wire.double(point.sum) if point.sum is not None else b"",
            wire.delimited(b"\x32", pack(f"<{len(counts)}Q", *counts)) if counts else b"",
            wire.delimited(b"\x3a", pack(f"<{len(bounds)}d", *bounds)) if bounds else b"",
            _exemplars(b"\x42", point.exemplars),
            wire.attributes(b"\x4a", point.attributes),
            b"\x59" + wire.double(point.min) if point.min is not None else b"",
            b"\x61" + wire.double(point.max) if point.max is not None else b"",
        )
    )


def _exponential(point: Any) -> bytes:
    return b"".join(
        (
            wire.attributes(b"\x0a", point.attributes),
            wire.time(b"\x11", point.start_time_unix_nano),
            wire.time(b"\x19", point.time_unix_nano),
            wire.time(b"\x21", point.count),
            b"\x29" + wire.double(point.sum) if point.sum is not None else b"",
            wire.number(b"\x30", _zigzag(point.scale)),
            wire.time(b"\x39", point.zero_count),
            _buckets(b"\x42", point.positive),
            _buckets(b"\x4a", point.negative),
            wire.number(b"\x50", point.flags),
            _exemplars(b"\x5a", point.exemplars),
            b"\x61" + wire.double(point.min) if point.min is not None else b"",
            b"\x69" + wire.double(point.max) if point.max is not None else b"",
        )
    )


def _buckets(tag: bytes, buckets: Any) -> bytes:
    if not buckets.bucket_counts:
        return b""
    counts = b"".join([wire.varint(count) for count in buckets.bucket_counts])
    return wire.delimited(tag, wire.number(b"\x08", _zigzag(buckets.offset)) + wire.delimited(b"\x12", counts))


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _exemplars(tag: bytes, exemplars: Sequence[Exemplar]) -> bytes:
    return b"".join([wire.delimited(tag, _exemplar(exemplar)) for exemplar in exemplars]) if exemplars else b""


def _exemplar(exemplar: Exemplar) -> bytes:
    value = exemplar.value
    ids = b""
    if exemplar.span_id is not None and exemplar.trace_id is not None:
        ids = b"\x22\x08" + exemplar.span_id.to_bytes(8, "big") + b"\x2a\x10" + exemplar.trace_id.to_bytes(16, "big")
    encoded = b"\x19" + wire.double(value) if isinstance(value, float) else b"\x31" + pack("<q", value)
    head = wire.time(b"\x11", exemplar.time_unix_nano)
    return head + encoded + ids + wire.attributes(b"\x3a", exemplar.filtered_attributes)


_KINDS: Final[dict[str, tuple[bytes, Callable[[Any], bytes]]]] = {
    "Gauge": (b"\x2a", _number),
    "Sum": (b"\x3a", _sum),
    "Histogram": (b"\x4a", _histogram),
    "ExponentialHistogram": (b"\x52", _exponential),
}
