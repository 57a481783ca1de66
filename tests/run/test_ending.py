"""From the end of a command to the run, and from the run to its span."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_pipeline.run import memory
from otel_pipeline.run.ending import conclude
from otel_pipeline.run.environment import Identity
from otel_pipeline.run.supervision import Ended
from otel_pipeline.sdk.emit import emit_run
from otel_pipeline.sdk.handover import Report
from tests.run.test_handover import RUN

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

IDENTITY = Identity("1" * 32, "2" * 16, "own-run")
OPEN = Report(claimed=True, name="orders", attempt=3, backfill=True, open_stages=("load",))


def ended(status: int | None = None, signal: int | None = None, *, oom: bool = False) -> Ended:
    """A command that took 10 seconds."""
    return Ended(0, 10 * 10**9, exit_status=status, signal=signal, cpu_seconds=4.0, peak_rss_bytes=5, out_of_memory=oom)


@pytest.mark.parametrize(
    ("command", "report", "result", "error_type", "message"),
    [
        (ended(0), Report(), "success", None, ""),
        (ended(3), Report(), "failure", "exit_code_3", "exit status 3"),
        (ended(3), OPEN, "failure", "exit_code_3", "exit status 3"),
        (ended(0), OPEN, "lost", "lost", "without a word about the run's end"),
        (ended(0), replace(OPEN, name=None), "success", None, ""),
        (ended(137), Report(), "failure", "exit_code_137", "exit status 137, which is how shells tell SIGKILL"),
        (ended(137, oom=True), Report(), "failure", "exit_code_137", "lack of memory"),
        (ended(signal=2), OPEN, "cancellation", None, ""),
        (ended(signal=15), Report(), "cancellation", None, ""),
        (ended(signal=9), OPEN, "lost", "SIGKILL", "ended by SIGKILL"),
        (ended(signal=9, oom=True), OPEN, "lost", "SIGKILL", "ended by SIGKILL (out of memory"),
        (ended(signal=11), Report(), "lost", "SIGSEGV", "ended by SIGSEGV"),
        (ended(0), Report(claimed=True, run=RUN), "failure", "ValueError", "bad"),
        (ended(signal=9), Report(claimed=True, run=replace(RUN, result="success")), "success", "ValueError", "bad"),
    ],
)
def test_results(command: Ended, report: Report, result: str, error_type: str | None, message: str) -> None:
    """Contract §1: what the run's process told wins; else signal, then exit status, then a run that was left open."""
    run = conclude(IDENTITY, "job", command, report)
    assert (run.result, run.error_type) == (result, error_type)
    assert message in (run.error_message or "")


def test_identity_times_and_usage_are_the_parents() -> None:
    """Ids were fixed by the parent, times and usage are the command's; what the process told fills the rest."""
    run = conclude(IDENTITY, "job", ended(1), Report(claimed=True, name="orders", run=RUN))
    assert (run.trace_id, run.span_id, run.run_id) == (IDENTITY.trace_id, IDENTITY.span_id, IDENTITY.run_id)
    assert (run.started, run.ended, run.exit_code, run.cpu_time, run.memory_peak) == (0, 10 * 10**9, 1, 4.0, 5)
    assert (run.pipeline, run.attempt, run.not_started) == ("orders", 2, ("archive",))


def test_self_time_grows_with_the_run() -> None:
    """What the command took beyond its pipeline was in no stage, so that self times still sum up to the duration."""
    told = replace(RUN, started=0, ended=7 * 10**9, self_time=1.5)
    assert conclude(IDENTITY, "job", ended(0), Report(run=told)).self_time == pytest.approx(4.5)


def test_open_stages_of_a_lost_run() -> None:
    """A run that did not tell its end has the name, the attempt and the open stages that were told before."""
    run = conclude(IDENTITY, "job", ended(signal=9), OPEN)
    assert (run.pipeline, run.attempt, run.open_stages, run.signal) == ("orders", 3, ("load",), "SIGKILL")
    assert run.backfill


def emitted(**options: object) -> ReadableSpan:
    """The span that is made of RUN with another result."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    result = str(options.pop("result", "failure"))
    emit_run(provider, replace(RUN, result=result, exit_code=1, signal=None), **options)  # type: ignore[arg-type]
    (span,) = exporter.get_finished_spans()
    return span


def test_the_span() -> None:
    """It has the run's ids, times, scope and attributes; what is unknown is absent."""
    span = emitted(attributes={"process.command": "python", "pipeline.name": "not this one"})
    context = span.get_span_context()
    assert context is not None
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (RUN.trace_id, RUN.span_id)
    assert (span.name, span.start_time, span.end_time, span.parent) == ("run orders", RUN.started, RUN.ended, None)
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "otel_pipeline"
    assert dict(span.attributes or {}) == {
        "process.command": "python",
        "pipeline.name": "orders",
        "pipeline.run.id": "r",
        "pipeline.run.attempt": 2,
        "pipeline.run.backfill": True,
        "pipeline.run.result": "failure",
        "pipeline.run.self_time": 0.1,
        "pipeline.run.skip.reason": "none",
        "pipeline.run.stages.not_started": ("archive",),
        "pipeline.run.stages.open": ("load",),
        "process.exit.code": 1,
        "error.type": "ValueError",
        "pipeline.error.stage": "load",
    }


def test_the_span_below_another() -> None:
    """It hangs below the context that it is given, in its trace, with its own planned id."""
    above = trace.SpanContext(int(RUN.trace_id, 16), 7, is_remote=True, trace_flags=trace.TraceFlags(1))
    span = emitted(parent=trace.set_span_in_context(trace.NonRecordingSpan(above)))
    context = span.get_span_context()
    assert span.parent is not None
    assert context is not None
    assert (span.parent.span_id, f"{context.span_id:016x}") == (7, RUN.span_id)


@pytest.mark.parametrize(
    ("result", "status"),
    [("failure", "ERROR"), ("timeout", "ERROR"), ("lost", "ERROR"), ("success", "UNSET"), ("skip", "UNSET"),
     ("cancellation", "UNSET")],
)  # fmt: skip
def test_the_status(result: str, status: str) -> None:
    """Failure, timeout and lost are errors with a description."""
    span = emitted(result=result)
    assert span.status.status_code is StatusCode[status]
    assert span.status.description == ("bad" if status == "ERROR" else None)


def test_the_exception_event() -> None:
    """An exception that was told is an event at the run's end."""
    (event,) = emitted(exception=("ValueError", "bad", "Traceback")).events
    assert (event.name, event.timestamp) == ("exception", RUN.ended)
    assert dict(event.attributes or {}) == {
        "exception.type": "ValueError",
        "exception.message": "bad",
        "exception.stacktrace": "Traceback",
    }


@pytest.mark.parametrize(
    ("cgroup", "files", "kills"),
    [
        ("0::/app\n", {"groups/app/memory.events": "low 0\noom 4\noom_kill 3\n"}, 3),
        ("4:memory:/app\n0::/\n", {"groups/memory/app/memory.oom_control": "under_oom 0\noom_kill 2\n"}, 2),
        ("0::/outside/name\n", {"groups/memory.events": "oom_kill 5\noom_group_kill 0\n"}, 5),
        ("", {"proc/vmstat": "nr_free_pages 1\noom_kill 6\n"}, 6),
        ("0::/app\n", {}, 0),
    ],
    ids=["cgroup v2", "cgroup v1", "in a container", "the machine", "nothing"],
)
def test_kills_for_lack_of_memory(tmp_path: Path, cgroup: str, files: dict[str, str], kills: int) -> None:
    """They are counted for the own control group, in the way of its version, else for the machine."""
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert memory.oom_kills(tmp_path / "proc", tmp_path / "groups") == kills
