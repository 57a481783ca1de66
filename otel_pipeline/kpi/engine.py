"""The engine: values in, updates out. It owns no thread, socket or clock.

::

    values ─► consume ──prepare, add_stages, runs, put_runs──► Ledger, of the host: dictionaries, or tables
                 │
                 └─► Updates: what to add to which series

The ledger knows what was counted before, so a value that arrives again changes nothing. It is asked once for a whole
batch, since it may be on another machine. The host makes the ledger's rows and the updates one step: both happen, or
neither.

**Runs.** Of several attempts at a run (one run id) the last counts, whatever order they arrive in; what an earlier one
has added is then taken back exactly and kept apart as superseded. A run that was closed as lost and ends after all is
corrected in the same way. What was ever taken back is kept as well: a counter in Prometheus must not fall.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.kpi.times import instant
from otel_pipeline.kpi.values import RunRecord, RunSeen, run_key
from otel_pipeline.model import Run, Stage
from otel_pipeline.semconv.catalogue import CATALOGUE, EVENTS, FIELDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from otel_pipeline.kpi.facts import Fact
    from otel_pipeline.kpi.values import Counted
    from otel_pipeline.semconv.catalogue import FactEvent, Kpi


StageId: TypeAlias = "tuple[str, str]"
"""Key and span id of a stage."""


class Series(NamedTuple):
    """A series: the KPI's key (its canonical name), and its labels' values in the order of the metric's attributes."""

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
    ``counts``: what happened to the values: ``stages``, ``runs``, ``seen``, ``repeated``, ``corrected``, ``late``.
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

    def prepare(self, values: Mapping[str, Sequence[Counted]]) -> None:
        """These are about to be noted, by key: from now on nobody else changes what is under the keys."""

    def add_stages(self, stages: Mapping[StageId, Stage]) -> Collection[StageId]:
        """Note ended stages; those that were not there."""

    def runs(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRecord]]:
        """What is known of the runs under each key."""

    def put_runs(self, records: Mapping[str, Sequence[RunRecord]]) -> None:
        """Note these, each instead of what was known of its span."""


class Engine:
    """Counts values by the rows of ``catalogue``. Stateless: one may serve any number of ledgers."""

    def __init__(self, catalogue: Sequence[Kpi] = CATALOGUE) -> None:
        self.catalogue = tuple(catalogue)
        self._feeds = {event: Feeds(kpi for kpi in catalogue if kpi.event == event) for event in EVENTS}

    def consume(self, values: Iterable[Counted], ledger: Ledger, *, horizon: int = 0) -> Updates:
        """Note ``values`` in ``ledger``; what is new in them as updates.

        What ended before ``horizon`` (nanoseconds since the epoch) may have been counted and forgotten: it is left out
        and counted as late.
        """
        updates = Updates()
        by_key: dict[str, list[Counted]] = {}
        for value in values:
            if (value.time if isinstance(value, RunSeen) else value.ended) < horizon:
                updates.counts["late"] += 1
            else:
                by_key.setdefault(run_key(value), []).append(value)
        if by_key:
            ledger.prepare(by_key)
            self._stages(by_key, ledger, updates)
            self._runs(by_key, ledger, updates)
        return updates

    def count(self, facts: Iterable[tuple[FactEvent, Fact]], gone: Iterable[tuple[FactEvent, Fact]] = ()) -> Updates:
        """Facts that a host finds out by itself, as updates, and what turned out untrue of earlier ones."""
        updates, untrue = Updates(), list(gone)
        self._add(facts, updates.sums)
        self._add(untrue, updates.sums, -1)
        self._add(untrue, updates.taken)
        return updates

    def _stages(self, values: Mapping[str, Sequence[Counted]], ledger: Ledger, updates: Updates) -> None:
        arrived = [(key, value) for key, of_key in values.items() for value in of_key if isinstance(value, Stage)]
        stages = {(key, stage.span_id): stage for key, stage in reversed(arrived)}  # of repeats the first
        new = ledger.add_stages(stages) if stages else ()
        _tell(updates.counts, "stages", len(new))
        _tell(updates.counts, "repeated", len(arrived) - len(new))
        for identity in new:
            stage, key = stages[identity], identity[0]
            if stage.pipeline is not None:
                updates.changed.add(stage.pipeline)
            self._add(facts_of_stage(stage), updates.sums)
            if stage.backfill:  # what it says of old data says nothing of how fresh and good the present data are
                continue
            for check in stage.checks:
                if check.dataset is not None:
                    tally = updates.checked.setdefault(Tally(check.dataset, key), [0, 0, 0])
                    passed, failed, when = tally
                    tally[:] = passed + (check.passed or 0), failed + (check.failed or 0), max(when, stage.ended)
            for dataset in stage.datasets:
                if (watermark := instant(dataset.watermark)) is not None:
                    updates.watermarks[dataset.name] = max(watermark, updates.watermarks.get(dataset.name, watermark))

    def _runs(self, values: Mapping[str, Sequence[Counted]], ledger: Ledger, updates: Updates) -> None:
        arrived = {
            key: found for key, of_key in values.items()
            if (found := [value for value in of_key if not isinstance(value, Stage)])
        }  # fmt: skip
        known = ledger.runs(arrived.keys()) if arrived else {}
        changed: dict[str, list[RunRecord]] = {}
        for key, of_key in arrived.items():
            before = {record.span_id: record for record in known.get(key, ())}
            after = _with_attempts(_merged(before, of_key, updates))
            if new := [record for span_id, record in after.items() if before.get(span_id) != record]:
                changed[key] = new
                self._count_runs(before.values(), after.values(), updates)
        if changed:
            ledger.put_runs(changed)

    def _count_runs(self, before: Collection[RunRecord], after: Iterable[RunRecord], updates: Updates) -> None:
        """What all runs under one key say together now, less what they said before."""
        if not any(record.run for record in before):  # nearly always
            self._add(_facts(after), updates.sums)
            return
        was, now = _comparable(before), _comparable(after)
        gone = [(event, dict(fact)) for event, fact in (was - now).elements()]
        self._add(gone, updates.sums, -1)
        self._add(gone, updates.taken)
        self._add(((event, dict(fact)) for event, fact in (now - was).elements()), updates.sums)

    def _add(self, facts: Iterable[tuple[FactEvent, Fact]], sums: dict[Series, list[int]], sign: int = 1) -> None:
        for event, fact in facts:
            for feed, series in self._feeds[event].of(fact):
                if not isinstance(value := fact.get(feed.value), (int, float)):
                    continue
                if (total := sums.get(series)) is None:
                    for other in feed.beside(fact):
                        sums.setdefault(other, [0] * feed.width)
                    total = sums.setdefault(series, [0] * feed.width)
                total[0] += sign * int(value)
                if feed.bounds is not None:
                    total[1] += sign
                    total[feed.bucket(value)] += sign


class Feed:
    """How facts feed one row of the catalogue, ``kpi``: with what, their field ``value``, and which series of it.

    ``width``: how many numbers a series has. ``bounds``: a histogram's.
    """

    def __init__(self, kpi: Kpi) -> None:
        self.kpi = kpi
        self.value = kpi.value
        self.bounds = kpi.metric.buckets if kpi.metric.instrument == "histogram" else None
        self.width = 1 if self.bounds is None else len(self.bounds) + 3

    def takes(self, fact: Fact) -> bool:
        """Whether it is one of those facts that feed this row."""
        return all(fact.get(name) == value for name, value in self.kpi.where)

    def bucket(self, value: float) -> int:
        """Which bucket of a histogram a value belongs to, as an index into its series's numbers."""
        # A value on a bound belongs to the bucket below it, as OpenTelemetry and Prometheus have it.
        return 2 + bisect_left(self.bounds or (), value / self.kpi.divisor)

    def series(self, fact: Fact) -> Series:
        """The series that a fact belongs to."""
        return Series(self.kpi.key, tuple(str(fact.get(name) or "") for name in self.kpi.fields))

    def beside(self, fact: Fact) -> Iterable[Series]:
        """The series that exist from the first fact on: a result that first occurs later is seen to rise from 0."""
        if self.kpi.known is None:
            return ()
        name, results = self.kpi.known
        return [self.series({**fact, FIELDS[name]: result}) for result in results]


_MOST_MADE = 10_000


class Feeds:
    """What one kind of facts feeds; of facts with the same labels it is worked out once."""

    def __init__(self, rows: Iterable[Kpi]) -> None:
        kpis = list(rows)
        self._feeds = [Feed(kpi) for kpi in kpis]
        names = (name for kpi in kpis for name in (*kpi.fields, *(field for field, _ in kpi.where)))
        self._fields = tuple(dict.fromkeys(names))
        self._made: dict[tuple[str | float | None, ...], list[tuple[Feed, Series]]] = {}

    def of(self, fact: Fact) -> Sequence[tuple[Feed, Series]]:
        """What a fact feeds, if it has the value."""
        labels = tuple(map(fact.get, self._fields))
        if (found := self._made.get(labels)) is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            found = self._made[labels] = [(feed, feed.series(fact)) for feed in self._feeds if feed.takes(fact)]
        return found


def _merged(before: Mapping[str, RunRecord], values: Iterable[Run | RunSeen], updates: Updates) -> dict[str, RunRecord]:
    """The runs under one key, by span id, with ``values`` noted; what happened to each is told to ``updates``."""
    found = dict(before)
    for value in sorted(values, key=_order):
        known = found.get(value.span_id)
        record = _seen(known, value) if isinstance(value, RunSeen) else _end(known, value)
        if record is None:
            updates.counts["repeated"] += 1
            continue
        found[value.span_id] = record
        was_open = known is None or known.run is None
        updates.counts["seen" if record.run is None else "runs" if was_open else "corrected"] += 1
        if not isinstance(value, RunSeen) or value.starts:
            updates.changed.add(value.pipeline)
    return found


def _tell(counts: Counter[str], what: str, number: int) -> None:
    if number:
        counts[what] += number


def _order(value: Run | RunSeen) -> tuple[bool, bool]:
    """The end that is known comes before the guess, which then is a repeat and corrects nothing."""
    return isinstance(value, RunSeen), isinstance(value, Run) and value.result == "lost"


def _end(known: RunRecord | None, run: Run) -> RunRecord | None:
    """The run as it ended; None when a better end is known."""
    if known is not None and known.run is not None and _rank(run) <= _rank(known.run):
        return None
    return RunRecord(
        run.run_id, run.trace_id, run.span_id, run.pipeline, run.started, run.ended, backfill=run.backfill,
        run=run,
    )  # fmt: skip


def _seen(known: RunRecord | None, seen: RunSeen) -> RunRecord | None:
    """The open run with its earliest start, and its latest sign of life with what that tells; None: nothing new."""
    told = RunRecord(
        seen.run_id, seen.trace_id, seen.span_id, seen.pipeline, seen.time, seen.time, seen.open_stages or (),
        seen.interval, seen.declared, seen.attempt, seen.backfill,
    )  # fmt: skip
    if known is None:
        return told
    if known.run is not None:
        return None
    latest, other = (told, known) if told.seen > known.seen else (known, told)
    merged = replace(
        latest,
        started=min(known.started, told.started),
        interval=other.interval if latest.interval is None else latest.interval,
        declared=other.declared if latest.declared is None else latest.declared,
        backfill=known.backfill or told.backfill,
    )
    return None if merged == known else merged


def _rank(run: Run) -> tuple[bool, int, str]:
    """Of two ends of one span the greater counts: what is known before what was guessed, then the later.

    The rest only makes the order total, so that it does not matter which arrives first.
    """
    return run.result != "lost", run.ended, repr(run)


def _with_attempts(records: dict[str, RunRecord]) -> dict[str, RunRecord]:
    """The same, each marked whether another attempt has followed it."""
    last = max((record.run.attempt for record in records.values() if record.run is not None), default=0)
    for span_id, record in records.items():
        superseded = record.run is not None and record.run.attempt < last
        if record.superseded != superseded:
            records[span_id] = replace(record, superseded=superseded)
    return records


def _facts(records: Iterable[RunRecord]) -> Iterator[tuple[FactEvent, Fact]]:
    for record in records:
        if record.run is not None:
            yield from facts_of_run(record.run, superseded=record.superseded)


def _comparable(records: Iterable[RunRecord]) -> Counter[tuple[FactEvent, tuple[tuple[str, str | float | None], ...]]]:
    """What runs say, each fact as its items, so that what stays the same stays."""
    return Counter((event, tuple(fact.items())) for event, fact in _facts(records))
