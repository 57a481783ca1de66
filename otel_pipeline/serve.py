"""`otel-pipeline serve`: the processor beside the Collector.

::

    OTLP ─► receive/ ─► ingest.py ─► store ◄─ jobs: drain of embedded queues, expectations, retention
                                       │
                                       └─► GET /metrics

One event loop for both transports, one thread that commits, one for the jobs and one that exports, so that an endpoint
that does not answer delays nothing else. It ends on SIGTERM and SIGINT: no
new request is taken, what is in flight is committed and answered, and then it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from otel_pipeline import config
from otel_pipeline.embedded import drain, embedded_folder
from otel_pipeline.errors import SettingError
from otel_pipeline.forward.forwarder import Forwarder
from otel_pipeline.ingest import Ingest
from otel_pipeline.jobs import Job, Jobs
from otel_pipeline.kpi.exposition import as_prometheus
from otel_pipeline.opening import opened
from otel_pipeline.receive import over_grpc, over_http
from otel_pipeline.receive.bounds import InFlight, Limits
from otel_pipeline.receive.counters import Counters
from otel_pipeline.sdk.export import sender_settings
from otel_pipeline.terminal.unexpected import sentence
from otel_pipeline.ticking import declared_in_file, tick

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from otel_pipeline.config import Settings
    from otel_pipeline.store.store import Store

GRPC, HTTP = "127.0.0.1:4317", "127.0.0.1:4318"
"""Where it listens by default: OTLP's ports, of this machine only."""
GRACE_S = 5.0
"""How long what is in flight may take when it ends."""
_DRAIN_S, _TICK_S, _FORGET_S = 1.0, 5.0, 3600.0
_MOST_SAID, _MOST_FAULTS = 20, 1000


@dataclass(frozen=True)
class Address:
    """Where to listen; port 0 is any that is free."""

    host: str
    port: int

    @classmethod
    def parsed(cls, text: str, option: str) -> Address:
        """From ``HOST:PORT``; IPv6 in brackets. Raises SettingError that quotes it.

        >>> Address.parsed("[::1]:4317", "--grpc")
        Address(host='::1', port=4317)
        """
        host, _, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not bare or not port.isdecimal() or int(port) > 65535 or (":" in bare) != (bare != host):
            raise SettingError(f"{option} {text!r}: want HOST:PORT, such as {GRPC} or [::1]:4317")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def bound(self, option: str) -> socket.socket:
        """A socket that listens there. Raises SettingError."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), family=family)
        except OSError as error:
            raise SettingError(f"{option} {self}: cannot listen there: {_reason(error)}") from None


def serve(
    *,
    grpc: str = GRPC,
    http: str = HTTP,
    limits: Limits | None = None,
    quiet: bool = False,
    **arguments: str | float | None,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit status is 0. Raises SettingError and StoreError when it cannot begin.

    ``arguments`` are settings: store, forward, forward_interval.
    """
    addresses = Address.parsed(grpc, "--grpc"), Address.parsed(http, "--http")
    settings = config.load(arguments)
    processor = Processor(settings, limits or Limits(), _say)
    _collect_less()
    asyncio.run(_served(processor, *addresses, quiet=quiet))
    return 0


class Processor:
    """All that serves, but for the addresses.

    Raises StoreError, and SettingError or ExpectationError for what the file declares.
    """

    def __init__(self, settings: Settings, limits: Limits, say: Callable[[str], None]) -> None:
        self.store = opened(settings)
        self._packs = config.packs(settings)
        self.counters = Counters()
        self.in_flight = InFlight(limits)
        self._showing = asyncio.Lock()
        self._say = say
        self._declared = declared_in_file()
        self._faults: set[str] = set()
        self.ingest = Ingest(self.store, self.counters, say)
        self.forwarder = _forwarder(settings, self.store, say)
        self.jobs = Jobs(self._jobs(settings), self.counters, say)
        exports = []
        if self.forwarder is not None:
            self.store.begin_exports()  # before anything more comes into it
            exports = [Job("forward", settings.forward_interval, self.forwarder.export)]
        self._forwarding = Jobs(exports, self.counters, say)

    def start(self) -> None:
        """Begin the jobs."""
        self.jobs.start()
        self._forwarding.start()

    def _jobs(self, settings: Settings) -> Sequence[Job]:
        folder = embedded_folder(settings)
        return (
            Job("drain", _DRAIN_S, lambda: drain(folder, self.store, wait_s=0)),
            Job("expectations", _TICK_S, self.tick),
            Job("retention", _FORGET_S, self.store.forget),
        )

    def tick(self) -> None:
        """Look for what is not as expected, and say what is new of it, a line each."""
        changes, faults = tick(self.store, file=self._declared, listening=True)
        new = [change.noted.breach for change in changes if change.counted > 0]
        lines = [f"{breach.pipeline}: {sentence(breach)}" for breach in new[:_MOST_SAID]]
        lines += [f"and {len(new) - _MOST_SAID} more that was not as expected"] if len(new) > _MOST_SAID else []
        for line in (*lines, *(fault for fault in faults if fault not in self._faults)):
            self._say(line)
        self._faults = {*self._faults, *faults} if len(self._faults) < _MOST_FAULTS else set(faults)

    def close(self) -> None:
        """End the jobs and export a last time, since another process may take over. Raises StoreError."""
        self.jobs.stop(GRACE_S)
        idle = self._forwarding.stop(GRACE_S)
        if self.forwarder is not None:
            self.forwarder.close(last=idle)

    def application(self) -> Starlette:
        """What is served over HTTP."""
        return Starlette(
            routes=[
                *over_http.routes(self.ingest.handle, self.in_flight, self.counters),
                Route("/metrics", self._metrics),
                Route("/health/live", _alive),
            ]
        )

    async def _metrics(self, _: Request) -> Response:
        async with self._showing:  # a reader that comes again before it is answered does not double the work
            text = await asyncio.to_thread(self.metrics)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def metrics(self) -> str:
        """Every KPI under its names, and what the receivers count, as Prometheus's text.

        Counters are those that never fall (``kpi.state``): Prometheus would take a fall for a restart.
        """
        now = time.time_ns()
        with self.store.reading() as reader:
            kpis = as_prometheus(reader.catalogue, reader.rising(now), self._packs)
        return kpis + self.counters.as_prometheus()


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _served(processor: Processor, grpc: Address, http: Address, *, quiet: bool) -> None:
    grpc_server = over_grpc.server(processor.ingest.handle, processor.in_flight, processor.counters)
    grpc_port = _listen(grpc_server.add_insecure_port, grpc)
    with http.bound("--http") as sock:
        http_server = over_http.HttpServer(processor.application(), grace_s=GRACE_S)
        stopping = asyncio.Event()
        _on_signals(stopping.set)
        committing = asyncio.create_task(processor.ingest.run())
        processor.start()
        await grpc_server.start()
        serving = asyncio.create_task(http_server.serve([sock]))
        if not quiet:
            bound = Address(grpc.host, grpc_port), Address(http.host, sock.getsockname()[1])
            _say(f"OTLP/gRPC at {bound[0]}, OTLP/HTTP and /metrics at http://{bound[1]}, store {processor.store.name}")
        ended = asyncio.create_task(stopping.wait())
        await asyncio.wait({ended, serving, committing}, return_when=asyncio.FIRST_COMPLETED)
        http_server.should_exit = True
        await asyncio.gather(grpc_server.stop(GRACE_S), serving)
        processor.ingest.stop()
        await committing
        await asyncio.to_thread(processor.close)
        ended.cancel()


def _forwarder(settings: Settings, store: Store, say: Callable[[str], None]) -> Forwarder | None:
    if settings.forward is None:
        return None
    sender = sender_settings(settings, config.otlp_variables())
    sender = replace(sender, endpoint=settings.forward, endpoints={})
    try:
        packs = config.packs(settings)
        return Forwarder(store, sender, interval_s=settings.forward_interval, packs=packs, say=say)
    except (ImportError, ValueError) as error:
        raise SettingError(f"--forward {settings.forward!r}: {error}") from None


def _listen(add_port: Callable[[str], int], address: Address) -> int:
    """The port that gRPC listens at. Raises SettingError with the system's words, which gRPC keeps to itself."""
    address.bound("--grpc").close()
    try:
        return add_port(str(address))
    except RuntimeError as error:
        raise SettingError(f"--grpc {address}: cannot listen there: {error}") from None


def _reason(error: OSError) -> str:
    # asyncio and socket add to the system's words what we have said already; a name that is not found has no errno.
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return (error.strerror or str(error)).partition(" (while attempting")[0]


def _collect_less() -> None:
    """Let the garbage collector look rarely, and never at what was imported: requests leave it no cycles to find.

    With its defaults it took a tenth of the CPU time of a processor under load (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _on_signals(do: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises out of the loop
            loop.add_signal_handler(number, do)


def _say(text: str) -> None:
    sys.stderr.write(f"otel-pipeline serve: {text}\n")
