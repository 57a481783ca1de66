"""What has arrived in the stores, and what a queue folder holds, as span ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_pipeline.queue.format import Damage, Record, Signal, read_header, scan
from otel_pipeline.queue.position import read_offsets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ..clients import Jaeger, JaegerSpan

SCOPE = "otel_pipeline"


def in_jaeger(jaeger: Jaeger, service: str) -> list[JaegerSpan]:
    """Every span of ours of that service, as often as Jaeger has it."""
    traces = jaeger.search(service, limit=1500)
    return [span for trace in traces for span in trace.spans if span.tags.get("otel.scope.name", "").startswith(SCOPE)]


def spans(requests: Iterable[bytes]) -> list[tuple[str, str]]:
    """Id and name of the spans of ours in serialized requests, as often as they occur."""
    return [
        (span.span_id.hex(), span.name)
        for body in requests
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        if scope.scope.name.startswith(SCOPE)
        for span in scope.spans
    ]


@dataclass(frozen=True)
class Held:
    """What one queue file holds: the `spans` not yet delivered, and bytes of it that are no records."""

    path: Path
    spans: tuple[tuple[str, str], ...]
    torn_bytes: int
    corrupt_bytes: int
    readable: bool


def in_queue(folder: Path) -> list[Held]:
    """The queue files of a folder, whose writers are dead. One that a drainer removes meanwhile is left out."""
    return list(_held(folder))


def _held(folder: Path) -> Iterator[Held]:
    for path in sorted(folder.glob("*.q")):
        offsets = read_offsets(path.with_suffix(".pos"))
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        header = read_header(data)
        if header is None:
            yield Held(path, (), 0, len(data), readable=False)
            continue
        found = list(scan(data[header.size :], base=header.size))
        bad = [each for each in found if isinstance(each, Damage)]
        waiting = [
            each.payload
            for each in found
            if isinstance(each, Record) and each.kind == Signal.TRACES and each.start >= offsets[Signal.TRACES]
        ]
        yield Held(
            path,
            tuple(spans(waiting)),
            torn_bytes=sum(each.end - each.start for each in bad if each.torn),
            corrupt_bytes=sum(each.end - each.start for each in bad if not each.torn),
            readable=all(each.torn for each in bad),
        )


def left_over(folder: Path) -> list[str]:
    """The names of what is left in a folder that should be empty.

    `swept` only tells when the folder was last looked through, and a file whose making a kill cut short (`.tmp`) goes
    with a later look.
    """
    return sorted(path.name for path in folder.glob("*") if path.name != "swept" and path.suffix != ".tmp")
