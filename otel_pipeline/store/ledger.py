"""The engine's ledger as rows, within the transaction of ``connection``.

The statements that run once per span are compiled once and go to the driver as text: SQLAlchemy's own way costs four
times as much for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, literal_column, select
from sqlalchemy.dialects import sqlite

from otel_pipeline.store.rows import run_from, run_row, seen_row, stage_row
from otel_pipeline.store.tables import run_ids, runs, stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import BindParameter, ClauseElement, Connection

    from otel_pipeline.kpi.values import RunSeen
    from otel_pipeline.model import Run, Stage


def _compiled(statement: ClauseElement) -> tuple[str, tuple[str, ...]]:
    """A statement as the driver's text, and the names of its parameters in order."""
    compiled = statement.compile(dialect=sqlite.dialect())
    return str(compiled), tuple(getattr(compiled, "positiontup", None) or ())


_KEY: BindParameter[Any] = bindparam("key")
_SPAN: BindParameter[Any] = bindparam("span")
_ADD_STAGE, _STAGE_COLUMNS = _compiled(insert(stages).prefix_with("OR IGNORE"))
_PUT_RUN, _RUN_COLUMNS = _compiled(insert(runs).prefix_with("OR REPLACE"))
_RUN_ROW, _ = _compiled(select(runs).where(runs.c.run == _KEY, runs.c.span_id == _SPAN))
_LAST, _ = _compiled(select(runs.c.attempt).where(runs.c.run == _KEY, runs.c.final == literal_column("1")))
_ID, _ = _compiled(select(run_ids.c.id).where(run_ids.c.run_id == _KEY))
_ADD_ID, _ = _compiled(insert(run_ids).values(run_id=_KEY))
_ROW_NAMES = tuple(column.name for column in runs.c)


class SqlLedger:
    """A ``kpi.engine.Ledger``; for one transaction, since it remembers ids that a rollback would take away."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.connection.cursor()
        self._ids: dict[str, int] = {}

    def add_stage(self, key: str, stage: Stage) -> bool:
        """Note an ended stage; False when it was there."""
        row = stage_row(self._id(key), stage)
        return self._execute(_ADD_STAGE, _STAGE_COLUMNS, row) == 1

    def ended_run(self, key: str, span_id: str) -> Run | None:
        """The run with that span, as far as it has ended."""
        row = self._row(key, span_id)
        return run_from(row, key) if row is not None and row["result"] is not None else None

    def last_attempt(self, key: str) -> int:
        """The highest attempt that has ended; 0 when none has."""
        found = self._cursor.execute(_LAST, (self._id(key),)).fetchone()
        return int(found[0]) if found is not None else 0

    def ended_runs(self, key: str) -> Sequence[Run]:
        """All that have ended under that run id."""
        ended = select(runs).where(runs.c.run == self._id(key), runs.c.result.is_not(None))
        return [run_from(dict(row), key) for row in self._connection.execute(ended).mappings()]

    def put_run(self, key: str, run: Run) -> None:
        """Note an ended run, instead of what was known of that span."""
        last, known = self.last_attempt(key), self.ended_run(key, run.span_id)
        self._execute(_PUT_RUN, _RUN_COLUMNS, run_row(self._id(key), run, final=run.attempt >= last))
        if known is not None or run.attempt > last > 0:
            self._mark_final(key)

    def see_run(self, key: str, seen: RunSeen) -> bool:
        """Note a sign of life: the earliest start, the latest time with its open stages. False: nothing new."""
        row, known = seen_row(self._id(key), seen), self._row(key, seen.span_id)
        if known is not None:
            if known["result"] is not None:
                return False
            later = seen.time > known["seen"]
            new = {
                "started": min(seen.time, known["started"]),
                "seen": max(seen.time, known["seen"]),
                "details": row["details"] if later else known["details"],
                "pipeline": row["pipeline"] if later else known["pipeline"],
            }
            if all(known[name] == value for name, value in new.items()):
                return False
            row |= new
        self._execute(_PUT_RUN, _RUN_COLUMNS, row)
        return True

    def _mark_final(self, key: str) -> None:
        ended = (runs.c.run == self._id(key)) & runs.c.result.is_not(None)
        attempts = self._connection.scalars(select(runs.c.attempt).where(ended)).all()
        is_last = runs.c.attempt == max(attempts)
        for final, condition in ((1, is_last), (0, ~is_last)):
            self._connection.execute(runs.update().where(ended, condition).values(final=final))

    def _row(self, key: str, span_id: str) -> Mapping[str, Any] | None:
        found = self._cursor.execute(_RUN_ROW, (self._id(key), bytes.fromhex(span_id))).fetchone()
        return None if found is None else dict(zip(_ROW_NAMES, found, strict=True))

    def _id(self, key: str) -> int:
        if (known := self._ids.get(key)) is None:
            found = self._cursor.execute(_ID, (key,)).fetchone()
            known = found[0] if found is not None else self._cursor.execute(_ADD_ID, (key,)).lastrowid
            self._ids[key] = known
        return known

    def _execute(self, statement: str, columns: tuple[str, ...], row: Mapping[str, Any]) -> int:
        return int(self._cursor.execute(statement, tuple(row[name] for name in columns)).rowcount)
