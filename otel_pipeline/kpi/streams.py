"""High-volume counts: cumulative streams of processes, made into series that outlive the processes.

::

    process 1 ── revenue{currency="EUR"} 12.5, 30.0, 30.0 ──► stream 1: 30.0 ─┐
    process 2 ── revenue{currency="EUR"} 7.0 ───────────────► stream 2:  7.0 ─┼─► series {currency="EUR"} 137.0
    processes that are long gone ───────────────────────────► base:    100.0 ─┘

A stream is what one process says of one metric with one set of labels since one start time. Its numbers only grow, so
the larger wins, and repeats and reordering change nothing. A series is the sum of its streams. Streams that have been
silent for ``WINDOW_NS`` are folded into the base and forgotten.

**What is late.** A point from before the window is not counted, since its stream may have been folded; for the same
reason a stream that is first seen now and began before the window counts from what it has now.

**Gauges** are what was measured last, by whichever process. **Up-down counters** are the sum of the last values of the
processes that were heard of in ``ALIVE_NS``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from otel_pipeline.kpi.times import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_pipeline.kpi.values import Counted
    from otel_pipeline.semconv.tables import Instrument

WINDOW_NS = 7 * DAY_NS
ALIVE_NS = 5 * 60 * 10**9

Labels = tuple[tuple[str, str], ...]
"""Sorted by key."""
Numbers = tuple[float, ...]
"""A value; of a histogram its sum, its count, and the count of each bucket."""


@dataclass(frozen=True)
class Measure:
    """What a metric is; of two definitions under one name the first holds. ``bounds``: a histogram's upper bounds."""

    name: str
    instrument: Instrument
    unit: str = ""
    description: str = field(default="", compare=False)
    bounds: tuple[float, ...] = ()

    @property
    def grows(self) -> bool:
        """Whether its numbers only grow."""
        return self.instrument in ("counter", "histogram")


@dataclass(frozen=True)
class Point:
    """One point of a stream; ``stream`` tells whose it is. Times are nanoseconds since the epoch."""

    measure: Measure
    labels: Labels
    stream: bytes
    start: int
    time: int
    numbers: Numbers


class Total(NamedTuple):
    """A series at one moment; ``since`` orders the series of a metric by when they were first seen."""

    measure: Measure
    labels: Labels
    numbers: Numbers
    since: int = 0

    @property
    def order(self) -> tuple[str, int, Labels]:
        """By which they are sorted: by metric, and of each the oldest first."""
        return self.measure.name, self.since, self.labels


class Streams:
    """Streams and bases as dictionaries: for tests, and for a process that looks at its own."""

    def __init__(self) -> None:
        self._measures: dict[str, Measure] = {}
        self._grown: dict[tuple[str, Labels], dict[bytes, tuple[int, Numbers]]] = {}
        self._base: dict[tuple[str, Labels], Numbers] = {}
        self._latest: dict[tuple[str, Labels], dict[bytes, tuple[int, Numbers]]] = {}

    def take(self, points: Iterable[Point], now: int) -> Counter[str]:
        """Note points; what happened to them: ``points``, ``late``, ``conflicting`` with the metric's definition."""
        counts: Counter[str] = Counter()
        for point in points:
            counts[self._take(point, now)] += 1
        return counts

    def _take(self, point: Point, now: int) -> str:
        if point.time < now - WINDOW_NS:
            return "late"
        if self._measures.setdefault(point.measure.name, point.measure) != point.measure:
            return "conflicting"
        series, arrived = (point.measure.name, point.labels), (point.time, point.numbers)
        if not point.measure.grows:
            stream = point.stream if point.measure.instrument == "updowncounter" else b""
            latest = self._latest.setdefault(series, {})
            latest[stream] = max(arrived, latest.get(stream, arrived))
            return "points"
        streams = self._grown.setdefault(series, {})
        if (known := streams.get(point.stream)) is None:
            streams[point.stream] = arrived
            if point.start < now - WINDOW_NS:
                self._base[series] = plus(self._base.get(series), point.numbers, -1)
        else:
            greatest = tuple(map(max, known[1], point.numbers))
            streams[point.stream] = (max(known[0], point.time), greatest)
        return "points"

    def fold(self, now: int) -> None:
        """Add streams that have been silent for the window to the base, and forget them."""
        for series, streams in self._grown.items():
            for stream in [name for name, (time, _) in streams.items() if time < now - WINDOW_NS]:
                self._base[series] = plus(self._base.get(series), streams.pop(stream)[1])

    def totals(self, now: int) -> list[Total]:
        """Every series at ``now``, by name and then the oldest first."""
        found = []
        for since, ((name, labels), streams) in enumerate(self._grown.items()):
            numbers = self._base.get((name, labels))
            for _, more in streams.values():
                numbers = plus(numbers, more)
            if numbers is not None:
                found.append(Total(self._measures[name], labels, numbers, since))
        for (name, labels), latest in self._latest.items():
            measure = self._measures[name]
            alive = [
                value[0] for time, value in latest.values() if measure.instrument == "gauge" or time >= now - ALIVE_NS
            ]
            found.append(Total(measure, labels, (sum(alive),)))
        return sorted(found, key=lambda total: total.order)


def split(values: Iterable[Counted | Point]) -> tuple[list[Counted], list[Point]]:
    """What is counted once, and points of streams."""
    counted: list[Counted] = []
    points: list[Point] = []
    for value in values:
        points.append(value) if isinstance(value, Point) else counted.append(value)
    return counted, points


def plus(numbers: Numbers | None, more: Numbers, sign: int = 1) -> Numbers:
    """Numbers added up; None is nothing yet."""
    if numbers is None:
        return tuple(sign * number for number in more)
    return tuple(a + sign * b for a, b in zip(numbers, more, strict=True))
