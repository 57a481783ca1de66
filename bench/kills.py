"""Row 6: which ended spans are lost when a program is killed at any moment.

The program says on a pipe which spans have ended; what it said before the kill is the truth.
"""

from __future__ import annotations

import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.figures import Samples
from otel_pipeline.queue.format import HEADER_SIZE, Record, Signal, scan

if TYPE_CHECKING:
    from pathlib import Path

    from bench.rounds import Bench
    from bench.rows import Row

_SPANS_PER_SECOND = 300
_AT_ONCE = 8
# Up to nearly twice the five seconds after which the stock processor sends what it has gathered.
_SHORTEST_S, _LONGEST_S = 0.5, 9.0


def kills(bench: Bench, row: Row) -> Samples:
    """Per cent of the ended spans that are lost, over all kills; half of the kills are ours."""
    longest = _SHORTEST_S if bench.scale == "tiny" else _LONGEST_S
    trials = [side for _ in range(row.size(bench.scale)) for side in row.sides]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda side: (side, *_one(bench, row, side, longest)), trials))
    samples, notes = Samples(), []
    for side in row.sides:
        ended = sum(count for name, count, _ in found if name == side)
        lost = sum(count for name, _, count in found if name == side)
        samples.by_side[side] = [100 * lost / ended]
        notes.append(f"{side}: {trials.count(side)} kills, {ended} ended spans, {lost} lost")
    samples.note = "; ".join(notes)
    return samples


def _one(bench: Bench, row: Row, side: str, longest: float) -> tuple[int, int]:
    """How many spans had ended, and how many of them are lost."""
    folder = bench.new_folder()
    with subprocess.Popen(
        bench.command(row.case, side, _SPANS_PER_SECOND),
        env=bench.environment(row.endpoint, folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # where we say that nobody takes the spans
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(8)
        time.sleep(random.uniform(_SHORTEST_S, longest))
        process.kill()
        ended = _ids(first + process.communicate()[0])
    arrived = _in_queue(folder / "queue") if side == "ours" else _ids((folder / "arrived").read_bytes())
    return len(ended), len(ended - arrived)


def _ids(data: bytes) -> set[bytes]:
    return {data[start : start + 8] for start in range(0, len(data) - 7, 8)}


def _in_queue(folder: Path) -> set[bytes]:
    found: set[bytes] = set()
    for path in folder.glob("*.q"):
        for record in scan(path.read_bytes()[HEADER_SIZE:]):
            if isinstance(record, Record) and record.kind == Signal.TRACES:
                request = ExportTraceServiceRequest.FromString(record.payload)
                scopes = (scope for resource in request.resource_spans for scope in resource.scope_spans)
                found.update(span.span_id for scope in scopes for span in scope.spans)
    return found
