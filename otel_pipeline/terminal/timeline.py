"""The time axis of a run in cells of a terminal: bars and ticks.

::

    run.started                     run.ended
    ├───────────── cells ───────────────┤
         left │ own │ rest │ right          a Bar
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from otel_pipeline.terminal.figures import known

_STEPS = (
    *(base * 10.0**power for power in range(-4, 1) for base in (1, 2, 5)),
    *(10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400),
)
_LABEL_ROOM = 8


class Bar(NamedTuple):
    """A bar as numbers of cells: empty, solid (own time), light (the rest), empty."""

    left: int
    own: int
    rest: int
    right: int


class Tick(NamedTuple):
    """A tick: the cell that it stands in, and its label."""

    cell: int
    label: str


@dataclass(frozen=True)
class Axis:
    """The time from ``start`` to ``end`` (nanoseconds) on ``cells`` cells."""

    start: int
    end: int
    cells: int

    @property
    def seconds(self) -> float:
        """What the axis spans, in seconds; 0 when the end is before the start."""
        return max(self.end - self.start, 0) / 1e9

    def bar(self, started: int, ended: int, own: float) -> Bar:
        """Return the bar from ``started`` to ``ended``, of which ``own`` seconds are solid.

        Never shorter than one cell; what is outside the axis is drawn at its edge. The solid cells are in proportion,
        not in place: when within its duration a stage ran is not known.
        """
        first = min(math.floor(self._cell(started)), self.cells - 1)
        last = min(max(math.ceil(self._cell(ended) - 1e-9), first + 1), self.cells)
        length = last - first
        seconds = (ended - started) / 1e9
        share = min(max(own / seconds, 0.0), 1.0) if known(own) and seconds > 0 else 1.0
        solid = math.floor(share * length + 0.5)
        return Bar(first, solid, length - solid, self.cells - last)

    def _cell(self, moment: int) -> float:
        if self.end <= self.start:
            return 0.0
        return min(max((moment - self.start) / (self.end - self.start), 0.0), 1.0) * self.cells

    def ticks(self) -> list[Tick]:
        """Return ticks at round times, as many as there is room to label."""
        if self.seconds <= 0 or self.cells < _LABEL_ROOM:
            return [Tick(0, "0 s")]
        least = self.seconds * _LABEL_ROOM / self.cells
        step = next((step for step in _STEPS if step >= least), 86400 * math.ceil(least / 86400))
        return [
            Tick(int(number * step / self.seconds * self.cells), tick_label(number * step))
            for number in range(int(self.seconds / step) + 1)
            if number * step < self.seconds
        ]


def tick_label(seconds: float) -> str:
    """Return a round time without digits that say nothing: ``5 s``, ``2m 30s``, ``1h``."""
    if seconds == 0:
        return "0"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.4g} ms"
    if seconds < 60:
        return f"{seconds:.4g} s"
    whole = round(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s"))
    return " ".join(f"{number:,}{unit}" for number, unit in parts if number)
