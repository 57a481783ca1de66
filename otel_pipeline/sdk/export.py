"""Where telemetry goes: OTLP through the durable queue, or an exporter that ``OTEL_<SIGNAL>_EXPORTER`` names.

::

    spans, logs ─► DurableSpanProcessor, DurableLogProcessor ─┐
    metrics ─────► PeriodicExportingMetricReader ─────────────┴─► Queue ─► disk ─► Sender ─► OTLP

Where nothing is sent, what is ours goes into a queue beside, which no sender touches: `otel-pipeline runs` reads it.

Every other name is looked up among OpenTelemetry's entry points, as its own configurator does, and exports as the SDK
does it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_pipeline import config
from otel_pipeline.errors import SettingError
from otel_pipeline.instrument.scope import SCOPE_NAME
from otel_pipeline.queue import Queue, QueueSettings, Sender, SenderSettings, Signal
from otel_pipeline.queue.exporters import DurableMetricExporter, store_spans
from otel_pipeline.queue.processors import DurableLogProcessor, DurableSpanProcessor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
    from opentelemetry.sdk.metrics.export import MetricReader, ScopeMetrics
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_pipeline.config import Settings

_log = logging.getLogger("otel_pipeline")
_SIGNALS = {"traces": Signal.TRACES, "metrics": Signal.METRICS, "logs": Signal.LOGS}


@dataclass
class Export:
    """What to put into the providers, by ``settings``. The queue and its sender are made when something needs them."""

    settings: Settings

    @cached_property
    def queue(self) -> Queue:
        """This process's queue."""
        folder = config.queue_folder(self.settings)
        if config.embedded(self.settings):
            folder /= config.EMBEDDED
        return Queue.open(QueueSettings(folder), warn=_warn)

    @cached_property
    def sender(self) -> Sender:
        """Its sender, not started."""
        return Sender(self.queue, sender_settings(self.settings, config.otlp_variables()), warn=_warn)

    @property
    def opened(self) -> Queue | None:
        """The queue; None where nothing goes into it."""
        return self.__dict__.get("queue")

    @property
    def used(self) -> Sender | None:
        """The sender; None where nothing goes into the queue, or nothing is sent from it."""
        return self.sender if self.opened is not None and not config.embedded(self.settings) else None

    def span_processors(self) -> list[SpanProcessor]:
        """Run and stage spans are on disk when their end returns, others within 100 ms."""
        if config.embedded(self.settings):
            return [OurSpans(self.queue)]
        return [
            DurableSpanProcessor(self.queue, at_once=_ours)
            if name == "otlp"
            else BatchSpanProcessor(_masked("traces", name))
            for name in config.exporter_names("traces", self.settings)
        ]

    def log_processors(self) -> list[LogRecordProcessor]:
        """Log events about runs are on disk when they are emitted, other records within 100 ms."""
        if config.embedded(self.settings):
            return [OurEvents(self.queue)]
        return [
            DurableLogProcessor(self.queue, at_once=_our_event)
            if name == "otlp"
            else BatchLogRecordProcessor(_masked("logs", name))
            for name in config.exporter_names("logs", self.settings)
        ]

    def metric_readers(self) -> list[MetricReader]:
        """Metrics are collected on the SDK's interval (``OTEL_METRIC_EXPORT_INTERVAL``) and at exit."""
        if config.embedded(self.settings):
            return [PeriodicExportingMetricReader(OurMetrics(self.queue))]
        readers: list[MetricReader] = []
        for name in config.exporter_names("metrics", self.settings):
            exporter: Any = DurableMetricExporter(self.queue) if name == "otlp" else _named("metrics", name)
            # An entry point of this group may be a reader itself (Prometheus's is).
            readers.append(PeriodicExportingMetricReader(exporter) if hasattr(exporter, "export") else exporter)
        return readers


class OurSpans(SpanProcessor):
    """Stores run and stage spans, and no others."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def on_end(self, span: ReadableSpan) -> None:
        """Store it, if it is one of ours."""
        if _ours(span):
            store_spans(self._queue, (span,))


class OurEvents(DurableLogProcessor):
    """Stores log events about runs, and no other records."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(queue, at_once=lambda record: True)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Store it, if it is one of ours."""
        if _our_event(log_record):
            super().on_emit(log_record)


class OurMetrics(DurableMetricExporter):
    """Stores the metrics that the store takes, and no others: not those that it counts from spans."""

    def __init__(self, queue: Queue) -> None:
        from otel_pipeline.semconv.catalogue import COUNTED  # noqa: PLC0415 - large, and only where there is a store

        super().__init__(queue)
        self._counted = COUNTED

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Store those, if there are any."""
        kept = [
            replace(resource, scope_metrics=scopes)
            for resource in metrics_data.resource_metrics
            if (scopes := [found for scope in resource.scope_metrics if (found := self._kept(scope)).metrics])
        ]
        if not kept:
            return MetricExportResult.SUCCESS
        return super().export(MetricsData(kept), timeout_millis, **kwargs)

    def _kept(self, scope: ScopeMetrics) -> ScopeMetrics:
        ours = scope.scope.name.startswith(SCOPE_NAME)
        return replace(scope, metrics=[each for each in scope.metrics if ours and each.name not in self._counted])


def sender_settings(settings: Settings, variables: Mapping[str, str]) -> SenderSettings:
    """``OTEL_EXPORTER_OTLP_*`` and our settings, as the sender takes them. Raises SettingError for what it cannot."""

    def path(name: str) -> Path | None:
        return Path(variables[name]) if variables.get(name) else None

    endpoints = {
        signal: variables[f"{name.upper()}_ENDPOINT"]
        for name, signal in _SIGNALS.items()
        if variables.get(f"{name.upper()}_ENDPOINT")
    }
    given = {
        "endpoint": settings.endpoint,
        "timeout_s": _seconds(variables.get("TIMEOUT")),
        "compression": variables.get("COMPRESSION"),
        "certificate": path("CERTIFICATE"),
        "client_certificate": path("CLIENT_CERTIFICATE"),
        "client_key": path("CLIENT_KEY"),
        "proxy": variables.get("PROXY"),
    }
    known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return SenderSettings(
            endpoints=endpoints,
            protocol=settings.protocol,
            headers=_headers(variables.get("HEADERS", "")),
            exit_timeout_s=settings.exit_timeout,
            **known,
        )
    except ValueError as error:
        raise SettingError(f"OTEL_EXPORTER_OTLP_*: {error}") from None


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise SettingError(f"OTEL_EXPORTER_OTLP_TIMEOUT={text!r}: got {text!r}, want a number of seconds") from None


def _headers(text: str) -> dict[str, str]:
    """``key=value,key2=value2``, percent-encoded (W3C Baggage's format, as the OTLP exporter specification says)."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {key.strip().lower(): unquote(value.strip()) for key, _, value in pairs}


def _masked(signal: str, name: str) -> Any:
    from otel_pipeline.sdk.masked import MaskedLogs, MaskedSpans  # noqa: PLC0415 - our own exporters mask by themselves

    exporter = _named(signal, name)
    return MaskedSpans(exporter) if signal == "traces" else MaskedLogs(exporter)


def _named(signal: str, name: str) -> Any:
    from opentelemetry.util._importlib_metadata import entry_points  # noqa: PLC0415 - slow to load, and few need it

    for entry in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return entry.load()()
    known = sorted({entry.name for entry in entry_points(group=f"opentelemetry_{signal}_exporter")} | {"otlp", "none"})
    raise SettingError(f"OTEL_{signal.upper()}_EXPORTER={name!r}: nothing provides it; there are {', '.join(known)}")


def _ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name.startswith(SCOPE_NAME)


def _our_event(record: ReadableLogRecord | ReadWriteLogRecord) -> bool:
    return record.log_record.event_name is not None and record.log_record.event_name.startswith("pipeline.")


def _warn(message: str) -> None:
    _log.warning("otel_pipeline: %s", message)
