"""Spans and log records without secrets, for exporters that are not ours: the queue masks as it encodes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Link, Status

from otel_pipeline import masking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExportResult
    from opentelemetry.sdk.trace.export import SpanExportResult


class MaskedSpans(SpanExporter):
    """Hands spans on to ``exporter`` without secrets; a span without any is the same object."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        return self._exporter.export([of_span(span) for span in spans])

    def shutdown(self) -> None:
        """See SpanExporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """See SpanExporter."""
        return self._exporter.force_flush(timeout_millis)


class MaskedLogs(LogRecordExporter):
    """The same for log records."""

    def __init__(self, exporter: LogRecordExporter) -> None:
        self._exporter = exporter

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """See LogRecordExporter."""
        return self._exporter.export([of_log(record) for record in batch])

    def shutdown(self) -> None:
        """See LogRecordExporter."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here."""
        flush = getattr(self._exporter, "force_flush", None)
        return bool(flush(timeout_millis)) if flush is not None else True


def of_span(span: ReadableSpan) -> ReadableSpan:
    """A span without secrets."""
    events = [Event(event.name, _attributes(event.attributes), event.timestamp) for event in span.events]
    links = [Link(link.context, _attributes(link.attributes)) for link in span.links]
    attributes, description = _attributes(span.attributes), masking.text(span.status.description or "")
    same = (
        attributes == dict(span.attributes or {})
        and all(new.attributes == dict(old.attributes or {}) for new, old in zip(events, span.events, strict=True))
        and all(new.attributes == dict(old.attributes or {}) for new, old in zip(links, span.links, strict=True))
    )
    resource, name = _resource(span.resource), masking.text(span.name)
    if same and description == (span.status.description or "") and name == span.name and resource is span.resource:
        return span
    return ReadableSpan(
        name=name,
        context=span.context,
        parent=span.parent,
        resource=resource,
        attributes=attributes,
        events=events,
        links=links,
        kind=span.kind,
        status=Status(span.status.status_code, description or None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def of_log(readable: ReadableLogRecord) -> ReadableLogRecord:
    """A log record without secrets."""
    record = copy.copy(readable.log_record)
    record.attributes = _attributes(record.attributes)
    record.body = masking.inside(record.body)
    return replace(readable, log_record=record, resource=_resource(readable.resource))


def _attributes(given: Any) -> dict[str, Any]:
    return {name: masking.value(name, value) for name, value in (given or {}).items()}


def _resource(given: Resource) -> Resource:
    masked = _attributes(given.attributes)
    return given if masked == dict(given.attributes) else Resource(masked, given.schema_url)
