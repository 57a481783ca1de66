"""Ended spans of ours, read into ``model`` values.

Reads attributes only (``semconv``), so a span from this process, from a queue or from the network is the same.
A missing attribute is left out; one without which the value would mean nothing makes the answer ``None``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from otel_pipeline.model import Check, Dataset, Operation, RecordError, Records, Run, Stage, assembled, defaults
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class SpanEvent(Protocol):
    """A span event: what is read of it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def attributes(self) -> Mapping[str, Any] | None:
        """Its attributes."""


class EndedSpan(NamedTuple):
    """What is read of a span: ids in hexadecimal, times in nanoseconds since the epoch, the status's description."""

    trace_id: str
    span_id: str
    started: int
    ended: int
    attributes: Mapping[str, Any]
    events: Sequence[SpanEvent]
    description: str | None = None


_STAGE_FIELDS = {
    a.STAGE_NAME: "name",
    a.STAGE_RESULT: "result",
    a.RUN_ID: "run_id",
    a.PIPELINE_NAME: "pipeline",
    a.STAGE_KIND: "kind",
    a.STAGE_EXHAUSTED: "exhausted",
    a.RECORDS_UNACCOUNTED: "unaccounted",
    a.ERROR_TYPE: "error_type",
    a.ERROR_STAGE: "error_stage",
}
_RECORDS_FIELDS = {
    a.RECORDS_IN: "in_",
    a.RECORDS_OUT: "out",
    a.RECORDS_FAILED: "failed",
    a.RECORDS_DROPPED: "dropped",
    a.RECORDS_DUPLICATE: "duplicate",
    a.RECORDS_BYTES: "bytes",
}
_RUN_FIELDS = {
    a.PIPELINE_NAME: "pipeline",
    a.RUN_ID: "run_id",
    a.RUN_RESULT: "result",
    a.ERROR_TYPE: "error_type",
    a.ERROR_STAGE: "error_stage",
    a.RUN_SKIP_REASON: "skip_reason",
    a.PROCESS_EXIT_CODE: "exit_code",
    a.RUN_SIGNAL: "signal",
    a.RUN_MEMORY_PEAK: "memory_peak",
    a.DECLARATION: "declared",
}
"""The attributes that are a field as they are."""
_OPERATION_LISTS = (a.OPERATIONS_NAMES, a.OPERATIONS_COUNTS, a.OPERATIONS_ERRORS, a.OPERATIONS_SELF_TIMES)
_STAGE, _RECORDS, _RUN = defaults(Stage), defaults(Records), defaults(Run)
_NO_RECORDS = Records()


def stage_of(span: EndedSpan) -> Stage | None:
    """The stage that a span ``stage NAME`` tells of."""
    attributes = span.attributes
    if not isinstance(attributes.get(a.STAGE_NAME), str) or not isinstance(attributes.get(a.STAGE_RESULT), str):
        return None
    made = _fields(_STAGE, _STAGE_FIELDS, span)
    made["self_time"] = _number(attributes.get(a.STAGE_SELF_TIME)) or 0.0
    made["wait_time"] = _number(attributes.get(a.STAGE_WAIT_TIME)) or 0.0
    made["late"] = bool(attributes.get(a.STAGE_LATE))
    made["backfill"] = bool(attributes.get(a.RUN_BACKFILL))
    made["upstream"] = tuple(attributes.get(a.STAGE_UPSTREAM) or ())
    made["records"] = _records(attributes)
    if a.OPERATIONS_NAMES in attributes:
        made["operations"] = _operations(attributes)
    if span.events:
        made["datasets"] = tuple([_dataset(each) for each in _named(span, events.DATASET)])
        made["checks"] = tuple([_check(each) for each in _named(span, events.CHECK)])
        made["record_errors"] = tuple([_record_error(each) for each in _named(span, events.RECORD_ERROR)])
    return assembled(Stage, made)


def run_of(span: EndedSpan) -> Run | None:
    """The run that a span ``run NAME`` tells of."""
    attributes = span.attributes
    if not all(isinstance(attributes.get(key), str) for key in (a.PIPELINE_NAME, a.RUN_ID, a.RUN_RESULT)):
        return None
    made = _fields(_RUN, _RUN_FIELDS, span)
    made["self_time"] = _number(attributes.get(a.RUN_SELF_TIME))
    made["cpu_time"] = _number(attributes.get(a.RUN_CPU_TIME))
    made["attempt"] = attributes.get(a.RUN_ATTEMPT) or 1
    made["backfill"] = bool(attributes.get(a.RUN_BACKFILL))
    made["not_started"] = tuple(attributes.get(a.RUN_STAGES_NOT_STARTED) or ())
    made["open_stages"] = tuple(attributes.get(a.RUN_STAGES_OPEN) or ())
    return assembled(Run, made)


def _fields(default: Mapping[str, Any], names: Mapping[str, str], span: EndedSpan) -> dict[str, Any]:
    """All fields of a run or stage, as far as they are the span's as it has them."""
    trace_id, span_id, started, ended, attributes, _, description = span
    made = {**default, "trace_id": trace_id, "span_id": span_id, "started": started, "ended": ended}
    for key, value in attributes.items():
        if (name := names.get(key)) is not None:
            made[name] = value
    if description or span.events:
        made["error_message"] = _message(span)
    return made


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _records(attributes: Mapping[str, Any]) -> Records:
    told = {name: attributes[key] for key, name in _RECORDS_FIELDS.items() if key in attributes}
    return assembled(Records, {**_RECORDS, **told}) if told else _NO_RECORDS


def _operations(attributes: Mapping[str, Any]) -> tuple[Operation, ...]:
    lists = [attributes.get(key) or () for key in _OPERATION_LISTS]
    return tuple(Operation(*told) for told in zip(*lists, strict=False))


def _named(span: EndedSpan, name: str) -> list[Mapping[str, Any]]:
    return [event.attributes or {} for event in span.events if event.name == name]


def _message(span: EndedSpan) -> str | None:
    for event in _named(span, events.EXCEPTION):
        if isinstance(message := event.get(a.EXCEPTION_MESSAGE), str):
            return message
    if not span.description:
        return None
    # Our own description is "type: message"; where an exception only passed there is no event of it.
    return span.description.removeprefix(f"{span.attributes.get(a.ERROR_TYPE)}: ")


def _dataset(event: Mapping[str, Any]) -> Dataset:
    return Dataset(
        name=str(event.get(a.DATASET_NAME)),
        operation=str(event.get(a.DATASET_OPERATION)),
        records=event.get(a.DATASET_RECORDS),
        bytes=event.get(a.DATASET_BYTES),
        watermark=event.get(a.DATASET_WATERMARK),
    )


def _check(event: Mapping[str, Any]) -> Check:
    return Check(
        name=str(event.get(a.CHECK_NAME)),
        dataset=event.get(a.DATASET_NAME),
        kind=event.get(a.CHECK_KIND),
        passed=event.get(a.CHECK_PASSED),
        failed=event.get(a.CHECK_FAILED),
    )


def _record_error(event: Mapping[str, Any]) -> RecordError:
    return RecordError(
        type=str(event.get(a.EXCEPTION_TYPE)),
        message=str(event.get(a.EXCEPTION_MESSAGE)),
        record_type=event.get(a.RECORD_TYPE),
        keys=tuple(event.get(a.RECORD_KEYS) or ()),
        values=tuple(event.get(a.RECORD_VALUES) or ()),
    )
