"""The durable exporters by name, for any OpenTelemetry Python application.

``OTEL_TRACES_EXPORTER=durable_otlp`` (and for metrics and logs) stores in the queue and delivers from it, configured by
``OTEL_EXPORTER_OTLP_*`` and our settings for the queue, without the rest of us. The three share one queue and sender.
"""

from __future__ import annotations

import atexit
import logging
from functools import lru_cache

from otel_pipeline import config
from otel_pipeline.queue.exporters import DurableLogExporter, DurableMetricExporter, DurableSpanExporter
from otel_pipeline.sdk.export import Export

_log = logging.getLogger("otel_pipeline")


@lru_cache(maxsize=1)
def _export() -> Export:
    export = Export(config.load(say=_log.warning))
    sender = export.sender
    sender.start()
    # After the SDK's own exit handlers, which were registered later and so run earlier: they still store.
    atexit.register(sender.stop)
    return export


class DurableOtlpSpanExporter(DurableSpanExporter):
    """``durable_otlp`` for traces."""

    def __init__(self) -> None:
        super().__init__(_export().queue)


class DurableOtlpLogExporter(DurableLogExporter):
    """``durable_otlp`` for logs."""

    def __init__(self) -> None:
        super().__init__(_export().queue)


class DurableOtlpMetricExporter(DurableMetricExporter):
    """``durable_otlp`` for metrics."""

    def __init__(self) -> None:
        super().__init__(_export().queue)
