"""OpenTelemetry's providers: those that the program has set already, else new ones of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_pipeline import config
from otel_pipeline.sdk import forks, identity, sampler
from otel_pipeline.sdk.export import Export
from otel_pipeline.sdk.metrics import RunMetrics
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from otel_pipeline.config import Settings
    from otel_pipeline.queue import Queue, Sender


class Providers(NamedTuple):
    """The three providers, which of them are ``own`` (ours to flush and stop), and what hangs on them."""

    traces: TracerProvider
    metrics: MeterProvider
    logs: LoggerProvider
    run_metrics: RunMetrics
    ids: identity.PlannedIdGenerator
    own: tuple[Any, ...]
    queue: Queue | None
    sender: Sender | None
    sends_logs: bool


def make(settings: Settings, default_name: str) -> Providers:
    """Set what is not set. Raises SettingError for an exporter that does not exist."""
    export = Export(settings)
    resource = _resource(settings, default_name)
    traces, own_traces = _traces(export, resource)
    meters, own_meters = _metrics(export, resource)
    logs, own_logs = _log_records(export, resource)
    ids = identity.install(traces)
    sampler.install(traces, settings.stage_span_limit)
    own = tuple(provider for provider, ours in ((traces, own_traces), (meters, own_meters), (logs, own_logs)) if ours)
    # A program that has a logger provider of its own has decided what to send of its logs.
    sends_logs = own_logs and bool(config.exporter_names("logs", settings))
    return Providers(traces, meters, logs, RunMetrics(meters), ids, own, export.opened, export.used, sends_logs)


def send(own: tuple[Any, ...], settings: Settings) -> Sender | None:
    """Let providers of ours, which have sent nothing until now, send by ``settings``; what sends, if anything does."""
    export = Export(settings)
    for provider in own:
        if isinstance(provider, TracerProvider):
            for span_processor in export.span_processors():
                provider.add_span_processor(span_processor)
        elif isinstance(provider, MeterProvider):
            for reader in export.metric_readers():
                provider.add_metric_reader(reader)
                # The SDK flushes and stops only the readers that it was made with, which are this list of ours.
                readers = provider._metric_readers
                if isinstance(readers, list) and reader not in readers:
                    readers.append(reader)
        elif isinstance(provider, LoggerProvider):
            for log_processor in export.log_processors():
                provider.add_log_record_processor(log_processor)
    return export.used


def rename(own: tuple[Any, ...], settings: Settings) -> None:
    """What ``setup()`` said after the launcher had set the providers up: the service's name, version, environment."""
    for provider in own:
        if hasattr(provider, "_update_resource"):
            provider._update_resource(Resource(_named(settings)))


def _traces(export: Export, resource: Resource) -> tuple[TracerProvider, bool]:
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        return provider, False
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for processor in export.span_processors():
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return provider, True


def _metrics(export: Export, resource: Resource) -> tuple[MeterProvider, bool]:
    provider = metrics.get_meter_provider()
    if isinstance(provider, MeterProvider):
        return provider, False
    provider = MeterProvider(export.metric_readers(), resource=resource, shutdown_on_exit=False)
    forks.begin_at_zero(provider)
    metrics.set_meter_provider(provider)
    return provider, True


def _log_records(export: Export, resource: Resource) -> tuple[LoggerProvider, bool]:
    provider = _logs.get_logger_provider()
    if isinstance(provider, LoggerProvider):
        return provider, False
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    for processor in export.log_processors():
        provider.add_log_record_processor(processor)
    _logs.set_logger_provider(provider)
    return provider, True


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
