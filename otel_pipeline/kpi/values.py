"""What flows into the engine: ended runs and stages of ``model.py``, and signs of life of runs that are still open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from otel_pipeline.kpi.streams import Point
from otel_pipeline.model import Run, Stage


@dataclass(frozen=True)
class RunSeen:
    """A run has started or was alive at ``time`` (nanoseconds since the epoch); ``span_id`` is that of its run span.

    ``open_stages`` is None where the event does not tell. ``interval``: how many seconds apart its signs of life are, 0
    when there are none; ``declared``: what its author expects of the pipeline.
    """

    trace_id: str
    span_id: str
    run_id: str
    pipeline: str
    time: int
    starts: bool = False
    open_stages: tuple[str, ...] | None = None
    interval: float | None = None
    declared: str | None = None
    attempt: int = 1
    backfill: bool = False


Counted: TypeAlias = Run | Stage | RunSeen
"""What is counted once; its identity is (run id, span id), for each of the three kinds apart."""
Value: TypeAlias = Counted | Point
"""One value."""


def run_key(value: Counted | RunRecord) -> str:
    """What the spans of one run have in common: its run id, or the trace where a stage belongs to no run."""
    return value.run_id or f"trace {value.trace_id}"


@dataclass(frozen=True)
class RunRecord:
    """A run as it is known: ``run`` once it has ended; ``seen`` is its last sign of life, or its end.

    ``superseded``: another attempt has followed. ``interval``, ``declared`` and ``attempt`` are those of ``RunSeen``,
    while the run is open. ``backfill``: it is one, open or ended.
    """

    run_id: str
    trace_id: str
    span_id: str
    pipeline: str
    started: int
    seen: int
    open_stages: tuple[str, ...] = ()
    interval: float | None = None
    declared: str | None = None
    attempt: int = 1
    backfill: bool = False
    superseded: bool = False
    run: Run | None = None
