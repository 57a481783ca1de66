"""The engine with dictionaries beneath it: for tests, and for a process that looks at its own runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from otel_pipeline.declaration import effective
from otel_pipeline.kpi import slo
from otel_pipeline.kpi.breaches import facts_of, settled
from otel_pipeline.kpi.engine import Engine, Series, StageId, Tally, Updates
from otel_pipeline.kpi.measures import figures_of
from otel_pipeline.kpi.names import label_name
from otel_pipeline.kpi.state import ALIVE_NS, WINDOW_NS, DatasetState, PipelineState, State, figures
from otel_pipeline.kpi.streams import Streams, split
from otel_pipeline.kpi.values import run_key
from otel_pipeline.kpi.verdicts import History, attempt_of, records_by_run
from otel_pipeline.semconv.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from otel_pipeline.declaration import Objective, Slo
    from otel_pipeline.kpi.breaches import Change, Noted
    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.kpi.values import RunRecord, Value
    from otel_pipeline.model import Run, Stage
    from otel_pipeline.semconv.catalogue import Kpi


@dataclass
class MemoryLedger:
    """The ledger, as dictionaries: stages by key and span id, runs by key and then by span id."""

    stages: dict[StageId, Stage] = field(default_factory=dict)
    records: dict[str, dict[str, RunRecord]] = field(default_factory=dict)

    def prepare(self, values: Mapping[str, Sequence[Value]]) -> None:
        """Nothing to do: nobody else is here."""

    def add_stages(self, stages: Mapping[StageId, Stage]) -> Collection[StageId]:
        """Note ended stages; those that were not there."""
        new = [identity for identity in stages if identity not in self.stages]
        self.stages.update((identity, stages[identity]) for identity in new)
        return new

    def runs(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRecord]]:
        """What is known of the runs under each key."""
        return {key: tuple(self.records[key].values()) for key in keys if key in self.records}

    def put_runs(self, records: Mapping[str, Sequence[RunRecord]]) -> None:
        """Note these, each instead of what was known of its span."""
        for key, of_key in records.items():
            self.records[key] = {**self.records.get(key, {}), **{record.span_id: record for record in of_key}}


class MemoryEngine:
    """An engine, its ledger and its sums. A value that arrives again changes nothing.

    >>> engine = MemoryEngine()
    >>> counts = engine.consume([])
    """

    def __init__(self, catalogue: Sequence[Kpi] = CATALOGUE) -> None:
        self._engine = Engine(catalogue)
        self.ledger = MemoryLedger()
        self._sums: dict[Series, list[int]] = {}
        self._taken: dict[Series, list[int]] = {}
        self._checked: dict[Tally, list[int]] = {}
        self._watermarks: dict[str, int] = {}
        self._file: dict[str, tuple[str | None, int]] = {}
        self._noted: dict[tuple[str, str, str], Noted] = {}
        self._streams = Streams()

    def consume(self, values: Iterable[Value], *, horizon: int = 0) -> Counter[str]:
        """Count ``values``, all or, when that raises, none; returns what happened to them."""
        ledger = MemoryLedger(dict(self.ledger.stages), dict(self.ledger.records))
        counted, points = split(values)
        updates = self._engine.consume(counted, ledger, horizon=horizon)
        self.ledger = ledger
        self._apply(updates)
        return updates.counts + self._streams.take(points, max((point.time for point in points), default=0))

    def figures(self, now: int) -> list[Figure]:
        """Every series at ``now``, in nanoseconds since the epoch."""
        known = self._engine.catalogue
        return [*figures(self.state(now), now, known), *figures_of(self._streams.totals(now), known)]

    def value(self, name: str, now: int = 0, **labels: str) -> float | None:
        """One number of the KPI ``name`` (of a histogram its count), added up over the series that have ``labels``.

        Labels are written with underscores for dots: ``pipeline_name="orders"``. None where there is no such series.
        """
        wanted = labels.items()
        found = [
            figure.numbers[1 if figure.kpi.metric.instrument == "histogram" else 0]
            for figure in self.figures(now)
            if figure.kpi.name == name and wanted <= {(label_name(key), text) for key, text in _labels(figure).items()}
        ]
        return sum(found) if found else None

    def state(self, now: int) -> State:
        """All that is known, at ``now``."""
        still = Counter((pipeline, kind) for (pipeline, kind, _), noted in self._noted.items() if noted.is_open)
        return State(dict(self._sums), self._pipelines(now), self._datasets(), dict(self._taken), still)

    def tick(self, now: int, file: Mapping[str, str] | None = None) -> list[Change]:
        """Look at ``now`` for what was not as expected; returns what has changed. Needs the extra ``server``.

        ``file``: what a config file declares, by pipeline (``declaration.texts_of``); None leaves what was said before.
        """
        from otel_pipeline.kpi.expectations import judged  # noqa: PLC0415 - brings calendars

        if file is not None:
            for name in {*file, *self._file}:
                if file.get(name) != self._file.get(name, (None, 0))[0]:
                    self._file[name] = file.get(name), now
        changes = [
            change
            for name in sorted(self._names() | {*self._file})
            for change in settled(self.noted(name), judged(self._history(name), now), now)
        ]
        for change in changes:
            breach = change.noted.breach
            self._noted[breach.pipeline, breach.kind, breach.subject] = change.noted
        self._apply(self._engine.count(*facts_of(changes)))
        return changes

    def noted(self, pipeline: str) -> list[Noted]:
        """The breaches of a pipeline, those that were withdrawn too."""
        return [self._noted[key] for key in sorted(self._noted) if key[0] == pipeline]

    def _history(self, pipeline: str) -> History:
        from otel_pipeline.kpi.expectations import LOADED  # noqa: PLC0415 - as in tick

        found = [record for record in self._records(pipeline) if not record.backfill]
        records = records_by_run(found, ((key, stage) for (key, _), stage in self.ledger.stages.items()))
        attempts = [replace(attempt, records=records.get(attempt.subject)) for attempt in map(attempt_of, found)]
        latest = sorted(attempts, key=lambda attempt: (attempt.started, attempt.subject))[-LOADED:]
        return History(pipeline, latest, *self._file.get(pipeline, (None, None)))

    def _apply(self, updates: Updates) -> None:
        for sums, added in ((self._sums, updates.sums), (self._taken, updates.taken)):
            for series, amounts in added.items():
                known = sums.get(series, [0] * len(amounts))
                sums[series] = [total + amount for total, amount in zip(known, amounts, strict=True)]
        for tally, (passed, failed, when) in updates.checked.items():
            before = self._checked.get(tally, [0, 0, 0])
            self._checked[tally] = [before[0] + passed, before[1] + failed, max(before[2], when)]
        for dataset, watermark in updates.watermarks.items():
            self._watermarks[dataset] = max(watermark, self._watermarks.get(dataset, watermark))

    def _pipelines(self, now: int) -> list[PipelineState]:
        return [self._pipeline(name, now) for name in sorted(self._names())]

    def _pipeline(self, name: str, now: int) -> PipelineState:
        runs = [run for run in self._last_attempts(name) if not run.backfill]
        declared = self._slo(name)
        window = declared.window_ns if declared is not None else WINDOW_NS
        return PipelineState(
            name,
            sum(record.run is None and now - record.seen <= ALIVE_NS for record in self._records(name)),
            Counter(run.result for run in runs if run.ended > now - window),
            max((run.ended for run in runs if run.result == "success"), default=None),
            () if declared is None else self._tallied(name, declared, now),
            window,
        )

    def _tallied(self, name: str, declared: Slo, now: int) -> list[slo.Tallied]:
        spans = slo.spans(declared, now).items()
        return [
            slo.Tallied(each, {span: self._tally(name, declared, each, when) for span, when in spans})
            for each in declared.objectives
        ]

    def _tally(self, name: str, declared: Slo, objective: Objective, span: slo.Span) -> slo.Tally:
        every, counted = (
            [run for run in found if declared.backfills or not run.backfill]
            for found in (self._ended(name), self._ended(name) if declared.retries else self._last_attempts(name))
        )
        if objective.name == "freshness":
            ends = sorted(run.ended for run in counted if run.result == slo.GOOD)
            return slo.fresh(ends, objective.limit or 0, span)
        if objective.name == "errors":
            keys = {run_key(run) for run in every if span.after < run.ended <= span.until}
            stages = [
                stage.records for (key, _), stage in self.ledger.stages.items()
                if key in keys and span.after < stage.ended <= span.until
            ]  # fmt: skip
            out, failed = sum(r.out or 0 for r in stages), sum(r.failed or 0 for r in stages)
            return slo.Tally(out, out + failed)
        ended = [run for run in counted if span.after < run.ended <= span.until]
        good = [run for run in ended if run.result == slo.GOOD]
        if objective.limit is not None:
            return slo.Tally(sum(run.ended - run.started < objective.limit for run in good), len(good))
        return slo.Tally(len(good), len(good) + sum(run.result in slo.BAD for run in ended))

    def _slo(self, name: str) -> Slo | None:
        starts = [(record.started, _declared(record)) for record in self._records(name) if not record.backfill]
        declared = max(starts, key=lambda start: start[0], default=(0, None))[1]
        return effective(declared, self._file.get(name, (None, 0))[0]).slo

    def _ended(self, name: str) -> list[Run]:
        return [record.run for record in self._records(name) if record.run is not None]

    def _last_attempts(self, name: str) -> list[Run]:
        return [record.run for record in self._records(name) if record.run is not None and not record.superseded]

    def _records(self, name: str) -> list[RunRecord]:
        every = (record for of_key in self.ledger.records.values() for record in of_key.values())
        return [record for record in every if record.pipeline == name]

    def _names(self) -> set[str]:
        return {record.pipeline for of_key in self.ledger.records.values() for record in of_key.values()}

    def _datasets(self) -> list[DatasetState]:
        latest: dict[str, tuple[int, str, int, int]] = {}
        for (dataset, run), (passed, failed, when) in self._checked.items():
            latest[dataset] = max((when, run, passed, failed), latest.get(dataset, (0, "", 0, 0)))
        return [
            DatasetState(name, self._watermarks.get(name), *latest.get(name, (0, "", 0, 0))[2:])
            for name in sorted({*self._watermarks, *latest})
        ]


def _declared(record: RunRecord) -> str | None:
    return record.declared if record.run is None else record.run.declared


def _labels(figure: Figure) -> dict[str, str]:
    return dict(zip(figure.kpi.metric.attributes, figure.labels, strict=True))
