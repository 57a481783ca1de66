"""Runs whose process has died without ending them: closed as ``lost`` by the next process that comes by the queue.

The span gets the identity that the run had from its start, the resource of the process that died, and ends at its last
sign of life. It is appended to the closer's queue before the dead process's file is removed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_pipeline.queue import lock
from otel_pipeline.queue.folder import queue_files
from otel_pipeline.queue.processors import DurableSpanProcessor
from otel_pipeline.queue.transport import importing
from otel_pipeline.sdk.emit import emit_run
from otel_pipeline.sdk.open_runs import OpenRun, OpenRuns, dead

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_pipeline.model import Run
    from otel_pipeline.queue import Queue, Sender

_SPAN_ID = b"\x12\x08"  # field 2, eight bytes: a span's own id in OTLP's protobuf


def watch(
    queue: Queue | None, sender: Sender | None, resource: Resource, ended: Callable[[Run], None]
) -> OpenRuns | None:
    """Note what this process has open, and close what dead ones have left when the sender looks for their queues.

    Without a sender whoever drains the queue does (``embedded.py``).
    """
    if queue is None:
        return None
    open_runs = OpenRuns(queue.settings.folder, resource.attributes)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=open_runs.leave_to_parent)
    if sender is not None:
        sender.at_each_step.append(open_runs.write_changes)
        sender.before_adopting.append(lambda: close_lost(queue, ended))
    return open_runs


def close_lost(
    queue: Queue, ended: Callable[[Run], None] | None = None, *, closed: frozenset[str] = frozenset()
) -> int:
    """Close the runs of dead processes in the queue's folder; ``ended`` is told of each. Returns how many.

    Left alone are those whose parent lives, which makes their span, unless it says that this is done: ``closed`` has
    the ids of such runs' spans. Their files are waited for when others look at them, since what stays is closed again.
    """
    folder, count = queue.settings.folder, 0
    for path, runs in dead(folder, closed):
        if any(run.span_id not in closed and is_held(run) for run in runs):
            continue
        for run in runs:
            if run.span_id in closed or _is_stored(folder, run.span_id):
                continue  # it died between the run's end and saying so
            closed_as = ending(run)
            _emit(queue, run, closed_as)
            if ended is not None:
                ended(closed_as)
            count += 1
        path.unlink(missing_ok=True)
    return count


def is_held(run: OpenRun) -> bool:
    """Whether the parent lives that makes the run's span."""
    try:
        fd = os.open(run.held_by or "", os.O_RDWR)
    except OSError:
        return False
    try:
        return not lock.try_lock(fd)
    finally:
        os.close(fd)


def ending(run: OpenRun) -> Run:
    """The run of a dead process as it ended: as was told to its parent, else lost."""
    return _told(run) or _lost(run)


def _told(run: OpenRun) -> Run | None:
    """The run's end, where it was told to a parent that died before it could pass it on."""
    with importing():  # on the sender's thread
        from otel_pipeline.sdk.handover import read  # noqa: PLC0415 - only where there is a lost run to tell of

    told = read(Path(run.held_by).parent).run if run.held_by else None
    return told if told is not None and told.run_id == run.run_id else None


def _lost(run: OpenRun) -> Run:
    with importing():
        from otel_pipeline.model import Run  # noqa: PLC0415 - as above

    inside = f", in stage {', '.join(run.stages)}" if run.stages else ""
    return Run(
        trace_id=run.trace_id,
        span_id=run.span_id,
        run_id=run.run_id,
        pipeline=run.name,
        result="lost",
        started=run.started,
        ended=run.seen,
        attempt=run.attempt,
        backfill=run.backfill,
        error_message=f"its process died without a word{inside}",
        open_stages=run.stages,
        declared=run.declared,
    )


def _emit(queue: Queue, run: OpenRun, ended: Run) -> None:
    provider = TracerProvider(resource=Resource(dict(run.resource)), shutdown_on_exit=False)
    provider.add_span_processor(DurableSpanProcessor(queue, at_once=lambda span: True))
    parent = None
    if run.parent_span_id is not None:
        above = SpanContext(int(run.trace_id, 16), int(run.parent_span_id, 16), True, TraceFlags(TraceFlags.SAMPLED))
        parent = set_span_in_context(NonRecordingSpan(above))
    emit_run(provider, ended, parent)


def _is_stored(folder: Path, span_id: str) -> bool:
    wanted = _SPAN_ID + bytes.fromhex(span_id)
    for path in queue_files(folder):
        try:
            if wanted in path.read_bytes():
                return True
        except OSError:
            continue
    return False
