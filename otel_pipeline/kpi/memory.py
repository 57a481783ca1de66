"""The engine with dictionaries beneath it: for tests, and for a process that looks at its own runs."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_pipeline.kpi.engine import Engine, Series, Tally, Updates
from otel_pipeline.kpi.state import ALIVE_NS, WINDOW_NS, DatasetState, PipelineState, State, figures
from otel_pipeline.semconv.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.kpi.values import RunSeen, Value
    from otel_pipeline.model import Run, Stage
    from otel_pipeline.semconv.catalogue import Kpi


@dataclass
class MemoryLedger:
    """The ledger, as dictionaries by run key and span id."""

    stages: dict[tuple[str, str], Stage] = field(default_factory=dict)
    runs: dict[str, dict[str, Run]] = field(default_factory=dict)
    seen: dict[tuple[str, str], tuple[int, int, RunSeen]] = field(default_factory=dict)

    def add_stage(self, key: str, stage: Stage) -> bool:
        """Note an ended stage; False when it was there."""
        new = (key, stage.span_id) not in self.stages
        self.stages.setdefault((key, stage.span_id), stage)
        return new

    def ended_run(self, key: str, span_id: str) -> Run | None:
        """The run with that span, as far as it has ended."""
        return self.runs.get(key, {}).get(span_id)

    def last_attempt(self, key: str) -> int:
        """The highest attempt that has ended; 0 when none has."""
        return max((run.attempt for run in self.runs.get(key, {}).values()), default=0)

    def ended_runs(self, key: str) -> Sequence[Run]:
        """All that have ended under that run id."""
        return tuple(self.runs.get(key, {}).values())

    def put_run(self, key: str, run: Run) -> None:
        """Note an ended run, instead of what was known of that span."""
        self.runs.setdefault(key, {})[run.span_id] = run

    def see_run(self, key: str, seen: RunSeen) -> bool:
        """Note a sign of life."""
        first, last, latest = self.seen.get((key, seen.span_id), (seen.time, seen.time - 1, seen))
        new = (min(first, seen.time), max(last, seen.time), seen if seen.time > last else latest)
        changed = self.seen.get((key, seen.span_id)) != new
        self.seen[key, seen.span_id] = new
        return changed


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

    def consume(self, values: Iterable[Value], *, horizon: int = 0) -> Counter[str]:
        """Count ``values``, all or, when that raises, none; returns what happened to them."""
        ledger = copy.copy(self.ledger)
        ledger.stages, ledger.seen = dict(ledger.stages), dict(ledger.seen)
        ledger.runs = {key: dict(runs) for key, runs in ledger.runs.items()}
        updates = self._engine.consume(values, ledger, horizon=horizon)
        self.ledger = ledger
        self._apply(updates)
        return updates.counts

    def figures(self, now: int) -> list[Figure]:
        """Every series at ``now``, in nanoseconds since the epoch."""
        return figures(self.state(now), now, self._engine.catalogue)

    def value(self, name: str, now: int = 0, **labels: str) -> float | None:
        """One number of the KPI ``name`` (of a histogram its count), added up over the series that have ``labels``.

        Labels are written with underscores for dots: ``pipeline_name="orders"``. None where there is no such series.
        """
        wanted = labels.items()
        found = [
            figure.numbers[1 if figure.kpi.metric.instrument == "histogram" else 0]
            for figure in self.figures(now)
            if figure.kpi.name == name
            and wanted <= {(key.replace(".", "_"), text) for key, text in _labels(figure).items()}
        ]
        return sum(found) if found else None

    def state(self, now: int) -> State:
        """All that is known, at ``now``."""
        return State(dict(self._sums), self._pipelines(now), self._datasets(), dict(self._taken))

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
        last = {key: self.ledger.last_attempt(key) for key in self.ledger.runs}
        final = [run for key, runs in self.ledger.runs.items() for run in runs.values() if run.attempt == last[key]]
        active = Counter(
            seen.pipeline
            for (key, span_id), (_, time, seen) in self.ledger.seen.items()
            if span_id not in self.ledger.runs.get(key, {}) and now - time <= ALIVE_NS
        )
        names = {run.pipeline for run in final} | {seen.pipeline for _, _, seen in self.ledger.seen.values()}
        return [_pipeline(name, [run for run in final if run.pipeline == name], active[name], now)
                for name in sorted(names)]  # fmt: skip

    def _datasets(self) -> list[DatasetState]:
        latest: dict[str, tuple[int, str, int, int]] = {}
        for (dataset, run), (passed, failed, when) in self._checked.items():
            latest[dataset] = max((when, run, passed, failed), latest.get(dataset, (0, "", 0, 0)))
        return [
            DatasetState(name, self._watermarks.get(name), *latest.get(name, (0, "", 0, 0))[2:])
            for name in sorted({*self._watermarks, *latest})
        ]


def _labels(figure: Figure) -> dict[str, str]:
    return dict(zip(figure.kpi.metric.attributes, figure.labels, strict=True))


def _pipeline(name: str, runs: list[Run], active: int, now: int) -> PipelineState:
    return PipelineState(
        name,
        active,
        Counter(run.result for run in runs if run.ended > now - WINDOW_NS),
        max((run.ended for run in runs if run.result == "success"), default=None),
    )
