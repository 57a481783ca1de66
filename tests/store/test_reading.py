"""What figures are made of is read for all pipelines at once, and is what the engine in memory knows."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from otel_pipeline.declaration import Slo
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.times import DAY_NS
from otel_pipeline.model import Check, Dataset
from otel_pipeline.semconv.attributes import RUN_RESULTS
from otel_pipeline.store.store import RETENTION_NS, Store
from otel_pipeline.store.tables import daily, runs
from tests.kpi.expected import DAY, HOUR, MINUTE, SECOND, Runs, at, begun, declared, stage_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otel_pipeline.kpi.engine import Series
    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.kpi.values import Value

LAST = at("2026-03-02T11:00:00")
SLOS = (
    None,
    None,
    Slo(availability="99%"),
    Slo(availability="90%", latency="50% < 10m", errors="<5%", freshness="80% < 1h", window="6h"),
    Slo(availability="90%", latency="50% < 20m", freshness="80% < 1d", window="20d", retries=True),
    Slo(latency="50% < 20m", errors="<5%", window="36h", backfills=True),
    Slo(errors="<5%", freshness="50% < 6h", window="20d", backfills=True, retries=True),
)
"""Of pipelines, in turn: several windows, and several that share one."""


def lives(seed: int, pipelines: int, each: int) -> list[Value]:
    """Runs of many pipelines in 40 days, on their own and within bounds of days to the nanosecond."""
    chance = random.Random(seed)
    values: list[Value] = []
    for number in range(pipelines):
        made = Runs(declared(slo=SLOS[number % len(SLOS)]), f"pipeline {number}")
        made._number = number * 1000
        for _ in range(each):
            started = LAST - chance.choice((HOUR, DAY, 40 * DAY)) * chance.randint(1, 1000) // 1000
            run = made.run(started, chance.randint(1, 3000), chance.choice(("success", *RUN_RESULTS)))
            run = replace(run, backfill=chance.random() < 0.1)
            if chance.random() < 0.2:
                run = replace(run, ended=max(run.ended // DAY_NS * DAY_NS - chance.randint(0, 1), run.started))
            stage = stage_of(run, chance.randint(0, 30), chance.choice((None, 0, 3)))
            table = f"table {number % 7}"
            watermark = chance.choice((None, f"2026-02-{chance.randint(1, 28):02}"))
            values.append(replace(stage, checks=(Check("c", table, None, chance.randint(0, 9), 1),),
                                  datasets=(Dataset(table, "write", watermark=watermark),)))  # fmt: skip
            if chance.random() < 0.2:
                values.append(replace(run, result="lost", ended=run.started + SECOND))
            if chance.random() < 0.2:
                values.append(replace(made.run(run.ended + MINUTE), run_id=run.run_id, attempt=2))
            values.append(begun(run) if chance.random() < 0.1 else run)
    chance.shuffle(values)
    return values


def by_series(figures: Iterable[Figure]) -> Mapping[Series, tuple[float, ...]]:
    return {figure.series: figure.numbers for figure in figures if any(figure.numbers)}


@pytest.mark.parametrize("seed", range(3))
def test_of_many_pipelines_and_windows_it_is_what_is_known_in_memory(seed: int, store: Store) -> None:
    """Of all at once and of each, at moments within a day and at its bounds, also before the latest runs."""
    values = lives(seed, pipelines=30, each=12)
    truth = MemoryEngine()
    truth.consume(values)
    for start in range(0, len(values), 100):
        store.write(values[start : start + 100], now=LAST)
    for now in (LAST, LAST // DAY_NS * DAY_NS, LAST // DAY_NS * DAY_NS - 1, LAST + 3 * DAY + 7):
        with store.reading() as reader:
            assert by_series(reader.figures(now)) == by_series(truth.figures(now))
            assert reader.state(now).datasets == truth.state(now).datasets
            every = reader.pipeline_states(now)
            assert [each.pipeline for each in every] == reader.pipelines() == sorted(truth._names())
            for state in every[::5]:
                assert reader.pipeline_states(now, state.pipeline) == [state]
            assert reader.pipeline_states(now, "another") == []
            assert reader.pipeline_states(now, most=3) == every[:3]


def test_the_days_are_what_the_runs_say_also_when_those_are_forgotten(store: Store) -> None:
    """Ends that were corrected, attempts that were followed, and retention: no run is in two places or none."""
    values = lives(7, pipelines=5, each=30)
    for start in range(0, len(values), 20):
        store.write(values[start : start + 20], now=LAST)
        counted_by_day(store)
    for later in range(0, 41, 10):
        while store.forget(now=LAST + RETENTION_NS + (later - 39) * DAY, most=1):
            counted_by_day(store)
    with store._writing() as connection:
        assert connection.execute(select(func.count()).select_from(runs)).scalar() == 0
    store.forget(now=LAST + RETENTION_NS + 3 * DAY)
    with store._writing() as connection:
        assert connection.execute(select(daily)).all() == []


def counted_by_day(store: Store) -> None:
    place = (runs.c.pipeline, runs.c.ended, runs.c.final, runs.c.backfill, runs.c.result)
    with store._writing() as connection:
        truth: dict[tuple[object, ...], int] = {}
        for pipeline, ended, *rest in connection.execute(select(*place).where(runs.c.result.is_not(None))):
            cell = (pipeline, ended // DAY_NS, *rest)
            truth[cell] = truth.get(cell, 0) + 1
        found = {tuple(row[:-1]): row[-1] for row in connection.execute(select(daily)) if row[-1]}
    assert found == truth
