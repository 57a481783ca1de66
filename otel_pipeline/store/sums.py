"""The sums as rows: what an update adds, and all that there is. Rows are written in the order of their keys."""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from otel_pipeline.kpi.cardinality import MOST_SERIES, bounded, overflow_of
from otel_pipeline.kpi.engine import Series
from otel_pipeline.store.tables import NUMBERS, checked, sums, taken, watermarks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection, Table

    from otel_pipeline.kpi.engine import Updates
    from otel_pipeline.store.database import Database

_MOST = 2**63 - 1
_IDENTITY = ("kpi", "labels", "created")
_GRANT = 500
_MOST_KNOWN = 50_000


class Applied(NamedTuple):
    """What ``Sums.apply`` has done: the series that are there now, and how many additions overflowed, by KPI."""

    series: Collection[Series]
    overflowed: Counter[str]


class Sums:
    """Adds updates, within the bound on series; remembers what is there, so that it seldom has to ask or to write.

    What it remembers holds for every later transaction too: series are never removed.
    """

    def __init__(self, database: Database, most: int = MOST_SERIES) -> None:
        self._database = database
        self._most = most
        self._known: set[Series] = set()
        self._room: dict[str, int] = {}
        self._full: dict[str, frozenset[Series]] = {}

    def apply(self, connection: Connection, updates: Updates, now: int) -> Applied:
        """Add ``updates``; tell ``committed`` what this returns when that is done."""
        kept, overflowed = self._bounded(connection, updates.sums)
        # Where nothing is added to a series that is there, others need not wait for its row.
        moved = {series: numbers for series, numbers in kept.items() if any(numbers) or series not in self._known}
        self._add(connection, sums, moved, now)
        # Where a series went to the overflow, so did what is now taken back of it.
        self._add(connection, taken, _moved(updates.taken, kept), now)
        self._database.merge(connection, checked, [(*tally, *told) for tally, told in sorted(updates.checked.items())])
        self._database.merge(connection, watermarks, sorted(updates.watermarks.items()))
        return Applied(kept, overflowed)

    def committed(self, applied: Applied) -> None:
        """The transaction in which that was applied is committed."""
        if len(self._known) > _MOST_KNOWN:
            self._known = set()
        self._known.update(applied.series)

    def _bounded(
        self, connection: Connection, amounts: Mapping[Series, list[int]]
    ) -> tuple[Mapping[Series, list[int]], Counter[str]]:
        new = Counter(series.kpi for series in amounts if series not in self._known)
        if all(number <= self._room.get(kpi, 0) for kpi, number in new.items()):
            self._room.update((kpi, self._room[kpi] - number) for kpi, number in new.items())
            return amounts, Counter()
        touched = Counter(series.kpi for series in amounts)
        sizes = {kpi: self._size(connection, kpi) for kpi in touched}
        kept, overflowed = bounded(amounts, lambda kpi: self._existing(connection, kpi, sizes[kpi]), sizes, self._most)
        # Several processors may grow a KPI at the same time, so each takes only so much at once.
        grown = {kpi: min(self._most - size - touched[kpi], _GRANT) for kpi, size in sizes.items()}
        self._room.update((kpi, max(room, 0)) for kpi, room in grown.items())
        return kept, overflowed

    def _size(self, connection: Connection, kpi: str) -> int:
        if kpi in self._full:
            return self._most
        return int(connection.scalar(select(func.count()).where(sums.c.kpi == kpi)) or 0)

    def _existing(self, connection: Connection, kpi: str, size: int) -> frozenset[Series]:
        if (known := self._full.get(kpi)) is not None:
            return known
        texts = connection.scalars(select(sums.c.labels).where(sums.c.kpi == kpi))
        found = frozenset(Series(kpi, labels_of(text)) for text in texts)
        if size >= self._most:
            self._full[kpi] = found
        return found

    def _add(self, connection: Connection, table: Table, amounts: Mapping[Series, list[int]], now: int) -> None:
        by_width: dict[int, list[tuple[str | int, ...]]] = {}
        for series in sorted(amounts):
            numbers = amounts[series]
            if numbers[0] > _MOST or numbers[0] < -_MOST:
                numbers = [max(-_MOST, min(numbers[0], _MOST)), *numbers[1:]]
            by_width.setdefault(len(numbers), []).append((series.kpi, text_of(series.labels), now, *numbers))
        for width, rows in sorted(by_width.items()):
            self._database.merge(connection, table, rows, _IDENTITY + NUMBERS[:width])


def all_sums(connection: Connection, table: Table = sums) -> dict[Series, list[int]]:
    """Every series and its numbers."""
    cursor = connection.connection.cursor()  # the driver's: SQLAlchemy's rows cost as much again
    cursor.execute(f"SELECT kpi, labels, {', '.join(NUMBERS)} FROM {table.name}")
    return {
        Series(kpi, labels_of(labels)): numbers[: numbers.index(None)] if None in numbers else numbers
        for kpi, labels, *numbers in cursor.fetchall()
    }


def _moved(amounts: Mapping[Series, list[int]], kept: Mapping[Series, object]) -> dict[Series, list[int]]:
    found: dict[Series, list[int]] = {}
    for series, numbers in amounts.items():
        place = series if series in kept else overflow_of(series)
        before = found.get(place, [0] * len(numbers))
        found[place] = [total + number for total, number in zip(before, numbers, strict=True)]
    return found


@lru_cache(maxsize=_MOST_KNOWN)
def text_of(labels: tuple[str, ...]) -> str:
    """A series's labels as they are stored."""
    return json.dumps(labels)


@lru_cache(maxsize=_MOST_KNOWN)
def labels_of(text: str) -> tuple[str, ...]:
    """A series's labels, as they were stored."""
    return tuple(json.loads(text))
