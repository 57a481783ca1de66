"""Requests that nobody would send, thrown at real receivers before a real store.

::

    a valid request ─┬─ bytes changed, cut, doubled ─────────┐
                     ├─ packed, and then changed ────────────┼─► HTTP, gRPC ─► answered, and never by our own failure
    random bytes ────┤                                       │
    JSON ────────────┴─ values put where others belong ──────┘

Every answer has to be one that OTLP knows for such a request, and now and then a good request has to be taken.
"""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format

from otel_pipeline.receive import counters as c
from tests.kpi.test_otlp import NOW, RUN, SPAN, STAGE, TRACE, pairs, request

from .running import JSON, PROTOBUF, REQUESTS, Receiving

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_pipeline.receive.answer import Signal

HTTP_ANSWERS = {200, 400, 413, 415, 503}
GRPC_ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}
NUMBERS = (0, 1, -1, 255, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**400, 1.5, 1e308, float("inf"))
VALUES: tuple[Any, ...] = (
    None, True, "", "x", "\0", "\ud800", "ü" * 5000, "9" * 5000, [], {}, [[]], [{}], {"a": 1}, {"stringValue": 7},
    "0102", TRACE.hex(), "NaN", "-Infinity", *NUMBERS, -float("inf"), float("nan"),
)  # fmt: skip


@dataclass
class Fuzz:
    """One run: the same for the same ``seed``. ``found`` are answers that there must not be."""

    receiver: Receiving
    seed: int
    sent: int = 0
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._ways: tuple[Callable[[], None], ...] = (self._bytes, self._bytes, self._packed, self._noise, self._json)

    def run(self, count: int) -> None:
        """Send so many requests; a good one in every hundred."""
        for number in range(count):
            if number % 100 == 0:
                self._good(number)
            self._random.choice(self._ways)()
            self.sent += 1
        if poisonous := self.receiver.count(c.POISONOUS):
            self.found.append(f"{poisonous} requests that could not be stored: {self.receiver.said}")

    def _good(self, number: int) -> None:
        name = (self.seed << 32 | number).to_bytes(8, "big")
        body = request({"attributes": {**RUN, "pipeline.run.id": name.hex()}, "span_id": b"g" + name[1:]})
        reply = self.receiver.post(body)
        if reply.code != 200 or reply.message.ByteSize():
            self.found.append(f"a good request is answered {reply.code} {reply.text}")

    def _bytes(self) -> None:
        signal, body = self._valid()
        self._send(signal, self._changed(body))

    def _packed(self) -> None:
        signal, body = self._valid()
        packed = self._changed(gzip.compress(self._changed(body)))
        self._send(signal, packed, {"content-encoding": "gzip"})

    def _noise(self) -> None:
        signal = self._random.choice(list(REQUESTS))
        self._send(signal, self._random.randbytes(self._random.choice((0, 1, 2, 10, 1000, 100_000))))

    def _json(self) -> None:
        signal, body = self._valid()
        told = json_format.MessageToDict(REQUESTS[signal].FromString(body), use_integers_for_enums=True)
        for _ in range(self._random.randint(1, 3)):
            told = self._misplaced(told)
        text = json.dumps(told).encode()
        if self._random.random() < 0.2:
            text = self._changed(text)
        self._check("JSON", self.receiver.post(text, signal, JSON).code, HTTP_ANSWERS, text)

    def _send(self, signal: Signal, body: bytes, headers: dict[str, str] | None = None) -> None:
        if self._random.random() < 0.5:
            self._check("HTTP", self.receiver.post(body, signal, PROTOBUF, headers).code, HTTP_ANSWERS, body)
        else:
            self._check("gRPC", self.receiver.call(body, signal).code, GRPC_ANSWERS, body)

    def _check(self, how: str, code: Any, allowed: set[Any], body: bytes) -> None:
        if code not in allowed:
            self.found.append(f"{how} answers {code} to {body[:500]!r}")

    def _valid(self) -> tuple[Signal, bytes]:
        signal: Signal = self._random.choice(list(REQUESTS))
        return signal, _VALID[signal]

    def _changed(self, body: bytes) -> bytes:
        changed = bytearray(body)
        for _ in range(self._random.randint(1, 8)):
            place = self._random.randrange(len(changed) + 1)
            length = self._random.choice((1, 1, 1, 2, 5, 20))
            kind = self._random.randrange(4)
            if kind == 0:
                changed[place : place + length] = self._random.randbytes(length)
            elif kind == 1:
                del changed[place : place + length]
            elif kind == 2:
                changed[place:place] = changed[place : place + length * 10]
            else:
                changed[place : place + length] = self._random.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        return bytes(changed[: self._random.randrange(len(changed) + 1)] if self._random.random() < 0.1 else changed)

    def _misplaced(self, value: Any) -> Any:
        """``value`` with something in it replaced, at any depth."""
        if self._random.random() < 0.15 or not isinstance(value, (dict, list)) or not value:
            return self._random.choice(VALUES)
        if isinstance(value, list):
            place = self._random.randrange(len(value))
            return [self._misplaced(each) if index == place else each for index, each in enumerate(value)]
        chosen = self._random.choice(list(value))
        return {key: self._misplaced(part) if key == chosen else part for key, part in value.items()}


def _logs() -> bytes:
    made = REQUESTS["logs"]()
    scope = made.resource_logs.add().scope_logs.add()
    scope.scope.name = "otel_pipeline"
    for name in ("pipeline.run.started", "pipeline.run.heartbeat"):
        scope.log_records.add(
            event_name=name,
            time_unix_nano=NOW,
            trace_id=TRACE,
            span_id=SPAN,
            attributes=pairs({"pipeline.name": "p", "pipeline.run.id": "r", "pipeline.run.stages.open": ("a", "b")}),
        )
    return bytes(made.SerializeToString())


def _metrics() -> bytes:
    made = REQUESTS["metrics"]()
    metrics = made.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="a").sum.data_points.add(as_int=1, attributes=pairs({"k": "v"}))
    metrics.add(name="b").histogram.data_points.add(count=1, bucket_counts=[1, 0], explicit_bounds=[1.0])
    metrics.add(name="c").gauge.data_points.add(as_double=1.5).exemplars.add(trace_id=TRACE, span_id=SPAN)
    return bytes(made.SerializeToString())


_EVENTS = [
    ("pipeline.dataset", {"pipeline.dataset.name": "t", "pipeline.dataset.watermark": "2026-01-01T00:00:00Z"}),
    ("pipeline.check", {"pipeline.check.name": "c", "pipeline.check.passed": 3, "pipeline.dataset.name": "t"}),
    ("exception", {"exception.type": "E", "exception.message": "m"}),
]
_VALID: dict[Signal, bytes] = {
    "traces": request(
        {"attributes": RUN},
        {"attributes": {**STAGE, "pipeline.records.in": 7, "pipeline.stage.self_time": 0.5}, "events": _EVENTS},
    ),
    "logs": _logs(),
    "metrics": _metrics(),
}
