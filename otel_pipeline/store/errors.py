"""What can be wrong with a store, in one line that says what to do; the driver's exceptions become one of these."""

from __future__ import annotations

from otel_pipeline.errors import PipelineTelemetryError


class StoreError(PipelineTelemetryError):
    """The store cannot be read or written; nothing of the transaction has happened."""


class StoreBusyError(StoreError):
    """It cannot now: another process holds it, or its server is away. The same again, later, will do."""
