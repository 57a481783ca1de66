"""OTLP over gRPC. Loaded on the sender's thread, and only when the protocol is `grpc` (the `grpc` extra).

Requests and answers pass as bytes, so grpcio is needed but neither protobuf nor generated stubs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]

from otel_pipeline.queue.format import Signal
from otel_pipeline.queue.partial import read_answer, read_retry_delay
from otel_pipeline.queue.settings import SenderSettings, signal_endpoint
from otel_pipeline.queue.transport import Outcome, Rejected, Retry, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GrpcTransport"]

_METHODS: Final = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_RETRYABLE: Final = frozenset(
    ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"),
)
# Without a bound a channel that once failed may wait two minutes before it connects again.
_OPTIONS: Final = [
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
]


class GrpcTransport:
    """Unary calls, one channel per target; the rules are those of the OTLP/gRPC specification."""

    def __init__(self, settings: SenderSettings) -> None:
        self._settings = settings
        self._channels: dict[str, Any] = {}
        self._metadata = [(name.lower(), value) for name, value in settings.headers.items()]
        gzip = settings.compression == "gzip"
        self._compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression

    def send(self, signal: Signal, body: bytes, timeout_s: float) -> Outcome:
        """One call; the channel reconnects by itself."""
        call = self._method(signal)
        try:
            answer = call(body, timeout=timeout_s, metadata=self._metadata, compression=self._compression)
        except grpc.RpcError as error:
            return _outcome(error)
        return read_answer(answer)

    def _method(self, signal: Signal) -> Callable[..., bytes]:
        endpoint = signal_endpoint(self._settings, signal)
        if endpoint not in self._channels:
            self._channels[endpoint] = self._connect(endpoint)
        method: Callable[..., bytes] = self._channels[endpoint].unary_unary(
            _METHODS[signal], request_serializer=None, response_deserializer=None
        )
        return method

    def _connect(self, endpoint: str) -> Any:
        parts = urlsplit(endpoint)
        target = parts.netloc if parts.scheme in ("http", "https") else endpoint
        secure = parts.scheme == "https" or (parts.scheme != "http" and self._settings.certificate is not None)
        if not secure:
            return grpc.insecure_channel(target, options=_OPTIONS)
        files = (self._settings.certificate, self._settings.client_key, self._settings.client_certificate)
        contents = [file.read_bytes() if file else None for file in files]
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(*contents), options=_OPTIONS)

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def abandon(self) -> None:
        """Keep the channels for ever: without the threads that the fork left behind, closing them would hang."""
        _abandoned.append(self._channels)
        self._channels = {}


_abandoned: list[dict[str, Any]] = []


def _outcome(error: Any) -> Outcome:
    code, details = error.code().name, error.details() or ""
    reason = f"gRPC {code}: {details}"
    trailing = dict(error.trailing_metadata() or ())
    delay = read_retry_delay(trailing.get("grpc-status-details-bin", b""))
    if code == "RESOURCE_EXHAUSTED":
        # A server says the same code for "later" (then with RetryInfo) and for "smaller".
        if delay is not None:
            return Retry(reason, delay)
        return TooLarge(reason) if "larger than" in details else Rejected(reason)
    return Retry(reason, delay) if code in _RETRYABLE else Rejected(reason)
