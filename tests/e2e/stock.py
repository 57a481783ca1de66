"""An application with the stock OpenTelemetry SDK and none of our code: what any gateway must serve."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

    from .servers import Server

TRANSPORTS = ("http/protobuf", "grpc")


class Application:
    """One process of a service: its tracer, meter and logger, all sending to one gateway."""

    def __init__(self, service: str, gateway: Server, transport: str, instance: str = "1") -> None:
        attributes = {"service.name": service, "service.instance.id": instance, "deployment.environment.name": "test"}
        resource = Resource.create(attributes)
        spans, metrics, logs = exporters(gateway, transport)
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(spans))
        self._metrics = MeterProvider([PeriodicExportingMetricReader(metrics)], resource, shutdown_on_exit=False)
        self._logs = LoggerProvider(resource, shutdown_on_exit=False)
        self._logs.add_log_record_processor(BatchLogRecordProcessor(logs))
        self.tracer = self._traces.get_tracer("stock")
        self.meter = self._metrics.get_meter("stock")
        self.logger = self._logs.get_logger("stock")

    def log(self, body: str) -> None:
        """Emit a log record in the current span's context."""
        record = LogRecord(
            timestamp=time.time_ns(), body=body, severity_number=SeverityNumber.INFO, severity_text="INFO"
        )
        self.logger.emit(record)

    def close(self) -> None:
        """Send everything and end; what could not be sent fails the test."""
        sent = self._traces.force_flush(), self._metrics.force_flush(), self._logs.force_flush()
        self._traces.shutdown()
        self._metrics.shutdown()
        self._logs.shutdown()
        assert all(sent), f"the gateway did not take everything (traces, metrics, logs): {sent}"


@contextmanager
def application(service: str, gateway: Server, transport: str, instance: str = "1") -> Iterator[Application]:
    """An `Application` that has sent everything when the block ends."""
    app = Application(service, gateway, transport, instance)
    try:
        yield app
    finally:
        app.close()


def exporters(gateway: Server, transport: str) -> tuple[SpanExporter, MetricExporter, LogRecordExporter]:
    """The SDK's exporters of the three signals for one of `TRANSPORTS`."""
    if transport == "grpc":
        target = gateway.address("grpc")
        return (
            GrpcSpans(endpoint=target, insecure=True),
            GrpcMetrics(endpoint=target, insecure=True),
            GrpcLogs(endpoint=target, insecure=True),
        )
    url = gateway.url("http")
    return HttpSpans(f"{url}/v1/traces"), HttpMetrics(f"{url}/v1/metrics"), HttpLogs(f"{url}/v1/logs")


def post_span(gateway: Server, service: str, name: str, *, size: int, copies: int = 1) -> int:
    """Send one OTLP/HTTP request with `copies` spans of `size` bytes each, a trace each; return the HTTP status.

    The SDK's exporter retries by itself, so what the gateway answered to one request can only be seen without it.
    """
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    spans = resource.scope_spans.add().spans
    for _ in range(copies):
        now = time.time_ns()
        ids = {"trace_id": os.urandom(16), "span_id": os.urandom(8)}
        span = spans.add(name=name, start_time_unix_nano=now, end_time_unix_nano=now + 1, **ids)
        span.attributes.add(key="padding").value.string_value = os.urandom(size // 2).hex()
    return _post(f"{gateway.url('http')}/v1/traces", message.SerializeToString())


def post_count(gateway: Server, service: str, name: str, count: int, *, at: float) -> int:
    """Send one OTLP/HTTP request with a cumulative count as of `at`, in seconds since the epoch; return the status.

    The SDK stamps what it exports with the present.
    """
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    metric = resource.scope_metrics.add().metrics.add(name=name)
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    metric.sum.data_points.add(as_int=count, time_unix_nano=int(at * 1e9), start_time_unix_nano=int((at - 1) * 1e9))
    return _post(f"{gateway.url('http')}/v1/metrics", message.SerializeToString())


def _post(url: str, body: bytes) -> int:
    request = urllib.request.Request(url, body, {"Content-Type": "application/x-protobuf"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
