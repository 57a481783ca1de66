"""Three receivers: one that takes everything, one that refuses, one that swallows connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in two packets would wait for each other (Nagle's algorithm and delayed acknowledgement).
    wbufsize = -1

    def do_POST(self) -> None:
        """Take the body, say yes."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer("application/x-protobuf", b"")

    def do_GET(self) -> None:
        """Logfire asks whether its token is known."""
        self._answer("application/json", b'{"project_name": "bench", "project_url": "http://localhost/"}')

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a measured process that is gone has reset its connection."""


@contextlib.contextmanager
def taking() -> Iterator[str]:
    """The URL of an OTLP/HTTP receiver that answers 200 to everything."""
    server = _Server(("127.0.0.1", 0), _Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """A URL whose port is taken and not listened on: connections are refused, and nobody else can take it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextlib.contextmanager
def black_holed() -> Iterator[str]:
    """A URL where connections never come about: its queue of those not yet accepted is full, more are dropped.

    Where the system accepts them all the same, they are never answered.
    """
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


KINDS = {"taking": taking, "refusing": refusing, "black-holed": black_holed}
