"""What is asked of the store: the last runs, one run, and the state that figures are made of."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select, text

from otel_pipeline.kpi.breaches import fact_of
from otel_pipeline.kpi.cardinality import MOST_SERIES
from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.kpi.measures import figures_of
from otel_pipeline.kpi.state import ALIVE_NS, WINDOW_NS, DatasetState, PipelineState, State, figures
from otel_pipeline.kpi.verdicts import subject_of
from otel_pipeline.semconv.attributes import RUN_RESULTS
from otel_pipeline.store import breaches, exports, streams, sums, tables
from otel_pipeline.store.objectives import tallied
from otel_pipeline.store.rows import record_from, stage_from
from otel_pipeline.store.tables import FINAL, REGULAR, checked, run_keys, runs, stages, watermarks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Column, Connection, Table

    from otel_pipeline.kpi.facts import Dated
    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.kpi.values import RunRecord
    from otel_pipeline.kpi.verdicts import Breach
    from otel_pipeline.model import Stage
    from otel_pipeline.semconv.catalogue import Kpi

_MOST_FOUND = 50


class Outcome(NamedTuple):
    """When a run started and ended, and how; both None while it is open."""

    started: int
    ended: int | None
    result: str | None


_RUNS = select(runs, run_keys.c.key, run_keys.c.trace_id).join(run_keys, run_keys.c.id == runs.c.run)
_STAGES = select(stages, run_keys.c.key, run_keys.c.trace_id, run_keys.c.pipeline).join(
    run_keys, run_keys.c.id == stages.c.run
)


# A few looks into the index for each pipeline: its name, the earliest start that is wanted, and what is after that.
_OUTCOMES = text("""
    WITH RECURSIVE name(pipeline) AS (
      SELECT min(pipeline) FROM run
      UNION ALL
      SELECT (SELECT min(run.pipeline) FROM run WHERE run.pipeline > name.pipeline) FROM name
      WHERE name.pipeline IS NOT NULL
    ), wanted(pipeline, first) AS (
      SELECT name.pipeline, coalesce((
        SELECT run.started FROM run WHERE run.pipeline = name.pipeline ORDER BY run.started DESC LIMIT 1 OFFSET :skipped
      ), 0) FROM name WHERE name.pipeline IS NOT NULL
    )
    SELECT wanted.pipeline, run.started, run.ended, run.result
    FROM wanted CROSS JOIN run WHERE run.pipeline = wanted.pipeline AND run.started >= wanted.first
    ORDER BY run.started DESC
""")


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
        return [record_from(row) for row in self._rows(wanted)]

    def outcomes(self, most: int) -> dict[str, list[Outcome]]:
        """The last runs of every pipeline, latest start first, but only how they ended: for lists of thousands."""
        found: dict[str, list[Outcome]] = {}
        for pipeline, *told in self._connection.execute(_OUTCOMES, {"skipped": most - 1}):
            found.setdefault(pipeline, []).append(Outcome(*told))
        return {pipeline: found[pipeline][:most] for pipeline in sorted(found)}

    def find_run(self, name: str) -> list[RunRecord]:
        """The runs that ``name`` may mean: ``last``, a run id or its beginning; attempts and repeats latest first."""
        if name == "last":
            latest = [record for pipeline in self.pipelines() for record in self.last_runs(pipeline, 1)]
            return [max(latest, key=lambda record: record.started)] if latest else []
        exact = self._rows(_RUNS.where(run_keys.c.key == name).order_by(runs.c.started.desc()).limit(_MOST_FOUND))
        # By comparison, not LIKE, so that the index is used whatever the collation and letters are.
        begins = (run_keys.c.key >= name) & (run_keys.c.key < f"{name}\U0010ffff")
        found = exact or self._rows(_RUNS.where(begins).order_by(run_keys.c.key).limit(_MOST_FOUND))
        return sorted(map(record_from, found), key=lambda record: -record.started)

    def last_good_before(self, record: RunRecord) -> RunRecord | None:
        """The last run of the same pipeline that succeeded and started earlier; of a backfill the last backfill."""
        good = _RUNS.where(
            runs.c.pipeline == record.pipeline,
            runs.c.result == "success",
            runs.c.backfill == int(record.backfill),
            runs.c.started < record.started,
        )
        found = self._rows(good.order_by(runs.c.started.desc()).limit(1))
        return record_from(found[0]) if found else None

    def stages_of(self, record: RunRecord) -> list[Stage]:
        """The ended stages of one run, in the order of their starts.

        Attempts that share run id and trace are told apart by time: a stage belongs to the last that began before it.
        """
        of_key = self._rows(_STAGES.where(run_keys.c.key == record.run_id))
        found = [stage for row in of_key if (stage := stage_from(row)).trace_id == record.trace_id]
        attempts = map(record_from, self._rows(_RUNS.where(run_keys.c.key == record.run_id)))
        others = [each.started for each in attempts if each.trace_id == record.trace_id]
        if len(others) > 1:
            after = min((start for start in others if start > record.started), default=2**63)
            first = record.started if record.started > min(others) else 0
            found = [stage for stage in found if first <= stage.started < after]
        return sorted(found, key=lambda stage: (stage.started, stage.span_id))

    def facts_ended(self, since: int, until: int) -> Iterator[Dated]:
        """What the runs and stages that ended in that time say, and what was not as expected from then on."""
        active = run_keys.c.last > since
        for record in map(record_from, self._rows(_RUNS.where(active, runs.c.ended > since, runs.c.ended <= until))):
            if record.run is not None:
                for event, fact in facts_of_run(record.run, superseded=record.superseded):
                    yield record.run.ended, event, fact
        ended = stages.c.started + stages.c.duration
        for stage in map(stage_from, self._rows(_STAGES.where(active, ended > since, ended <= until))):
            for event, fact in facts_of_stage(stage):
                yield stage.ended, event, fact
        began = tables.breaches.c.since
        for breach in breaches.standing(self._connection, began > since, began <= until):
            yield breach.since, *fact_of(breach)

    def figures(self, now: int) -> list[Figure]:
        """Every series of the catalogue, and of metrics that processes send, at ``now``."""
        return self._figures(self.state(now), now)

    def rising(self, now: int) -> list[Figure]:
        """The same with counters that never fall, for Prometheus."""
        return self._figures(self.state(now).rising, now)

    def exported(self, moment: int) -> exports.Moment:
        """What is exported at ``moment``: counters that never fall, of series whose beginning is registered."""
        begun = exports.begun(self._connection)
        shown = [figure for figure in self.rising(moment) if not figure.begins or figure.series in begun]
        return exports.Moment(moment, shown, begun)

    def _figures(self, state: State, now: int) -> list[Figure]:
        return [*figures(state, now, self.catalogue), *figures_of(streams.totals(self._connection, now))]

    def state(self, now: int) -> State:
        """All that is known, at ``now``; of pipelines and datasets no more than there may be series of a KPI."""
        pipelines = self.pipeline_states(list(islice(self._distinct(runs, runs.c.pipeline), MOST_SERIES)), now)
        taken = sums.all_sums(self._connection, tables.taken)
        still = breaches.open_by_kind(self._connection)
        return State(sums.all_sums(self._connection), pipelines, self._datasets(), taken, still)

    def breaches(self, pipeline: str | None = None, *, still_open: bool = False, most: int = 1000) -> list[Breach]:
        """What was not as expected, the latest first: of one pipeline or of all, where wished only what is not over."""
        conditions = [tables.breaches.c.pipeline == pipeline] if pipeline is not None else []
        conditions += [tables.breaches.c.resolved.is_(None)] if still_open else []
        return breaches.standing(self._connection, *conditions, most=most)

    def breaches_of(self, record: RunRecord) -> list[Breach]:
        """What was not as expected of one run."""
        about = tables.breaches.c.about == record.started  # there is an index on pipeline and time
        subject = tables.breaches.c.subject == subject_of(record)
        return breaches.standing(self._connection, tables.breaches.c.pipeline == record.pipeline, about, subject)

    def pipeline_states(self, pipelines: Sequence[str], now: int) -> list[PipelineState]:
        """What rates and ages of these pipelines are made of."""
        alive = runs.c.result.is_(None) & (runs.c.seen >= now - ALIVE_NS)
        # Grouped here, since SQLite would read all runs to have them in order.
        active = Counter(self._connection.scalars(select(runs.c.pipeline).where(alive)))
        return [self._pipeline(name, active[name], now) for name in pipelines]

    def _pipeline(self, name: str, active: int, now: int) -> PipelineState:
        slo = breaches.slo_of(self._connection, name)
        window = slo.window_ns if slo is not None else WINDOW_NS
        objectives = tallied(self._connection, name, slo, now) if slo is not None else []
        results = self._results(name, now - window)
        return PipelineState(name, active, results, self._last_success(name), objectives, window)

    def _results(self, pipeline: str, after: int) -> dict[str, int]:
        """How many last attempts, but for backfills, ended after that time, by result."""
        found = select(runs.c.result, func.count()).where(
            runs.c.pipeline == pipeline, FINAL, REGULAR, runs.c.result.in_(RUN_RESULTS), runs.c.ended > after
        )
        return {row[0]: int(row[1]) for row in self._connection.execute(found.group_by(runs.c.result))}

    def _last_success(self, pipeline: str) -> int | None:
        good = (runs.c.pipeline == pipeline) & FINAL & REGULAR & (runs.c.result == "success")
        found: int | None = self._connection.scalar(select(func.max(runs.c.ended)).where(good))
        return found

    def _datasets(self) -> list[DatasetState]:
        some = select(watermarks).order_by(watermarks.c.dataset).limit(MOST_SERIES)
        newest = {row["dataset"]: row["newest"] for row in self._rows(some)}
        found = []
        for dataset in sorted({*newest, *islice(self._distinct(checked, checked.c.dataset), MOST_SERIES)})[
            :MOST_SERIES
        ]:
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
