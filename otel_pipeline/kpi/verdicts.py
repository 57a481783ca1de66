"""What is judged of a pipeline, and what the verdict is made of. ``expectations.py`` judges.

::

    RunRecord, Stage ─► Attempt ──< History ─► judged ─► Judged >── Breach
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_pipeline.kpi.values import run_key
from otel_pipeline.model import records_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_pipeline.kpi.values import RunRecord
    from otel_pipeline.model import Stage

OF_DUE_TIMES = ("did_not_start", "late")
OF_RUNS = ("too_fast", "too_slow", "too_few", "too_many", "too_often", "lost")
"""Kinds of breaches, by what they are about."""


@dataclass(frozen=True)
class Attempt:
    """A run as it is judged. ``final``: no other attempt has followed; ``declared``: what it carries.

    ``subject`` names it: trace and span id. Without ``ended`` it is open.
    """

    subject: str
    run_id: str
    started: int
    ended: int | None = None
    result: str | None = None
    final: bool = False
    records: int | None = None
    declared: str | None = None

    @property
    def takes_part(self) -> bool:
        """Whether it is a run, and not an attempt after which there was another."""
        return self.final or self.ended is None


@dataclass(frozen=True)
class History:
    """The latest ``LOADED`` runs of a pipeline but for backfills, open ones too; what a file says, and since when."""

    pipeline: str
    attempts: Sequence[Attempt]
    file: str | None = None
    file_since: int | None = None


@dataclass(frozen=True)
class Breach:
    """One expectation that was not met, from ``since`` on; over at ``resolved``. Times are nanoseconds since the epoch.

    ``about`` is the due time, the start of the run, or the end of the last success. ``value`` is what was found and
    ``low``, ``high`` what was expected (nanoseconds, records, runs); ``learned`` from so many runs, where the bounds
    were not stated.
    """

    pipeline: str
    kind: str
    subject: str
    about: int
    since: int
    resolved: int | None = None
    run_id: str | None = None
    value: int | None = None
    low: int | None = None
    high: int | None = None
    learned: int | None = None


@dataclass(frozen=True)
class Judged:
    """The breaches that stand; ``next``: when time alone may change the verdict.

    Runs were looked at from ``runs_since`` on, due times from ``due_since``. ``faults``: lines about what was declared
    and cannot be used here.
    """

    breaches: tuple[Breach, ...]
    runs_since: int
    due_since: int
    next: int | None = None
    faults: tuple[str, ...] = ()

    def since(self, kind: str) -> int:
        """From when on the verdict tells of breaches of that kind, by what they are about."""
        return self.due_since if kind in OF_DUE_TIMES else self.runs_since


def attempt_of(record: RunRecord) -> Attempt:
    """A run as it is judged, but for its records."""
    run = record.run
    return Attempt(
        subject_of(record),
        record.run_id,
        record.started,
        run.ended if run is not None else None,
        run.result if run is not None else None,
        final=run is not None and not record.superseded,
        declared=run.declared if run is not None else record.declared,
    )


def subject_of(record: RunRecord) -> str:
    """How a run is named as the subject of a breach."""
    return subject(record.trace_id, record.span_id)


def subject(trace_id: str, span_id: str) -> str:
    """The same, by its ids."""
    return f"{trace_id}-{span_id}"


def records_by_run(runs: Iterable[RunRecord], stages: Iterable[tuple[str, Stage]]) -> dict[str, int | None]:
    """The records of each run, by subject; the stages come with the key of their run (``run_key``).

    Attempts may share run id and trace: a stage is of the last that began before it.
    """
    begun: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for record in runs:
        insort(begun.setdefault((run_key(record), record.trace_id), []), (record.started, subject_of(record)))
    found: dict[str, list[Stage]] = {}
    for key, stage in stages:
        if (shared := (key, stage.trace_id)) in begun:
            place = bisect_right(begun[shared], (stage.started, "~"))
            found.setdefault(begun[shared][max(place - 1, 0)][1], []).append(stage)
    return {subject: records_of(each) for subject, each in found.items()}
