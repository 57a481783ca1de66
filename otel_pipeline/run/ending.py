"""From how the command ended and what its processes told to the run. Pure: contract §1, Results, as code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otel_pipeline.model import Run
from otel_pipeline.run.signals import name_of

if TYPE_CHECKING:
    from otel_pipeline.run.environment import Identity
    from otel_pipeline.run.supervision import Ended
    from otel_pipeline.sdk.handover import Report

_CANCELLING = ("SIGINT", "SIGTERM")
_SHELL_SIGNALS = range(129, 129 + 64)


def conclude(identity: Identity, name: str, ended: Ended, report: Report) -> Run:
    """The run: as its own process told, else by how the command ended; its times and usage are the command's.

    ``name`` is the run's when no pipeline took it over.
    """
    told = report.run
    run = _lengthened(told, ended) if told is not None else _unreported(name, ended, report)
    return replace(
        run,
        trace_id=identity.trace_id,
        span_id=identity.span_id,
        run_id=identity.run_id,
        started=ended.started_ns,
        ended=ended.ended_ns,
        exit_code=ended.exit_status,
        signal=None if ended.signal is None else name_of(ended.signal),
        cpu_time=ended.cpu_seconds,
        memory_peak=ended.peak_rss_bytes,
    )


def _lengthened(told: Run, ended: Ended) -> Run:
    """The command lasted longer than its pipeline; that time was spent in no stage."""
    if told.self_time is None:
        return told
    longer = (ended.ended_ns - ended.started_ns) / 1e9 - told.duration
    return replace(told, self_time=told.self_time + max(0.0, longer))


def _unreported(name: str, ended: Ended, report: Report) -> Run:
    result, error_type, message = _judge(ended, report)
    return Run(
        trace_id="",
        span_id="",
        run_id="",
        pipeline=report.name or name,
        attempt=report.attempt,
        backfill=report.backfill,
        result=result,
        started=0,
        ended=0,
        error_type=error_type,
        error_message=message,
        open_stages=report.open_stages,
    )


def _judge(ended: Ended, report: Report) -> tuple[str, str | None, str | None]:
    """Result, error type and message."""
    memory = " (the kernel ended processes for lack of memory meanwhile)" if ended.out_of_memory else ""
    if ended.signal is not None:
        name = name_of(ended.signal)
        if name in _CANCELLING:
            return "cancellation", None, None
        if name == "SIGKILL" and memory:
            memory = " (out of memory: the kernel ended a process of this control group)"
        return "lost", name, f"ended by {name}{memory}"
    status = ended.exit_status or 0
    if status:
        shell = f", which is how shells tell {name_of(status - 128)}" if status in _SHELL_SIGNALS else ""
        return "failure", f"exit_code_{status}", ended.problem or f"exit status {status}{shell}{memory}"
    if report.claimed and report.name is not None:
        return "lost", "lost", "the command ended while its run was open, without a word about the run's end"
    return "success", None, None
