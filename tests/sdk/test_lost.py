"""Runs whose process died are closed as lost by the next process that comes by, once, with what was open."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.context import attach, detach
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from otel_pipeline import model
from otel_pipeline.instrument.run import Run
from otel_pipeline.queue import Queue, QueueSettings, Signal
from otel_pipeline.queue.folder import queue_files
from otel_pipeline.queue.format import Record, scan
from otel_pipeline.queue.lock import try_lock
from otel_pipeline.sdk.handover import Handover
from otel_pipeline.sdk.lost import close_lost
from otel_pipeline.sdk.open_runs import OpenRuns, dead

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
    import os, pathlib, signal, sys, time
    import otel_pipeline as op

    def noted(name):  # the file is written at most every 20 ms, and within a second
        folder = pathlib.Path(os.environ["OTEL_PIPELINE_QUEUE_DIR"])
        while not any(name in path.read_text("utf-8", "replace") for path in folder.glob("*.open")):
            time.sleep(0.01)

    op.setup("orders", version="1.4", script_run=False)

    with op.pipeline("orders_etl", backfill=True) as run:
        print(run.id, flush=True)
        with op.stage("extract"):
            pass
        with op.stage("load"), op.stage("insert\\u00e9"):
            {end}
"""


def run_program(folder: Path, end: str, *, before: str = "") -> tuple[str, int]:
    """Run a pipeline that comes to ``end`` inside its stages; its run id and exit status."""
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_PIPELINE_QUEUE_DIR": str(folder),
        "OTEL_PIPELINE_EXIT_TIMEOUT": "0",
    }
    code = before + textwrap.dedent(PROGRAM).format(end=end)
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return ended.stdout.split("\n")[0], ended.returncode


def spans(folder: Path) -> list[Any]:
    """Every span in the queue, with its resource's attributes as a dictionary."""
    found = []
    for path in queue_files(folder):
        for record in scan(path.read_bytes()):
            if isinstance(record, Record) and record.kind == Signal.TRACES:
                for resource in ExportTraceServiceRequest.FromString(record.payload).resource_spans:
                    named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                    found += [(span, named) for scope in resource.scope_spans for span in scope.spans]
    return found


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: pair.value for pair in span.attributes}


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_a_killed_run_is_closed_as_lost_with_the_stages_it_was_in(tmp_path: Path, end: str) -> None:
    """Its span has the ids, name and resource that the dead process gave it, and tells which stages were open."""
    run_id, _ = run_program(tmp_path, f"noted('insert'); {end}")
    queue = Queue.open(QueueSettings(tmp_path))
    told = []
    assert close_lost(queue, told.append) == 1
    [(lost, resource)] = [each for each in spans(tmp_path) if each[0].name == "run orders_etl"]
    values = attributes(lost)
    assert values["pipeline.run.id"].string_value == run_id == told[0].run_id
    assert values["pipeline.run.result"].string_value == "lost"
    assert [v.string_value for v in values["pipeline.run.stages.open"].array_value.values] == ["load", "insert\u00e9"]
    assert values["pipeline.run.backfill"].bool_value
    assert resource["service.name"] == "orders"
    assert resource["service.version"] == "1.4"
    [(ended, _)] = [each for each in spans(tmp_path) if each[0].name == "stage extract"]
    assert ended.parent_span_id == lost.span_id
    assert ended.trace_id == lost.trace_id
    # The file's time is the kernel's, which counts in ticks of some milliseconds.
    assert lost.end_time_unix_nano >= lost.start_time_unix_nano


def test_a_lost_run_is_closed_once(tmp_path: Path) -> None:
    """The first process that comes by removes what the dead one left."""
    run_program(tmp_path, "os._exit(0)")
    queue = Queue.open(QueueSettings(tmp_path))
    assert close_lost(queue) == 1
    assert close_lost(queue) == 0
    assert not list(tmp_path.glob("*.open"))


def test_a_run_that_ended_leaves_nothing_to_close(tmp_path: Path) -> None:
    """Also when its process ended by an exception, and the file was there while it lived."""
    run_program(
        tmp_path,
        "assert len([p for p in os.listdir(os.environ['OTEL_PIPELINE_QUEUE_DIR']) if 'open' in p]) == 1; 1 / 0",
    )
    assert not list(tmp_path.glob("*.open"))
    assert close_lost(Queue.open(QueueSettings(tmp_path))) == 0


def test_the_run_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    """Its owner holds the lock, also while a forked child has come and gone."""
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_PIPELINE_QUEUE_DIR": str(tmp_path),
        "OTEL_PIPELINE_EXIT_TIMEOUT": "0",
    }
    end = "child = os.fork() or os._exit(0); os.waitpid(child, 0); print('open', flush=True); sys.stdin.read()"
    code = textwrap.dedent(PROGRAM).format(end=end)
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.stdout.readline() == "open\n"
        assert not list(dead(tmp_path))
        process.communicate("")
    assert process.returncode == 0
    assert not list(tmp_path.glob("*.open"))


def test_a_forked_child_does_not_keep_its_dead_parents_run_open(tmp_path: Path) -> None:
    """The child closes its copy of the locked file, so the parent's death shows at once."""
    end = "os.fork() and os.kill(os.getpid(), signal.SIGKILL); os.close(1); os.close(2); __import__('time').sleep(600)"
    before = "import os; os.setpgid(0, 0); "
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_PIPELINE_QUEUE_DIR": str(tmp_path)}
    code = before + textwrap.dedent(PROGRAM).format(end=end)
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        process.communicate(timeout=60)
        [(_, runs)] = list(dead(tmp_path))
        assert [run.name for run in runs] == ["orders_etl"]
    finally:
        os.killpg(process.pid, 9)


@pytest.mark.parametrize(
    "data", [b"", b"OPRUNS 1", b"OPRUNS 1" + b"\xff" * 70_000, b"OPRUNS 9" + b"\0" * 70_000, b"{" * 70_000]
)
def test_a_damaged_file_is_no_run(tmp_path: Path, data: bytes) -> None:
    """Whatever its bytes are, nothing is closed and nothing is raised."""
    (tmp_path / "damaged.open").write_bytes(data)
    assert close_lost(Queue.open(QueueSettings(tmp_path))) == 0
    assert not list(tmp_path.glob("*.open"))


def test_a_run_that_a_parent_closes_is_left_to_it_while_it_lives(tmp_path: Path) -> None:
    """Only when the parent is gone as well is it closed: with the end that it told the parent, else as lost."""
    queue, folder = Queue.open(QueueSettings(tmp_path / "queue")), tmp_path / "handover"
    folder.mkdir()
    run = Run("orders", remote=True, identity_=SpanContext(1, 2, is_remote=False))
    open_runs = OpenRuns(tmp_path / "queue", {"service.name": "orders"})
    handover = Handover(folder)
    holder = os.open(handover.holder, os.O_CREAT | os.O_RDWR, 0o600)
    assert try_lock(holder)
    open_runs.run_started(run, handover.holder)
    handover.run_ended(model.Run("1" * 32, f"{2:016x}", run.id, "orders", "success", 1, 2))
    open_runs.close()  # as at the end of the command's process
    assert close_lost(queue) == 0
    os.close(holder)
    told: list[model.Run] = []
    assert close_lost(queue, told.append) == 1
    assert told[0].result == "success"
    assert not list((tmp_path / "queue").glob("*.open"))


def test_a_lost_run_is_closed_in_its_own_trace(tmp_path: Path) -> None:
    """Whatever run the process that closes it is in: the span is a root of the trace that the dead process began."""
    run_program(tmp_path, "os._exit(0)")
    queue = Queue.open(QueueSettings(tmp_path))
    around = SpanContext(0xABC, 0xDEF, is_remote=False)
    token = attach(set_span_in_context(NonRecordingSpan(around)))
    try:
        assert close_lost(queue) == 1
    finally:
        detach(token)
    [(lost, _)] = [each for each in spans(tmp_path) if each[0].name == "run orders_etl"]
    assert lost.parent_span_id == b""
    assert int.from_bytes(lost.trace_id, "big") != around.trace_id
