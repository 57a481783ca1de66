"""OTLP over HTTP: ``POST /v1/traces``, ``/v1/metrics``, ``/v1/logs``, as protobuf or JSON, gzip or not."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_pipeline.receive import counters as c
from otel_pipeline.receive import otlp_json, responses
from otel_pipeline.receive.answer import NotTakenError, Refused, RetryLater
from otel_pipeline.receive.bounds import GZIP, unpacked
from otel_pipeline.receive.signals import SERVICES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from otel_pipeline.receive.answer import Answer, Handle
    from otel_pipeline.receive.bounds import Hold, InFlight
    from otel_pipeline.receive.counters import Counters
    from otel_pipeline.receive.signals import Service


@dataclass(frozen=True)
class _Form:
    """A content type: how a request is read and a message is written."""

    media_type: str
    read: Callable[[bytes, Service], Awaitable[bytes]]
    write: Callable[[Any], bytes]


async def _as_it_is(body: bytes, service: Service) -> bytes:
    del service
    return body


async def _from_json(body: bytes, service: Service) -> bytes:
    # A large text takes a while, and others are waiting.
    return await asyncio.to_thread(otlp_json.to_protobuf, body, service)


_FORMS = {
    form.media_type: form
    for form in (
        _Form("application/x-protobuf", _as_it_is, lambda message: bytes(message.SerializeToString())),
        _Form("application/json", _from_json, otlp_json.from_protobuf),
    )
}
_ENCODINGS = {"": None, "identity": None, "gzip": GZIP}
_CLOSED = 499  # nobody reads it


def routes(handle: Handle, in_flight: InFlight, counters: Counters) -> list[Route]:
    """The routes of the three signals, for an application of Starlette's."""
    return [
        Route(service.path, _Endpoint(service, handle, in_flight, counters).post, methods=["POST"])
        for service in SERVICES
    ]


class _Endpoint:
    """One signal."""

    def __init__(self, service: Service, handle: Handle, in_flight: InFlight, counters: Counters) -> None:
        self._service = service
        self._handle = handle
        self._in_flight = in_flight
        self._counters = counters

    async def post(self, request: Request) -> Response:
        """Take one request and answer it in its own encoding."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if kind not in _FORMS:
            return self._unsupported(f"content type {kind!r}: want {' or '.join(_FORMS)}")
        if encoding not in _ENCODINGS:
            return self._unsupported(f"content encoding {encoding!r}: want gzip or identity")
        form = _FORMS[kind]
        with self._in_flight.hold() as hold:
            try:
                answer = await self._answer(request, form, _ENCODINGS[encoding], hold)
            except NotTakenError as error:
                answer = error.answer
            except ClientDisconnect:
                self._count("broken")
                return Response(status_code=_CLOSED)
        self._count(responses.outcome(answer))
        return self._response(answer, form)

    async def _answer(self, request: Request, form: _Form, packing: int | None, hold: Hold) -> Answer:
        try:
            body = await asyncio.wait_for(_body(request, hold), self._in_flight.limits.read_s)
        except asyncio.TimeoutError:
            raise NotTakenError(RetryLater("the request did not arrive in time")) from None
        if packing is not None:
            body = unpacked(body, packing, hold)
        self._counters.add(c.BYTES, self._service.signal, "http", amount=len(body))
        return await self._handle(self._service.signal, await form.read(body, self._service))

    def _response(self, answer: Answer, form: _Form) -> Response:
        headers = {"Retry-After": str(math.ceil(answer.seconds))} if isinstance(answer, RetryLater) else {}
        if isinstance(answer, Refused) and answer.too_large:
            headers["Connection"] = "close"  # what is left of it is not read
        return Response(
            form.write(responses.message(self._service, answer)),
            responses.http_status(answer),
            headers,
            form.media_type,
        )

    def _unsupported(self, message: str) -> Response:
        self._count("unsupported")
        return PlainTextResponse(f"{message}\n", 415)

    def _count(self, outcome: str) -> None:
        self._counters.add(c.REQUESTS, self._service.signal, "http", outcome)


async def _body(request: Request, hold: Hold) -> bytes:
    announced = request.headers.get("content-length", "")
    hold.within(int(announced) if announced.isdecimal() else 0)
    found = bytearray()
    async for part in request.stream():
        hold.within(len(found) + len(part))
        hold.grow(len(part))
        found += part
    return bytes(found)
