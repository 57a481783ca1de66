"""OpenTelemetry's providers: those that the program has set already, else new ones that send by OTLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_pipeline.sdk import identity, sampler
from otel_pipeline.sdk.export import exporters
from otel_pipeline.sdk.metrics import RunMetrics
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from otel_pipeline.config import Settings


@dataclass(frozen=True)
class Providers:
    """The three providers, which of them are ``own`` (ours to flush and stop), and what counts runs."""

    traces: TracerProvider
    metrics: MeterProvider | None
    logs: LoggerProvider | None
    run_metrics: RunMetrics | None
    ids: identity.PlannedIdGenerator
    own: tuple[Any, ...]
    sends_logs: bool


def make(settings: Settings, default_name: str) -> Providers:
    """Set what is not set. Raises SettingError for an exporter that does not exist."""
    span_exporters, log_exporters = exporters("traces", settings), exporters("logs", settings)
    resource = _resource(settings, default_name)
    own: list[Any] = []

    traces = trace.get_tracer_provider()
    if not isinstance(traces, TracerProvider):
        traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        trace.set_tracer_provider(traces)
        own.append(traces)
        for exporter in span_exporters:
            traces.add_span_processor(BatchSpanProcessor(exporter))
    identity.install(traces)
    sampler.install(traces, settings.stage_span_limit)

    logs = _logs.get_logger_provider()
    if not isinstance(logs, LoggerProvider):
        logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        _logs.set_logger_provider(logs)
        own.append(logs)
        for exporter in log_exporters:
            logs.add_log_record_processor(BatchLogRecordProcessor(exporter))

    meters = metrics.get_meter_provider()
    if not isinstance(meters, MeterProvider):
        meters = _meter_provider(settings, resource)
        metrics.set_meter_provider(meters)
        own.append(meters)

    # Its exporters are made in the process that counts: a forked child has its own (metrics.py).
    sends = bool(exporters("metrics", settings))
    run_metrics = RunMetrics(lambda: _meter_provider(settings, traces.resource)) if sends else None
    ids = traces.id_generator
    assert isinstance(ids, identity.PlannedIdGenerator)
    return Providers(traces, meters, logs, run_metrics, ids, tuple(own), bool(log_exporters) or logs not in own)


def rename(own: tuple[Any, ...], settings: Settings) -> None:
    """What ``setup()`` said after the launcher had set the providers up: the service's name, version, environment."""
    for provider in own:
        if hasattr(provider, "_update_resource"):
            provider._update_resource(Resource(_named(settings)))


def _meter_provider(settings: Settings, resource: Resource) -> MeterProvider:
    readers = [PeriodicExportingMetricReader(exporter) for exporter in exporters("metrics", settings)]
    return MeterProvider(readers, resource=resource, shutdown_on_exit=False)


def _resource(settings: Settings, default_name: str) -> Resource:
    resource = Resource.create({a.SERVICE_NAME: default_name} | _named(settings))
    named = str(Resource.create().attributes.get(a.SERVICE_NAME, ""))
    # OTEL_RESOURCE_ATTRIBUTES may name it; OpenTelemetry's own default says only that nobody did.
    if settings.service_name is None and named and not named.startswith("unknown_service"):
        return resource.merge(Resource({a.SERVICE_NAME: named}))
    return resource


def _named(settings: Settings) -> dict[str, str]:
    values = {
        a.SERVICE_NAME: settings.service_name,
        a.SERVICE_VERSION: settings.version,
        a.DEPLOYMENT_ENVIRONMENT_NAME: settings.environment,
    }
    return {key: value for key, value in values.items() if value is not None}
