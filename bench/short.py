"""Row 8: many runs too short for a metric reader, in a real Prometheus.

::

    ours   100 processes ──► Collector ──► processor ──► Collector ──► Prometheus     one series for each result
    stock  100 processes, a counter each ──► Collector ──► Prometheus                 a series for each process

A run counts as seen where ``increase()`` over the whole time sees it: what an alert or a dashboard would ask.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.figures import Samples
from tests.e2e.clients import Prometheus, eventually
from tests.e2e.servers import GATEWAY, LOOP, PROCESSOR, PROMETHEUS, Program, Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from bench.rounds import Bench
    from bench.rows import Row

_AT_ONCE = 4
_WITHIN_S = 120.0
_COUNTERS = {"ours": 'pipeline_run_ended_total{pipeline_name="short"}', "stock": "runs_total"}
# The default: how the zero of a new series stands to its first value is part of what is measured.
_INTERVAL_S = 15


def short_runs(bench: Bench, row: Row) -> Samples:
    """Per cent of the runs that are not seen; once for each side, since a count has no spread."""
    samples, notes, runs = Samples(), [], row.size(bench.scale)
    for side in row.sides:
        with _servers(bench, side) as (endpoint, prometheus):
            began = time.time()
            _run(bench, row, side, endpoint)
            seen, told = _seen(prometheus, _COUNTERS[side], runs, began)
        samples.by_side[side] = [100 * max(0.0, 1 - seen / runs)]
        notes.append(f"{side}: {told}")
        print(".", end="", flush=True, file=sys.stderr)
    samples.note = "; ".join(notes)
    return samples


def _seen(prometheus: Prometheus, counter: str, runs: int, began: float) -> tuple[float, str]:
    """By how much the counter has risen, once all runs have been counted; and what there is, in words."""
    total = eventually(lambda: prometheus.value(f"sum({counter})"), lambda value: value == runs, _WITHIN_S)
    window = f"{round(time.time() - began) + 3 * _INTERVAL_S}s"
    seen = prometheus.value(f"sum(increase({counter}[{window}]))") or 0.0
    series = prometheus.value(f"count({counter} > 0)")
    return seen, f"{total:.0f} counted, in {series:.0f} series; increase() sees {seen:.1f}"


def _run(bench: Bench, row: Row, side: str, endpoint: str) -> None:
    def one(_: int) -> None:
        folder = bench.new_folder()
        environment = bench.environment("refusing", folder) | {"BENCH_ENDPOINT": endpoint}
        subprocess.run(bench.command(row.case, side, 1), env=environment, check=True, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, range(row.size(bench.scale))))


@contextlib.contextmanager
def _servers(bench: Bench, side: str) -> Iterator[tuple[str, Prometheus]]:
    """The Collector's endpoint, with Prometheus behind it, and for our side the processor beside it."""
    with contextlib.ExitStack() as running:
        prometheus = _start(running, PROMETHEUS, bench.new_folder(), {})
        gateway = Server(LOOP if side == "ours" else GATEWAY, bench.new_folder()).reserve()
        addresses = {"GATEWAY_PROMETHEUS": prometheus.url("http")}
        if side == "ours":
            forward = {"OTEL_PIPELINE_FORWARD": gateway.url("http"), "OTEL_PIPELINE_FORWARD_INTERVAL": str(_INTERVAL_S)}
            processor = _start(running, PROCESSOR, bench.new_folder(), forward)
            addresses["GATEWAY_PROCESSOR"] = processor.address("grpc")
        gateway.environment = addresses
        running.callback(gateway.stop)
        gateway.start()
        yield gateway.url("http"), Prometheus(prometheus.url("http"))


def _start(running: ExitStack, program: Program, folder: Path, environment: Mapping[str, str]) -> Server:
    server = Server(program, folder, environment)
    running.callback(server.stop)
    return server.start_on_free_ports()
