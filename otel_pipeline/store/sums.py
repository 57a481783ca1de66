"""The sums as rows: what an update adds, and all that there is. Rows are written in the order of their keys."""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from otel_pipeline.kpi.cardinality import MOST_SERIES, bounded, overflow_of
from otel_pipeline.kpi.engine import Series
from otel_pipeline.store.tables import NUMBERS, checked, sums, taken, watermarks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Table

    from otel_pipeline.kpi.engine import Updates
    from otel_pipeline.store.database import Database

_MOST = 2**63 - 1
_IDENTITY = ("kpi", "labels", "created")
_GRANT = 500


class Sums:
    """Adds updates, within the bound on series; remembers how much room each KPI has, so that it seldom has to ask.

    What it remembers holds for every later transaction too: series are never removed.
    """

    def __init__(self, database: Database, most: int = MOST_SERIES) -> None:
        self._database = database
        self._most = most
        self._room: dict[str, int] = {}
        self._full: dict[str, frozenset[Series]] = {}

    def apply(self, connection: Connection, updates: Updates, now: int) -> Counter[str]:
        """Add ``updates``; how many additions went to overflow series, by KPI."""
        kept, overflowed = self._bounded(connection, updates.sums)
        self._add(connection, sums, kept, now)
        # Where a series went to the overflow, so did what is now taken back of it.
        self._add(connection, taken, _moved(updates.taken, kept), now)
        self._database.merge(connection, checked, [(*tally, *told) for tally, told in sorted(updates.checked.items())])
        self._database.merge(connection, watermarks, sorted(updates.watermarks.items()))
        return overflowed

    def _bounded(
        self, connection: Connection, amounts: Mapping[Series, list[int]]
    ) -> tuple[Mapping[Series, list[int]], Counter[str]]:
        touched = Counter(series.kpi for series in amounts)
        if all(number <= self._room.get(kpi, 0) for kpi, number in touched.items()):
            self._room.update((kpi, self._room[kpi] - number) for kpi, number in touched.items())
            return amounts, Counter()
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
        found = frozenset(Series(kpi, tuple(json.loads(text))) for text in texts)
        if size >= self._most:
            self._full[kpi] = found
        return found

    def _add(self, connection: Connection, table: Table, amounts: Mapping[Series, list[int]], now: int) -> None:
        by_width: dict[int, list[tuple[str | int, ...]]] = {}
        for series in sorted(amounts):
            numbers = amounts[series]
            if numbers[0] > _MOST or numbers[0] < -_MOST:
                numbers = [max(-_MOST, min(numbers[0], _MOST)), *numbers[1:]]
            by_width.setdefault(len(numbers), []).append((series.kpi, _text(series.labels), now, *numbers))
        for width, rows in sorted(by_width.items()):
            self._database.merge(connection, table, rows, _IDENTITY + NUMBERS[:width])


def all_sums(connection: Connection, table: Table = sums) -> dict[Series, list[int]]:
    """Every series and its numbers."""
    found: dict[Series, list[int]] = {}
    for kpi, labels, *numbers in connection.execute(select(*(table.c[name] for name in ("kpi", "labels", *NUMBERS)))):
        found[Series(kpi, tuple(json.loads(labels)))] = [number for number in numbers if number is not None]
    return found


def _moved(amounts: Mapping[Series, list[int]], kept: Mapping[Series, object]) -> dict[Series, list[int]]:
    found: dict[Series, list[int]] = {}
    for series, numbers in amounts.items():
        place = series if series in kept else overflow_of(series)
        before = found.get(place, [0] * len(numbers))
        found[place] = [total + number for total, number in zip(before, numbers, strict=True)]
    return found


@lru_cache(maxsize=20_000)
def _text(labels: tuple[str, ...]) -> str:
    return json.dumps(labels)
