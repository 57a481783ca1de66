"""Breaches as rows, and which pipelines to look at; within the transaction of ``connection``.

::

    Store.write ──► mark: changes + 1 ─┐
    the time ─────► next ──────────────┴─► waiting ─► judge ─► breach rows, and what they add to the sums

``judge`` first sets ``checked`` to ``changes``. That locks the pipeline's row: two processors look at a pipeline one
after the other, and what is written meanwhile raises ``changes`` afterwards, so that it is looked at again.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import case, func, or_, select, tuple_

from otel_pipeline.declaration import effective
from otel_pipeline.kpi.breaches import Change, Noted, facts_of, settled
from otel_pipeline.kpi.expectations import LOADED, judged
from otel_pipeline.kpi.silence import LEAST_NS
from otel_pipeline.kpi.values import run_key
from otel_pipeline.kpi.verdicts import Breach, History, records_by_run
from otel_pipeline.store.rows import ATTEMPT, RUNS, STAGES, attempt_from, declared_in, record_from, stage_from
from otel_pipeline.store.tables import REGULAR, UNTOLD, breaches, run_keys, runs, watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import ColumnElement, Connection, Select

    from otel_pipeline.declaration import Slo
    from otel_pipeline.kpi.engine import Engine
    from otel_pipeline.kpi.values import RunRecord
    from otel_pipeline.store.database import Database
    from otel_pipeline.store.sums import Sums

_COLUMNS = [column for column in breaches.c if column.name not in ("noted", "withdrawn", "untold")]
_ALSO_FOUND = 2
_STANDS = breaches.c.withdrawn.is_(None)
_ATTEMPTS = select(*ATTEMPT).join(run_keys, run_keys.c.id == runs.c.run)


class Untold(NamedTuple):
    """A breach whose state is to be told; where that never was, ``also_found`` says to tell first that it was found."""

    noted: Noted
    also_found: bool


def mark(database: Database, connection: Connection, pipelines: Iterable[str]) -> None:
    """There is something new of these pipelines."""
    database.merge(
        connection, watched, [(name, 1, 0) for name in sorted(pipelines)], ("pipeline", "changes", "checked")
    )


def news_in(connection: Connection, file: Mapping[str, str]) -> dict[str, str | None]:
    """What a config file says of pipelines and did not say before; None where it says nothing any more."""
    known = {row.pipeline: row.file for row in connection.execute(select(watched.c.pipeline, watched.c.file))}
    return {name: file.get(name) for name in {*file, *known} if file.get(name) != known.get(name)}


def take_in(database: Database, connection: Connection, news: Mapping[str, str | None], now: int) -> None:
    """Note what the file says from ``now`` on."""
    mark(database, connection, news)
    for name, text in sorted(news.items()):
        # Another processor may have read the same file a moment before.
        differs = watched.c.file.is_distinct_from(text)
        told = watched.update().where(watched.c.pipeline == name, differs)
        connection.execute(told.values(file=text, file_since=now))


def waiting(connection: Connection, now: int) -> list[str]:
    """The pipelines of which there is something new, or whose time has come."""
    due = or_(watched.c.changes > watched.c.checked, watched.c.next <= now)
    return list(connection.scalars(select(watched.c.pipeline).where(due).order_by(watched.c.pipeline)))


def judge(
    connection: Connection, engine: Engine, sums: Sums, pipeline: str, *, now: int
) -> tuple[list[Change], tuple[str, ...]]:
    """Look at a pipeline: what has changed, and lines about what was declared and cannot be used."""
    this = watched.c.pipeline == pipeline
    connection.execute(watched.update().where(this).values(checked=watched.c.changes))
    file, since = connection.execute(select(watched.c.file, watched.c.file_since).where(this)).one()
    verdict = judged(_history(connection, pipeline, file, since), now)
    connection.execute(watched.update().where(this).values(next=verdict.next))
    looked_at = breaches.c.about >= min(verdict.runs_since, verdict.due_since)
    still_open = _STANDS & breaches.c.resolved.is_(None)
    known = noted(connection, breaches.c.pipeline == pipeline, or_(looked_at, still_open))
    changes = settled(known, verdict, now)
    for change in changes:
        _put(connection, change)
    sums.apply(connection, engine.count(*facts_of(changes)), now)
    return changes, verdict.faults


def noted(connection: Connection, *conditions: ColumnElement[bool], most: int | None = None) -> list[Noted]:
    """Breaches, the latest first."""
    wanted = select(breaches).where(*conditions).order_by(breaches.c.since.desc(), breaches.c.kind, breaches.c.subject)
    rows = connection.execute(wanted.limit(most)).mappings()
    return [_noted(dict(row)) for row in rows]


def _noted(row: Mapping[str, Any]) -> Noted:
    breach = Breach(**{column.name: row[column.name] for column in _COLUMNS})
    return Noted(breach, row["noted"], row["withdrawn"])


def standing(connection: Connection, *conditions: ColumnElement[bool], most: int | None = None) -> list[Breach]:
    """Breaches that were not withdrawn, the latest first."""
    return [each.breach for each in noted(connection, _STANDS, *conditions, most=most)]


def untold(connection: Connection, most: int) -> list[Untold]:
    """Breaches whose state has not been told, at most so many, the earliest first."""
    rows = connection.execute(select(breaches).where(UNTOLD).order_by(breaches.c.since).limit(most)).mappings()
    return [Untold(_noted(dict(row)), also_found=row["untold"] == _ALSO_FOUND) for row in rows]


def place_of(each: Noted) -> tuple[str, str, str]:
    """What a breach is known by, in the order in which breaches are written."""
    return each.breach.pipeline, each.breach.kind, each.breach.subject


def told(connection: Connection, each: Noted) -> None:
    """It has been told; where it has turned meanwhile it stays due."""
    same = [
        column.is_(None) if value is None else column.is_not(None)
        for column, value in ((breaches.c.resolved, each.breach.resolved), (breaches.c.withdrawn, each.withdrawn))
    ]
    key = (breaches.c.pipeline, breaches.c.kind, breaches.c.subject)
    this = [column == value for column, value in zip(key, place_of(each), strict=True)]
    connection.execute(breaches.update().where(*this, *same).values(untold=0))


def open_by_kind(connection: Connection) -> dict[tuple[str, str], int]:
    """How many are not over, by pipeline and kind."""
    place = (breaches.c.pipeline, breaches.c.kind)
    wanted = select(*place, func.count()).where(_STANDS, breaches.c.resolved.is_(None)).group_by(*place)
    return {(pipeline, kind): number for pipeline, kind, number in connection.execute(wanted)}


def objectives_of(connection: Connection, details: Mapping[str, str | None]) -> dict[str, Slo]:
    """The objectives that hold: those of the file, else of each pipeline's latest run, whose ``details`` are given."""
    told = connection.execute(select(watched.c.pipeline, watched.c.file).where(watched.c.file.is_not(None)))
    file = {row.pipeline: row.file for row in told}
    found = {name: effective(declared_in(text), file.get(name)).slo for name, text in details.items()}
    return {name: slo for name, slo in found.items() if slo is not None}


def open_runs(connection: Connection, now: int) -> list[RunRecord]:
    """The runs without an end that said nothing for as long as the least patience."""
    silent = runs.c.result.is_(None) & (runs.c.seen < now - LEAST_NS)
    return [record_from(dict(row)) for row in connection.execute(RUNS.where(silent)).mappings()]


def heard(connection: Connection, now: int) -> int:
    """When the latest thing happened that is known of any run, by its own clock; none that is ahead of ``now``."""
    return int(connection.scalar(select(func.max(run_keys.c.last)).where(run_keys.c.last <= now)) or 0)


def forget(connection: Connection, horizon: int, most: int) -> int:
    """Remove at most ``most`` breaches that are older; returns how many."""
    key = (breaches.c.pipeline, breaches.c.kind, breaches.c.subject)
    old = select(*key).where(breaches.c.since < horizon).limit(most)
    return connection.execute(breaches.delete().where(tuple_(*key).in_(old))).rowcount


def _latest(wanted: Select[Any], pipeline: str) -> Select[Any]:
    """Of ``wanted``, which is made of runs and their keys, the runs that are judged."""
    regular = wanted.where(runs.c.pipeline == pipeline, REGULAR)
    return regular.order_by(runs.c.started.desc(), runs.c.span_id).limit(LOADED)


def _history(connection: Connection, pipeline: str, file: str | None, since: int | None) -> History:
    attempts = [attempt_from(row) for row in connection.execute(_latest(_ATTEMPTS, pipeline))]
    expected = [effective(attempt.declared, file).expect for attempt in attempts]
    if any(expect.records is not None or expect.learn is not None for expect in expected):
        records = _records(connection, pipeline)
        attempts = [replace(attempt, records=records.get(attempt.subject)) for attempt in attempts]
    return History(pipeline, attempts, file, since)


def _records(connection: Connection, pipeline: str) -> dict[str, int | None]:
    found = [record_from(dict(row)) for row in connection.execute(_latest(RUNS, pipeline)).mappings()]
    keys = sorted({run_key(record) for record in found})
    rows = connection.execute(STAGES.where(run_keys.c.key.in_(keys))).mappings()
    return records_by_run(found, ((row["key"], stage_from(dict(row))) for row in rows))


def _put(connection: Connection, change: Change) -> None:
    each = change.noted
    row: dict[str, Any] = {**asdict(each.breach), "noted": each.noted, "withdrawn": each.withdrawn}
    key = {name: row.pop(name) for name in ("pipeline", "kind", "subject")}
    this = [breaches.c[name] == value for name, value in key.items()]
    # No other transaction is at this pipeline's breaches: its row is locked.
    due = {"untold": case((breaches.c.untold == _ALSO_FOUND, _ALSO_FOUND), else_=1)} if change.turned else {}
    if not connection.execute(breaches.update().where(*this).values(**row, **due)).rowcount:
        connection.execute(breaches.insert().values(**key, **row, untold=_ALSO_FOUND))
