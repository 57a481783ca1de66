"""Service level objectives: from how much was good in which span of time to compliance, budget and burn rates. Pure.

::

    spans(slo, now) ─► the host counts good and all in each ─► Tallied ─► facts: compliance, budget left, trend, burn

With the target 99 % one in a hundred may be bad: that is the error budget. ``budget`` is the share of it that is left
in the window (1: nothing was bad, 0: all used up, below 0: overdrawn). ``burn`` is how many times faster than allowed
it was used up; at 1 it lasts exactly for the window. Where nothing was counted nothing is said.

What is counted, by objective: ``availability`` the runs that succeeded or failed; ``latency`` those that succeeded;
``errors`` the records that came out of stages or failed in them, of runs that have ended; ``freshness`` nanoseconds
since the first known success.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from otel_pipeline.declaration import Slo
from otel_pipeline.semconv.attributes import SLO_WINDOWS
from otel_pipeline.spellings import duration_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from otel_pipeline.declaration import Objective
    from otel_pipeline.kpi.facts import Fact
    from otel_pipeline.semconv.catalogue import FactEvent

SERVICES = Slo(availability="99.9%", latency="95% < 500ms", errors="<1%")
"""What is expected of a service that declares nothing (of a pipeline nothing is)."""
GOOD, BAD = "success", ("failure", "timeout", "lost")
_FIRST, _SECOND = "first half", "second half"


class Span(NamedTuple):
    """What ended in (``after``, ``until``], in nanoseconds since the epoch."""

    after: int
    until: int


class Tally(NamedTuple):
    """How much was good, of how much in all."""

    good: int
    total: int

    @property
    def share(self) -> float | None:
        """The share that was good."""
        return self.good / self.total if self.total else None


@dataclass(frozen=True)
class Tallied:
    """What was counted for an objective, by the names of ``spans``."""

    objective: Objective
    tallies: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def whole(self) -> Tally:
        """What was counted in the whole window: in both its halves."""
        first, second = self.tallies[_FIRST], self.tallies[_SECOND]
        return Tally(first.good + second.good, first.total + second.total)

    @property
    def compliance(self) -> float | None:
        """The share that was good in the whole window."""
        return self.whole.share

    @property
    def budget(self) -> float | None:
        """The share of the error budget that is left."""
        burnt = self._burnt(self.whole)
        return None if burnt is None else 1 - burnt

    @property
    def trend(self) -> float | None:
        """The compliance of the second half of the window, less that of the first."""
        first, second = self.tallies[_FIRST].share, self.tallies[_SECOND].share
        return None if first is None or second is None else second - first

    def burn(self, span: str) -> float | None:
        """How many times faster than allowed the budget was used up in that span."""
        return self._burnt(self.tallies[span])

    def _burnt(self, tally: Tally) -> float | None:
        return None if tally.share is None else (1 - tally.share) / (1 - self.objective.target)


def spans(slo: Slo, now: int) -> dict[str, Span]:
    """Over which times to count: the halves of the window, and those of the burn rates."""
    middle = now - slo.window_ns // 2
    return {
        _FIRST: Span(now - slo.window_ns, middle),
        _SECOND: Span(middle, now),
        **{name: Span(now - duration_of(name), now) for name in SLO_WINDOWS},
    }


def fresh(successes: Sequence[int], limit: int, span: Span) -> Tally:
    """In which part of ``span`` the last success was younger than ``limit``.

    ``successes``: when they ended, in order, with the last one before the span. What was before the first one does not
    count.
    """
    if not successes or successes[0] >= span.until:
        return Tally(0, 0)
    begin = max(successes[0], span.after)
    good = 0
    first = max(bisect_right(successes, span.after) - 1, 0)
    for end, following in zip(successes[first:], [*successes[first + 1 :], span.until], strict=True):
        good += max(min(end + limit, following, span.until) - max(end, begin), 0)
    return Tally(good, span.until - begin)


def facts_of(pipeline: str, tallied: Iterable[Tallied]) -> Iterator[tuple[FactEvent, Fact]]:
    """What a pipeline's objectives say to the catalogue."""
    for each in tallied:
        names: Fact = {"pipeline": pipeline, "objective": each.objective.name}
        yield (
            "objective",
            {
                **names,
                "target": each.objective.target,
                "compliance": each.compliance,
                "budget": each.budget,
                "trend": each.trend,
            },
        )
        for window in SLO_WINDOWS:
            yield "burn", {**names, "window": window, "rate": each.burn(window)}


def least_compliance(tallied: Iterable[Tallied]) -> float | None:
    """The compliance of the objective that has used up most of its budget."""
    known = [(each.budget, each.compliance) for each in tallied if each.budget is not None]
    return min(known)[1] if known else None
