"""How many runs ended on each day, by pipeline and result: what counts over long windows are made of.

::

    after                                                        until
      ├─ run rows ─┤─ day ─┼─ day ─┼─ day ─┼─ … ─┼─ day ─┤─ run rows ─┤

Only the pieces of days at the ends of a window are counted run by run, so that a window of a million runs is a few
thousand rows. The days are UTC's. They are added to with the runs, in the same transaction, and stay exact: a run that
ends in another way, or after which there was another attempt, moves from one row to another, and one that is forgotten
is taken out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, func, select

from otel_pipeline.kpi.times import DAY_NS
from otel_pipeline.semconv.attributes import RUN_RESULTS
from otel_pipeline.store.tables import daily, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Select, Table

    from otel_pipeline.kpi.slo import Span
    from otel_pipeline.kpi.values import RunRecord
    from otel_pipeline.store.database import Database

_AT_ONCE = 500


class Cell(NamedTuple):
    """A row's key. ``final``: 1 for last attempts."""

    pipeline: str
    day: int
    final: int
    backfill: int
    result: str


class Which(NamedTuple):
    """Which runs are counted: last attempts that are no backfills, and where asked for these too."""

    retries: bool = False
    backfills: bool = False

    def among(self, table: Table) -> ColumnElement[bool]:
        """The condition on rows of ``run`` or ``daily``."""
        return table.c.final.in_(self.finals) & table.c.backfill.in_((0, 1) if self.backfills else (0,))

    @property
    def finals(self) -> tuple[int, ...]:
        """By ``final``."""
        return (0, 1) if self.retries else (1,)


def cells(records: Iterable[RunRecord]) -> Iterator[Cell]:
    """Where each run that has ended is counted."""
    for record in records:
        if record.run is not None and record.run.result in RUN_RESULTS:
            run = record.run
            yield Cell(record.pipeline, run.ended // DAY_NS, int(not record.superseded), int(run.backfill), run.result)


def add(database: Database, connection: Connection, moved: Counter[Cell]) -> None:
    """Add runs, or take them out where the number is negative."""
    database.merge(connection, daily, [(*cell, number) for cell, number in sorted(moved.items()) if number])


def take_out(database: Database, connection: Connection, keys: Sequence[int], horizon: int) -> None:
    """Take out the runs under ``keys``, which are about to be removed, and old days that are empty."""
    place = (runs.c.pipeline, runs.c.ended, runs.c.final, runs.c.backfill, runs.c.result)
    gone = connection.execute(select(*place).where(runs.c.run.in_(keys), runs.c.result.in_(RUN_RESULTS)))
    add(database, connection, Counter({cell: -number for cell, number in Counter(map(_cell, gone)).items()}))
    connection.execute(delete(daily).where(daily.c.day < horizon // DAY_NS, daily.c.runs == 0))


def portions(pipelines: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many pipelines as one statement names: databases bound its parameters."""
    for start in range(0, len(pipelines), _AT_ONCE):
        yield pipelines[start : start + _AT_ONCE]


def counted(connection: Connection, pipelines: Sequence[str], span: Span, which: Which) -> dict[str, Counter[str]]:
    """How many runs of each pipeline ended in ``span``, by result."""
    found: dict[str, Counter[str]] = {pipeline: Counter() for pipeline in pipelines}
    for portion in portions(pipelines):
        for statement in _statements(portion, span, which):
            for pipeline, result, number in connection.execute(statement):
                found[pipeline][result] += int(number)
    return found


def _statements(pipelines: Sequence[str], span: Span, which: Which) -> Iterator[Select[Any]]:
    """The whole days within the span, and what is before and after them."""
    first, last = span.after // DAY_NS + 1, (span.until + 1) // DAY_NS - 1
    if first > last:
        yield _by_run(pipelines, span.after, span.until, which)
        return
    place = (daily.c.pipeline, daily.c.result)
    days = select(*place, func.sum(daily.c.runs)).where(daily.c.pipeline.in_(pipelines), which.among(daily))
    yield days.where(daily.c.day >= first, daily.c.day <= last).group_by(*place)
    for after, until in ((span.after, first * DAY_NS - 1), ((last + 1) * DAY_NS - 1, span.until)):
        if after < until:
            yield _by_run(pipelines, after, until, which)


def _by_run(pipelines: Sequence[str], after: int, until: int, which: Which) -> Select[Any]:
    place = (runs.c.pipeline, runs.c.result)
    # All that the index begins with is named, so that of each pipeline only the times that are asked for are read.
    these = runs.c.pipeline.in_(pipelines) & which.among(runs) & runs.c.result.in_(RUN_RESULTS)
    return select(*place, func.count()).where(these, runs.c.ended > after, runs.c.ended <= until).group_by(*place)


def _cell(row: Any) -> Cell:
    pipeline, ended, *rest = row
    return Cell(pipeline, ended // DAY_NS, *rest)
