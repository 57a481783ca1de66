"""OTLP over gRPC: the ``Export`` of the three services, as bytes.

gRPC itself would unpack a compressed message whole before it looks at its size, so it is told to leave that to us. A
request of OTLP begins with the tag of its only field; what begins like gzip or zlib is no protobuf but packed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
from grpc import aio

from otel_pipeline.receive import counters as c
from otel_pipeline.receive import responses
from otel_pipeline.receive.answer import Accepted, NotTakenError, Refused, RetryLater
from otel_pipeline.receive.bounds import GZIP, ZLIB, unpacked
from otel_pipeline.receive.signals import SERVICES

if TYPE_CHECKING:
    from otel_pipeline.receive.answer import Answer, Handle
    from otel_pipeline.receive.bounds import InFlight
    from otel_pipeline.receive.counters import Counters
    from otel_pipeline.receive.signals import Service

_PACKED = {b"\x1f": GZIP, b"\x78": ZLIB}  # by the first byte
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def server(handle: Handle, in_flight: InFlight, counters: Counters) -> aio.Server:
    """A server of the three services, to be given a port and started."""
    options = [
        ("grpc.max_receive_message_length", in_flight.limits.request_bytes),
        ("grpc.per_message_decompression", 0),
        ("grpc.optimization_target", "throughput"),  # a sixth less CPU time for requests of 160 kB
        ("grpc.so_reuseport", 0),  # a second server at the same address is a mistake
    ]
    made = aio.server(options=options)
    reading = asyncio.Semaphore(in_flight.limits.readers)
    made.add_generic_rpc_handlers(
        [_handler(_Export(service, handle, in_flight, counters, reading)) for service in SERVICES]
    )
    return made


def _handler(export: _Export) -> Any:
    # To gRPC's wire one message is a stream of one; but a stream is read only when we ask for it.
    method = grpc.stream_unary_rpc_method_handler(export.call)
    return grpc.method_handlers_generic_handler(export.service.grpc, {"Export": method})


class _Export:
    """One signal."""

    def __init__(
        self, service: Service, handle: Handle, in_flight: InFlight, counters: Counters, reading: asyncio.Semaphore
    ) -> None:
        self.service = service
        self._handle = handle
        self._in_flight = in_flight
        self._counters = counters
        self._reading = reading

    async def call(self, _: Any, context: Any) -> bytes:
        """Take one request and answer it."""
        with self._in_flight.hold() as hold:
            try:
                answer = await self._answer(context, hold)
            except NotTakenError as error:
                answer = error.answer
        self._counters.add(c.REQUESTS, self.service.signal, "grpc", responses.outcome(answer))
        if isinstance(answer, Accepted):
            return bytes(responses.accepted(self.service, answer).SerializeToString())
        status = responses.status(answer)
        details = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(_CODES[status.code], status.message, details)
        raise AssertionError("abort raises")

    async def _answer(self, context: Any, hold: Any) -> Answer:
        async with self._reading:
            hold.grow(0)
            try:
                payload = await asyncio.wait_for(context.read(), self._in_flight.limits.read_s)
            except asyncio.TimeoutError:
                raise NotTakenError(RetryLater("the request did not arrive in time")) from None
        if payload is aio.EOF:  # gRPC has itself refused one over the limit; for others there is nobody to answer
            raise NotTakenError(Refused("there is no request, or it is over the limit", too_large=True))
        hold.grow(len(payload))
        packing = _PACKED.get(payload[:1])
        if packing is not None:
            payload = unpacked(payload, packing, hold)
        self._counters.add(c.BYTES, self.service.signal, "grpc", amount=len(payload))
        return await self._handle(self.service.signal, payload)
