"""With ``handle_signals`` a process that is told to stop closes its runs as cancelled, and still dies of the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_pipeline.queue import Signal
from otel_pipeline.queue.folder import queue_files
from otel_pipeline.queue.format import Record, scan

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
    import signal, sys, time
    import otel_pipeline as op

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # nohup has one ignored, which is inherited
    {before}
    op.setup("orders", script_run=False, handle_signals={handled}, exit_timeout=0)
    with op.pipeline("orders_etl"), op.stage("load"):
        print("open", flush=True)
        while True:
            time.sleep(1)
"""


def stopped(folder: Path, number: int, *, handled: bool = True, before: str = "pass") -> subprocess.Popen[str]:
    """The program, sent the signal once its stage was open, and ended."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_PIPELINE_QUEUE_DIR": str(folder)}
    code = textwrap.dedent(PROGRAM).format(handled=handled, before=before)
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    return process


def results(folder: Path) -> dict[str, str]:
    """The results of the run and stage spans in the queue, by span name."""
    found = {}
    for path in queue_files(folder):
        for record in scan(path.read_bytes()):
            if isinstance(record, Record) and record.kind == Signal.TRACES:
                for resource in ExportTraceServiceRequest.FromString(record.payload).resource_spans:
                    for span in (span for scope in resource.scope_spans for span in scope.spans):
                        values = {pair.key: pair.value.string_value for pair in span.attributes}
                        found[span.name] = values.get("pipeline.run.result") or values["pipeline.stage.result"]
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_run_is_cancelled_and_the_process_dies_of_the_signal(tmp_path: Path, number: int) -> None:
    """The stage is aborted, the run cancelled, both are on disk; whoever waits for the process sees the signal."""
    process = stopped(tmp_path, number)
    assert process.returncode == -number
    assert results(tmp_path) == {"stage load": "aborted", "run orders_etl": "cancellation"}
    assert not list(tmp_path.glob("*.open"))


def test_without_it_the_process_dies_at_once_and_the_run_is_closed_by_the_next(tmp_path: Path) -> None:
    """No handler is installed; what was open is told by the file that the process left."""
    process = stopped(tmp_path, signal.SIGTERM, handled=False)
    assert process.returncode == -signal.SIGTERM
    assert results(tmp_path) == {}
    assert len(list(tmp_path.glob("*.open"))) == 1


def test_a_handler_of_the_programs_own_is_left_alone(tmp_path: Path) -> None:
    """The program has decided what the signal does."""
    process = stopped(tmp_path, signal.SIGTERM, before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))")
    assert process.returncode == 7
    assert results(tmp_path) == {"stage load": "failure", "run orders_etl": "failure"}
