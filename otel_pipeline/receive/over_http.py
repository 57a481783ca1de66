"""OTLP over HTTP: ``POST /v1/traces``, ``/v1/metrics``, ``/v1/logs``, as protobuf or JSON, gzip or not."""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from otel_pipeline.receive import counters as c
from otel_pipeline.receive import otlp_json, responses
from otel_pipeline.receive.answer import NotTakenError, RetryLater
from otel_pipeline.receive.bounds import GZIP, unpacked
from otel_pipeline.receive.signals import SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.applications import Starlette
    from starlette.requests import Request

    from otel_pipeline.receive.answer import Answer, Handle
    from otel_pipeline.receive.bounds import Hold, InFlight, Limits
    from otel_pipeline.receive.counters import Counters
    from otel_pipeline.receive.signals import Service


@dataclass(frozen=True)
class _Form:
    """A content type: how a message is written, and how a request becomes protobuf's where it is not."""

    media_type: str
    write: Callable[[Any], bytes]
    to_protobuf: Callable[[bytes, Service], bytes] | None = None


_FORMS = {
    form.media_type: form
    for form in (
        _Form("application/x-protobuf", lambda message: bytes(message.SerializeToString())),
        _Form("application/json", otlp_json.from_protobuf, otlp_json.to_protobuf),
    )
}
_ENCODINGS = {"": None, "identity": None, "gzip": GZIP}
_CLOSED = 499  # nobody reads it


def routes(handle: Handle, in_flight: InFlight, counters: Counters) -> list[Route]:
    """The routes of the three signals, for an application of Starlette's."""
    translating = asyncio.Lock()
    return [
        Route(service.path, _Endpoint(service, handle, in_flight, counters, translating).post, methods=["POST"])
        for service in SERVICES
    ]


class HttpServer(uvicorn.Server):
    """uvicorn in a loop whose signals are not its own. At its end what is in flight has ``grace_s`` seconds."""

    def __init__(self, application: Starlette, *, grace_s: float = 5.0, most_connections: int = 1000) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                lifespan="off",
                log_config=None,
                log_level="error",  # not a line for each client that does not speak HTTP
                access_log=False,
                ws="none",
                limit_concurrency=most_connections,
                timeout_graceful_shutdown=math.ceil(grace_s),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the whole process, not this server alone."""
        yield


class _Endpoint:
    """One signal."""

    def __init__(
        self, service: Service, handle: Handle, in_flight: InFlight, counters: Counters, translating: asyncio.Lock
    ) -> None:
        self._service = service
        self._handle = handle
        self._in_flight = in_flight
        self._counters = counters
        self._translating = translating

    async def post(self, request: Request) -> Response:
        """Take one request and answer it in its own encoding."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if kind not in _FORMS:
            return self._unsupported(f"content type {kind!r}: want {' or '.join(_FORMS)}")
        if encoding not in _ENCODINGS:
            return self._unsupported(f"content encoding {encoding!r}: want gzip or identity")
        form = _FORMS[kind]
        headers: dict[str, str] = {}
        body = _Body(request)
        with self._in_flight.hold() as hold:
            try:
                answer = await self._answer(body, form, _ENCODINGS[encoding], hold)
            except NotTakenError as error:
                answer = error.answer
                if not await body.discarded(self._in_flight.limits):
                    headers["Connection"] = "close"
            except ClientDisconnect:
                self._count("broken")
                return Response(status_code=_CLOSED)
        self._count(responses.outcome(answer))
        if isinstance(answer, RetryLater):
            headers["Retry-After"] = str(math.ceil(answer.seconds))
        content = form.write(responses.message(self._service, answer))
        return Response(content, responses.http_status(answer), headers, form.media_type)

    async def _answer(self, body: _Body, form: _Form, packing: int | None, hold: Hold) -> Answer:
        try:
            payload = await asyncio.wait_for(body.whole(hold), self._in_flight.limits.read_s)
        except asyncio.TimeoutError:
            raise NotTakenError(RetryLater("the request did not arrive in time")) from None
        if packing is not None:
            payload = unpacked(payload, packing, hold)
        self._counters.add(c.BYTES, self._service.signal, "http", amount=len(payload))
        if form.to_protobuf is not None:
            # One at a time, since as objects a text takes many times its bytes; and others are served meanwhile.
            async with self._translating:
                payload = await asyncio.to_thread(form.to_protobuf, payload, self._service)
        return await self._handle(self._service.signal, payload)

    def _unsupported(self, message: str) -> Response:
        self._count("unsupported")
        return PlainTextResponse(f"{message}\n", 415)

    def _count(self, outcome: str) -> None:
        self._counters.add(c.REQUESTS, self._service.signal, "http", outcome)


class _Body:
    """A request's body, as it arrives."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._announced = request.headers.get("content-length", "")
        self._ended = False

    async def whole(self, hold: Hold) -> bytes:
        """All of it. Raises NotTakenError where it is too much."""
        hold.within(int(self._announced) if self._announced.isdecimal() else 0)
        found = bytearray()
        async for part in self._parts():
            hold.within(len(found) + len(part))
            hold.grow(len(part))
            found += part
        return bytes(found)

    async def discarded(self, limits: Limits) -> bool:
        """Read what is left, within bounds, since a client that still sends may not see its answer. Whether all is."""

        async def discard() -> None:
            size = 0
            async for part in self._parts():
                size += len(part)
                if size > limits.request_bytes:
                    return

        with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect):
            await asyncio.wait_for(discard(), min(limits.read_s, 1.0))
        return self._ended

    async def _parts(self) -> AsyncIterator[bytes]:
        while not self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._ended = not message.get("more_body", False)
            yield message.get("body", b"")
