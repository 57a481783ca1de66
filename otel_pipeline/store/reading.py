"""What is asked of the store."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from otel_pipeline.kpi.engine import Series
from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.kpi.state import ALIVE_NS, WINDOW_NS, DatasetState, PipelineState, State, figures
from otel_pipeline.kpi.values import RunRecord
from otel_pipeline.semconv.attributes import RUN_RESULTS
from otel_pipeline.store import exports, sums, tables
from otel_pipeline.store.rows import details_of, run_from, stage_from
from otel_pipeline.store.tables import checked, run_ids, runs, stages, watermarks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Column, Connection, Table

    from otel_pipeline.kpi.facts import Dated
    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.model import Stage
    from otel_pipeline.semconv.catalogue import Kpi

_RUNS = select(runs, run_ids.c.run_id).join(run_ids, run_ids.c.id == runs.c.run)


class Reader:
    """Reads one moment of the store. Times are nanoseconds since the epoch."""

    def __init__(self, connection: Connection, catalogue: Sequence[Kpi]) -> None:
        self._connection = connection
        self.catalogue = catalogue

    def pipelines(self) -> list[str]:
        """Every pipeline that had a run, by name."""
        return list(self._distinct(runs, runs.c.pipeline))

    def last_runs(self, pipeline: str, most: int) -> list[RunRecord]:
        """The last runs of a pipeline, open ones too, latest start first."""
        wanted = _RUNS.where(runs.c.pipeline == pipeline).order_by(runs.c.started.desc(), runs.c.span_id).limit(most)
        return [_record(row) for row in self._rows(wanted)]

    def find_run(self, name: str) -> list[RunRecord]:
        """The runs that ``name`` may mean: ``last``, a run id or its beginning; attempts and repeats latest first."""
        if name == "last":
            return [_record(row) for row in self._rows(_RUNS.order_by(runs.c.started.desc()).limit(1))]
        begins = run_ids.c.run_id.startswith(name, autoescape=True)
        found = self._rows(_RUNS.where(begins).order_by(runs.c.started.desc()).limit(50))
        exact = [row for row in found if row["run_id"] == name]
        return [_record(row) for row in exact or found]

    def last_good_before(self, record: RunRecord) -> RunRecord | None:
        """The last run of the same pipeline that succeeded and started earlier."""
        good = _RUNS.where(
            runs.c.pipeline == record.pipeline, runs.c.result == "success", runs.c.started < record.started
        )
        found = self._rows(good.order_by(runs.c.started.desc()).limit(1))
        return _record(found[0]) if found else None

    def stages_of(self, record: RunRecord) -> list[Stage]:
        """The ended stages of one run, in the order of their starts.

        Attempts that share run id and trace are told apart by time: a stage belongs to the last that began before it.
        """
        key = select(run_ids.c.id).where(run_ids.c.run_id == record.run_id).scalar_subquery()
        of_run = (stages.c.run == key) & (stages.c.trace_id == bytes.fromhex(record.trace_id))
        found = self._rows(select(stages).where(of_run).order_by(stages.c.started, stages.c.span_id))
        starts = select(runs.c.started).where(runs.c.run == key, runs.c.trace_id == bytes.fromhex(record.trace_id))
        others = list(self._connection.scalars(starts))
        if len(others) > 1:
            after = min((start for start in others if start > record.started), default=2**63)
            first = record.started if record.started > min(others) else 0
            found = [row for row in found if first <= row["started"] < after]
        return [stage_from(row, record.run_id) for row in found]

    def facts_ended(self, since: int, until: int) -> Iterator[Dated]:
        """What the runs and stages that ended in that time say, each with the time of its end."""
        ended = _RUNS.where(runs.c.ended > since, runs.c.ended <= until, runs.c.seen > since)
        for row in self._rows(ended):
            for event, fact in facts_of_run(run_from(row, row["run_id"]), superseded=not row["final"]):
                yield row["ended"], event, fact
        of_stages = select(stages, run_ids.c.run_id).join(run_ids, run_ids.c.id == stages.c.run)
        for row in self._rows(of_stages.where(stages.c.ended > since, stages.c.ended <= until)):
            for event, fact in facts_of_stage(stage_from(row, row["run_id"])):
                yield row["ended"], event, fact

    def figures(self, now: int) -> list[Figure]:
        """Every series of the catalogue at ``now``."""
        return figures(self.state(now), now, self.catalogue)

    def exported(self, moment: int) -> exports.Moment:
        """What is exported at ``moment``: counters that never fall, of series whose beginning is registered."""
        begun = exports.begun(self._connection)
        every = figures(self.state(moment).rising, moment, self.catalogue)
        shown = [f for f in every if f.kpi.derived or Series(f.kpi.name, f.labels) in begun]
        return exports.Moment(moment, shown, begun)

    def state(self, now: int) -> State:
        """All that is known, at ``now``."""
        pipelines = self.pipeline_states(self.pipelines(), now)
        taken = sums.all_sums(self._connection, tables.taken)
        return State(sums.all_sums(self._connection), pipelines, self._datasets(), taken)

    def pipeline_states(self, pipelines: Sequence[str], now: int) -> list[PipelineState]:
        """What rates and ages of these pipelines are made of."""
        return [self._pipeline(name, now) for name in pipelines]

    def _pipeline(self, name: str, now: int) -> PipelineState:
        final = (runs.c.pipeline == name) & (runs.c.final == 1)
        results = {
            result: self._scalar(
                select(func.count()).where(final, runs.c.result == result, runs.c.ended > now - WINDOW_NS)
            )
            for result in RUN_RESULTS
        }
        alive = (runs.c.pipeline == name) & runs.c.result.is_(None) & (runs.c.seen >= now - ALIVE_NS)
        active = self._scalar(select(func.count()).where(alive))
        last = self._connection.scalar(select(func.max(runs.c.ended)).where(final, runs.c.result == "success"))
        return PipelineState(name, active, results, last)

    def _datasets(self) -> list[DatasetState]:
        newest = {row["dataset"]: row["newest"] for row in self._rows(select(watermarks))}
        found = []
        for dataset in sorted({*newest, *self._distinct(checked, checked.c.dataset)}):
            last = select(checked.c.passed, checked.c.failed).where(checked.c.dataset == dataset)
            row = self._connection.execute(last.order_by(checked.c.ended.desc(), checked.c.run_id.desc()).limit(1))
            found.append(DatasetState(dataset, newest.get(dataset), *(row.first() or (0, 0))))
        return found

    def _distinct(self, table: Table, column: Column[str]) -> Iterator[str]:
        # One look into the index for each name: DISTINCT would read all rows.
        name = self._connection.scalar(select(func.min(column)).select_from(table))
        while name is not None:
            yield name
            name = self._connection.scalar(select(func.min(column)).where(column > name))

    def _rows(self, statement: Any) -> list[Mapping[str, Any]]:
        return [dict(row) for row in self._connection.execute(statement).mappings()]

    def _scalar(self, statement: Any) -> int:
        return int(self._connection.scalar(statement) or 0)


def _record(row: Mapping[str, Any]) -> RunRecord:
    if row["result"] is None:
        return RunRecord(
            run_id=row["run_id"],
            trace_id=row["trace_id"].hex(),
            span_id=row["span_id"].hex(),
            pipeline=row["pipeline"],
            started=row["started"],
            seen=row["seen"],
            open_stages=details_of(row).get("open_stages", ()),
        )
    run = run_from(row, row["run_id"])
    names = {field.name for field in dataclasses.fields(RunRecord)} - {"run", "seen", "superseded"}
    told = {name: getattr(run, name) for name in names}
    return RunRecord(**told, seen=run.ended, superseded=not row["final"], run=run)
