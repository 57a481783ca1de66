"""SDK spans and log records ─► bytes of OTLP export requests.

A request is `Resource{…} ─ Scope{…} ─ items`; the three signals share that shape and its field numbers, so the
envelope is written once (`envelope`) and its resource and scope parts are cached by identity: they are the same
objects for every item of a process. Concatenated requests are one valid request, which is what lets the sender join
records without reading them.

Equal to the stock `encode_spans`, with two exceptions: text with lone surrogates (undecodable file names) keeps its
other characters, where the stock encoder drops the attribute or the whole batch; and a log body of a foreign type
becomes its `str`.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from otel_pipeline.queue import wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext

__all__ = ["encode_logs", "encode_spans", "envelope"]

_FLAGS_LOCAL: Final = 0x100
_FLAGS_REMOTE: Final = 0x300
_TIMES: Final = Struct("<BQBQ")
_FLAGS: Final = Struct("<I")


def encode_spans(spans: Iterable[ReadableSpan]) -> bytes:
    """A serialized `ExportTraceServiceRequest` of ended spans, grouped by resource and scope.

    Raises whatever a malformed span makes it raise (`TypeError`, `ValueError`, `AttributeError`).
    """
    return _grouped((span.resource, span.instrumentation_scope, span_message(span)) for span in spans)


def encode_logs(records: Iterable[ReadableLogRecord]) -> bytes:
    """A serialized `ExportLogsServiceRequest` of log records, grouped by resource and scope."""
    return _grouped((record.resource, record.instrumentation_scope, log_message(record)) for record in records)


def _grouped(items: Iterable[tuple[Resource, InstrumentationScope | None, bytes]]) -> bytes:
    groups: dict[tuple[int, int], tuple[Resource, InstrumentationScope | None, list[bytes]]] = {}
    for resource, scope, message in items:
        key = (id(resource), id(scope))
        group = groups.get(key)
        if group is None:
            group = groups[key] = (resource, scope, [])
        group[2].append(message)
    return b"".join([envelope(resource, scope, messages) for resource, scope, messages in groups.values()])


def envelope(resource: Resource, scope: InstrumentationScope | None, items: Sequence[bytes]) -> bytes:
    """One request that holds `items`, serialized `Span`, `LogRecord` or `Metric` messages of one scope."""
    head, resource_tail, scope_head, scope_tail = _context(resource, scope)
    body = [scope_head]
    for item in items:
        body += (b"\x12", wire.varint(len(item)), item)
    body.append(scope_tail)
    inner = b"".join(body)
    middle = b"\x12" + wire.varint(len(inner))
    length = len(head) + len(middle) + len(inner) + len(resource_tail)
    return b"".join((b"\x0a", wire.varint(length), head, middle, inner, resource_tail))


_contexts: dict[tuple[int, int], tuple[Any, Any, tuple[bytes, bytes, bytes, bytes]]] = {}


def _context(resource: Resource, scope: InstrumentationScope | None) -> tuple[bytes, bytes, bytes, bytes]:
    # The objects are kept beside their bytes, so that an id cannot come to mean another object.
    entry = _contexts.get((id(resource), id(scope)))
    if entry is None:
        head = wire.delimited(b"\x0a", wire.attributes(b"\x0a", resource.attributes))
        parts = (head, wire.text(b"\x1a", resource.schema_url), *_scope(scope))
        entry = (resource, scope, parts)
        if len(_contexts) >= 256:
            _contexts.clear()
        _contexts[id(resource), id(scope)] = entry
    return entry[2]


def _scope(scope: InstrumentationScope | None) -> tuple[bytes, bytes]:
    if scope is None:
        return b"\x0a\x00", b""
    name = wire.text(b"\x0a", scope.name) + wire.text(b"\x12", scope.version)
    return wire.delimited(b"\x0a", name + wire.attributes(b"\x1a", scope.attributes)), wire.text(
        b"\x1a", scope.schema_url
    )


def span_message(span: ReadableSpan) -> bytes:
    """A serialized `Span` message."""
    context: Any = span.get_span_context()
    parent = span.parent
    name = span.name.encode("utf-8", "replace")
    # The private mapping spares a proxy whose iteration would cost more than the encoding; the public one is the same.
    attributes = getattr(span, "_attributes", None) or span.attributes
    parts = [
        b"\x0a\x10",
        context.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        context.span_id.to_bytes(8, "big"),
        _trace_state(context) if context.trace_state else b"",
        b"\x22\x08" + parent.span_id.to_bytes(8, "big") if parent else b"",
        b"\x2a" + wire.varint(len(name)) + name if name else b"",
        b"\x30" + wire.varint(span.kind.value + 1),
        _TIMES.pack(0x39, span.start_time or 0, 0x41, span.end_time or 0),
        wire.attributes(b"\x4a", attributes),
    ]
    _rare(parts, span)
    parts.append(b"\x85\x01" + _FLAGS.pack(_FLAGS_REMOTE if parent and parent.is_remote else _FLAGS_LOCAL))
    return b"".join(parts)


def _rare(parts: list[bytes], span: ReadableSpan) -> None:
    """What most spans lack: dropped counts, events, links; and the status."""
    if span.dropped_attributes:
        parts.append(wire.number(b"\x50", span.dropped_attributes))
    if events := span.events:
        parts += [wire.delimited(b"\x5a", _event(event)) for event in events]
    if span.dropped_events:
        parts.append(wire.number(b"\x60", span.dropped_events))
    if links := span.links:
        parts += [wire.delimited(b"\x6a", _link(link)) for link in links]
    if span.dropped_links:
        parts.append(wire.number(b"\x70", span.dropped_links))
    if (status := span.status) is not None:
        body = wire.text(b"\x12", status.description) + wire.number(b"\x18", status.status_code.value)
        parts.append(wire.delimited(b"\x7a", body))


def _trace_state(context: SpanContext) -> bytes:
    return wire.text(b"\x1a", ",".join([f"{key}={value}" for key, value in context.trace_state.items()]))


def _event(event: Event) -> bytes:
    head = wire.time(b"\x09", event.timestamp) + wire.text(b"\x12", event.name)
    return head + wire.attributes(b"\x1a", event.attributes) + wire.number(b"\x20", event.dropped_attributes)


def _link(link: Link) -> bytes:
    context = link.context
    ids = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    flags = b"\x35" + _FLAGS.pack(_FLAGS_REMOTE if context.is_remote else _FLAGS_LOCAL)
    dropped = wire.number(b"\x28", link.dropped_attributes)
    return ids + wire.attributes(b"\x22", link.attributes) + dropped + flags


def log_message(readable: ReadableLogRecord) -> bytes:
    """A serialized `LogRecord` message."""
    record = readable.log_record
    severity = getattr(record.severity_number, "value", None) or 0
    flags = int(record.trace_flags or 0)
    parts = [
        wire.time(b"\x09", record.timestamp),
        wire.number(b"\x10", severity),
        wire.text(b"\x1a", record.severity_text),
        wire.delimited(b"\x2a", _body(record.body)),
        wire.attributes(b"\x32", record.attributes),
        wire.number(b"\x38", readable.dropped_attributes),
        b"\x45" + _FLAGS.pack(flags) if flags else b"",
        b"\x4a\x10" + record.trace_id.to_bytes(16, "big") if record.trace_id else b"",
        b"\x52\x08" + record.span_id.to_bytes(8, "big") if record.span_id else b"",
        wire.time(b"\x59", record.observed_timestamp),
        wire.text(b"\x62", record.event_name),
    ]
    return b"".join(parts)


def _body(body: Any) -> bytes:
    try:
        return wire.any_value(body)
    except (TypeError, ValueError):
        return wire.any_value(str(body))
