"""The three signals of OTLP: each has a path, a gRPC service, a request and a response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

if TYPE_CHECKING:
    from otel_pipeline.receive.answer import Signal


@dataclass(frozen=True)
class Service:
    """One signal. ``rejected`` is the field of a partial success that counts what was not taken."""

    signal: Signal
    grpc: str
    request: type[Any]
    response: type[Any]
    rejected: str

    @property
    def path(self) -> str:
        """Where it is posted over HTTP."""
        return f"/v1/{self.signal}"


SERVICES: tuple[Service, ...] = (
    Service(
        "traces",
        "opentelemetry.proto.collector.trace.v1.TraceService",
        traces.ExportTraceServiceRequest,
        traces.ExportTraceServiceResponse,
        "rejected_spans",
    ),
    Service(
        "metrics",
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        metrics.ExportMetricsServiceRequest,
        metrics.ExportMetricsServiceResponse,
        "rejected_data_points",
    ),
    Service(
        "logs",
        "opentelemetry.proto.collector.logs.v1.LogsService",
        logs.ExportLogsServiceRequest,
        logs.ExportLogsServiceResponse,
        "rejected_log_records",
    ),
)
