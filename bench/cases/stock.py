"""OpenTelemetry as its own documentation sets it up, for the cases to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider


def traces_to(endpoint: str) -> TracerProvider:
    """A tracer provider that sends by OTLP over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    return provider


def three_signals(endpoint: str) -> tuple[Any, ...]:
    """The three providers, set globally, sending by OTLP over HTTP; Python's logging goes along."""
    import logging

    from opentelemetry import metrics, trace
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    traces = traces_to(endpoint)
    trace.set_tracer_provider(traces)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint}/v1/metrics"))
    meters = MeterProvider([reader], traces.resource)
    metrics.set_meter_provider(meters)
    logs = LoggerProvider(resource=traces.resource)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs")))
    set_logger_provider(logs)
    logging.getLogger().addHandler(LoggingHandler(logger_provider=logs))
    return traces, meters, logs


def with_null_exporter() -> TracerProvider:
    """A tracer provider whose batches go nowhere: what spans cost before they are encoded."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter(lambda spans: None)))
    return provider


def metrics_to_nowhere() -> MeterProvider:
    """A meter provider whose collections go nowhere."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader

    class Nowhere(MetricExporter):
        def export(self, metrics_data: Any, timeout_millis: float = 0, **kwargs: Any) -> MetricExportResult:
            """Take them."""
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 0) -> bool:
            """Nothing waits."""
            return True

        def shutdown(self, timeout_millis: float = 0, **kwargs: Any) -> None:
            """Nothing to stop."""

    return MeterProvider([PeriodicExportingMetricReader(Nowhere())])


def exporter(take: Callable[[Any], object]) -> Any:
    """A span exporter that hands its batches to ``take``."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Taking(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            """Hand them on."""
            take(spans)
            return SpanExportResult.SUCCESS

    return Taking()
