"""SDK spans and log records ─► bytes of OTLP export requests.

A request is `Resource{…} ─ Scope{…} ─ items`; the three signals share that shape and its field numbers, so the
envelope is written once (`envelope`) and its resource and scope parts are cached by identity: they are the same
objects for every item of a process. Concatenated requests are one valid request, which is what lets the sender join
records without reading them.

Equal to the stock `encode_spans`, with three exceptions: secrets are masked (`masking.py`; nothing leaves the process
but through here and `encode_metrics.py`); text with lone surrogates (undecodable file names) keeps its other
characters, where the stock encoder drops the attribute or the whole batch; and a log body of a foreign type becomes its
`str`.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, cast

from otel_pipeline import masking
from otel_pipeline.queue import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, Status, TraceState

__all__ = ["encode_logs", "encode_span", "encode_spans", "envelope"]

_TIMES: Final = Struct("<BQBQ")
_FLAGS: Final = Struct("<I")
_LOCAL_BITS: Final = 0x100
_REMOTE_BITS: Final = 0x300
_LOCAL: Final = b"\x85\x01" + _FLAGS.pack(_LOCAL_BITS)
_REMOTE: Final = b"\x85\x01" + _FLAGS.pack(_REMOTE_BITS)
_KINDS: Final = tuple(b"\x30" + bytes((value + 1,)) for value in range(8))
_STATUSES: Final = (b"\x7a\x00", b"\x7a\x02\x18\x01", b"\x7a\x02\x18\x02")


def encode_spans(spans: Iterable[ReadableSpan]) -> bytes:
    """A serialized `ExportTraceServiceRequest` of ended spans, grouped by resource and scope.

    Raises whatever a malformed span makes it raise (`TypeError`, `ValueError`, `AttributeError`).
    """
    return _grouped([(span.resource, span.instrumentation_scope, span_message(span)) for span in spans])


def encode_span(span: ReadableSpan) -> bytes:
    """`encode_spans` of one span, for the way that every run and stage takes while its caller waits."""
    return envelope(span.resource, span.instrumentation_scope, (span_message(span),))


def encode_logs(records: Iterable[ReadableLogRecord]) -> bytes:
    """A serialized `ExportLogsServiceRequest` of log records, grouped by resource and scope."""
    return _grouped([(record.resource, record.instrumentation_scope, log_message(record)) for record in records])


def _grouped(items: list[tuple[Resource, InstrumentationScope | None, bytes]]) -> bytes:
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
    context = _context(resource, scope)
    parts: list[bytes] = []
    for item in items:
        parts += (b"\x12", wire.varint(len(item)), item)
    inner = context.inner_size + sum(map(len, parts))
    middle = b"\x12" + wire.varint(inner)
    outer = wire.varint(context.outer_size + len(middle) + inner)
    return b"".join((b"\x0a", outer, context.head, middle, context.scope, *parts, context.tail))


class _Context:
    """The bytes around the items of one resource and scope, and these objects, so that their ids stay theirs."""

    __slots__ = ("head", "inner_size", "objects", "outer_size", "scope", "tail")

    def __init__(self, resource: Resource, scope: InstrumentationScope | None) -> None:
        self.objects = (resource, scope)
        self.head = wire.delimited(b"\x0a", wire.attributes(b"\x0a", resource.attributes))
        self.scope, scope_tail = _scope(scope)
        resource_tail = wire.text(b"\x1a", resource.schema_url)
        self.tail = scope_tail + resource_tail
        self.inner_size = len(self.scope) + len(scope_tail)
        self.outer_size = len(self.head) + len(resource_tail)


_contexts: dict[tuple[int, int], _Context] = {}


def _context(resource: Resource, scope: InstrumentationScope | None) -> _Context:
    key = (id(resource), id(scope))
    context = _contexts.get(key)
    if context is None:
        context = _Context(resource, scope)
        if len(_contexts) >= 256:
            _contexts.clear()
        _contexts[key] = context
    return context


def _scope(scope: InstrumentationScope | None) -> tuple[bytes, bytes]:
    if scope is None:
        return b"\x0a\x00", b""
    name = wire.text(b"\x0a", scope.name) + wire.text(b"\x12", scope.version)
    return wire.delimited(b"\x0a", name + wire.attributes(b"\x1a", scope.attributes)), wire.text(
        b"\x1a", scope.schema_url
    )


def span_message(span: ReadableSpan) -> bytes:
    """A serialized `Span` message."""
    try:
        # The public properties copy events and links and wrap the attributes, at half the cost of the encoding.
        context, attributes, events, links = span._context, span._attributes, span._events, span._links
    except AttributeError:
        context, attributes, events, links = span.get_span_context(), span.attributes, span.events, span.links
    trace_id, span_id, _, _, trace_state, _ = cast("SpanContext", context)
    parent = span.parent
    parts = [
        b"\x0a\x10",
        trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        span_id.to_bytes(8, "big"),
        _trace_state(trace_state) if trace_state else b"",
        b"\x22\x08" + parent.span_id.to_bytes(8, "big") if parent else b"",
        _name(span.name),
        _KINDS[span.kind.value],
        _TIMES.pack(0x39, span.start_time or 0, 0x41, span.end_time or 0),
        wire.attributes(b"\x4a", attributes),
        _dropped(b"\x50", attributes),
        _repeated(b"\x5a", b"\x60", events, _event),
        _repeated(b"\x6a", b"\x70", links, _link),
        _status(span.status),
        _REMOTE if parent and parent.is_remote else _LOCAL,
    ]
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _name(name: str) -> bytes:
    return wire.text(b"\x2a", masking.text(name))


def _dropped(tag: bytes, bounded: Any) -> bytes:
    return wire.number(tag, getattr(bounded, "dropped", 0))


def _repeated(tag: bytes, dropped_tag: bytes, items: Any, encode: Callable[[Any], bytes]) -> bytes:
    if not items:
        return _dropped(dropped_tag, items)
    return b"".join([wire.delimited(tag, encode(item)) for item in items]) + _dropped(dropped_tag, items)


def _status(status: Status | None) -> bytes:
    if status is None:
        return b""
    if status.description is None and (code := status.status_code.value) < 3:
        return _STATUSES[code]
    description = masking.text(status.description or "")
    body = wire.text(b"\x12", description) + wire.number(b"\x18", status.status_code.value)
    return wire.delimited(b"\x7a", body)


def _trace_state(state: TraceState) -> bytes:
    return wire.text(b"\x1a", ",".join([f"{key}={value}" for key, value in state.items()]))


def _event(event: Event) -> bytes:
    head = wire.time(b"\x09", event.timestamp) + wire.text(b"\x12", event.name)
    return head + wire.attributes(b"\x1a", event.attributes) + wire.number(b"\x20", event.dropped_attributes)


def _link(link: Link) -> bytes:
    context = link.context
    ids = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    flags = b"\x35" + _FLAGS.pack(_REMOTE_BITS if context.is_remote else _LOCAL_BITS)
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
        return wire.any_value(masking.inside(body))
    except (TypeError, ValueError):
        return wire.any_value(masking.text(str(body)))
