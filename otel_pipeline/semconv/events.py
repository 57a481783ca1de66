"""The events: span events on a stage span, and log records about runs."""

from __future__ import annotations

from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv.tables import Event

EVENTS: list[Event] = []


def _row(event: Event) -> str:
    EVENTS.append(event)
    return event.name


DATASET = _row(
    Event(
        "pipeline.dataset",
        "span event",
        "A dataset was read or written by the stage.",
        (a.DATASET_NAME, a.DATASET_OPERATION, a.DATASET_RECORDS, a.DATASET_BYTES, a.DATASET_WATERMARK),
    )
)
CHECK = _row(
    Event(
        "pipeline.check",
        "span event",
        "A quality check was made by the stage.",
        (a.CHECK_NAME, a.CHECK_KIND, a.DATASET_NAME, a.CHECK_PASSED, a.CHECK_FAILED),
    )
)
RECORD_ERROR = _row(
    Event(
        "pipeline.record.error",
        "span event",
        "A sample of the failed records: the first few of each exception type.",
        (a.EXCEPTION_TYPE, a.EXCEPTION_MESSAGE, a.RECORD_TYPE, a.RECORD_KEYS, a.RECORD_VALUES),
    )
)
EXCEPTION = _row(
    Event(
        "exception",
        "span event",
        "The exception that left the stage (recorded at its origin only) or the run.",
        (a.EXCEPTION_TYPE, a.EXCEPTION_MESSAGE, a.EXCEPTION_STACKTRACE),
        follows="OpenTelemetry exceptions on spans (stable)",
        stability="stable",
    )
)
RUN_STARTED = _row(
    Event(
        "pipeline.run.started",
        "log record",
        "A run started. Makes it visible before its span arrives, which is at its end.",
        (
            a.LOG_RECORD_UID,
            a.PIPELINE_NAME,
            a.RUN_ID,
            a.RUN_ATTEMPT,
            a.RUN_BACKFILL,
            a.RUN_HEARTBEAT_INTERVAL,
            a.DECLARATION,
        ),
    )
)
RUN_HEARTBEAT = _row(
    Event(
        "pipeline.run.heartbeat",
        "log record",
        "A run is alive: every 15 s unless set otherwise, with its open stages.",
        (
            a.LOG_RECORD_UID,
            a.PIPELINE_NAME,
            a.RUN_ID,
            a.RUN_ATTEMPT,
            a.RUN_BACKFILL,
            a.RUN_HEARTBEAT_INTERVAL,
            a.DECLARATION,
            a.RUN_STAGES_OPEN,
        ),
    )
)
RUN_UNEXPECTED = _row(
    Event(
        "pipeline.run.unexpected",
        "log record",
        "An expectation was not met, or that is over or withdrawn. Sent by `otel-pipeline serve --forward`, under the "
        "scope `otel_pipeline_kpis`.",
        (
            a.LOG_RECORD_UID,
            a.PIPELINE_NAME,
            a.RUN_ID,
            a.EXPECTATION,
            a.EXPECTATION_STATE,
            a.EXPECTATION_SUBJECT,
            a.EXPECTATION_VALUE,
            a.EXPECTATION_LOW,
            a.EXPECTATION_HIGH,
            a.EXPECTATION_LEARNED,
        ),
    )
)
