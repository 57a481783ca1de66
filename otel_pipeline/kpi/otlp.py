"""OTLP export requests ─► values: of the spans and log events of ours, whoever sent them.

::

    bytes ─► read_traces ─┐                  ┌─► values    Run, Stage, RunSeen
    bytes ─► read_logs ───┴─► Read ──────────┴─► left_out  how many of what could not be used, by reason

Nothing in the network is trusted: an attribute of another type than the vocabulary says is left out by itself, and a
span without which the numbers would be wrong is left out whole. Scopes that are not ours are passed over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from otel_pipeline.kpi import layers
from otel_pipeline.kpi.spans import EndedSpan, run_of, stage_of
from otel_pipeline.kpi.times import DAY_NS
from otel_pipeline.kpi.values import RunSeen
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from otel_pipeline.kpi.values import Value

SCOPE = "otel_pipeline"
NAME_BYTES = SCOPE.encode()
MOST_TEXT = 4000
"""Characters kept of a text, such as a message."""
MOST_NAME = 256
"""Characters kept of a name, which becomes a label."""
_MOST_COUNT = 2**53  # beyond, JSON's numbers are not exact
_MOST_TIME = 2**63 - 1
_MOST_ITEMS = 1000
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


class NotOtlpError(ValueError):
    """The bytes are no export request of that signal."""


@dataclass
class Read:
    """What a request holds: ``values``, and what was ``left_out``, by reason.

    Reasons: ``trace_id``, ``span_id``, ``time`` (0, or more than a day ahead), ``attributes`` (it names no run, stage
    or result) for whole items; ``attribute``, ``count`` for parts of items that were kept; ``clock`` where an end
    before its start was moved there; ``foreign`` for items of other scopes.
    """

    values: list[Value] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def read_traces(payload: bytes, *, now: int | None = None) -> Read:
    """The runs and stages in a serialized ``ExportTraceServiceRequest``.

    With ``now`` (nanoseconds since the epoch) times more than a day ahead of it are not believed. Raises NotOtlpError.
    """
    return _read(_TRACES, payload, now)


def read_logs(payload: bytes, *, now: int | None = None) -> Read:
    """The starts and heartbeats of runs in a serialized ``ExportLogsServiceRequest``; other records are foreign."""
    return _read(_LOGS, payload, now)


class _Layer(NamedTuple):
    """One signal: its request's name, its scope, the field of the items in that, and what reads one of ours."""

    request: str
    scope: type[Any]
    items: str
    read: Callable[[Any, Read, int], Value | None]


def _read(layer: _Layer, payload: bytes, now: int | None) -> Read:
    read, limit = Read(), time_limit(now)
    try:
        for serialized in layers.scopes(payload):
            # The name stands in it somewhere if the scope is ours; if it does, we look properly.
            scope = layer.scope.FromString(serialized) if NAME_BYTES in serialized else None
            if scope is None or not is_ours(scope.scope.name):
                read.left_out["foreign"] += layers.items(serialized)
                continue
            for item in getattr(scope, layer.items):
                if (value := layer.read(item, read, limit)) is not None:
                    read.values.append(value)
    except (DecodeError, TypeError) as error:
        raise NotOtlpError(f"not an {layer.request}: {str(error)[:200]}") from None
    return read


def is_ours(scope: str) -> bool:
    """Whether a scope is one of ours."""
    return scope == SCOPE or scope.startswith(f"{SCOPE}.")


def time_limit(now: int | None) -> int:
    """The last time that is believed: a day ahead."""
    return _MOST_TIME if now is None else now + DAY_NS


def _span(span: Any, read: Read, limit: int) -> Value | None:
    ids = _ids(span, read)
    times = _times(span.start_time_unix_nano, span.end_time_unix_nano, read, limit)
    if ids is None or times is None:
        return None
    ended = EndedSpan(
        *ids,
        *times,
        attributes=_attributes(span.attributes, read),
        events=_events(span.events, read) if span.events else (),
        description=_description(span.status.message) if span.HasField("status") else None,
    )
    value = stage_of(ended) or run_of(ended)
    if value is None:
        read.left_out["attributes"] += 1
    return value


def _event(record: Any, read: Read, limit: int) -> Value | None:
    if record.event_name not in (events.RUN_STARTED, events.RUN_HEARTBEAT):
        read.left_out["foreign"] += 1
        return None
    ids = _ids(record, read)
    time = record.time_unix_nano or record.observed_time_unix_nano
    if ids is None or _times(time, time, read, limit) is None:
        return None
    attributes = _attributes(record.attributes, read)
    run_id, pipeline = attributes.get(a.RUN_ID), attributes.get(a.PIPELINE_NAME)
    if run_id is None or pipeline is None:
        read.left_out["attributes"] += 1
        return None
    stages = attributes.get(a.RUN_STAGES_OPEN)
    return RunSeen(
        *ids,
        run_id,
        pipeline,
        time,
        starts=record.event_name == events.RUN_STARTED,
        open_stages=stages,
        interval=attributes.get(a.RUN_HEARTBEAT_INTERVAL),
        declared=attributes.get(a.DECLARATION),
        attempt=attributes.get(a.RUN_ATTEMPT) or 1,
        backfill=bool(attributes.get(a.RUN_BACKFILL)),
    )


def _description(text: str) -> str:
    return text[:MOST_TEXT].replace("\0", "\ufffd")


class _SpanEvent(NamedTuple):
    name: str
    attributes: Mapping[str, Any]


def _events(given: Sequence[Any], read: Read) -> list[_SpanEvent]:
    return [_SpanEvent(event.name, _attributes(event.attributes, read)) for event in given[:_MOST_ITEMS]]


def _ids(item: Any, read: Read) -> tuple[str, str] | None:
    trace_id, span_id = item.trace_id, item.span_id
    if len(trace_id) != 16 or trace_id == _NO_TRACE:
        read.left_out["trace_id"] += 1
        return None
    if len(span_id) != 8 or span_id == _NO_SPAN:
        read.left_out["span_id"] += 1
        return None
    return trace_id.hex(), span_id.hex()


def _times(start: int, end: int, read: Read, limit: int) -> tuple[int, int] | None:
    if not (0 < start <= limit and 0 < end <= limit):
        read.left_out["time"] += 1
        return None
    if end < start:  # the clock was set back in between; how long it took is not known
        read.left_out["clock"] += 1
        return start, start
    return start, end


def _attributes(pairs: Iterable[Any], read: Read) -> dict[str, Any]:
    """Those of the vocabulary, each of the type that it has there."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key = pair.key
        if (reader := _READERS.get(key)) is None:
            continue
        value = reader(pair.value)
        if value is None:
            read.left_out["count" if key in _COUNTS else "attribute"] += 1
        else:
            found[key] = value
    return found


# Of an attribute that has another type, or none, a field is empty; asking for the type is what costs, and a value that
# is not empty need not be asked.


def _text(value: Any) -> str | None:
    text: str = value.string_value
    if not text and value.WhichOneof("value") != "string_value":
        return None
    # No text of PostgreSQL's holds a NUL, nor any of C's.
    return text[:MOST_TEXT].replace("\0", "\ufffd")


def _name(value: Any) -> str | None:
    text: str = value.string_value
    return text[:MOST_NAME].replace("\0", "\ufffd") if text else None


def _whole(value: Any) -> int | None:
    number: int = value.int_value
    if not number and value.WhichOneof("value") != "int_value":
        return None
    return number if -_MOST_COUNT < number < _MOST_COUNT else None


def _count(value: Any) -> int | None:
    number: int = value.int_value
    if not number and value.WhichOneof("value") != "int_value":
        return None
    return number if 0 <= number < _MOST_COUNT else None


def _double(value: Any) -> float | None:
    number: float = value.double_value or value.int_value
    if not number and value.WhichOneof("value") not in ("double_value", "int_value"):
        return None
    return float(number) if 0 <= number < 1e9 else None


def _flag(value: Any) -> bool | None:
    return value.bool_value if value.WhichOneof("value") == "bool_value" else None


def _texts(value: Any) -> tuple[str, ...] | None:
    if value.WhichOneof("value") != "array_value":
        return None
    return tuple(text for each in value.array_value.values[:_MOST_ITEMS] if (text := _name(each)) is not None)


def _items(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...] | None]:
    def items(value: Any) -> tuple[Any, ...] | None:
        if value.WhichOneof("value") != "array_value":
            return None
        found = tuple(map(read, value.array_value.values[:_MOST_ITEMS]))
        return None if None in found else found

    return items


def _result(*known: str) -> Callable[[Any], str | None]:
    return lambda value: value.string_value if value.string_value in known else None


_BY_TYPE: dict[str, Callable[[Any], Any]] = {
    "string": _text, "int": _whole, "double": _double, "boolean": _flag, "string[]": _texts,
    "int[]": _items(_count), "double[]": _items(_double),
}  # fmt: skip
_NAMES = {a.PIPELINE_NAME, a.RUN_ID, a.STAGE_NAME, a.DATASET_NAME, a.DATASET_OPERATION, a.CHECK_NAME, a.CHECK_KIND,
          a.ERROR_TYPE, a.ERROR_STAGE}  # fmt: skip
_COUNTS = {row.key for row in a.ATTRIBUTES if row.type == "int"} - {a.RECORDS_UNACCOUNTED, a.PROCESS_EXIT_CODE}
_READERS: dict[str, Callable[[Any], Any]] = {
    **{
        row.key: _name if row.key in _NAMES else _count if row.key in _COUNTS else _BY_TYPE[row.type]
        for row in a.ATTRIBUTES
    },
    a.RUN_RESULT: _result(*a.RUN_RESULTS),
    a.STAGE_RESULT: _result(*a.STAGE_RESULTS),
}
_TRACES = _Layer("ExportTraceServiceRequest", ScopeSpans, "spans", _span)
_LOGS = _Layer("ExportLogsServiceRequest", ScopeLogs, "log_records", _event)
