"""Row 9: CPU time per span of servers that take all spans of a fleet: the processor, and the Collector's span_metrics.

::

    client ──► otel-pipeline serve                             acknowledged after the commit
    client ──► Collector: otlp ─► span_metrics                 the peer
    client ──► Collector: otlp ─► filter ─► otel-pipeline serve     only what is ours reaches it

The client's own CPU time is in no figure: it is another process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench.figures import Samples
from bench.traffic import Traffic, send, traffic
from bench.venv import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.rounds import Bench
    from bench.rows import Row

_WAIT_S = 60.0
_SERVE = "import sys; from otel_pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
_RECEIVE = "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{address}'}}}}}}}}\n"
_SPAN_METRICS = (
    _RECEIVE
    + """connectors: {{span_metrics: {{}}}}
exporters: {{nop: {{}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [span_metrics]}}
    metrics: {{receivers: [span_metrics], exporters: [nop]}}
"""
)
_FILTER = (
    _RECEIVE
    + """processors:
  filter: {{traces: {{span: ['not IsMatch(instrumentation_scope.name, "^otel_pipeline($|\\\\.)")']}}}}
exporters:
  otlp_grpc:
    endpoint: '{processor}'
    tls: {{insecure: true}}
    sending_queue:
      sizer: bytes
      queue_size: 1073741824
      batch: {{flush_timeout: 200ms, min_size: 1000000, max_size: 3000000}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [filter], exporters: [otlp_grpc]}}
"""
)


class _Server:
    """A server's process; ``address`` takes OTLP over gRPC."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, store: Path | None = None) -> None:
        self._process = psutil.Process(process.pid)
        self.address = address
        self._store = store

    def cpu(self) -> float:
        """Seconds so far, of all its threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def spans(self) -> int:
        """How many spans of ours are in its store; asked by us, so that it costs the server nothing."""
        with contextlib.closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as connection:
            return sum(connection.execute(f"select count(*) from {table}").fetchone()[0] for table in ("run", "stage"))


def whole_path(bench: Bench, row: Row) -> Samples:
    """Seconds per span, every span sent to each side."""
    with _served(bench) as ours, _collector(bench, _SPAN_METRICS) as peer:
        return _rounds(bench, row, {row.sides[0]: ours, row.sides[1]: peer}, {})


def behind_a_filter(bench: Bench, row: Row) -> Samples:
    """Seconds per span of the whole traffic; ours has a Collector in front that lets only what is ours through."""
    with (
        _served(bench) as ours,
        _collector(bench, _FILTER, processor=ours.address) as front,
        _collector(bench, _SPAN_METRICS) as peer,
    ):
        return _rounds(bench, row, {row.sides[0]: ours, row.sides[1]: peer}, {row.sides[0]: front})


def _rounds(bench: Bench, row: Row, sides: Mapping[str, _Server], fronts: Mapping[str, _Server]) -> Samples:
    samples = Samples({side: [] for side in sides})
    for number in range(bench.rounds + 1):
        requests = traffic(row.size(bench.scale), number)
        for side in sorted(sides, reverse=number % 2 == 1):
            seconds = _seconds(requests, sides[side], fronts.get(side))
            if number:  # the first round fills the caches
                samples.by_side[side].append(seconds / requests.spans)
        print(".", end="", flush=True, file=sys.stderr)
    return samples


def _seconds(requests: Traffic, server: _Server, front: _Server | None) -> float:
    """CPU time of ``server`` for them, sent to ``front`` where there is one."""
    before = server.cpu()
    if front is None:
        send(requests, server.address)
        return server.cpu() - before
    wanted = server.spans() + requests.ours
    send(requests, front.address)
    _wait_for(lambda: server.spans() >= wanted)
    return server.cpu() - before


@contextlib.contextmanager
def _served(bench: Bench) -> Iterator[_Server]:
    folder = bench.new_folder()
    environment = bench.environment("refusing", folder) | {
        "OTEL_PIPELINE_STORE": str(folder / "store.db"),
        "OTEL_PIPELINE_QUEUE_DIR": str(folder / "queue"),
    }
    address, http = _free(), _free()
    command = [str(bench.python), "-c", _SERVE, "serve", "--grpc", address, "--http", http, "--quiet"]
    with _running(command, environment, address) as process:
        yield _Server(process, address, folder / "store.db")


@contextlib.contextmanager
def _collector(bench: Bench, config: str, **addresses: str) -> Iterator[_Server]:
    address, path = _free(), bench.new_folder() / "config.yaml"
    path.write_text(config.format(address=address, **addresses))
    where = subprocess.run([ROOT / "scripts" / "backends", "--where"], capture_output=True, text=True, check=True)
    program = Path(where.stdout.strip()) / "otelcol-pipeline"
    if not program.exists():
        raise RuntimeError("row 9 needs the Collector: run `make backends`")
    command = [str(program), f"--config={path}"]
    with _running(command, dict(os.environ), address) as process:
        yield _Server(process, address)


@contextlib.contextmanager
def _running(command: list[str], environment: Mapping[str, str], address: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(lambda: _listens(address))
            yield process
        finally:
            process.terminate()


def _free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def _wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _WAIT_S
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(f"a measured server is not as far as it should be after {_WAIT_S:g} s")
        time.sleep(0.05)
