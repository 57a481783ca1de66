"""When an open run that is no longer heard of is closed as lost. Pure.

::

    last sign of life ──── patience ────► deadline ──── somebody else is heard after it ────► lost
                                              └──────── nobody is, for an hour ─────────────► lost

A run's signs of life stop when its process dies, and also when the way from there to here is broken. So silence alone
does not close a run: something else that happened after the deadline must have been heard, since then the way works.
Where nothing at all is heard, an hour is waited before that is believed. A run that ends after all corrects the guess.

Clocks of different machines may differ by less than the patience.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_pipeline.model import Run

if TYPE_CHECKING:
    from otel_pipeline.kpi.values import RunRecord

_SECOND = 10**9
LEAST_NS = 60 * _SECOND
"""The shortest patience; else it is four times the run's interval."""
WITHOUT_HEARTBEATS_NS = 86_400 * _SECOND
"""The patience with a run that gives no signs of life, or does not say how often."""
DEAF_NS = 3600 * _SECOND
"""How long nothing at all may be heard, before that is held against the runs."""


def deadline(run: RunRecord) -> int:
    """Until when the run may be silent, in nanoseconds since the epoch."""
    if not run.interval:
        return run.seen + WITHOUT_HEARTBEATS_NS
    return run.seen + max(LEAST_NS, round(4 * run.interval * _SECOND))


def is_lost(run: RunRecord, heard: int, now: int) -> bool:
    """Whether to close it at ``now``; ``heard``: the time of the latest thing that was heard of anybody."""
    limit = deadline(run)
    return now > limit and (heard > limit or now > limit + DEAF_NS)


def closed(run: RunRecord) -> Run:
    """The run as lost, ended at its last sign of life; whoever closes it says the same."""
    inside = f", in stage {', '.join(run.open_stages)}" if run.open_stages else ""
    return Run(
        trace_id=run.trace_id,
        span_id=run.span_id,
        run_id=run.run_id,
        pipeline=run.pipeline,
        result="lost",
        started=run.started,
        ended=run.seen,
        attempt=run.attempt,
        backfill=run.backfill,
        error_message=f"its signs of life ended{inside}",
        open_stages=run.open_stages,
        declared=run.declared,
    )
