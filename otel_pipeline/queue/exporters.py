"""OpenTelemetry exporters that store instead of send: `export` returns when the data outlives the process.

They fit any OpenTelemetry Python application; delivery is the `Sender`'s work, in this process or a later one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_pipeline.queue.encode import encode_logs, encode_spans
from otel_pipeline.queue.encode_metrics import split_metrics
from otel_pipeline.queue.format import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricsData
    from opentelemetry.sdk.metrics.view import Aggregation
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_pipeline.queue.queue import Queue
    from otel_pipeline.queue.sender import Sender

__all__ = ["DurableLogExporter", "DurableMetricExporter", "DurableSpanExporter", "store_logs", "store_spans"]

_RECORD_ITEMS: Final = 512
_RECORD_BYTES: Final = 1 << 20

Item = TypeVar("Item")


def store_spans(queue: Queue, spans: Sequence[ReadableSpan]) -> bool:
    """Encode and append ended spans; False when some were dropped or could not be encoded. Raises nothing."""
    return _store(queue, Signal.TRACES, spans, encode_spans)


def store_logs(queue: Queue, records: Sequence[ReadableLogRecord]) -> bool:
    """Encode and append log records; False when some were dropped or could not be encoded. Raises nothing."""
    return _store(queue, Signal.LOGS, records, encode_logs)


def _store(queue: Queue, signal: Signal, items: Sequence[Item], encode: Callable[[Sequence[Item]], bytes]) -> bool:
    if len(items) > _RECORD_ITEMS:
        parts = [items[start : start + _RECORD_ITEMS] for start in range(0, len(items), _RECORD_ITEMS)]
        return _store_parts(queue, signal, parts, encode)
    try:
        payload = encode(items)
    except Exception as error:  # noqa: BLE001 - one malformed item must not cost its neighbours, nor reach the caller
        return _store_each(queue, signal, items, encode, error)
    if len(payload) > _RECORD_BYTES and len(items) > 1:
        # One record is the least that can be sent, so it has to stay well below what receivers accept.
        middle = len(items) // 2
        return _store_parts(queue, signal, [items[:middle], items[middle:]], encode)
    return queue.append(signal, payload, count=len(items)) if items else True


def _store_parts(
    queue: Queue, signal: Signal, parts: Sequence[Sequence[Item]], encode: Callable[[Sequence[Item]], bytes]
) -> bool:
    stored = True
    for part in parts:
        stored &= _store(queue, signal, part, encode)
    return stored


def _store_each(
    queue: Queue, signal: Signal, items: Sequence[Item], encode: Callable[[Sequence[Item]], bytes], error: Exception
) -> bool:
    if len(items) == 1:
        queue.counts.add("failed", 1, signal)
        queue.counts.last_error = f"cannot encode {signal.label}: {type(error).__name__}: {error}"
    else:
        for item in items:
            _store(queue, signal, [item], encode)
    return False


class DurableSpanExporter(SpanExporter):
    """Stores spans in `queue`. With a `sender`, `force_flush` also delivers them and `shutdown` stops it."""

    def __init__(self, queue: Queue, sender: Sender | None = None) -> None:
        self._queue = queue
        self._sender = sender

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Store `spans`; FAILURE when the queue had to drop some, which it counts."""
        return SpanExportResult.SUCCESS if store_spans(self._queue, spans) else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Stop the sender within its exit timeout."""
        _shutdown(self._sender)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Deliver what is stored, within `timeout_millis` ms; True at once without a sender, since it is stored."""
        return _flush(self._sender, timeout_millis)


class DurableLogExporter(LogRecordExporter):
    """Stores log records in `queue`. With a `sender`, `force_flush` also delivers them and `shutdown` stops it."""

    def __init__(self, queue: Queue, sender: Sender | None = None) -> None:
        self._queue = queue
        self._sender = sender

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Store `batch`; FAILURE when the queue had to drop some, which it counts."""
        # A root logger at DEBUG would log the sender's own requests, each of which would then be sent by a request.
        kept = [item for item in batch if not _is_suppressed(item.log_record.context)]
        return LogRecordExportResult.SUCCESS if store_logs(self._queue, kept) else LogRecordExportResult.FAILURE

    def shutdown(self) -> None:
        """Stop the sender within its exit timeout."""
        _shutdown(self._sender)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Deliver what is stored, within `timeout_millis` ms; True at once without a sender, since it is stored."""
        return _flush(self._sender, timeout_millis)


class DurableMetricExporter(MetricExporter):
    """Stores metrics in `queue`. With a `sender`, `force_flush` also delivers them and `shutdown` stops it."""

    def __init__(
        self,
        queue: Queue,
        sender: Sender | None = None,
        *,
        preferred_temporality: dict[type, AggregationTemporality] | None = None,
        preferred_aggregation: dict[type, Aggregation] | None = None,
    ) -> None:
        super().__init__(preferred_temporality=preferred_temporality, preferred_aggregation=preferred_aggregation)
        self._queue = queue
        self._sender = sender

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Store `metrics_data`, large collections in several records; FAILURE when some were dropped."""
        stored = True
        try:
            for payload, points in split_metrics(metrics_data, limit=_RECORD_BYTES):
                stored &= self._queue.append(Signal.METRICS, payload, count=points)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks the pipeline that it watches
            self._queue.counts.add("failed", 1, Signal.METRICS)
            self._queue.counts.last_error = f"cannot encode metrics: {type(error).__name__}: {error}"
            stored = False
        return MetricExportResult.SUCCESS if stored else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Stop the sender within its exit timeout."""
        _shutdown(self._sender)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Deliver what is stored, within `timeout_millis` ms; True at once without a sender, since it is stored."""
        return _flush(self._sender, timeout_millis)


def _is_suppressed(context: Any) -> bool:
    return bool(context and get_value(_SUPPRESS_INSTRUMENTATION_KEY, context))


def _flush(sender: Sender | None, timeout_millis: float) -> bool:
    return sender is None or sender.flush(timeout_millis / 1000)


def _shutdown(sender: Sender | None) -> None:
    if sender:
        sender.stop()
