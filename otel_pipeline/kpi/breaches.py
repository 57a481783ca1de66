"""What changes when a verdict is compared with the breaches that are noted. Pure.

::

    Judged ──┐
    Noted… ──┴─► settled ─► Change…: rows to keep, and by how much each moves the count

A breach is counted when it is noted first, taken back when it is withdrawn, and counted again should it stand again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_pipeline.kpi.facts import Fact
    from otel_pipeline.kpi.verdicts import Breach, Judged
    from otel_pipeline.semconv.catalogue import FactEvent


State = Literal["found", "over", "withdrawn"]


@dataclass(frozen=True)
class Noted:
    """A breach, when it was ``noted``, and when it was ``withdrawn`` since it turned out untrue."""

    breach: Breach
    noted: int
    withdrawn: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it stands and is not over."""
        return self.state == "found"

    @property
    def state(self) -> State:
        """What became of it."""
        return "withdrawn" if self.withdrawn is not None else "over" if self.breach.resolved is not None else "found"


class Change(NamedTuple):
    """A row as it should be, what it adds to the count (1, 0 or -1), and whether its state is another than before."""

    noted: Noted
    counted: int
    turned: bool = True


def settled(noted: Iterable[Noted], judged: Judged, now: int) -> list[Change]:
    """What makes ``noted`` agree with ``judged``, by kind and subject. What was not looked at stays, but is over."""
    standing = {(b.kind, b.subject): b for b in judged.breaches if b.about >= judged.since(b.kind)}
    changes: list[Change] = []
    for known in noted:
        breach = standing.pop((known.breach.kind, known.breach.subject), None)
        if breach is not None:
            new = Noted(breach, known.noted)
            counted = int(known.withdrawn is not None)
            changes += [Change(new, counted, new.state != known.state)] if new != known else []
        elif known.breach.about >= judged.since(known.breach.kind):
            changes += [Change(replace(known, withdrawn=now), -1)] if known.withdrawn is None else []
        elif known.is_open:
            over = replace(known.breach, resolved=max(judged.since(known.breach.kind), known.breach.since))
            changes.append(Change(replace(known, breach=over), 0))
    changes += [Change(Noted(breach, now), 1) for breach in standing.values()]
    return sorted(changes, key=lambda change: (change.noted.breach.kind, change.noted.breach.subject))


def facts_of(changes: Iterable[Change]) -> tuple[list[tuple[FactEvent, Fact]], list[tuple[FactEvent, Fact]]]:
    """What changes add to the sums, and what they take back."""
    counted = [(change.counted, fact_of(change.noted.breach)) for change in changes if change.counted]
    return [fact for sign, fact in counted if sign > 0], [fact for sign, fact in counted if sign < 0]


def fact_of(breach: Breach) -> tuple[FactEvent, Fact]:
    """What a breach says to the catalogue."""
    return "breach", {"pipeline": breach.pipeline, "what": breach.kind, "one": 1}
