"""The span of a run that has ended elsewhere: from a ``model.Run`` to ``run NAME``, with the ids planned before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_pipeline.instrument import identity
from otel_pipeline.instrument.scope import SCOPE_NAME
from otel_pipeline.sdk.identity import install
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

    from otel_pipeline.model import Run

_FAILED = ("failure", "timeout", "lost")
_FIELDS = {
    a.PIPELINE_NAME: "pipeline",
    a.RUN_ID: "run_id",
    a.RUN_ATTEMPT: "attempt",
    a.RUN_BACKFILL: "backfill",
    a.RUN_RESULT: "result",
    a.RUN_SELF_TIME: "self_time",
    a.RUN_SKIP_REASON: "skip_reason",
    a.RUN_STAGES_NOT_STARTED: "not_started",
    a.RUN_STAGES_OPEN: "open_stages",
    a.RUN_SIGNAL: "signal",
    a.RUN_CPU_TIME: "cpu_time",
    a.RUN_MEMORY_PEAK: "memory_peak",
    a.PROCESS_EXIT_CODE: "exit_code",
    a.ERROR_TYPE: "error_type",
    a.ERROR_STAGE: "error_stage",
    a.DECLARATION: "declared",
}
"""Which field of the run each attribute is. What is unknown, empty or false is left out."""


def emit_run(
    provider: TracerProvider,
    run: Run,
    parent: Context | None = None,
    exception: tuple[str, str, str] | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> None:
    """Make the span of ``run`` below ``parent`` and end it.

    ``exception`` is type, message and stack trace; ``attributes`` come on top, those of the run itself win.
    """
    install(provider)
    context = SpanContext(int(run.trace_id, 16), int(run.span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))
    tracer = provider.get_tracer(SCOPE_NAME, __version__)
    with identity.planned(context):
        span = tracer.start_span(
            f"run {run.pipeline}",
            Context() if parent is None else parent,  # not the current one: that is of whoever closes the run
            kind=SpanKind.INTERNAL,
            attributes={**(attributes or {}), **_attributes(run)},
            start_time=run.started,
        )
    if exception is not None:
        keys = (a.EXCEPTION_TYPE, a.EXCEPTION_MESSAGE, a.EXCEPTION_STACKTRACE)
        told = {key: text for key, text in zip(keys, exception, strict=True) if text}
        span.add_event(events.EXCEPTION, told, timestamp=run.ended)
    if run.result in _FAILED:
        span.set_status(Status(StatusCode.ERROR, run.error_message or run.error_type or run.result))
    span.end(end_time=run.ended)


def _attributes(run: Run) -> dict[str, AttributeValue]:
    values = {key: getattr(run, field) for key, field in _FIELDS.items()}
    return {key: value for key, value in values.items() if value is not None and value is not False and value != ()}
