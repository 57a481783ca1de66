"""The Collector as a program meets it: up, or failing in one of the ways of real networks, with real data behind it.

A `Failing` gives the endpoint for the program and is told when the program has come to a gate: at `outage` it does or
awaits the failure, at `recovery` it mends what is mended while the program runs. `afterwards` is where the queue is
drained to: a real Collector before the session's stores in every case.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from ..clients import eventually
from ..faults import refusing_address
from ..servers import GATEWAY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from ..servers import Program, Server

    Launch = Callable[[Program, Mapping[str, str]], Server]

GENEROUS = 120.0


class Failing:
    """A Collector that is up: what the others begin with. A context manager."""

    def __init__(self, gateway: Server, launch: Launch, stores: Mapping[str, str], protocol: str) -> None:
        self.gateway = gateway
        self.launch = launch
        self.stores = stores
        self.port = "grpc" if protocol == "grpc" else "http"
        self.open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def endpoint(self) -> str:
        """The URL that the program is told."""
        return self.gateway.url(self.port)

    def outage(self, arrived: Callable[[], None]) -> None:
        """The program is at the first gate; `arrived` waits until something of it is in Jaeger."""
        arrived()

    def recovery(self, arrived: Callable[[], None]) -> None:
        """The program is at the second gate."""

    def afterwards(self) -> str:
        """The URL of a Collector that is up, by HTTP."""
        return self.gateway.url("http")


class Refusing(Failing):
    """Nobody listens."""

    def endpoint(self) -> str:
        """A port that stays free."""
        return f"http://{self.open.enter_context(refusing_address())}"

    def outage(self, arrived: Callable[[], None]) -> None:
        """It has been one all the time."""


class BlackHole(Failing):
    """Connections are accepted, and nothing is ever answered; a sender is in the middle of a request at the end."""

    def endpoint(self) -> str:
        """A listening port."""
        self._accepted: list[socket.socket] = []
        self._listener = self.open.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        threading.Thread(target=self._accept, daemon=True).start()
        self.open.callback(self._close)
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def outage(self, arrived: Callable[[], None]) -> None:
        """Wait until the program is in a request."""
        eventually(lambda: self._accepted, within=GENEROUS)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._accepted.append(self._listener.accept()[0])

    def _close(self) -> None:
        # Wakes the thread that accepts; closing alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for each in self._accepted:
            each.close()


class Unavailable(Failing):
    """503 with Retry-After, and later a Collector: a load balancer before one that starts."""

    def endpoint(self) -> str:
        """The proxy's port; OTLP over HTTP only."""
        assert self.port == "http"
        self._proxy = _Proxy(self.gateway.url("http"))
        thread = threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self.open.callback(self._proxy.server_close)
        self.open.callback(thread.join)
        self.open.callback(self._proxy.shutdown)
        return f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def outage(self, arrived: Callable[[], None]) -> None:
        """Wait until the program has been refused."""
        eventually(lambda: self._proxy.refused, within=GENEROUS)

    def recovery(self, arrived: Callable[[], None]) -> None:
        """Let everything through from now on, and see that the program tries again."""
        self._proxy.up = True
        arrived()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.up = False
        self.refused = 0

    def handle_error(self, *_: object) -> None:
        """A program that is killed leaves in the middle of a request."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.up:
            self.server.refused += 1
            self._answer(503, b"", {"Retry-After": "1"})
            return
        kept = {
            key: value for key, value in self.headers.items() if key.lower() in {"content-type", "content-encoding"}
        }
        request = urllib.request.Request(self.server.target + self.path, body, kept, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=GENEROUS) as answer:
                self._answer(answer.status, answer.read(), {"Content-Type": "application/x-protobuf"})
        except urllib.error.HTTPError as error:
            with error:
                self._answer(error.code, error.read(), {})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class Restarting(Failing):
    """A Collector of its own, killed at the first gate and started again at the second."""

    def endpoint(self) -> str:
        """Its address, which stays."""
        self._own = self.launch(GATEWAY, self.stores)
        self.open.callback(self._own.stop)
        return self._own.start_on_free_ports().url(self.port)

    def outage(self, arrived: Callable[[], None]) -> None:
        """Kill it, when it has delivered something."""
        arrived()
        self._own.kill()

    def recovery(self, arrived: Callable[[], None]) -> None:
        """Start it on the same addresses and with what it had on disk."""
        self._own.start()

    def afterwards(self) -> str:
        """The one that was restarted: what it had acknowledged may still be on its disk."""
        return self._own.url("http")


COLLECTORS: dict[str, type[Failing]] = {
    "up": Failing,
    "refusing": Refusing,
    "black-holed": BlackHole,
    "503 then up": Unavailable,
    "restarting": Restarting,
}
