"""Requests as a Collector would pass them on: spans of services, and one in twenty of a pipeline of ours.

Each request has ids of its own, so that nothing in it was seen before.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_pipeline.receive.signals import SERVICES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPANS = 512
"""In one request."""
OURS_IN = 20
_SERVICES, _NAMES, _STAGES = 8, 40, 5
_AT_ONCE = 16
_TIMEOUT_S = 120.0
_HOUR_NS = 3600 * 10**9
_EXPORT = next(f"/{service.grpc}/Export" for service in SERVICES if service.signal == "traces")


@dataclass(frozen=True)
class Traffic:
    """Some requests, and how many spans of ours they hold."""

    requests: Sequence[bytes]
    ours: int

    @property
    def spans(self) -> int:
        """All spans."""
        return len(self.requests) * SPANS


def traffic(requests: int, seed: int) -> Traffic:
    """So many requests of the last hour; ids and figures are the same for the same seed."""
    random_ = random.Random(seed)
    return Traffic([_request(random_) for _ in range(requests)], requests * (SPANS // OURS_IN))


def send(traffic_: Traffic, address: str) -> None:
    """Send over gRPC, several at once, until each is acknowledged. Raises RpcError."""
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(_EXPORT)
        waiting: list[Any] = []
        for request in traffic_.requests:
            if len(waiting) >= _AT_ONCE:
                waiting.pop(0).result()
            waiting.append(export.future(request, timeout=_TIMEOUT_S, wait_for_ready=True))
        for each in waiting:
            each.result()


def _request(random_: random.Random) -> bytes:
    made = ExportTraceServiceRequest()
    ours = SPANS // OURS_IN
    for service in range(_SERVICES):
        resource = made.resource_spans.add()
        _set(resource.resource.attributes, {"service.name": f"service-{service}", "service.version": "1.2.3"})
        scope = resource.scope_spans.add()
        scope.scope.name = "opentelemetry.instrumentation.fastapi"
        for _ in range((SPANS - ours) // _SERVICES + (service < (SPANS - ours) % _SERVICES)):
            _foreign(scope.spans.add(), random_)
    scope = made.resource_spans[0].scope_spans.add()
    scope.scope.name = "otel_pipeline"
    for number in range(ours):
        run = number // (_STAGES + 1)
        if not number % (_STAGES + 1):
            run_id, trace_id = random_.randbytes(16).hex(), random_.randbytes(16)
        _ours(scope.spans.add(trace_id=trace_id), random_, run_id, number % (_STAGES + 1), run)
    return bytes(made.SerializeToString())


def _foreign(span: Any, random_: random.Random) -> None:
    route = f"/api/v1/items/{random_.randrange(_NAMES)}"
    span.trace_id, span.span_id, span.parent_span_id = (random_.randbytes(size) for size in (16, 8, 8))
    span.name, span.kind = f"GET {route}", random_.choice((1, 2, 2, 3))
    _timed(span, random_)
    span.status.code = 2 if random_.random() < 0.02 else 0
    told = {"http.request.method": "GET", "http.route": route, "url.path": route, "server.address": "10.0.0.7"}
    more = {"http.response.status_code": 200, "server.port": 8080, "network.protocol.version": "1.1", "thread.id": 7}
    _set(span.attributes, {**told, **more})


def _ours(span: Any, random_: random.Random, run_id: str, place: int, pipeline: int) -> None:
    span.span_id = random_.randbytes(8)
    _timed(span, random_)
    known = {"pipeline.name": f"pipeline-{pipeline}", "pipeline.run.id": run_id}
    if not place:
        span.name = f"run pipeline-{pipeline}"
        _set(span.attributes, {**known, "pipeline.run.result": "success", "pipeline.run.self_time": 0.01})
        return
    name, records = f"stage-{place}", random_.randrange(10_000)
    span.name = f"stage {name}"
    told = {"pipeline.stage.name": name, "pipeline.stage.result": "success", "pipeline.stage.kind": "transform"}
    counts = {"pipeline.stage.self_time": 0.5, "pipeline.records.in": records, "pipeline.records.out": records}
    _set(span.attributes, {**known, **told, **counts})


def _timed(span: Any, random_: random.Random) -> None:
    span.start_time_unix_nano = time.time_ns() - random_.randrange(_HOUR_NS)
    span.end_time_unix_nano = span.start_time_unix_nano + int(random_.lognormvariate(17, 2))


def _set(attributes: Any, values: Mapping[str, str | int | float]) -> None:
    for key, value in values.items():
        kind = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
        setattr(attributes.add(key=key).value, kind, value)
