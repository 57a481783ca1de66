"""What the queue's tests share: a transport that answers as told, a clock to turn, small files to damage."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from otel_pipeline.queue import Claim, Counts, Queue, QueueSettings, Record, Sender, SenderSettings, Signal
from otel_pipeline.queue.encode import encode_spans
from otel_pipeline.queue.transport import Accepted, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

RESOURCE = Resource({"service.name": "test"})


class FakeTransport:
    """Answers with `answers`, one after another, then with `Accepted`; keeps what it was sent."""

    def __init__(self, answers: Sequence[Outcome | Exception] = (), on_send: Callable[[], None] | None = None) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[Signal, bytes]] = []
        self.accepted: list[tuple[Signal, bytes]] = []
        self.timeouts: list[float] = []
        self.on_send = on_send or (lambda: None)
        self.closed = 0

    def send(self, signal: Signal, body: bytes, timeout_s: float) -> Outcome:
        """Give the next answer."""
        self.on_send()
        self.sent.append((signal, body))
        self.timeouts.append(timeout_s)
        answer = self.answers.pop(0) if self.answers else Accepted()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Accepted):
            self.accepted.append((signal, body))
        return answer

    def close(self) -> None:
        """Count it."""
        self.closed += 1

    def abandon(self) -> None:
        """Do nothing."""


class Clock:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def span_bytes(name: str) -> bytes:
    """An export request with one span of that name."""
    span = ReadableSpan(name, context=SpanContext(1, abs(hash(name)) % 2**64, is_remote=False), resource=RESOURCE)
    return encode_spans([span])


def names(*bodies: bytes) -> list[str]:
    """The names of the spans in requests, in order."""
    found = []
    for body in bodies:
        request = ExportTraceServiceRequest.FromString(body)
        found += [s.name for resource in request.resource_spans for scope in resource.scope_spans for s in scope.spans]
    return found


def orphan(folder: Path, spans: Sequence[str], signal: Signal = Signal.TRACES) -> Path:
    """A queue file with one record per span, whose writer is gone."""
    queue = Queue(QueueSettings(folder))
    for name in spans:
        assert queue.append(signal, span_bytes(name))
    (path,) = queue.paths()
    queue.close()
    return path


def left(folder: Path) -> list[Record]:
    """Every record that is still to be delivered from a folder, whoever writes to it."""
    records: list[Record] = []
    for path in sorted(folder.glob("*.q")):
        claim = Claim.take(path, Counts())
        assert claim is not None
        with claim:
            records += claim.records()
    return records


def sender(
    folder: Path, transport: FakeTransport, clock: Clock | None = None, queue: Queue | None = None, **settings: object
) -> Sender:
    """A sender over `folder` with a fake network, and a back-off without chance."""
    return Sender(
        queue or Queue(QueueSettings(folder)),
        SenderSettings(**settings),  # type: ignore[arg-type]
        connect=lambda _: transport,
        clock=clock or Clock(),
        rng=lambda: 1.0,
    )


@contextmanager
def http_server(
    answers: Sequence[tuple[int, dict[str, str], bytes]] = (),
) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """A loopback server that answers as told, then 200; gives its URL and the requests (path, headers, body)."""
    waiting = list(answers)
    seen: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Give the next answer."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status, headers, answer = waiting.pop(0) if waiting else (200, {}, b"")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
