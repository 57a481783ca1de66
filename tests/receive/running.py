"""The receivers of this process, in an event loop of their own thread, and clients that know nothing of ours."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc.status_pb2 import Status
from starlette.applications import Starlette

from otel_pipeline.ingest import Ingest
from otel_pipeline.receive import over_grpc, over_http
from otel_pipeline.receive.bounds import InFlight, Limits
from otel_pipeline.receive.counters import Counters
from otel_pipeline.receive.signals import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_pipeline.ingest import Writer
    from otel_pipeline.receive.answer import Handle, Signal
    from otel_pipeline.receive.counters import Row

TIMEOUT = 60.0
PROTOBUF, JSON = "application/x-protobuf", "application/json"
GRPC = {service.signal: f"/{service.grpc}/Export" for service in SERVICES}
REQUESTS = {service.signal: service.request for service in SERVICES}
RESPONSES = {service.signal: service.response for service in SERVICES}


@dataclass
class Replied:
    """What came back: an HTTP status or gRPC's code, and the response or Status."""

    code: Any
    message: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What it says in words."""
        if isinstance(self.message, Status):
            return str(self.message.message)
        return str(self.message.partial_success.error_message)


@dataclass
class Receiving:
    """Both receivers and what they count."""

    counters: Counters
    in_flight: InFlight
    said: list[str] = field(default_factory=list)
    address: str = ""
    port: int = 0

    def count(self, row: Row, *labels: str) -> int:
        """What was counted."""
        return self.counters.get(row, *labels)

    def post(
        self, body: bytes, signal: Signal = "traces", kind: str = PROTOBUF, headers: Mapping[str, str] | None = None
    ) -> Replied:
        """Over HTTP; the body as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        with contextlib.closing(connection):
            connection.request("POST", f"/v1/{signal}", body, {"content-type": kind, **(headers or {})})
            reply = connection.getresponse()
            return self._replied(reply, signal)

    def post_packed(self, body: bytes, signal: Signal = "traces") -> Replied:
        """Over HTTP, with gzip."""
        return self.post(gzip.compress(body), signal, headers={"content-encoding": "gzip"})

    def _replied(self, reply: http.client.HTTPResponse, signal: Signal) -> Replied:
        data = reply.read()
        kind = RESPONSES[signal] if reply.status == 200 else Status
        if reply.headers["content-type"] == JSON:
            from google.protobuf import json_format

            # The details of a Status are of types that not everybody knows.
            message = json_format.ParseDict(json.loads(data), kind())
        else:
            message = kind.FromString(data) if reply.headers["content-type"] == PROTOBUF else data.decode()
        return Replied(reply.status, message, reply.headers)

    def call(
        self, body: bytes, signal: Signal = "traces", compression: grpc.Compression = grpc.Compression.NoCompression
    ) -> Replied:
        """Over gRPC."""
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.address, options=options, compression=compression) as channel:
            try:
                data = channel.unary_unary(GRPC[signal])(body, timeout=TIMEOUT)
            except grpc.RpcError as error:
                trailers = dict(error.trailing_metadata() or ())
                if "grpc-status-details-bin" in trailers:
                    return Replied(error.code(), Status.FromString(trailers["grpc-status-details-bin"]))
                return Replied(error.code(), Status(message=error.details()))
        return Replied(grpc.StatusCode.OK, RESPONSES[signal].FromString(data))

    def socket(self) -> socket.socket:
        """A connection to the HTTP receiver, for what no client would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)


@contextlib.contextmanager
def receiving(into: Handle | Writer, limits: Limits | None = None) -> Iterator[Receiving]:
    """Receive until the end of the block, and hand to ``into``: a callback, or a store by group commit."""
    running = Receiving(Counters(), InFlight(limits or Limits()))
    started, stopping = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        ingest = None if callable(into) else Ingest(into, running.counters, running.said.append)
        handle = into if ingest is None else ingest.handle
        committing = asyncio.create_task(ingest.run()) if ingest is not None else None
        grpc_server = over_grpc.server(handle, running.in_flight, running.counters)
        running.address = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
        await grpc_server.start()
        http_server = over_http.HttpServer(
            Starlette(routes=list(over_http.routes(handle, running.in_flight, running.counters))), grace_s=1
        )
        with socket.create_server(("127.0.0.1", 0)) as listening:
            running.port = listening.getsockname()[1]
            serving = asyncio.create_task(http_server.serve([listening]))
            started.set()
            await stopping.wait()
            http_server.should_exit = True
            await asyncio.gather(grpc_server.stop(1), serving)
        if ingest is not None and committing is not None:
            ingest.stop()
            await committing

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(TIMEOUT)
    try:
        yield running
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        thread.join(TIMEOUT)
