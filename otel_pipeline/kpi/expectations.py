"""What of a pipeline was not as expected: from its last runs, what was declared, and the time. Pure.

::

    History ─► judged(history, now) ─► Judged: breaches that stand, from when on this was looked at, when to look again

The verdict depends on what is known and on the time, never on when it was asked before: the host compares it with what
it has noted. A breach that is new is counted; one that is no longer true, since a run has arrived late, is withdrawn
and taken back; one that is over has ``resolved``. So ticks may be missed, repeated, or made by several processors.

**What is looked at**: the latest ``EXAMINED`` runs and due times of ``LOOK_BACK_NS``, none before what the file says of
the pipeline last changed. Of what is older, the verdict stays as it is.

**What holds**: a run is judged by what it carries. A due time is judged by what the latest run carries that started
before it; so a schedule holds from the first run on that names it, and is forgotten when no run came for
``LOOK_BACK_NS``. What a file says holds without a run, and wins.

============= ================ =======================================================================================
kind          subject          stands when
============= ================ =======================================================================================
did_not_start the due time     no run started from 10 s before it until ``start_within`` after it
late          the due time     no run that started for it or later had succeeded ``finish_within`` after it
overdue       the last success the next success did not come within ``every``
too_fast      the run          it took less than the bounds say; all that follow are of last attempts
too_slow      the run          it took more, or is taking more while it goes on
too_few       the run          there were fewer records than the bounds say
too_many      the run          there were more
too_often     the run          more than ``at_most`` runs started in the time that ends with its start
lost          the run          its result is ``lost``
============= ================ =======================================================================================

Only a success is too fast, or has too few or too many records; what was skipped or cancelled is never too slow. A
breach about a run is over with the next success without one of that kind; one about a due time with the next start or
success, or when the next due time is judged, which then speaks for both.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from otel_pipeline.declaration import Declaration, effective
from otel_pipeline.errors import ExpectationError
from otel_pipeline.kpi import learned
from otel_pipeline.kpi.schedule import last_due, next_due, zone_of
from otel_pipeline.kpi.times import iso
from otel_pipeline.kpi.verdicts import OF_RUNS, Attempt, Breach, History, Judged
from otel_pipeline.spellings import Bounds, counts_of, duration_of, durations_of, rate_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import tzinfo


_SECOND = 10**9
LOOK_BACK_NS = 40 * 86_400 * _SECOND
"""How far back due times and runs are looked at: more than the longest month."""
EXAMINED = 200
"""The most runs, and the most due times, that are looked at."""
LOADED = EXAMINED + learned.MOST
"""How many runs a history has to have: those that are looked at, and those that the first of them learns from."""
TOLERANCE_NS = 10 * _SECOND
"""A run that starts so much before its due time starts for it: clocks differ a little."""
START_WITHIN_NS = 300 * _SECOND
"""The grace for a start where none is stated."""
_DONE = ("success", "skip")
_TOOK_ITS_TIME = ("success", "failure", "timeout")


def judged(history: History, now: int) -> Judged:
    """The verdict at ``now``."""
    return _Court(history, now).verdict()


class _Segment(NamedTuple):
    """``schedule`` and the rest of ``declaration`` hold for due times in (``after``, ``until``]."""

    after: int
    until: int
    declaration: Declaration


@dataclass
class _Court:
    history: History
    now: int
    due_since: int = 0
    weekdays: dict[tuple[int, tzinfo], int] = field(default_factory=dict)
    later: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def verdict(self) -> Judged:
        self.due_since = self.since
        if self._nothing_to_say:
            return Judged((), self.since, self.due_since)
        found = [*self._due_times(), *self._successes(), *self._runs()]
        coming = min((moment for moment in self.later if moment > self.now), default=None)
        return Judged(tuple(found), self.since, self.due_since, coming, tuple(dict.fromkeys(self.faults)))

    # --- what is known ----------------------------------------------------------------------------------------------

    @cached_property
    def attempts(self) -> list[Attempt]:
        """By start."""
        return sorted(self.history.attempts, key=lambda run: (run.started, run.subject))

    @property
    def _nothing_to_say(self) -> bool:
        """As of most pipelines: nothing is declared, and nothing was lost."""
        return self.history.file is None and not any(
            run.declared is not None or run.result == "lost" for run in self.attempts
        )

    @cached_property
    def starts(self) -> list[int]:
        return [run.started for run in self.attempts]

    @cached_property
    def ended(self) -> list[Attempt]:
        """The last attempts that have ended, by their ends."""
        return sorted((run for run in self.attempts if run.final), key=_end)

    @cached_property
    def done(self) -> list[Attempt]:
        """Of those the ones that have done what they should."""
        return [run for run in self.ended if run.result in _DONE]

    @cached_property
    def since(self) -> int:
        oldest = self.starts[-EXAMINED] if len(self.starts) >= LOADED else 0
        return max(self.now - LOOK_BACK_NS, self.history.file_since or 0, oldest)

    def holds(self, run: Attempt) -> Declaration:
        """What a run is judged by."""
        return effective(run.declared, self.history.file)

    # --- due times --------------------------------------------------------------------------------------------------

    def _segments(self) -> Iterator[_Segment]:
        """The latest first."""
        until = self.now
        for run in reversed(self.attempts):
            if until <= self.since:
                return
            if run.started > self.now:  # by a clock that is ahead
                self.later.append(run.started)
                continue
            after = max(run.started, self.since)
            forgotten = run.started + LOOK_BACK_NS if self._by_code(run) else self.now
            if after < (end := min(until, forgotten)) or end == self.now:
                yield _Segment(after, end, self.holds(run))
            until = min(until, run.started)
        if (until > self.since or until == self.now) and self.history.file is not None:
            yield _Segment(self.since, until, effective(None, self.history.file))

    def _by_code(self, run: Attempt) -> bool:
        return self.holds(run).schedule != effective(None, self.history.file).schedule

    def _due_times(self) -> Iterator[Breach]:
        room = EXAMINED
        for segment in _joined(self._segments()):
            if room <= 0:
                return
            if segment.declaration.schedule is None:
                continue
            try:
                due_times = last_due(segment.declaration.schedule, segment.after, segment.until, room)
                if len(due_times) == room:
                    self.due_since = due_times[0]
                room -= len(due_times)
                if segment.until == self.now:
                    due_times += self._coming(segment.declaration.schedule)
            except ExpectationError as error:
                self.faults.append(f"{self.history.pipeline}: {error}")
                continue
            for due, following in zip_longest(due_times, due_times[1:]):
                yield from self._due(due, following, segment.declaration)

    def _coming(self, schedule: str) -> list[int]:
        coming = next_due(schedule, self.now)
        return [] if coming is None else [coming]

    def _due(self, due: int, following: int | None, declared: Declaration) -> Iterator[Breach]:
        expect = declared.expect
        start = duration_of(expect.start_within) if expect.start_within is not None else START_WITHIN_NS
        if (limit := self._passed(due + start)) is not None:
            first = bisect_left(self.starts, due - TOLERANCE_NS)
            if first == len(self.starts) or self.starts[first] > limit:
                begun = self.starts[first] if first < len(self.starts) else None
                yield self._missed("did_not_start", due, limit, [begun, following and following + start])
        if expect.finish_within is not None:
            finish = duration_of(expect.finish_within)
            if (limit := self._passed(due + finish)) is not None:
                ends = [_end(run)[0] for run in self.done if run.started >= due - TOLERANCE_NS]
                if not ends or ends[0] > limit:
                    yield self._missed("late", due, limit, [*ends[:1], following and following + finish])

    def _missed(self, kind: str, due: int, limit: int, over: Iterable[int | None]) -> Breach:
        first = min((moment for moment in over if moment is not None), default=None)
        if first is not None and first > self.now:  # not over yet, or by a clock that is ahead
            self.later.append(first)
            first = None
        return Breach(self.history.pipeline, kind, str(iso(due)), due, limit, first)

    def _passed(self, limit: int) -> int | None:
        """``limit``, once it is over; else it is to be looked at then."""
        if limit < self.now:
            return limit
        self.later.append(limit + 1)
        return None

    # --- a success in each time -------------------------------------------------------------------------------------

    def _successes(self) -> Iterator[Breach]:
        for run, after in zip_longest(self.done, self.done[1:]):
            end, every = _end(run)[0], self.holds(run).expect.every
            if every is None or end < self.since:
                continue
            following = None if after is None else _end(after)[0]
            if (limit := self._passed(end + duration_of(every))) is not None and (following or limit + 1) > limit:
                yield Breach(self.history.pipeline, "overdue", f"after {iso(end)}", end, limit, following)

    # --- runs -------------------------------------------------------------------------------------------------------

    def _runs(self) -> Iterator[Breach]:
        found = {
            run.subject: list(self._of(run)) for run in self.attempts if run.takes_part and run.started >= self.since
        }
        as_expected: dict[str, int] = {}
        for run in reversed(self.ended):
            here = {breach.kind for breach in found.get(run.subject, ())}
            for breach in found.get(run.subject, ()):
                yield replace(breach, resolved=as_expected.get(breach.kind))
            if run.result == "success":
                as_expected |= {kind: _end(run)[0] for kind in OF_RUNS if kind not in here}
        for run in self.attempts:
            if run.ended is None:
                yield from found.get(run.subject, ())

    def _of(self, run: Attempt) -> Iterator[Breach]:
        expect, end = self.holds(run).expect, run.ended
        if run.result == "lost" and end is not None:
            yield Breach(self.history.pipeline, "lost", run.subject, run.started, end, run_id=run.run_id)
        yield from self._duration(run)
        if run.result == "success" and run.records is not None and end is not None:
            bounds, runs = self._bounds(run, expect.records, _RECORDS)
            yield from _outside(self._breach(run, end, run.records, bounds, runs), "too_few", "too_many")
        if expect.at_most is not None:
            rate = rate_of(expect.at_most)
            number = bisect_right(self._began, run.started) - bisect_right(self._began, run.started - rate.window)
            breach = self._breach(run, run.started, number, Bounds(None, rate.most), None)
            yield from _outside(breach, "", "too_often")

    def _duration(self, run: Attempt) -> Iterator[Breach]:
        if run.result is not None and run.result not in _TOOK_ITS_TIME:
            return
        bounds, runs = self._bounds(run, self.holds(run).expect.duration, _DURATION)
        if run.result != "success":
            bounds = Bounds(None, bounds.high)
        limit = None if bounds.high is None else run.started + bounds.high
        if run.ended is not None:
            since = run.ended if limit is None else min(run.ended, limit)
            yield from _outside(self._breach(run, since, run.ended - run.started, bounds, runs), "too_fast", "too_slow")
        elif limit is not None and self._passed(limit) is not None:
            yield replace(self._breach(run, limit, None, bounds, runs), kind="too_slow")

    def _breach(self, run: Attempt, since: int, value: int | None, bounds: Bounds, runs: int | None) -> Breach:
        return Breach(
            self.history.pipeline, "", run.subject, run.started, since,
            run_id=run.run_id, value=value, low=bounds.low, high=bounds.high, learned=runs,
        )  # fmt: skip

    def _bounds(self, run: Attempt, stated: str | None, measure: _Measure) -> tuple[Bounds, int | None]:
        """What is stated; on a side that is not, what is learned, where that was asked for, and from how many runs."""
        told = measure.read(stated) if stated is not None else Bounds()
        expect, end = self.holds(run).expect, _end(run)
        if expect.learn is None or None not in told:
            return told, None
        zone, place = self._zone(run), self._places[run.subject]
        earlier = [
            (self._weekday(other, zone), value)
            for other in self.attempts[max(place - learned.MOST, 0) : place]
            if other.final and other.result == "success" and _end(other) < end
            and (value := measure.value(other)) is not None
        ]  # fmt: skip
        found = learned.learned(earlier, self._weekday(run, zone), expect.learn, offset=measure.offset)
        if found is None:
            return told, None
        low, high = (one if one is not None else other for one, other in zip(told, found.bounds, strict=True))
        return Bounds(low, high), found.runs

    @cached_property
    def _places(self) -> dict[str, int]:
        return {run.subject: place for place, run in enumerate(self.attempts)}

    @cached_property
    def _began(self) -> list[int]:
        return [run.started for run in self.attempts if run.takes_part]

    def _weekday(self, run: Attempt, zone: tzinfo) -> int:
        key = run.started, zone
        if (known := self.weekdays.get(key)) is None:
            known = self.weekdays[key] = datetime.fromtimestamp(run.started // _SECOND, zone).weekday()
        return known

    def _zone(self, run: Attempt) -> tzinfo:
        try:
            return zone_of(self.holds(run).schedule)
        except ExpectationError:
            return timezone.utc


@dataclass(frozen=True)
class _Measure:
    """What has bounds: how they are read, a run's value, and below which differences do not matter."""

    read: Callable[[str], Bounds]
    value: Callable[[Attempt], int | None]
    offset: int


_DURATION = _Measure(durations_of, lambda run: _end(run)[0] - run.started, 10 * _SECOND)
_RECORDS = _Measure(counts_of, lambda run: run.records, 10)


def _outside(breach: Breach, below: str, above: str) -> Iterator[Breach]:
    """``breach``, of the kind that it is, where its value is outside of its bounds."""
    value = breach.value
    if value is not None and breach.low is not None and value < breach.low:
        yield replace(breach, kind=below)
    elif value is not None and breach.high is not None and value > breach.high:
        yield replace(breach, kind=above)


def _joined(segments: Iterable[_Segment]) -> Iterator[_Segment]:
    """Neighbours that say the same as one: the latest first."""
    before: _Segment | None = None
    for segment in segments:
        if before is not None and before.after == segment.until and before.declaration == segment.declaration:
            before = before._replace(after=segment.after)
            continue
        if before is not None:
            yield before
        before = segment
    if before is not None:
        yield before


def _end(run: Attempt) -> tuple[int, str]:
    """When it ended, for an order; an open run ends last."""
    return (run.ended if run.ended is not None else 2**63, run.subject)
