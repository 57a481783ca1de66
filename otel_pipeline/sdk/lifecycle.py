"""What is said of runs while they live: their start, and that they are alive.

A run's span comes once, at its end. Until then these log events make it visible, and when they stop without an end, a
reader can tell that the run was lost (contract §1).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from otel_pipeline.instrument import registry, results
from otel_pipeline.instrument.scope import SCOPE_NAME
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

    from otel_pipeline import model
    from otel_pipeline.instrument.run import Run
    from otel_pipeline.sdk.handover import Handover
    from otel_pipeline.sdk.open_runs import OpenRuns


class Lifecycle:
    """Listens to the registry: log events for every run, and the handover for the one whose span the parent makes."""

    def __init__(
        self,
        logs: LoggerProvider | None,
        handover: Handover | None,
        heartbeat_interval: float,
        open_runs: OpenRuns | None = None,
    ) -> None:
        self._open_runs = open_runs
        self._logger = logs.get_logger(SCOPE_NAME, __version__) if logs is not None else None
        self._handover = handover
        self._interval = heartbeat_interval
        self._handed_over: list[tuple[int, Run]] = []  # each with its process
        self._beats = 0
        self._pid = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run_started(self, run: Run) -> None:
        """A run has started. Not when a script's run, known from the start, gets its span at its end."""
        if run.taken and run is registry.script():
            return
        with _harmless():
            if run.remote and self._handover is not None:
                self._handover.run_started(run.name, attempt=run.attempt, backfill=run.backfill)
            if self._open_runs is not None:
                held_by = self._handover.holder if run.remote and self._handover is not None else None
                self._open_runs.run_started(run, held_by)
            self._emit(events.RUN_STARTED, run, f"{run.key}-started")
            self._beat_from_now_on()

    def run_ended(self, run: Run) -> None:
        """A run has ended."""
        if run.remote and self._handover is not None:
            with _harmless():
                self._handover.run_ended(_ended(run), _exception(run), run.attributes)
                self._handed_over.append((os.getpid(), run))
        elif self._open_runs is not None:
            self._open_runs.run_ended(run)

    def note(self, open_runs: OpenRuns | None) -> None:
        """Note there what is open, from now on."""
        self._open_runs = open_runs

    def every(self, interval: float) -> None:
        """Another interval of heartbeats, in seconds; 0 for none."""
        if interval == self._interval:
            return
        self._interval = interval
        with self._lock:
            self._stop.set()
            self._pid = 0
        if registry.open_runs() or self._waiting():
            self._beat_from_now_on()

    def stop(self) -> None:
        """No more heartbeats, and nothing that is open."""
        self._stop.set()
        if self._open_runs is not None:
            self._open_runs.close()

    def _beat_from_now_on(self) -> None:
        if self._interval <= 0 or self._logger is None or self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()  # a forked child has no thread of its parent
            self._stop = stop = threading.Event()
        threading.Thread(target=self._beat, args=(stop,), name="otel_pipeline heartbeat", daemon=True).start()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(self._interval):
            if self._open_runs is not None:
                self._open_runs.write_changes()
                self._open_runs.alive()
            for run in registry.open_runs() + self._waiting():
                self._beats += 1
                with _harmless():
                    self._emit(events.RUN_HEARTBEAT, run, f"{run.key}-{self._beats}")

    def _waiting(self) -> list[Run]:
        """The script's run, while no pipeline has taken it over; and one whose pipeline has ended, but not its process.

        Its span is the parent's to make, when this process ends: until then it would seem to have gone silent.
        """
        script = registry.script()
        waits = script is not None and not (script.taken or script.remote) and script.pid == os.getpid()
        held = [run for pid, run in self._handed_over if pid == os.getpid()]
        return [script, *held] if script is not None and waits else held

    def _emit(self, event: str, run: Run, uid: str) -> None:
        if self._logger is None:
            return
        stages = [stage for stage in list(run.stages.values()) if not stage.ended]
        attributes: dict[str, Any] = {a.LOG_RECORD_UID: uid, a.PIPELINE_NAME: run.name, a.RUN_ID: run.id}
        attributes |= {a.RUN_ATTEMPT: run.attempt, a.RUN_HEARTBEAT_INTERVAL: float(self._interval)}
        if run.backfill:
            attributes[a.RUN_BACKFILL] = True
        if run.declared is not None:
            attributes[a.DECLARATION] = run.declared
        body: dict[str, Any] = {}
        if event == events.RUN_HEARTBEAT:
            attributes[a.RUN_STAGES_OPEN] = [stage.name for stage in stages]
            body = {"stages": [{"name": stage.name, "records": stage.records} for stage in stages]}
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                context=_context(run),
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                event_name=event,
                attributes=attributes,
                body=body or f"run {run.name} started",
            )
        )


def _context(run: Run) -> Context:
    """The run's: the span of a script's run is made at its end, its identity is known before."""
    if run.inner is not None or run.identity is None:
        return run.inner or Context()
    return set_span_in_context(NonRecordingSpan(run.identity), Context())


def _harmless() -> contextlib.suppress:
    # In the user's ``with pipeline``: a log processor of somebody's that raises must not raise there.
    return contextlib.suppress(Exception)


def _ended(run: Run) -> model.Run:
    from otel_pipeline import model  # noqa: PLC0415 - only where a parent is told

    result, error = run.outcome or ("success", None)
    context = run.span.get_span_context()
    failed = error is not None and result not in ("success", "skip") and not isinstance(error, results.Aborted)
    return model.Run(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        run_id=run.id,
        pipeline=run.name,
        result=result,
        started=run.started,
        ended=run.started + run.left - run.began,
        self_time=run.own_time() / 1e9,
        attempt=run.attempt,
        backfill=run.backfill,
        error_type=results.error_type(error) if failed and error else None,
        error_message=results.error_message(error) if failed and error else None,
        error_stage=results.known_origin(error, context.trace_id) if failed and error else None,
        skip_reason=run.skip_reason,
        not_started=tuple(sorted(set(run.not_started.values()))),
        declared=run.declared,
    )


def _exception(run: Run) -> tuple[str, str, str] | None:
    result, error = run.outcome or ("success", None)
    if (
        error is None
        or result in ("success", "skip")
        or results.known_origin(error, run.span.get_span_context().trace_id)
    ):
        return None
    if isinstance(error, results.Aborted):
        return None
    return results.error_type(error), results.error_message(error), results.stacktrace(error)
