"""A reverse proxy that writes an access log: what a crawl's figures have to agree with.

    crawler ──> proxy ──> pydoc
                  └─ access.log: "GET /topics.html HTTP/1.1" 200

pydoc answers everything with 200. As proxies in front of such servers do, this one makes its error pages 404; and it
has faults of its own: paths that it answers with 503, and ones that it does not answer at all, which it logs as 000.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

_LINE = re.compile(r'"GET (?P<path>\S+) HTTP/1\.1" (?P<status>\d{3})')
NO_ANSWER = "000"


class Request(NamedTuple):
    """A line of the log."""

    path: str
    status: str


class Proxy:
    """One that runs. ``log`` is the file of its access log."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log

    @property
    def requests(self) -> list[Request]:
        """What the log says."""
        return [Request(*found.groups()) for found in map(_LINE.search, self.log.read_text().splitlines()) if found]

    @property
    def statuses(self) -> Counter[str]:
        """How many requests had which status."""
        return Counter(request.status for request in self.requests)


@contextlib.contextmanager
def proxy_of(
    upstream: str, log: Path, *, unavailable: Container[str] = (), hung_up: Container[str] = ()
) -> Iterator[Proxy]:
    """Pass requests on to the server at ``upstream``, HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in hung_up:
                self.log_request(NO_ANSWER)
                return
            status, body = (503, b"") if self.path in unavailable else _answer(upstream, self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, form: str, *args: object) -> None:
            with log.open("a") as file:
                file.write(f"{form % args}\n")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Proxy(f"http://127.0.0.1:{server.server_port}/", log)
        finally:
            server.shutdown()
            thread.join()


def _answer(upstream: str, path: str) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection(upstream, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    return (404 if b"<title>Pydoc: Error" in body else answer.status), body
