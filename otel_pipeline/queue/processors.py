"""OpenTelemetry processors that store chosen items before the call that made them returns, and batch the others."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context, get_value
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor

from otel_pipeline.queue.batch import Batcher
from otel_pipeline.queue.encode import encode_span
from otel_pipeline.queue.exporters import store_logs, store_spans
from otel_pipeline.queue.format import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk._logs import ReadWriteLogRecord
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_pipeline.queue.queue import Queue

__all__ = ["DurableLogProcessor", "DurableSpanProcessor"]


class DurableSpanProcessor(SpanProcessor):
    """Stores spans for which `at_once` is true when they end, sampled or not; other sampled ones a little later.

    Those gather for at most `interval_s` seconds and `size` items. `at_once` must be cheap and must not raise.
    """

    def __init__(
        self, queue: Queue, *, at_once: Callable[[ReadableSpan], bool], interval_s: float = 0.1, size: int = 512
    ) -> None:
        self._queue = queue
        self._at_once = at_once
        self._batcher: Batcher[ReadableSpan] = Batcher(self._store, interval_s=interval_s, size=size)

    def on_end(self, span: ReadableSpan) -> None:
        """Store or gather one ended span."""
        if self._at_once(span):
            try:
                payload = encode_span(span)
            except Exception:  # noqa: BLE001 - counted on the slower way
                store_spans(self._queue, (span,))
            else:
                self._queue.append(Signal.TRACES, payload)
        elif (context := span.get_span_context()) and context.trace_flags.sampled:
            self._batcher.add(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Store what has gathered; True, since nothing is waited for."""
        self._batcher.flush()
        return True

    def shutdown(self) -> None:
        """Store what has gathered; later spans are stored one by one."""
        self._batcher.stop()

    def _store(self, spans: list[ReadableSpan]) -> None:
        store_spans(self._queue, spans)


class DurableLogProcessor(LogRecordProcessor):
    """Stores the log records for which `at_once` is true when they are emitted, others within `interval_s` seconds.

    Records that the sender's own work makes (an HTTP client at DEBUG) are left out, else each would cause another.
    """

    def __init__(
        self, queue: Queue, *, at_once: Callable[[ReadableLogRecord], bool], interval_s: float = 0.1, size: int = 512
    ) -> None:
        self._queue = queue
        self._at_once = at_once
        self._batcher: Batcher[ReadableLogRecord] = Batcher(self._store, interval_s=interval_s, size=size)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Store or gather one record, as it is now: later processors may change it."""
        if get_value(_SUPPRESS_INSTRUMENTATION_KEY):
            return
        record = copy.copy(log_record.log_record)
        record.context = Context()  # the context may hold large objects of the user's
        readable = ReadableLogRecord(
            log_record=record,
            resource=log_record.resource or Resource.get_empty(),
            instrumentation_scope=log_record.instrumentation_scope,
            limits=log_record.limits,
        )
        if self._at_once(readable):
            store_logs(self._queue, (readable,))
        else:
            self._batcher.add(readable)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Store what has gathered; True, since nothing is waited for."""
        self._batcher.flush()
        return True

    def shutdown(self) -> None:
        """Store what has gathered; later records are stored one by one."""
        self._batcher.stop()

    def _store(self, records: list[ReadableLogRecord]) -> None:
        store_logs(self._queue, records)
