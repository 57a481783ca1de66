"""Reading the little that an OTLP receiver answers, without protobuf."""

from __future__ import annotations

from otel_pipeline.queue import wire
from otel_pipeline.queue.transport import Accepted

__all__ = ["read_answer", "read_retry_delay"]


def read_answer(body: bytes) -> Accepted:
    """A serialized `Export…ServiceResponse`; what cannot be read counts as a plain success, as the status said."""
    try:
        for number, value in wire.fields(body):
            if number == 1 and isinstance(value, bytes):
                found = dict(wire.fields(value))
                message = found.get(2, b"")
                text = message.decode("utf-8", "replace") if isinstance(message, bytes) else ""
                return Accepted(int(found.get(1, 0)), text)
    except (ValueError, TypeError):
        pass
    return Accepted()


def read_retry_delay(status: bytes) -> float | None:
    """The delay in seconds of the `google.rpc.RetryInfo` in a serialized `google.rpc.Status`, None without one."""
    try:
        for number, value in wire.fields(status):
            if number != 3 or not isinstance(value, bytes):
                continue
            detail = dict(wire.fields(value))
            if str(detail.get(1, b"")).find("google.rpc.RetryInfo") < 0:
                continue
            info = dict(wire.fields(_bytes(detail.get(2))))
            duration = dict(wire.fields(_bytes(info.get(1))))
            return float(int(duration.get(1, 0))) + int(duration.get(2, 0)) / 1e9
    except (ValueError, TypeError):
        pass
    return None


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""
