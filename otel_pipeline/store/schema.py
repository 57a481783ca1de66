"""The schema's version, and the way from each to the next.

A store of an earlier version is brought up step by step, in one transaction; one of a later version is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect, literal, select, text

from otel_pipeline.store.errors import StoreError
from otel_pipeline.store.tables import COUNTS, FORWARD, NUMBERS, lease, meta, metadata, runs, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

VERSION = 2


def _from_0(connection: Connection) -> None:
    # Version 0 is an empty database, and this the only step that leads to the present version at once.
    metadata.create_all(connection)
    _add_lease(connection)


def _from_1(connection: Connection) -> None:
    # Only SQLite has stores of version 1. What its rows repeated of their run is left out: docs/store.md.
    for index in ("run_by_pipeline", "run_by_result", "run_by_seen", "stage_by_end", "checked_by_end"):
        connection.execute(text(f"DROP INDEX {index}"))
    for table in ("run", "stage", "sum", "checked", "watermark"):
        connection.execute(text(f"ALTER TABLE {table} RENAME TO old_{table}"))
    metadata.create_all(connection, tables=[table for table in metadata.sorted_tables if table is not meta])
    _add_lease(connection)
    for statement in _MOVE:
        connection.execute(text(statement))
    for table in ("run", "stage", "sum", "checked", "watermark"):
        connection.execute(text(f"DROP TABLE old_{table}"))
    connection.execute(text("DROP TABLE run_id"))
    known = select(runs.c.pipeline, literal(1), literal(0)).distinct()
    connection.execute(watched.insert().from_select(["pipeline", "changes", "checked"], known))


_DETAILS = "nullif(json_remove({details}, '$.{column}'), '{{}}')"
_OTHER_TRACE = (
    "CASE WHEN old.trace_id = k.trace_id THEN old.details"
    " ELSE json_set(old.details, '$.trace_id', lower(hex(old.trace_id))) END"
)
_OTHER_PIPELINE = (
    f"CASE WHEN old.pipeline IS k.pipeline THEN {_OTHER_TRACE}"
    f" ELSE json_set({_OTHER_TRACE}, '$.pipeline', old.pipeline) END"
)
_DURATIONS = ", ".join(f"CAST(round({name} * 1e9) AS INTEGER)" for name in ("self_time", "wait_time"))
_COUNTED = ", ".join(f"records_{name}" for name in COUNTS)
_HISTOGRAM = ", ".join(f"CASE WHEN width > {number} THEN {name} END" for number, name in enumerate(NUMBERS) if number)
_MOVE = (
    """
    INSERT INTO run_key (id, "key", trace_id, pipeline, last)
    SELECT id, run_id, trace_id, pipeline, max(last) FROM (
      SELECT run, trace_id, pipeline, seen AS last FROM old_run
      UNION ALL SELECT run, trace_id, pipeline, ended FROM old_stage
    ) JOIN run_id ON id = run GROUP BY id
    """,
    f"""
    INSERT INTO run
    SELECT run, span_id, old.pipeline, attempt, result, started, ended, CASE WHEN result IS NULL THEN seen END,
      final, 0, json_extract(old.details, '$.self_time'), {_DETAILS.format(details=_OTHER_TRACE, column="self_time")}
    FROM old_run AS old JOIN run_key AS k ON k.id = run
    """,
    f"""
    INSERT INTO stage
    SELECT run, span_id, name, json_extract(old.details, '$.kind'), nullif(result, 'success'), started,
      ended - started, {_DURATIONS}, {_COUNTED}, {_DETAILS.format(details=_OTHER_PIPELINE, column="kind")}
    FROM old_stage AS old JOIN run_key AS k ON k.id = run
    """,
    """
    INSERT INTO daily SELECT pipeline, ended / 86400000000000, final, backfill, result, count(*)
    FROM run WHERE result IS NOT NULL GROUP BY 1, 2, 3, 4, 5
    """,
    f"INSERT INTO sum SELECT kpi, labels, created, value, {_HISTOGRAM} FROM old_sum",
    "INSERT INTO checked SELECT * FROM old_checked",
    "INSERT INTO watermark SELECT * FROM old_watermark",
)


def _add_lease(connection: Connection) -> None:
    # There from the start, so that it can be locked: two that find none would both make one.
    connection.execute(lease.insert().values(name=FORWARD, holder="", until=0, last=0))


STEPS: Mapping[int, Callable[[Connection], None]] = {0: _from_0, 1: _from_1}
"""What makes the next version of each."""


def version_of(connection: Connection) -> int:
    """The version of the schema that is there; 0 where there is none."""
    if not inspect(connection).has_table(meta.name):
        return 0
    return int(connection.scalar(select(meta.c.value).where(meta.c.name == "schema")) or 0)


def upgrade(
    connection: Connection, *, steps: Mapping[int, Callable[[Connection], None]] = STEPS, to: int = VERSION
) -> None:
    """Bring the schema to version ``to``. Raises StoreError for a store of a later version."""
    found = version_of(connection)
    if found > to:
        raise StoreError(f"the store has schema {found}, want {to} or less: it is of a later version of otel_pipeline")
    for version in range(found, to) if found else (0,):
        steps[version](connection)
    if found < to:
        connection.execute(meta.delete().where(meta.c.name == "schema"))
        connection.execute(meta.insert().values(name="schema", value=str(to)))
