"""How much was good of the objectives of many pipelines, counted in the rows of runs and stages.

::

    pipelines and their SLOs ─► Kind: what is counted alike ─► a few statements for all pipelines of a kind ─► Tallied

Availability is made of the counts of whole days; the others look at every run of their windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import case, func, select

from otel_pipeline.kpi import slo
from otel_pipeline.semconv.attributes import RUN_RESULTS
from otel_pipeline.store.daily import Which, counted, portions
from otel_pipeline.store.tables import daily, runs, stages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection

    from otel_pipeline.declaration import Slo

    Spans = Mapping[str, slo.Span]
    Tallies = dict[str, dict[str, slo.Tally]]
    """By pipeline and by the name of the span."""


class Kind(NamedTuple):
    """What is counted in the same way for all who have it."""

    objective: str
    limit: int
    window: int
    which: Which


def tallied(connection: Connection, declared: Mapping[str, Slo], now: int) -> dict[str, list[slo.Tallied]]:
    """Each objective of each pipeline, over all that its figures are made of."""
    alike: dict[Kind, list[str]] = {}
    for pipeline, kinds in (of_each := {name: _kinds(each) for name, each in declared.items()}).items():
        for kind in kinds:
            alike.setdefault(kind, []).append(pipeline)
    found: dict[Kind, Tallies] = {}
    for kind, pipelines in alike.items():
        spans = slo.spans(declared[pipelines[0]], now)
        found[kind] = {}
        for portion in portions(pipelines):
            found[kind] |= _COUNT[kind.objective](connection, portion, kind, spans)
    return {
        pipeline: [
            slo.Tallied(objective, found[kind][pipeline])
            for objective, kind in zip(declared[pipeline].objectives, kinds, strict=True)
        ]
        for pipeline, kinds in of_each.items()
    }


def _kinds(declared: Slo) -> list[Kind]:
    about = declared.window_ns, Which(bool(declared.retries), bool(declared.backfills))
    return [Kind(objective.name, objective.limit or 0, *about) for objective in declared.objectives]


def _availability(connection: Connection, pipelines: Sequence[str], kind: Kind, spans: Spans) -> Tallies:
    found = _nothing(pipelines, spans)
    for name, span in spans.items():
        for pipeline, results in counted(connection, pipelines, span, kind.which).items():
            good = results[slo.GOOD]
            found[pipeline][name] = slo.Tally(good, good + sum(results[result] for result in slo.BAD))
    return found


def _latency(connection: Connection, pipelines: Sequence[str], kind: Kind, spans: Spans) -> Tallies:
    found = _nothing(pipelines, spans)
    fast = runs.c.ended - runs.c.started < kind.limit
    for name, span in spans.items():
        numbers = select(runs.c.pipeline, func.count(case((fast, 1))), func.count())
        of_each = numbers.where(_good(pipelines, kind), *_within(runs.c.ended, span)).group_by(runs.c.pipeline)
        for pipeline, good, total in connection.execute(of_each):
            found[pipeline][name] = slo.Tally(good, total)
    return found


def _errors(connection: Connection, pipelines: Sequence[str], kind: Kind, spans: Spans) -> Tallies:
    found = _nothing(pipelines, spans)
    every = kind.which._replace(retries=True).among(runs)  # a record counts once, whichever attempt it was in
    these = runs.c.pipeline.in_(pipelines) & every & runs.c.result.in_(RUN_RESULTS)
    ended = stages.c.started + stages.c.duration
    for name, span in spans.items():
        # By the runs, whose rows are found by pipeline and time; the stages of each lie together.
        keys = select(runs.c.pipeline, runs.c.run).where(these, *_within(runs.c.ended, span)).distinct().subquery()
        numbers = select(keys.c.pipeline, func.sum(stages.c.records_out), func.sum(stages.c.records_failed))
        joined = numbers.join(stages, stages.c.run == keys.c.run).where(*_within(ended, span))
        for pipeline, out, failed in connection.execute(joined.group_by(keys.c.pipeline)):
            found[pipeline][name] = slo.Tally(int(out or 0), int(out or 0) + int(failed or 0))
    return found


def _freshness(connection: Connection, pipelines: Sequence[str], kind: Kind, spans: Spans) -> Tallies:
    whole = slo.Span(min(span.after for span in spans.values()), max(span.until for span in spans.values()))
    known = select(daily.c.pipeline).where(daily.c.pipeline.in_(pipelines)).distinct().subquery()
    before = [
        select(func.max(runs.c.ended))
        .where(runs.c.pipeline == known.c.pipeline, runs.c.final == final, runs.c.result == slo.GOOD)
        .where(runs.c.ended <= whole.after, kind.which.among(runs))
        .scalar_subquery()
        for final in kind.which.finals
    ]  # one look into the index each
    ends: dict[str, list[int]] = {pipeline: [] for pipeline in pipelines}
    for pipeline, *last in connection.execute(select(known.c.pipeline, *before)):
        ends[pipeline] += sorted(end for end in last if end is not None)[-1:]
    within = select(runs.c.pipeline, runs.c.ended).where(_good(pipelines, kind), *_within(runs.c.ended, whole))
    for pipeline, end in connection.execute(within.order_by(runs.c.ended)):
        ends[pipeline].append(end)
    return {
        pipeline: {name: slo.fresh(of_it, kind.limit, span) for name, span in spans.items()}
        for pipeline, of_it in ends.items()
    }


def _good(pipelines: Sequence[str], kind: Kind) -> ColumnElement[bool]:
    return runs.c.pipeline.in_(pipelines) & kind.which.among(runs) & (runs.c.result == slo.GOOD)


def _within(ended: ColumnElement[int], span: slo.Span) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return ended > span.after, ended <= span.until


def _nothing(pipelines: Sequence[str], spans: Spans) -> Tallies:
    return {pipeline: dict.fromkeys(spans, slo.Tally(0, 0)) for pipeline in pipelines}


_COUNT: Mapping[str, Callable[[Connection, Sequence[str], Kind, Spans], Tallies]] = {
    "availability": _availability,
    "latency": _latency,
    "errors": _errors,
    "freshness": _freshness,
}
