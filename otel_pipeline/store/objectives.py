"""How much was good of an objective, counted in the rows of runs and stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, func, select

from otel_pipeline.kpi import slo
from otel_pipeline.store.tables import FINAL, REGULAR, runs, stages

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from otel_pipeline.declaration import Objective, Slo


def tallied(connection: Connection, pipeline: str, declared: Slo, now: int) -> list[slo.Tallied]:
    """Each objective of a pipeline, over all that its figures are made of."""
    spans = slo.spans(declared, now).items()
    every = runs.c.pipeline == pipeline
    if not declared.backfills:
        every &= REGULAR
    counted = every if declared.retries else every & FINAL
    return [
        slo.Tallied(objective, {name: _tally(connection, every, counted, objective, span) for name, span in spans})
        for objective in declared.objectives
    ]


def _tally(
    connection: Connection,
    every: ColumnElement[bool],
    counted: ColumnElement[bool],
    objective: Objective,
    span: slo.Span,
) -> slo.Tally:
    if objective.name == "freshness":
        return _fresh(connection, counted, objective, span)
    if objective.name == "errors":
        return _records(connection, every, span)
    ended = counted & (runs.c.ended > span.after) & (runs.c.ended <= span.until)
    good = ended & (runs.c.result == slo.GOOD)
    if objective.limit is not None:
        fast = good & (runs.c.ended - runs.c.started < objective.limit)
        return slo.Tally(_count(connection, fast), _count(connection, good))
    number = _count(connection, good)
    return slo.Tally(number, number + _count(connection, ended & runs.c.result.in_(slo.BAD)))


def _fresh(connection: Connection, counted: ColumnElement[bool], objective: Objective, span: slo.Span) -> slo.Tally:
    good = counted & (runs.c.result == slo.GOOD)
    before = connection.scalar(select(func.max(runs.c.ended)).where(good, runs.c.ended <= span.after))
    within = good & (runs.c.ended > span.after) & (runs.c.ended <= span.until)
    ends = list(connection.scalars(select(runs.c.ended).where(within).order_by(runs.c.ended)))
    return slo.fresh(ends if before is None else [before, *ends], objective.limit or 0, span)


def _records(connection: Connection, every: ColumnElement[bool], span: slo.Span) -> slo.Tally:
    # By the runs, whose rows are found by pipeline and time; the stages of each lie together.
    of_runs = select(runs.c.run).where(
        every,
        runs.c.result.is_not(None),
        runs.c.ended > span.after,
        runs.c.ended <= span.until,
    )
    ended = stages.c.started + stages.c.duration
    numbers: Any = select(func.sum(stages.c.records_out), func.sum(stages.c.records_failed))
    within = numbers.where(stages.c.run.in_(of_runs), ended > span.after, ended <= span.until)
    out, failed = connection.execute(within).one()
    return slo.Tally(int(out or 0), int(out or 0) + int(failed or 0))


def _count(connection: Connection, condition: ColumnElement[bool]) -> int:
    return int(connection.scalar(select(func.count()).select_from(runs).where(condition)) or 0)
