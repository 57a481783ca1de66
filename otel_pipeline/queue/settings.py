"""What the queue and its sender are told; nothing here reads the environment (that is `config.py`'s work)."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from otel_pipeline.queue.format import Signal

__all__ = ["QueueSettings", "SenderSettings", "signal_endpoint"]

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Where the queue lies and how large it may grow.

    `folder` is made (0700) when missing. `max_bytes` bounds the whole folder, all processes together, and may be
    exceeded by one segment per living process. `max_age_s` must stay below the receivers' dedup window (7 days), else
    a late replay counts twice. `segment_bytes` is the size at which a process begins its next file: what is dropped
    or handed over at once. `sweep_s` is how long the folder's size goes unchecked while processes start and end.
    """

    folder: Path
    max_bytes: int = 512 << 20
    max_age_s: float = 6 * DAY
    segment_bytes: int = 4 << 20
    sweep_s: float = 600.0

    @property
    def rotate_bytes(self) -> int:
        """Bytes at which a segment is full: at most an eighth of the bound, since whole segments are dropped."""
        return max(4096, min(self.segment_bytes, self.max_bytes // 8))


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """Where and how records leave; the meanings are those of `OTEL_EXPORTER_OTLP_*`.

    `endpoint` is a base URL; over HTTP `/v1/traces`, `/v1/metrics` or `/v1/logs` is added, while `endpoints` of single
    signals are used as they are. `protocol` is `http/protobuf` or `grpc`. `timeout_s` bounds one request,
    `exit_timeout_s` all sending at exit. `compression` is `none` or `gzip`. `certificate`, `client_certificate` and
    `client_key` are PEM files. `proxy` is a URL of an HTTP proxy. `max_request_bytes` is below the 4 MiB that gRPC
    servers accept by default. Times are in seconds, sizes in bytes before compression.
    """

    endpoint: str = "http://localhost:4318"
    endpoints: Mapping[Signal, str] = field(default_factory=lambda: MappingProxyType({}))
    protocol: str = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    timeout_s: float = 10.0
    compression: str = "none"
    certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    proxy: str | None = None
    max_request_bytes: int = 4_000_000
    exit_timeout_s: float = 2.0
    interval_s: float = 1.0
    adopt_s: float = 10.0
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0

    def __post_init__(self) -> None:
        if self.protocol not in ("http/protobuf", "grpc"):
            raise ValueError(f"cannot use protocol {self.protocol!r}: want http/protobuf or grpc")
        if self.compression not in ("none", "gzip"):
            raise ValueError(f"cannot use compression {self.compression!r}: want none or gzip")


def signal_endpoint(settings: SenderSettings, signal: Signal) -> str:
    """The URL for one signal, by the rules of the OTLP exporter specification.

    >>> signal_endpoint(SenderSettings(endpoint="http://collector:4318/"), Signal.TRACES)
    'http://collector:4318/v1/traces'
    """
    if own := settings.endpoints.get(signal):
        return own
    if settings.protocol == "grpc":
        return settings.endpoint
    return f"{settings.endpoint.rstrip('/')}/v1/{signal.label}"
