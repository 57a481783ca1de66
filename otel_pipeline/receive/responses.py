"""Answers as OTLP says them: the response of the signal, or a ``google.rpc.Status``.

https://opentelemetry.io/docs/specs/otlp/: a client gives up on INVALID_ARGUMENT and 400, and on RESOURCE_EXHAUSTED
without RetryInfo and 413; it sends again after UNAVAILABLE and 503.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

# protobuf and googleapis ship no types
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
from google.rpc.code_pb2 import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from otel_pipeline.receive.answer import Accepted, Refused, RetryLater

if TYPE_CHECKING:
    from otel_pipeline.receive.answer import Answer
    from otel_pipeline.receive.signals import Service


def accepted(service: Service, answer: Accepted) -> Any:
    """The response; empty where everything is taken."""
    response = service.response()
    if answer.rejected or answer.message:
        setattr(response.partial_success, service.rejected, answer.rejected)
        response.partial_success.error_message = answer.message
    return response


def status(answer: Refused | RetryLater) -> Any:
    """The ``Status`` of a request that is not taken."""
    if isinstance(answer, RetryLater):
        found = Status(code=UNAVAILABLE, message=answer.message)
        whole = math.floor(answer.seconds)
        delay = Duration(seconds=whole, nanos=round((answer.seconds - whole) * 1e9))
        found.details.add().Pack(RetryInfo(retry_delay=delay))
        return found
    return Status(code=RESOURCE_EXHAUSTED if answer.too_large else INVALID_ARGUMENT, message=answer.message)


def message(service: Service, answer: Answer) -> Any:
    """The message of an answer, whichever it is."""
    return accepted(service, answer) if isinstance(answer, Accepted) else status(answer)


def http_status(answer: Answer) -> int:
    """The HTTP status of an answer."""
    if isinstance(answer, Accepted):
        return 200
    if isinstance(answer, RetryLater):
        return 503
    return 413 if answer.too_large else 400


def outcome(answer: Answer) -> str:
    """One word for an answer, as the counters have it."""
    if isinstance(answer, Accepted):
        return "partial" if answer.rejected else "accepted"
    if isinstance(answer, RetryLater):
        return "later"
    return "too_large" if answer.too_large else "refused"
