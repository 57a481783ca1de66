"""Ended spans of ours, read into ``model`` values.

Reads attributes only (``semconv``), so a span from this process, from a queue or from the network is the same.
A missing attribute is left out; one without which the value would mean nothing makes the answer ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from otel_pipeline.model import Check, Dataset, RecordError, Records, Run, Stage
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


@dataclass(frozen=True)
class EndedSpan:
    """What is read of a span: ids in hexadecimal, times in nanoseconds since the epoch, the status's description."""

    trace_id: str
    span_id: str
    started: int
    ended: int
    attributes: Mapping[str, Any]
    events: Sequence[SpanEvent]
    description: str | None = None


def stage_of(span: EndedSpan) -> Stage | None:
    """The stage that a span ``stage NAME`` tells of."""
    attributes = span.attributes
    name, result = attributes.get(a.STAGE_NAME), attributes.get(a.STAGE_RESULT)
    if not isinstance(name, str) or not isinstance(result, str):
        return None
    return Stage(
        trace_id=span.trace_id,
        span_id=span.span_id,
        name=name,
        result=result,
        started=span.started,
        ended=span.ended,
        self_time=_number(attributes.get(a.STAGE_SELF_TIME)) or 0.0,
        wait_time=_number(attributes.get(a.STAGE_WAIT_TIME)) or 0.0,
        run_id=attributes.get(a.RUN_ID),
        pipeline=attributes.get(a.PIPELINE_NAME),
        kind=attributes.get(a.STAGE_KIND),
        records=_records(attributes),
        exhausted=attributes.get(a.STAGE_EXHAUSTED),
        late=bool(attributes.get(a.STAGE_LATE)),
        upstream=tuple(attributes.get(a.STAGE_UPSTREAM) or ()),
        unaccounted=attributes.get(a.RECORDS_UNACCOUNTED),
        error_type=attributes.get(a.ERROR_TYPE),
        error_message=_message(span),
        error_stage=attributes.get(a.ERROR_STAGE),
        backfill=bool(attributes.get(a.RUN_BACKFILL)),
        datasets=tuple([_dataset(each) for each in _named(span, events.DATASET)]),
        checks=tuple([_check(each) for each in _named(span, events.CHECK)]),
        record_errors=tuple([_record_error(each) for each in _named(span, events.RECORD_ERROR)]),
    )


def run_of(span: EndedSpan) -> Run | None:
    """The run that a span ``run NAME`` tells of."""
    attributes = span.attributes
    name, run_id, result = (attributes.get(key) for key in (a.PIPELINE_NAME, a.RUN_ID, a.RUN_RESULT))
    if not isinstance(name, str) or not isinstance(run_id, str) or not isinstance(result, str):
        return None
    return Run(
        trace_id=span.trace_id,
        span_id=span.span_id,
        run_id=run_id,
        pipeline=name,
        result=result,
        started=span.started,
        ended=span.ended,
        self_time=_number(attributes.get(a.RUN_SELF_TIME)),
        attempt=attributes.get(a.RUN_ATTEMPT) or 1,
        backfill=bool(attributes.get(a.RUN_BACKFILL)),
        error_type=attributes.get(a.ERROR_TYPE),
        error_message=_message(span),
        error_stage=attributes.get(a.ERROR_STAGE),
        skip_reason=attributes.get(a.RUN_SKIP_REASON),
        not_started=tuple(attributes.get(a.RUN_STAGES_NOT_STARTED) or ()),
        open_stages=tuple(attributes.get(a.RUN_STAGES_OPEN) or ()),
        exit_code=attributes.get(a.PROCESS_EXIT_CODE),
        signal=attributes.get(a.RUN_SIGNAL),
        cpu_time=_number(attributes.get(a.RUN_CPU_TIME)),
        memory_peak=attributes.get(a.RUN_MEMORY_PEAK),
        declared=attributes.get(a.DECLARATION),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _records(attributes: Mapping[str, Any]) -> Records:
    return Records(
        in_=attributes.get(a.RECORDS_IN),
        out=attributes.get(a.RECORDS_OUT),
        failed=attributes.get(a.RECORDS_FAILED),
        dropped=attributes.get(a.RECORDS_DROPPED),
        duplicate=attributes.get(a.RECORDS_DUPLICATE),
        bytes=attributes.get(a.RECORDS_BYTES),
    )


def _named(span: EndedSpan, name: str) -> list[Mapping[str, Any]]:
    return [event.attributes or {} for event in span.events if event.name == name] if span.events else []


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
    )
