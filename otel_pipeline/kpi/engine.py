"""The engine: values in, updates out. It owns no thread, socket or clock.

::

    values ─► consume ──add_stage, put_run, …──► Ledger   (of the host: dictionaries, or tables within a transaction)
                 │
                 └─► Updates: what to add to which series

The ledger knows what was counted before, so a value that arrives again changes nothing. The host makes the ledger's
rows and the updates one step: both happen, or neither.

**Runs.** Of several attempts at a run (one run id) the last counts, whatever order they arrive in; what an earlier one
has added is then taken back exactly and kept apart as superseded. A run that was closed as lost and ends after all is
corrected in the same way. What was ever taken back is kept as well: a counter in Prometheus must not fall.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.kpi.times import instant
from otel_pipeline.kpi.values import RunSeen, run_key
from otel_pipeline.model import Run, Stage
from otel_pipeline.semconv.catalogue import CATALOGUE, FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from otel_pipeline.kpi.facts import Fact
    from otel_pipeline.kpi.values import Value
    from otel_pipeline.semconv.catalogue import FactEvent, Kpi


class Series(NamedTuple):
    """A series: the KPI's canonical name, and its labels' values in the order of the metric's attributes."""

    kpi: str
    labels: tuple[str, ...]


class Tally(NamedTuple):
    """Which checks are counted together: those of one run on one dataset."""

    dataset: str
    run: str


@dataclass
class Updates:
    """What to add. Everything in it is a sum or a maximum, so that updates can be applied in any order.

    ``sums``: by series, whole numbers to add: of a counter its value; of a histogram sum, count, and a number for each
    bucket (not cumulative). ``taken``: the same, of what ``sums`` takes back of earlier updates; a series in it is in
    ``sums`` too. ``checked``: by dataset and run, [passed, failed, when]: two to add, the latest to keep.
    ``watermarks``: by dataset, the newest to keep, in nanoseconds since the epoch.
    ``counts``: what happened to the values: ``stages``, ``runs``, ``repeated``, ``corrected``, ``late``.
    ``changed``: the pipelines of which there is something new, but for signs of life.
    """

    sums: dict[Series, list[int]] = field(default_factory=dict)
    taken: dict[Series, list[int]] = field(default_factory=dict)
    checked: dict[Tally, list[int]] = field(default_factory=dict)
    watermarks: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)


class Ledger(Protocol):
    """What was counted. ``key`` is what the spans of one run id have in common (``run_key``)."""

    def add_stage(self, key: str, stage: Stage) -> bool:
        """Note an ended stage; False when it was there."""

    def ended_run(self, key: str, span_id: str) -> Run | None:
        """The run with that span, as far as it has ended."""

    def last_attempt(self, key: str) -> int:
        """The highest attempt that has ended; 0 when none has."""

    def ended_runs(self, key: str) -> Sequence[Run]:
        """All that have ended under that run id."""

    def put_run(self, key: str, run: Run) -> None:
        """Note an ended run, instead of what was known of that span."""

    def see_run(self, key: str, seen: RunSeen) -> bool:
        """Note a sign of life: the earliest start, the latest time with its open stages. False: nothing new."""


class Engine:
    """Counts values by the rows of ``catalogue``. Stateless: one may serve any number of ledgers."""

    def __init__(self, catalogue: Sequence[Kpi] = CATALOGUE) -> None:
        self.catalogue = tuple(catalogue)
        self._rows: dict[FactEvent, list[Kpi]] = {}
        for kpi in catalogue:
            self._rows.setdefault(kpi.event, []).append(kpi)

    def consume(self, values: Iterable[Value], ledger: Ledger, *, horizon: int = 0) -> Updates:
        """Note ``values`` in ``ledger``; what is new in them as updates.

        What ended before ``horizon`` (nanoseconds since the epoch) may have been counted and forgotten: it is left out
        and counted as late.
        """
        updates = Updates()
        for value in sorted(values, key=_order):
            if (value.time if isinstance(value, RunSeen) else value.ended) < horizon:
                updates.counts["late"] += 1
            elif isinstance(value, Stage):
                self._stage(value, ledger, updates)
            elif isinstance(value, Run):
                self._run(value, ledger, updates)
            else:
                new = ledger.see_run(run_key(value), value)
                updates.counts["seen" if new else "repeated"] += 1
                if new and value.starts:
                    updates.changed.add(value.pipeline)
        return updates

    def count(self, facts: Iterable[tuple[FactEvent, Fact]], gone: Iterable[tuple[FactEvent, Fact]] = ()) -> Updates:
        """Facts that a host finds out by itself, as updates, and what turned out untrue of earlier ones."""
        updates, untrue = Updates(), list(gone)
        self._add(facts, updates.sums)
        self._add(untrue, updates.sums, -1)
        self._add(untrue, updates.taken)
        return updates

    def _stage(self, stage: Stage, ledger: Ledger, updates: Updates) -> None:
        key = run_key(stage)
        if not ledger.add_stage(key, stage):
            updates.counts["repeated"] += 1
            return
        updates.counts["stages"] += 1
        if stage.pipeline is not None:
            updates.changed.add(stage.pipeline)
        self._add(facts_of_stage(stage), updates.sums)
        for check in stage.checks:
            if check.dataset is not None:
                tally = updates.checked.setdefault(Tally(check.dataset, key), [0, 0, 0])
                tally[:] = (tally[0] + (check.passed or 0), tally[1] + (check.failed or 0), max(tally[2], stage.ended))
        for dataset in stage.datasets:
            if (watermark := instant(dataset.watermark)) is not None:
                updates.watermarks[dataset.name] = max(watermark, updates.watermarks.get(dataset.name, watermark))

    def _run(self, run: Run, ledger: Ledger, updates: Updates) -> None:
        key = run_key(run)
        known, last = ledger.ended_run(key, run.span_id), ledger.last_attempt(key)
        if known is not None and _rank(run) <= _rank(known):
            updates.counts["repeated"] += 1
            return
        updates.counts["runs" if known is None else "corrected"] += 1
        updates.changed.add(run.pipeline)
        if known is None and (last == 0 or run.attempt <= last):
            self._add(facts_of_run(run, superseded=run.attempt < last), updates.sums)
        else:  # rare: what the others under this run id have added changes as well
            others = list(ledger.ended_runs(key))
            before, after = Counter(_attempts(others)), Counter(_attempts(_replaced(others, run)))
            gone = [(event, dict(fact)) for event, fact in (before - after).elements()]
            self._add(gone, updates.sums, -1)
            self._add(gone, updates.taken)
            self._add(((event, dict(fact)) for event, fact in (after - before).elements()), updates.sums)
        ledger.put_run(key, run)

    def _add(self, facts: Iterable[tuple[FactEvent, Fact]], sums: dict[Series, list[int]], sign: int = 1) -> None:
        for event, fact in facts:
            for kpi in self._rows.get(event, ()):
                amounts = amounts_of(kpi, fact)
                if amounts is None:
                    continue
                if kpi.known is not None:
                    for series in _beside(kpi, fact, *kpi.known):
                        sums.setdefault(series, [0] * len(amounts))
                total = sums.setdefault(series_of(kpi, fact), [0] * len(amounts))
                for place, amount in enumerate(amounts):
                    if amount:
                        total[place] += sign * amount


def amounts_of(kpi: Kpi, fact: Fact) -> list[int] | None:
    """What a fact adds to its series of ``kpi``; None when it says nothing to it."""
    if kpi.where is not None and fact.get(kpi.where[0]) != kpi.where[1]:
        return None
    value = fact.get(kpi.value)
    if not isinstance(value, (int, float)):
        return None
    if kpi.metric.instrument != "histogram":
        return [int(value)]
    bounds = kpi.metric.buckets
    amounts = [int(value), 1, *([0] * (len(bounds) + 1))]
    # A value on a bound belongs to the bucket below it, as OpenTelemetry and Prometheus have it.
    amounts[2 + bisect_left(bounds, value / kpi.divisor)] = 1
    return amounts


def series_of(kpi: Kpi, fact: Fact) -> Series:
    """The series that a fact belongs to."""
    return Series(kpi.name, tuple([str(fact.get(field) or "") for field in kpi.fields]))


def _beside(kpi: Kpi, fact: Fact, name: str, results: Iterable[str]) -> Iterator[Series]:
    """The series that exist from the first fact on: a result that first occurs later is then seen to rise from 0."""
    for result in results:
        yield series_of(kpi, {**fact, FIELDS[name]: result})


def _order(value: Value) -> tuple[int, bool]:
    """What stands comes before what it replaces, so that nothing has to be taken back within one batch."""
    return (-value.attempt, value.result == "lost") if isinstance(value, Run) else (0, False)


def _rank(run: Run) -> tuple[bool, int, str]:
    """Of two ends of one span the greater counts: what is known before what was guessed, then the later.

    The rest only makes the order total, so that it does not matter which arrives first.
    """
    return run.result != "lost", run.ended, repr(run)


def _replaced(runs: Sequence[Run], run: Run) -> list[Run]:
    return [*(other for other in runs if other.span_id != run.span_id), run]


def _attempts(runs: Sequence[Run]) -> Iterator[tuple[FactEvent, tuple[tuple[str, str | float | None], ...]]]:
    """What all attempts say together, each fact as its items: comparable, so that what stays the same stays."""
    last = max((run.attempt for run in runs), default=0)
    for run in runs:
        for event, fact in facts_of_run(run, superseded=run.attempt < last):
            yield event, tuple(fact.items())
