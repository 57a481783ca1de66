"""What a Collector would get: an OTLP/HTTP receiver in a thread, its requests decoded into plain values."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0
"""Seconds until a wait is given up: for a machine under load, not a measure of anything."""


@dataclass(frozen=True)
class Span:
    """A span, ids in hexadecimal, ``parent`` empty for a root."""

    name: str
    scope: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    resource: dict[str, Any]
    error: bool


@dataclass(frozen=True)
class Log:
    """A log record; ``event`` is empty for those that are no events."""

    event: str
    body: Any
    severity: str
    number: int
    scope: str
    trace: str
    span: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass(frozen=True)
class Point:
    """A number of a metric: the sum, or a histogram's count. ``stream`` is what the contract calls its identity."""

    metric: str
    scope: str
    value: float
    attributes: dict[str, Any]
    resource: dict[str, Any]
    stream: tuple[Any, ...]


@dataclass
class Receiver:
    """Listens on a free port of the loopback until closed. ``answers`` may be set to a status other than 200."""

    spans: list[Span] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    """Every request as it came: its signal's name, and the message."""
    answers: int = 200
    silent: bool = False
    """Take requests and never answer them, until closed."""

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self, until: Callable[[Receiver], Any]) -> None:
        """Wait until ``until(self)`` is true."""
        with self._changed:
            assert self._changed.wait_for(lambda: until(self), PATIENCE), "what was waited for did not arrive"

    def stall(self) -> None:
        """Hold a request, where ``silent``."""
        if self.silent:
            self._closing.wait()

    def take(self, path: str, body: bytes) -> None:
        """Decode one request."""
        with self._changed:
            _TAKE[path](self, body)
            self.bodies.append((path.rpartition("/")[2], body))
            self._changed.notify_all()

    # --- questions ------------------------------------------------------------------------------------------------

    def named(self, name: str) -> list[Span]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Span:
        """The only span of this name."""
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} spans {name!r} among {sorted(span.name for span in self.spans)}"
        return found[0]

    def runs(self) -> list[Span]:
        """The run spans."""
        return [span for span in self.spans if span.name.startswith("run ")]

    def tree(self) -> dict[str, list[str]]:
        """By the name of each parent the sorted names of its spans; roots are below an empty name."""
        names = {span.id: span.name for span in self.spans} | {"": ""}
        found: dict[str, list[str]] = {}
        for span in self.spans:
            found.setdefault(names.get(span.parent, "?"), []).append(span.name)
        return {parent: sorted(children) for parent, children in found.items()}

    def events(self, name: str) -> list[Log]:
        """The log records that are this event."""
        return [log for log in self.logs if log.event == name]

    def messages(self) -> list[Any]:
        """The bodies of the log records that are no events."""
        return [log.body for log in self.logs if not log.event]

    def total(self, metric: str, **attributes: Any) -> float:
        """The metric's sum over all processes: of each cumulative stream its largest value."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        streams: dict[tuple[Any, ...], float] = {}
        for point in self.points:
            if point.metric == metric and wanted.items() <= point.attributes.items():
                streams[point.stream] = max(streams.get(point.stream, 0), point.value)
        return sum(streams.values())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that was killed while sending is what some tests are about."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.stall()
            if receiver.answers == 200:
                receiver.take(self.path, body)
            self.send_response(receiver.answers)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    return Handler


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _pairs(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _pairs(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _take_spans(receiver: Receiver, body: bytes) -> None:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                receiver.spans.append(
                    Span(
                        name=span.name,
                        scope=scope.scope.name,
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        attributes=_pairs(span.attributes),
                        events=[(event.name, _pairs(event.attributes)) for event in span.events],
                        resource=_pairs(group.resource.attributes),
                        error=span.status.code == 2,
                    )
                )


def _take_logs(receiver: Receiver, body: bytes) -> None:
    for group in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope in group.scope_logs:
            for log in scope.log_records:
                receiver.logs.append(
                    Log(
                        event=log.event_name,
                        body=_value(log.body),
                        severity=log.severity_text,
                        number=log.severity_number,
                        scope=scope.scope.name,
                        trace=log.trace_id.hex(),
                        span=log.span_id.hex(),
                        attributes=_pairs(log.attributes),
                        resource=_pairs(group.resource.attributes),
                    )
                )


def _take_points(receiver: Receiver, body: bytes) -> None:
    for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        resource = _pairs(group.resource.attributes)
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    attributes = _pairs(point.attributes)
                    value = point.count if hasattr(point, "count") else point.as_int or point.as_double
                    stream = (repr(sorted(resource.items())), metric.name, repr(sorted(attributes.items())))
                    stream += (point.start_time_unix_nano,)
                    receiver.points.append(Point(metric.name, scope.scope.name, value, attributes, resource, stream))


_TAKE = {"/v1/traces": _take_spans, "/v1/logs": _take_logs, "/v1/metrics": _take_points}
