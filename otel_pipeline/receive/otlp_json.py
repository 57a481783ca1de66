"""OTLP's JSON ◄─► protobuf's messages.

It is protobuf's JSON but for one thing: trace and span ids are hexadecimal, not base64. Unknown fields are ignored.
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format  # type: ignore[import-untyped]  # protobuf ships no types

from otel_pipeline.receive.answer import NotTakenError, Refused

if TYPE_CHECKING:
    from otel_pipeline.receive.signals import Service

_IDS = {"traceId", "spanId", "parentSpanId"}
_MOST_SAID = 300


def to_protobuf(text: bytes, service: Service) -> bytes:
    """The request as protobuf's bytes. Raises NotTakenError that quotes what is wrong and where.

    An id that is not hexadecimal becomes an empty one: its item is then left out, the others of the request stay.
    """
    message = service.request()
    try:
        json_format.ParseDict(_with_bytes_as_base64(_parsed(text)), message, ignore_unknown_fields=True)
        return bytes(message.SerializeToString())
    except Exception as error:  # noqa: BLE001 - json_format lets errors of Python's own out, such as OverflowError
        raise NotTakenError(Refused(f"the body is no {service.request.__name__}: {_said(error)}")) from None


def from_protobuf(message: Any) -> bytes:
    """A response as JSON."""
    text: str = json_format.MessageToJson(message, indent=None)
    return text.encode()


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotTakenError(Refused(f"the body is not JSON: {_said(error)}")) from None
    if not isinstance(found, dict):
        raise NotTakenError(Refused(f"the body is not an OTLP request: want an object, got {type(found).__name__}"))
    return found


def _said(error: Exception) -> str:
    """What is wrong, so that it can be sent: it may quote half a surrogate pair, which is no UTF-8."""
    return str(error)[:_MOST_SAID].encode(errors="backslashreplace").decode() or type(error).__name__


def _with_bytes_as_base64(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes_as_base64(each) for each in value]
    if isinstance(value, dict):
        return {
            name: _base64(part) if name in _IDS and isinstance(part, str) else _with_bytes_as_base64(part)
            for name, part in value.items()
        }
    return value


def _base64(digits: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(digits)).decode()
    except ValueError:
        return ""
