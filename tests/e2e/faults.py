"""Endpoints that fail in the ways of real networks, for what has to survive them.

`FaultyEndpoint` speaks just enough OTLP/HTTP to acknowledge, refuse or ignore a request; a test changes its `behaviour`
while senders run. `refusing_address` is a port on which nobody listens and which stays that way.
"""

from __future__ import annotations

import enum
import gzip
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Behaviour(enum.Enum):
    """What an endpoint does with each request; the value is the HTTP status, None when it sends none."""

    TAKE = 200
    REJECT = 400
    OVERLOADED = 429
    BROKEN = 500
    UNAVAILABLE = 503
    SILENT = None
    """Accept the connection, read the request, and never answer: a black hole."""


@dataclass(frozen=True)
class Received:
    """One request as it came, uncompressed, with what was done about it."""

    path: str
    body: bytes
    behaviour: Behaviour


class FaultyEndpoint:
    """An OTLP/HTTP server on a free loopback port whose behaviour a test sets.

    Example:
        >>> with FaultyEndpoint(Behaviour.UNAVAILABLE) as endpoint:
        ...     # … a sender is refused, and then the server recovers:
        ...     endpoint.behaviour = Behaviour.TAKE
        ...     endpoint.taken("/v1/traces")
        []
    """

    def __init__(self, behaviour: Behaviour = Behaviour.TAKE, *, retry_after: int | None = None) -> None:
        """Listen at once; `retry_after`, in seconds, goes with the answers 429 and 503."""
        self.behaviour = behaviour
        self.retry_after = retry_after
        self._received: list[Received] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def received(self) -> list[Received]:
        """Every request so far, in the order of arrival."""
        with self._lock:
            return list(self._received)

    def taken(self, path: str) -> list[bytes]:
        """The bodies for that path that were acknowledged."""
        return [each.body for each in self.received if each.path == path and each.behaviour is Behaviour.TAKE]

    def close(self) -> None:
        """Stop listening and let go of those that wait in the black hole."""
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> FaultyEndpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _note(self, path: str, body: bytes) -> Behaviour:
        with self._lock:
            self._received.append(Received(path, body, self.behaviour))
            return self._received[-1].behaviour


class _Server(ThreadingHTTPServer):
    # Threads that a black hole holds must not hold the end of the tests.
    daemon_threads = True

    def __init__(self, endpoint: FaultyEndpoint) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = endpoint


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        behaviour = self.server.endpoint._note(self.path, body)
        if behaviour is Behaviour.SILENT:
            self.server.endpoint._closing.wait()
            self.close_connection = True
        else:
            self._answer(behaviour)

    def _answer(self, behaviour: Behaviour) -> None:
        self.send_response(behaviour.value)
        retry_after = self.server.endpoint.retry_after
        if retry_after is not None and behaviour in {Behaviour.OVERLOADED, Behaviour.UNAVAILABLE}:
            self.send_header("Retry-After", str(retry_after))
        # An empty message: everything was accepted.
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def refusing_address() -> Iterator[str]:
    """A loopback address that refuses connections; bound without listening, so that nobody else gets the port."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"
