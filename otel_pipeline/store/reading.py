"""What is asked of the store: the last runs, one run, and the state that figures are made of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select, text

from otel_pipeline.kpi.breaches import fact_of
from otel_pipeline.kpi.cardinality import MOST_SERIES
from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.kpi.measures import figures_of
from otel_pipeline.kpi.slo import Span
from otel_pipeline.kpi.state import ALIVE_NS, WINDOW_NS, DatasetState, PipelineState, State, figures
from otel_pipeline.kpi.verdicts import subject_of
from otel_pipeline.store import breaches, daily, exports, streams, sums, tables
from otel_pipeline.store.objectives import tallied
from otel_pipeline.store.rows import RUNS, STAGES, record_from, stage_from
from otel_pipeline.store.tables import run_keys, runs, stages, watermarks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

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


# One look into the index for each name: DISTINCT would read all rows.
_NAMES = """
    WITH RECURSIVE name(pipeline) AS (
      SELECT min(pipeline) FROM run
      UNION ALL
      SELECT (SELECT min(run.pipeline) FROM run WHERE run.pipeline > name.pipeline) FROM name
      WHERE name.pipeline IS NOT NULL
    )
"""
_ONE_NAME = "WITH name(pipeline) AS (SELECT pipeline FROM run WHERE pipeline = :pipeline LIMIT 1)"
_PIPELINES = text(f"{_NAMES} SELECT pipeline FROM name WHERE pipeline IS NOT NULL")

# A few more for each pipeline: the earliest start that is wanted, and what is after that.
_OUTCOMES = text(f"""
    {_NAMES}, wanted(pipeline, first) AS (
      SELECT name.pipeline, coalesce((
        SELECT run.started FROM run WHERE run.pipeline = name.pipeline ORDER BY run.started DESC LIMIT 1 OFFSET :skipped
      ), 0) FROM name WHERE name.pipeline IS NOT NULL
    )
    SELECT wanted.pipeline, run.started, run.ended, run.result
    FROM wanted CROSS JOIN run WHERE run.pipeline = wanted.pipeline AND run.started >= wanted.first
    ORDER BY run.started DESC
""")

# Backfills left out: when the last success of each ended, and the details of the run that started last.
_LATEST = """
    SELECT name.pipeline,
      (SELECT max(run.ended) FROM run
        WHERE run.pipeline = name.pipeline AND run.final = 1 AND run.result = 'success' AND run.backfill = 0),
      (SELECT run.details FROM run WHERE run.pipeline = name.pipeline AND run.backfill = 0
        ORDER BY run.started DESC, run.span_id LIMIT 1)
    FROM name WHERE name.pipeline IS NOT NULL LIMIT :most
"""

# The checks of the last run of each dataset that has some.
_CHECKED = text("""
    WITH RECURSIVE name(dataset) AS (
      SELECT min(dataset) FROM checked
      UNION ALL
      SELECT (SELECT min(checked.dataset) FROM checked WHERE checked.dataset > name.dataset) FROM name
      WHERE name.dataset IS NOT NULL
    ), latest(dataset, run_id) AS (
      SELECT name.dataset, (
        SELECT checked.run_id FROM checked WHERE checked.dataset = name.dataset
        ORDER BY checked.ended DESC, checked.run_id DESC LIMIT 1
      ) FROM name WHERE name.dataset IS NOT NULL LIMIT :most
    )
    SELECT checked.dataset, checked.passed, checked.failed
    FROM latest CROSS JOIN checked WHERE checked.dataset = latest.dataset AND checked.run_id = latest.run_id
""")


class Reader:
    """Reads one moment of the store. Times are nanoseconds since the epoch."""

    def __init__(self, connection: Connection, catalogue: Sequence[Kpi]) -> None:
        self._connection = connection
        self.catalogue = catalogue

    def pipelines(self) -> list[str]:
        """Every pipeline that had a run, by name."""
        return list(self._connection.scalars(_PIPELINES))

    def last_runs(self, pipeline: str, most: int) -> list[RunRecord]:
        """The last runs of a pipeline, open ones too, latest start first."""
        wanted = RUNS.where(runs.c.pipeline == pipeline).order_by(runs.c.started.desc(), runs.c.span_id).limit(most)
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
        exact = self._rows(RUNS.where(run_keys.c.key == name).order_by(runs.c.started.desc()).limit(_MOST_FOUND))
        # By comparison, not LIKE, so that the index is used whatever the collation and letters are.
        begins = (run_keys.c.key >= name) & (run_keys.c.key < f"{name}\U0010ffff")
        found = exact or self._rows(RUNS.where(begins).order_by(run_keys.c.key).limit(_MOST_FOUND))
        return sorted(map(record_from, found), key=lambda record: -record.started)

    def last_good_before(self, record: RunRecord) -> RunRecord | None:
        """The last run of the same pipeline that succeeded and started earlier; of a backfill the last backfill."""
        good = RUNS.where(
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
        of_key = self._rows(STAGES.where(run_keys.c.key == record.run_id))
        found = [stage for row in of_key if (stage := stage_from(row)).trace_id == record.trace_id]
        attempts = map(record_from, self._rows(RUNS.where(run_keys.c.key == record.run_id)))
        others = [each.started for each in attempts if each.trace_id == record.trace_id]
        if len(others) > 1:
            after = min((start for start in others if start > record.started), default=2**63)
            first = record.started if record.started > min(others) else 0
            found = [stage for stage in found if first <= stage.started < after]
        return sorted(found, key=lambda stage: (stage.started, stage.span_id))

    def facts_ended(self, since: int, until: int) -> Iterator[Dated]:
        """What the runs and stages that ended in that time say, and what was not as expected from then on."""
        active = run_keys.c.last > since
        for record in map(record_from, self._rows(RUNS.where(active, runs.c.ended > since, runs.c.ended <= until))):
            if record.run is not None:
                for event, fact in facts_of_run(record.run, superseded=record.superseded):
                    yield record.run.ended, event, fact
        ended = stages.c.started + stages.c.duration
        for stage in map(stage_from, self._rows(STAGES.where(active, ended > since, ended <= until))):
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
        return [
            *figures(state, now, self.catalogue),
            *figures_of(streams.totals(self._connection, now), self.catalogue),
        ]

    def state(self, now: int) -> State:
        """All that is known, at ``now``; of pipelines and datasets no more than there may be series of a KPI."""
        pipelines = self.pipeline_states(now, most=MOST_SERIES)
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

    def pipeline_states(self, now: int, pipeline: str | None = None, *, most: int = 2**31) -> list[PipelineState]:
        """What rates and ages are made of: of ``pipeline``, or of all, by name, at most so many."""
        query, named = (_NAMES, {}) if pipeline is None else (_ONE_NAME, {"pipeline": pipeline})
        latest = self._connection.execute(text(query + _LATEST), {"most": most, **named}).all()
        objectives = breaches.objectives_of(self._connection, {name: details for name, _, details in latest})
        windows = {name: slo.window_ns for name, slo in objectives.items()}
        by_window: dict[int, list[str]] = {}
        for name, _, _ in latest:
            by_window.setdefault(windows.get(name, WINDOW_NS), []).append(name)
        results: dict[str, Counter[str]] = {}
        for window, names in by_window.items():
            results |= daily.counted(self._connection, names, Span(now - window, 2**63 - 1), daily.Which())
        told = tallied(self._connection, objectives, now)
        active = self._active(now)
        return [
            PipelineState(name, active[name], +results[name], success, told.get(name, []), windows.get(name, WINDOW_NS))
            for name, success, _ in latest
        ]

    def _active(self, now: int) -> Counter[str]:
        alive = runs.c.result.is_(None) & (runs.c.seen >= now - ALIVE_NS)
        # Grouped here, since SQLite would read all runs to have them in order.
        return Counter(self._connection.scalars(select(runs.c.pipeline).where(alive)))

    def _datasets(self) -> list[DatasetState]:
        some = select(watermarks.c.dataset, watermarks.c.newest).order_by(watermarks.c.dataset).limit(MOST_SERIES)
        newest = {row.dataset: row.newest for row in self._connection.execute(some)}
        checks = {name: told for name, *told in self._connection.execute(_CHECKED, {"most": MOST_SERIES})}
        known = sorted({*newest, *checks})[:MOST_SERIES]
        return [DatasetState(name, newest.get(name), *checks.get(name, (0, 0))) for name in known]

    def _rows(self, statement: Any) -> list[Mapping[str, Any]]:
        return [dict(row) for row in self._connection.execute(statement).mappings()]
