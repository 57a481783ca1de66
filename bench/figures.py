"""From samples to a verdict: medians, quartiles, and ratios taken round by round."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The machines are shared: what differs by less was equal in another run.
TIE = 1.2


@dataclass
class Samples:
    """What was measured in each round, by side; rounds of the same index were made at the same time.

    ``note`` says what the numbers do not.
    """

    by_side: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def above(self, bases: Mapping[str, str]) -> Samples:
        """The same less what each side's base took in the same round; the bases themselves are left out."""
        found = {
            side: [a - b for a, b in zip(values, self.by_side[bases[side]], strict=True)] if side in bases else values
            for side, values in self.by_side.items()
            if side not in bases.values()
        }
        return Samples(found, self.note)


@dataclass(frozen=True)
class Spread:
    """The quartiles of some samples."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; of a single value, that value.

    >>> spread([3.0, 1.0, 2.0])
    Spread(low=1.5, median=2.0, high=2.5)
    """
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratio(ours: Sequence[float], peer: Sequence[float]) -> Spread | None:
    """Ours / peer, of each round where there are as many of both, else of the medians. ``None`` where it is none.

    >>> ratio([1.0, 2.0], [2.0, 4.0])
    Spread(low=0.5, median=0.5, high=0.5)
    """
    if len(ours) == len(peer) and min(peer) > 0:
        return spread([a / b for a, b in zip(ours, peer, strict=True)])
    middle = statistics.median(peer)
    return spread([statistics.median(ours) / middle]) if middle > 0 else None


def verdict(value: float | None, goal: float | None) -> str:
    """``met``, ``missed``, or ``tie`` where the goal is missed by less than can be told apart; empty without a goal.

    >>> verdict(0.21, 0.20), verdict(0.30, 0.20), verdict(0.1, 0.2), verdict(0.1, None)
    ('tie', 'missed', 'met', '')
    """
    if goal is None or value is None:
        return ""
    if value <= goal:
        return "met"
    return "tie" if value < goal * TIE else "missed"
