"""The durable queue: what a process has said outlives it, and reaches OTLP receivers now or later.

    exporters, processors ──encode──► Queue ──append──► X.q ──Claim──► Sender ──Transport──► OTLP

Nothing here reads the environment, touches OpenTelemetry's globals, or imports protobuf; the HTTP and gRPC clients
are loaded by the first request.
"""

from otel_pipeline.queue.claim import Claim, NewerFormatError
from otel_pipeline.queue.counts import Counts
from otel_pipeline.queue.format import Record, Signal
from otel_pipeline.queue.queue import Queue
from otel_pipeline.queue.sender import Sender
from otel_pipeline.queue.settings import QueueSettings, SenderSettings

__all__ = [
    "Claim",
    "Counts",
    "NewerFormatError",
    "Queue",
    "QueueSettings",
    "Record",
    "Sender",
    "SenderSettings",
    "Signal",
]
