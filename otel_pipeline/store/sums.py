"""The sums as rows: what an update adds, and all that there is. Rows are written in the order of their keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert

from otel_pipeline.kpi.cardinality import bounded, overflow_of
from otel_pipeline.kpi.engine import Series
from otel_pipeline.store.tables import NUMBERS, checked, sums, taken, watermarks

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from sqlalchemy import Connection, Table

    from otel_pipeline.kpi.engine import Tally, Updates

_MOST = 2**63 - 1


def apply(connection: Connection, updates: Updates, now: int) -> Counter[str]:
    """Add ``updates``; how many additions went to overflow series, by KPI."""
    kept, overflowed = bounded(
        updates.sums, lambda series: _exists(connection, series), lambda kpi: _size(connection, kpi)
    )
    _add_sums(connection, sums, kept, now)
    # Where a series went to the overflow, so did what is now taken back of it.
    _add_sums(connection, taken, _moved(updates.taken, kept), now)
    _add_checked(connection, updates.checked)
    _raise_watermarks(connection, updates.watermarks)
    return overflowed


def all_sums(connection: Connection, table: Table = sums) -> dict[Series, list[int]]:
    """Every series and its numbers."""
    found: dict[Series, list[int]] = {}
    for row in connection.execute(select(table)).mappings():
        found[Series(row["kpi"], tuple(json.loads(row["labels"])))] = [row[name] for name in NUMBERS[: row["width"]]]
    return found


def _exists(connection: Connection, series: Series) -> bool:
    there = select(sums.c.kpi).where(sums.c.kpi == series.kpi, sums.c.labels == json.dumps(series.labels))
    return connection.scalar(there) is not None


def _size(connection: Connection, kpi: str) -> int:
    return int(connection.scalar(select(func.count()).where(sums.c.kpi == kpi)) or 0)


def _moved(amounts: Mapping[Series, list[int]], kept: Mapping[Series, object]) -> dict[Series, list[int]]:
    found: dict[Series, list[int]] = {}
    for series, numbers in amounts.items():
        place = series if series in kept else overflow_of(series)
        before = found.get(place, [0] * len(numbers))
        found[place] = [total + number for total, number in zip(before, numbers, strict=True)]
    return found


def _add_sums(connection: Connection, table: Table, amounts: Mapping[Series, list[int]], now: int) -> None:
    statement = insert(table)
    added = {name: table.c[name] + statement.excluded[name] for name in NUMBERS}
    statement = statement.on_conflict_do_update(index_elements=["kpi", "labels"], set_=added)
    rows = [
        {
            "kpi": series.kpi,
            "labels": json.dumps(series.labels),
            "width": len(numbers),
            "created": now,
            **dict.fromkeys(NUMBERS, 0),
            **dict(zip(NUMBERS, map(_in_range, numbers), strict=False)),
        }
        for series, numbers in sorted(amounts.items())
    ]
    if rows:
        connection.execute(statement, rows)


def _add_checked(connection: Connection, tallies: Mapping[Tally, list[int]]) -> None:
    statement = insert(checked)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["dataset", "run_id"],
        set_={
            "passed": checked.c.passed + new.passed,
            "failed": checked.c.failed + new.failed,
            "ended": func.max(checked.c.ended, new.ended),
        },
    )
    rows = [
        {"dataset": tally.dataset, "run_id": tally.run, "passed": passed, "failed": failed, "ended": ended}
        for tally, (passed, failed, ended) in sorted(tallies.items())
    ]
    if rows:
        connection.execute(statement, rows)


def _raise_watermarks(connection: Connection, newest: Mapping[str, int]) -> None:
    statement = insert(watermarks)
    latest = func.max(watermarks.c.newest, statement.excluded.newest)
    statement = statement.on_conflict_do_update(index_elements=["dataset"], set_={"newest": latest})
    rows = [{"dataset": dataset, "newest": watermark} for dataset, watermark in sorted(newest.items())]
    if rows:
        connection.execute(statement, rows)


def _in_range(number: int) -> int:
    return max(-_MOST, min(number, _MOST))
