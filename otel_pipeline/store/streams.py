"""Streams as rows (``kpi/streams.py``): each is as large as it was ever seen, and a series is the sum of its streams.

::

    points ─► stream  one row for each process, labels and start; numbers only grow
                 │ silent for a week
                 ▼
              base    one row for each series: what was folded, added up

Every series has a base from the beginning, of 0: it is what tells that the series is there, and since when.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, tuple_

from otel_pipeline.kpi.cardinality import MOST_SERIES
from otel_pipeline.kpi.streams import ALIVE_NS, WINDOW_NS, Measure, Total, plus
from otel_pipeline.semconv.operations import OVERFLOW
from otel_pipeline.store.sums import labels_of, text_of
from otel_pipeline.store.tables import NUMBERS, bases, latest, measures, streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from otel_pipeline.kpi.streams import Labels, Numbers, Point
    from otel_pipeline.store.database import Database

_FOLDED_AT_ONCE = 300  # three parameters each, and old versions of SQLite take 999
_KEY = tuple_(streams.c.kpi, streams.c.labels, streams.c.stream)


class StreamRows:
    """Notes points, within a bound on the series of each metric; remembers which metrics and series there are."""

    def __init__(self, database: Database, most: int = MOST_SERIES) -> None:
        self._database = database
        self._most = most
        self._measures: dict[str, Measure] = {}
        self._known: dict[str, set[str]] = {}

    def reset(self) -> None:
        """Remember nothing; what was learnt in a transaction that has failed is not so."""
        self._measures.clear()
        self._known.clear()

    def take(self, connection: Connection, points: Sequence[Point], now: int) -> Counter[str]:
        """Note points; what happened to them, as ``kpi.streams.Streams.take`` counts it, and ``overflowed``."""
        counts: Counter[str] = Counter()
        if not points:
            return counts
        usable = []
        self._define(connection, points)
        for point in sorted(points, key=lambda point: (point.measure.name, point.labels, point.stream, point.time)):
            if point.time < now - WINDOW_NS:
                counts["late"] += 1
            elif self._measures[point.measure.name] != point.measure:
                counts["conflicting"] += 1
            else:
                usable.append((point, self._labels(connection, point, counts)))
        self._add(connection, usable, now)
        counts["points"] += len(usable)
        return counts

    def _add(self, connection: Connection, usable: Sequence[tuple[Point, str]], now: int) -> None:
        grown: dict[int, dict[tuple[Any, ...], tuple[Any, ...]]] = {}
        old: dict[tuple[Any, ...], Point] = {}
        measured: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for point, labels in usable:
            key = (point.measure.name, labels, point.stream)
            if not point.measure.grows:
                if point.measure.instrument == "gauge":
                    key = (*key[:2], b"")
                newest = measured.get(key)
                if newest is None or (point.time, point.numbers) > (newest[3], newest[4:]):
                    measured[key] = (*key, point.time, *point.numbers)
                continue
            rows = grown.setdefault(len(point.numbers), {})
            before = rows.get(key, (*key, point.time, *point.numbers))
            rows[key] = (*key, *map(max, before[3:], (point.time, *point.numbers)))
            if point.start < now - WINDOW_NS:
                old.setdefault(key, point)
        for width, rows in sorted(grown.items()):
            begun = sorted({(*key[:2], now, *(0.0,) * width) for key in rows})
            self._database.merge(connection, bases, begun, ("kpi", "labels", "created", *NUMBERS[:width]))
            self._begin_late(connection, {key: old[key] for key in rows if key in old}, width)
            columns = ("kpi", "labels", "stream", "time", *NUMBERS[:width])
            self._database.merge(connection, streams, sorted(rows.values()), columns)
        self._database.merge(connection, latest, sorted(measured.values()))

    def _begin_late(self, connection: Connection, old: dict[tuple[Any, ...], Point], width: int) -> None:
        """A stream that is new here and began before the window counts from what it has: the base gets that less."""
        if not old:
            return
        empty = (None,) * (len(NUMBERS) - width)
        rows = [(*key, point.time, *point.numbers, *empty) for key, point in sorted(old.items())]
        new = self._database.add_new(connection, streams, rows)
        less: dict[tuple[str, str], Numbers] = {}
        for name, labels, stream in new:
            less[name, labels] = plus(less.get((name, labels)), old[name, labels, stream].numbers, -1)
        _add(self._database, connection, less)

    def _define(self, connection: Connection, points: Iterable[Point]) -> None:
        """Know what every metric among them is: the definition that was first committed."""
        new = {point.measure.name: point.measure for point in points if point.measure.name not in self._measures}
        if new:
            rows = [(m.name, m.instrument, m.unit, m.description, json.dumps(m.bounds)) for m in new.values()]
            self._database.add_new(connection, measures, sorted(rows))
            self._measures |= {name: found for name, found in defined(connection).items() if name in new}

    def _labels(self, connection: Connection, point: Point, counts: Counter[str]) -> str:
        name = point.measure.name
        text = _text(point.labels)
        if (known := self._known.get(name)) is None:
            table = bases if point.measure.grows else latest
            known = self._known[name] = set(connection.scalars(select(table.c.labels).where(table.c.kpi == name)))
        if text not in known:
            if len(known) >= self._most:
                counts["overflowed"] += 1
                return _text(tuple((key, OVERFLOW) for key, _ in point.labels))
            known.add(text)
        return text


def defined(connection: Connection) -> dict[str, Measure]:
    """Every metric by name."""
    return {
        row["name"]: Measure(
            row["name"], row["instrument"], row["unit"], row["description"], tuple(json.loads(row["bounds"]))
        )
        for row in connection.execute(select(measures)).mappings()
    }


def totals(connection: Connection, now: int) -> list[Total]:
    """Every series at ``now``, by name and then the oldest first."""
    known = defined(connection)
    summed = select(
        streams.c.kpi, streams.c.labels, *(func.sum(streams.c[name]).label(name) for name in NUMBERS)
    ).group_by(streams.c.kpi, streams.c.labels)
    living = {(row[0], row[1]): row[2:] for row in connection.execute(summed)}
    found = []
    for name, labels, since, *numbers in connection.execute(
        select(bases.c.kpi, bases.c.labels, bases.c.created, *(bases.c[name] for name in NUMBERS))
    ):
        more = living.get((name, labels)) or (0.0,) * len(numbers)
        found.append(Total(known[name], _pairs(labels), tuple(
            number + (added or 0.0) for number, added in zip(numbers, more, strict=True) if number is not None
        ), since))  # fmt: skip
    measured: dict[tuple[str, str], float] = {}
    for name, labels, time, value in connection.execute(
        select(latest.c.kpi, latest.c.labels, latest.c.time, latest.c.value)
    ):
        if known[name].instrument == "gauge" or time >= now - ALIVE_NS:
            measured[name, labels] = measured.get((name, labels), 0.0) + value
    found += [Total(known[name], _pairs(labels), (value,)) for (name, labels), value in measured.items()]
    return sorted(found, key=lambda total: total.order)


def fold(database: Database, connection: Connection, now: int) -> int:
    """Add some of the streams that have been silent for the window to their bases; how many."""
    silent = select(streams).where(streams.c.time < now - WINDOW_NS).order_by(streams.c.time).limit(_FOLDED_AT_ONCE)
    rows = sorted(connection.execute(silent.with_for_update(skip_locked=True)).all())
    more: dict[tuple[str, str], Numbers] = {}
    for name, labels, _, _, *numbers in rows:
        more[name, labels] = plus(more.get((name, labels)), tuple(number for number in numbers if number is not None))
    _add(database, connection, more)
    connection.execute(delete(streams).where(_KEY.in_([row[:3] for row in rows])))
    gone = latest.c.kpi.in_(select(measures.c.name).where(measures.c.instrument == "updowncounter"))
    connection.execute(delete(latest).where(gone, latest.c.time < now - WINDOW_NS))
    return len(rows)


def _add(database: Database, connection: Connection, amounts: Mapping[tuple[str, str], Numbers]) -> None:
    by_width: dict[int, list[tuple[str | float, ...]]] = {}
    for series, numbers in sorted(amounts.items()):
        by_width.setdefault(len(numbers), []).append((*series, 0, *numbers))
    for width, rows in sorted(by_width.items()):
        database.merge(connection, bases, rows, ("kpi", "labels", "created", *NUMBERS[:width]))


def _text(labels: Labels) -> str:
    return text_of(tuple(chain.from_iterable(labels)))


def _pairs(text: str) -> Labels:
    found = labels_of(text)
    return tuple(zip(found[::2], found[1::2], strict=True))
