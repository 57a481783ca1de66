"""What a host knows at one moment, and the KPIs that follow from it and the time: rates, ages, what is active.

::

    State ─┬─ sums ───────────────────────────┐
           └─ pipelines, datasets ─► gauges ──┴─► Figure, a series and its numbers

**Two readings of a counter.** As it stands, a correction takes back what it corrects: what a person wants to see. A
counter that Prometheus has seen must not fall, since it would take that for a restart and count everything again; so
``rising`` figures keep what was taken back, and ``pipeline.run.superseded`` tells how many of them were retries.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from otel_pipeline.kpi import slo
from otel_pipeline.kpi.engine import Feed, Series
from otel_pipeline.kpi.times import DAY_NS
from otel_pipeline.semconv.catalogue import UNEXPECTED
from otel_pipeline.semconv.operations import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otel_pipeline.kpi.facts import Fact
    from otel_pipeline.kpi.slo import Tallied
    from otel_pipeline.semconv.catalogue import FactEvent, Kpi

WINDOW_NS = 30 * DAY_NS
"""Over which runs rates are computed, where no SLO says otherwise."""
ALIVE_NS = 60 * 10**9
"""A run without end is active while its last sign of life is younger: four heartbeats of 15 s."""


@dataclass(frozen=True)
class PipelineState:
    """A pipeline: runs that are ``active``, runs of the ``window`` by result, and when the last success ended.

    ``objectives``: what was counted for each of its SLO's. ``window`` is in nanoseconds.
    """

    pipeline: str
    active: int = 0
    results: Mapping[str, int] = field(default_factory=dict)
    last_success: int | None = None
    objectives: Sequence[Tallied] = ()
    window: int = WINDOW_NS


@dataclass(frozen=True)
class DatasetState:
    """A dataset: its newest watermark (nanoseconds since the epoch), and the checks of the last run that made some."""

    dataset: str
    watermark: int | None = None
    passed: int = 0
    failed: int = 0


@dataclass(frozen=True)
class State:
    """All that a host knows.

    ``taken``: what corrections took back of ``sums``. ``open``: how many breaches are not over, by pipeline and kind.
    """

    sums: Mapping[Series, Sequence[int]] = field(default_factory=dict)
    pipelines: Sequence[PipelineState] = ()
    datasets: Sequence[DatasetState] = ()
    taken: Mapping[Series, Sequence[int]] = field(default_factory=dict)
    open: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def rising(self) -> State:
        """The same with counters that never fell."""
        kept = {
            series: [number + back for number, back in zip(self.sums[series], amounts, strict=True)]
            for series, amounts in self.taken.items()
        }
        return replace(self, sums={**self.sums, **kept}, taken={})


class Figure(NamedTuple):
    """A series at one moment: one number; for a histogram sum, count and its buckets' own counts."""

    kpi: Kpi
    labels: tuple[str, ...]
    numbers: tuple[float, ...]

    @property
    def series(self) -> Series:
        """What it is known by; of a stream's, whose labels differ from series to series, keys and values."""
        if self.kpi.event != "stream":
            return Series(self.kpi.key, self.labels)
        pairs = sorted(zip(self.kpi.metric.attributes, self.labels, strict=True))
        return Series(self.kpi.key, tuple(text for pair in pairs if pair[1] for text in pair))

    @property
    def begins(self) -> bool:
        """Whether it is a counter or histogram, which begins at 0."""
        return self.kpi.metric.instrument in ("counter", "histogram")


def figures(state: State, now: int, catalogue: Sequence[Kpi]) -> list[Figure]:
    """Every series of ``catalogue`` at ``now`` (nanoseconds since the epoch), in the catalogue's order."""
    rows: dict[str, tuple[Kpi, list[Figure]]] = {kpi.key: (kpi, []) for kpi in catalogue}
    summed = {key: row for key, row in rows.items() if not row[0].derived}
    for series in sorted(state.sums):
        if (row := summed.get(series.kpi)) is not None:
            kpi, found = row
            first, *rest = state.sums[series]
            found.append(Figure(kpi, series.labels, (_in_units(first, kpi), *rest)))
    fed: dict[str, list[tuple[Kpi, Feed, list[Figure]]]] = {}
    for kpi, found in rows.values():
        fed.setdefault(kpi.event, []).append((kpi, Feed(kpi), found))
    for event, fact in _facts(state, now):
        for kpi, feed, found in fed.get(event, ()):
            if isinstance(value := fact.get(kpi.value), (int, float)):
                found.append(Figure(kpi, feed.series(fact).labels, (_in_units(value, kpi),)))
    return [figure for _, found in rows.values() for figure in found]


def _facts(state: State, now: int) -> Iterator[tuple[FactEvent, Fact]]:
    for pipeline in state.pipelines:
        good = pipeline.results.get(slo.GOOD, 0)
        bad = sum(pipeline.results.get(result, 0) for result in slo.BAD)
        every = sum(pipeline.results.values())
        yield (
            "pipeline",
            {
                "pipeline": pipeline.pipeline,
                "active": pipeline.active,
                "success_rate": good / (good + bad) if good + bad else None,
                "error_rate": bad / every if every else None,
                "last_success": pipeline.last_success,
                "least_compliance": slo.least_compliance(pipeline.objectives),
            },
        )
        yield from slo.facts_of(pipeline.pipeline, pipeline.objectives)
    for dataset in state.datasets:
        checked = dataset.passed + dataset.failed
        age = None if dataset.watermark is None else max(now - dataset.watermark, 0)
        quality = dataset.passed / checked if checked else None
        yield "freshness", {"dataset": dataset.dataset, "age": age, "quality": quality}
    # Also those of which none is open: what was counted once has a gauge that falls to 0.
    for _, labels in sorted(series for series in state.sums if series.kpi == UNEXPECTED.name):
        if labels[0] != OVERFLOW:
            pipeline_name, what = labels
            number = state.open.get((pipeline_name, what), 0)
            yield "expectation", {"pipeline": pipeline_name, "what": what, "open": number}


def _in_units(value: float, kpi: Kpi) -> float:
    return value if kpi.divisor == 1 else value / kpi.divisor
