"""OTLP export requests ─► values: of the spans and log events of ours, whoever sent them.

::

    bytes ─► read_traces ─┐                  ┌─► values    Run, Stage, RunSeen
    bytes ─► read_logs ───┴─► Read ──────────┴─► left_out  how many of what could not be used, by reason

Nothing in the network is trusted: an attribute of another type than the vocabulary says is left out by itself, and a
span without which the numbers would be wrong is left out whole. Scopes that are not ours are passed over.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_pipeline.kpi.spans import EndedSpan, run_of, stage_of
from otel_pipeline.kpi.values import RunSeen
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from otel_pipeline.kpi.values import Value

SCOPE = "otel_pipeline"
MOST_TEXT = 4000
"""Characters kept of a text, such as a message."""
MOST_NAME = 256
"""Characters kept of a name, which becomes a label."""
_MOST_COUNT = 2**53  # beyond, JSON's numbers are not exact
_MOST_TIME = 2**63 - 1
_MOST_ITEMS = 1000
_DAY_NS = 86_400 * 10**9


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
    return spans_in(_parsed(ExportTraceServiceRequest, payload), now=now)


def read_logs(payload: bytes, *, now: int | None = None) -> Read:
    """The starts and heartbeats of runs in a serialized ``ExportLogsServiceRequest``; other records are foreign."""
    return events_in(_parsed(ExportLogsServiceRequest, payload), now=now)


def read_metrics(payload: bytes, *, now: int | None = None) -> Read:
    """The points in a serialized ``ExportMetricsServiceRequest``: all foreign, since no KPI comes from metrics yet."""
    del now
    read = Read()
    for resource in _parsed(ExportMetricsServiceRequest, payload).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if (kind := metric.WhichOneof("data")) is not None:
                    read.left_out["foreign"] += len(getattr(metric, kind).data_points)
    return read


def spans_in(request: Any, *, now: int | None = None) -> Read:
    """The same of a parsed ``ExportTraceServiceRequest``."""
    read = Read()
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            _each(scope.scope.name, scope.spans, _span, read, _limit(now))
    return read


def events_in(request: Any, *, now: int | None = None) -> Read:
    """The same of a parsed ``ExportLogsServiceRequest``."""
    read = Read()
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            _each(scope.scope.name, scope.log_records, _event, read, _limit(now))
    return read


def _parsed(kind: Callable[[], Any], payload: bytes) -> Any:
    message = kind()
    try:
        message.ParseFromString(payload)
    except (DecodeError, TypeError) as error:
        raise NotOtlpError(f"not an {type(message).__name__}: {str(error)[:200]}") from None
    return message


def _limit(now: int | None) -> int:
    return _MOST_TIME if now is None else now + _DAY_NS


def _each(scope: str, items: Any, read_one: Callable[[Any, Read, int], Value | None], read: Read, limit: int) -> None:
    if scope != SCOPE and not scope.startswith(f"{SCOPE}."):
        read.left_out["foreign"] += len(items)
        return
    for item in items:
        if (value := read_one(item, read, limit)) is not None:
            read.values.append(value)


def _span(span: Any, read: Read, limit: int) -> Value | None:
    ids = _ids(span, read)
    times = _times(span.start_time_unix_nano, span.end_time_unix_nano, read, limit)
    if ids is None or times is None:
        return None
    ended = EndedSpan(
        *ids,
        *times,
        attributes=_attributes(span.attributes, read),
        events=[_SpanEvent(e.name, _attributes(e.attributes, read)) for e in span.events[:_MOST_ITEMS]],
        description=span.status.message[:MOST_TEXT].replace("\0", "\ufffd") or None,
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
    )


@dataclass(frozen=True)
class _SpanEvent:
    name: str
    attributes: Mapping[str, Any]


def _ids(item: Any, read: Read) -> tuple[str, str] | None:
    for name, size in (("trace_id", 16), ("span_id", 8)):
        value = getattr(item, name)
        if len(value) != size or not any(value):
            read.left_out[name] += 1
            return None
    return item.trace_id.hex(), item.span_id.hex()


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
        if (reader := _READERS.get(pair.key)) is None:
            continue
        value = reader(pair.value)
        if value is None:
            read.left_out["count" if pair.key in _COUNTS else "attribute"] += 1
        else:
            found[pair.key] = value
    return found


def _text(value: Any) -> str | None:
    if value.WhichOneof("value") != "string_value":
        return None
    # No text of PostgreSQL's holds a NUL, nor any of C's.
    return value.string_value[:MOST_TEXT].replace("\0", "\ufffd")


def _name(value: Any) -> str | None:
    text = _text(value)
    return text[:MOST_NAME] if text else None


def _whole(value: Any) -> int | None:
    return value.int_value if value.WhichOneof("value") == "int_value" and abs(value.int_value) < _MOST_COUNT else None


def _count(value: Any) -> int | None:
    number = _whole(value)
    return number if number is not None and number >= 0 else None


def _double(value: Any) -> float | None:
    kind = value.WhichOneof("value")
    number = value.double_value if kind == "double_value" else value.int_value if kind == "int_value" else None
    return float(number) if number is not None and math.isfinite(number) and 0 <= number < 1e9 else None


def _flag(value: Any) -> bool | None:
    return value.bool_value if value.WhichOneof("value") == "bool_value" else None


def _texts(value: Any) -> tuple[str, ...] | None:
    if value.WhichOneof("value") != "array_value":
        return None
    return tuple(text for each in value.array_value.values[:_MOST_ITEMS] if (text := _name(each)) is not None)


def _result(*known: str) -> Callable[[Any], str | None]:
    return lambda value: value.string_value if value.string_value in known else None


_BY_TYPE: dict[str, Callable[[Any], Any]] = {
    "string": _text, "int": _whole, "double": _double, "boolean": _flag, "string[]": _texts,
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
