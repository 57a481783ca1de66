"""What an OpenTelemetry application plugs in: exporters and processors that store before they return."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from queue_fakes import RESOURCE, FakeTransport, left, names, sender

from otel_pipeline.queue import Queue, QueueSettings, Signal
from otel_pipeline.queue.batch import Batcher
from otel_pipeline.queue.exporters import DurableLogExporter, DurableMetricExporter, DurableSpanExporter, store_spans
from otel_pipeline.queue.processors import DurableLogProcessor, DurableSpanProcessor

if TYPE_CHECKING:
    from pathlib import Path


def stored(folder: Path, signal: Signal) -> list[bytes]:
    return [record.payload for record in left(folder) if record.kind == signal]


def bodies(folder: Path) -> list[str]:
    found = []
    for payload in stored(folder, Signal.LOGS):
        for resource in ExportLogsServiceRequest.FromString(payload).resource_logs:
            found += [record.body.string_value for scope in resource.scope_logs for record in scope.log_records]
    return found


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue.open(QueueSettings(tmp_path))


def tracer_of(processor: Any, **options: Any) -> Any:
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False, **options)
    provider.add_span_processor(processor)
    return provider.get_tracer("t")


def test_chosen_spans_are_stored_when_they_end(tmp_path: Path, queue: Queue) -> None:
    """A chosen span is in the queue when `end` returns, others after a flush; children may be stored after parents."""
    processor = DurableSpanProcessor(queue, at_once=lambda span: span.name == "stage", interval_s=60)
    tracer = tracer_of(processor)
    tracer.start_span("inner").end()
    assert names(*stored(tmp_path, Signal.TRACES)) == []
    tracer.start_span("stage").end()
    assert names(*stored(tmp_path, Signal.TRACES)) == ["stage"]
    assert processor.force_flush()
    assert sorted(names(*stored(tmp_path, Signal.TRACES))) == ["inner", "stage"]
    queue.close()


def test_other_spans_share_a_record(tmp_path: Path, queue: Queue) -> None:
    """A batch of spans is one record with one resource, at most `size` spans long."""
    processor = DurableSpanProcessor(queue, at_once=lambda span: False, interval_s=60, size=4)
    tracer = tracer_of(processor)
    for number in range(6):
        tracer.start_span(str(number)).end()
    processor.shutdown()
    assert [names(payload) for payload in stored(tmp_path, Signal.TRACES)] == [["0", "1", "2", "3"], ["4", "5"]]
    assert queue.counts.total("appended") == 6
    tracer.start_span("late").end()
    assert names(*stored(tmp_path, Signal.TRACES))[-1] == "late"
    queue.close()


def test_the_sampler_decides_for_others_only(tmp_path: Path, queue: Queue) -> None:
    """A recorded but unsampled span is stored when chosen, and left out when not."""

    class RecordOnly(sampling.Sampler):
        def should_sample(self, *_: Any, **__: Any) -> sampling.SamplingResult:
            return sampling.SamplingResult(sampling.Decision.RECORD_ONLY)

        def get_description(self) -> str:
            return "record only"

    processor = DurableSpanProcessor(queue, at_once=lambda span: span.name == "stage")
    tracer = tracer_of(processor, sampler=RecordOnly())
    tracer.start_span("stage").end()
    tracer.start_span("other").end()
    processor.shutdown()
    assert names(*stored(tmp_path, Signal.TRACES)) == ["stage"]
    queue.close()


def test_a_span_that_cannot_be_encoded_costs_itself_only(tmp_path: Path, queue: Queue) -> None:
    """A malformed span among others is counted as failed; its neighbours are stored, and nothing raises."""
    good = [ReadableSpan(name, context=context(), resource=RESOURCE) for name in "ab"]
    bad = ReadableSpan("bad", context=None, resource=RESOURCE)
    assert not store_spans(queue, [good[0], bad, good[1]])
    assert names(*stored(tmp_path, Signal.TRACES)) == ["a", "b"]
    assert queue.counts.total("failed", Signal.TRACES) == 1
    DurableSpanProcessor(queue, at_once=lambda span: True).on_end(bad)
    assert queue.counts.total("failed", Signal.TRACES) == 2
    queue.close()


def context() -> Any:
    return tracer_of(SimpleSpanProcessor(None)).start_span("x").get_span_context()  # type: ignore[arg-type]


def test_large_batches_become_several_records(tmp_path: Path, queue: Queue) -> None:
    """No record of several spans outgrows a request: at most 512 spans and 1 MiB each."""
    many = [ReadableSpan(str(number), context=context(), resource=RESOURCE) for number in range(1100)]
    large = [
        ReadableSpan(f"L{number}", context=context(), resource=RESOURCE, attributes={"a": "x" * 400_000})
        for number in range(4)
    ]
    exporter = DurableSpanExporter(queue)
    assert exporter.export(many) is SpanExportResult.SUCCESS
    assert exporter.export(large) is SpanExportResult.SUCCESS
    assert exporter.export([]) is SpanExportResult.SUCCESS
    found = stored(tmp_path, Signal.TRACES)
    assert names(*found) == [str(number) for number in range(1100)] + ["L0", "L1", "L2", "L3"]
    assert max(map(len, found)) <= 1 << 20
    queue.close()


def test_exporters_say_when_something_was_dropped(tmp_path: Path) -> None:
    """FAILURE, and a count, when the queue cannot store."""
    (tmp_path / "q").write_text("no folder")
    queue = Queue.open(QueueSettings(tmp_path / "q"))
    span = ReadableSpan("a", context=context(), resource=RESOURCE)
    assert DurableSpanExporter(queue).export([span]) is SpanExportResult.FAILURE
    assert DurableMetricExporter(queue).export(None) is MetricExportResult.FAILURE  # type: ignore[arg-type]
    assert (queue.counts.total("dropped"), queue.counts.total("failed")) == (1, 1)


def test_the_three_exporters_work_under_the_sdk_s_own_processors(tmp_path: Path, queue: Queue) -> None:
    """Any OpenTelemetry application gains the queue by its exporters alone; flush and shutdown reach the sender."""
    transport = FakeTransport()
    sending = sender(tmp_path, transport, queue=queue)
    spans = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    spans.add_span_processor(SimpleSpanProcessor(DurableSpanExporter(queue, sending)))
    logs = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(DurableLogExporter(queue, sending)))
    exporter = DurableMetricExporter(queue, sending)
    meters = MeterProvider([PeriodicExportingMetricReader(exporter)], resource=RESOURCE, shutdown_on_exit=False)
    spans.get_tracer("t").start_span("a").end()
    logs.get_logger("t").emit(body="b")
    meters.get_meter("t").create_counter("c").add(1)
    assert meters.force_flush()
    assert exporter.force_flush(30_000)
    assert sorted(signal for signal, _ in transport.accepted) == [Signal.TRACES, Signal.METRICS, Signal.LOGS]
    (metrics,) = [body for signal, body in transport.accepted if signal is Signal.METRICS]
    assert ExportMetricsServiceRequest.FromString(metrics).resource_metrics[0].scope_metrics[0].metrics[0].name == "c"
    for provider in (meters, logs, spans):
        provider.shutdown()
    assert left(tmp_path) == []


def test_lifecycle_records_are_stored_when_emitted(tmp_path: Path, queue: Queue) -> None:
    """A chosen log record is in the queue when `emit` returns, others after a flush; later changes do not reach it."""
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    processor = DurableLogProcessor(queue, at_once=lambda record: bool(record.log_record.event_name), interval_s=60)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("t")
    logger.emit(body="plain")
    logger.emit(body="started", event_name="pipeline.run.started")
    assert bodies(tmp_path) == ["started"]
    assert processor.force_flush()
    assert bodies(tmp_path) == ["started", "plain"]
    processor.shutdown()
    logger.emit(body="late")
    assert bodies(tmp_path)[-1] == "late"
    queue.close()


def test_the_sender_s_own_logs_are_left_out(tmp_path: Path, queue: Queue) -> None:
    """With a root logger at DEBUG no request causes a record that causes a request."""
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(DurableLogProcessor(queue, at_once=lambda record: True))
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        provider.get_logger("t").emit(body="from the client")
        exporter = DurableLogExporter(queue)
        assert exporter.export([]) is LogRecordExportResult.SUCCESS
    finally:
        detach(token)
    logging.getLogger(__name__).debug("unrelated")
    provider.get_logger("t").emit(body="from the user")
    assert bodies(tmp_path) == ["from the user"]
    queue.close()


def test_a_batch_is_stored_without_being_asked() -> None:
    """Items reach the store within the interval, on the batcher's thread, without a flush."""
    done = threading.Event()
    found: list[int] = []

    def store(items: list[int]) -> None:
        found.extend(items)
        done.set()

    batcher: Batcher[int] = Batcher(store, interval_s=0.01)
    batcher.add(1)
    assert done.wait(30)
    batcher.stop()
    assert found == [1]


def test_threads_lose_nothing_in_a_batch() -> None:
    """Items added from many threads while others flush are each stored once."""
    found: list[int] = []
    batcher: Batcher[int] = Batcher(found.extend, interval_s=0.001, size=7)
    threads = [
        threading.Thread(target=lambda start=start: [batcher.add(start + n) for n in range(500)])
        for start in range(0, 4000, 500)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.stop()
    batcher.stop()
    assert sorted(found) == list(range(4000))
