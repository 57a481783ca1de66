"""What became of breaches, as OTLP: a log record ``pipeline.run.unexpected`` for each state.

::

    found ──► over            each with an identity of its own (pipeline, kind, subject and state), so that a record
      └─────► withdrawn       which is sent again is known to be the same
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from otel_pipeline.forward.points import SCOPE, SERVICE
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv.events import RUN_UNEXPECTED
from otel_pipeline.terminal.unexpected import sentence
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otel_pipeline.kpi.breaches import Noted, State
    from otel_pipeline.store.breaches import Untold


def request(untold: Iterable[Untold]) -> bytes:
    """A serialized ``ExportLogsServiceRequest`` that tells the state of each, in their order."""
    message = ExportLogsServiceRequest()
    resource = message.resource_logs.add()
    resource.resource.attributes.append(_pair(a.SERVICE_NAME, SERVICE))
    scope = resource.scope_logs.add()
    scope.scope.name, scope.scope.version = SCOPE, __version__
    for noted, also_found in untold:
        states: tuple[State, ...] = ("found", noted.state) if also_found else (noted.state,)
        scope.log_records.extend(_record(noted, state) for state in dict.fromkeys(states))
    body: bytes = message.SerializeToString()
    return body


def _record(noted: Noted, state: State) -> LogRecord:
    breach = noted.breach
    times = {"found": breach.since, "over": breach.resolved, "withdrawn": noted.withdrawn}
    record = LogRecord(
        event_name=RUN_UNEXPECTED,
        time_unix_nano=times[state] or breach.since,
        observed_time_unix_nano=noted.noted,
        severity_number=SeverityNumber.SEVERITY_NUMBER_WARN
        if state == "found"
        else SeverityNumber.SEVERITY_NUMBER_INFO,
        severity_text="WARN" if state == "found" else "INFO",
        body=AnyValue(string_value=f"{breach.pipeline}: {sentence(breach)} ({state})"),
        attributes=_attributes(noted, state),
    )
    if breach.run_id is not None:  # the subject is a run: the record belongs to its trace
        trace_id, _, span_id = breach.subject.partition("-")
        record.trace_id, record.span_id = bytes.fromhex(trace_id), bytes.fromhex(span_id)
    return record


def _attributes(noted: Noted, state: State) -> Iterator[KeyValue]:
    breach = noted.breach
    yield _pair(a.LOG_RECORD_UID, f"{breach.pipeline}/{breach.kind}/{breach.subject}/{state}")
    for key, text in (
        (a.PIPELINE_NAME, breach.pipeline),
        (a.RUN_ID, breach.run_id),
        (a.EXPECTATION, breach.kind),
        (a.EXPECTATION_STATE, state),
        (a.EXPECTATION_SUBJECT, breach.subject),
    ):
        if text is not None:
            yield _pair(key, text)
    divisor = 10**9 if breach.kind in ("too_fast", "too_slow") else 1
    for key, number in (
        (a.EXPECTATION_VALUE, breach.value),
        (a.EXPECTATION_LOW, breach.low),
        (a.EXPECTATION_HIGH, breach.high),
    ):
        if number is not None:
            yield KeyValue(key=key, value=AnyValue(double_value=number / divisor))
    if breach.learned is not None:
        yield KeyValue(key=a.EXPECTATION_LEARNED, value=AnyValue(int_value=breach.learned))


def _pair(key: str, text: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=text))
