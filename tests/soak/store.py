"""A store under a million label values and days of runs: memory flat, series bounded, retention at work."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psutil

from otel_pipeline.kpi.cardinality import MOST_SERIES
from otel_pipeline.kpi.times import DAY_NS
from otel_pipeline.model import Check, Records, Run, Stage
from otel_pipeline.semconv.operations import OVERFLOW
from otel_pipeline.store.store import RETENTION_NS, Store

from .report import Section, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VALUES, CHECKS, BATCH = 1_000_000, 20, 100
PIPELINES, PER_DAY, DAYS = 200, 96, 3
FLAT_MB = 48
"""What its caches may hold: at most 10,000 series of each KPI that is full."""
_NOW = 1_767_225_600 * 10**9


def store(folder: Path) -> Section:
    """Fill it, forget, fill it again."""
    with contextlib.closing(Store(folder / "store.db")) as made:
        values, values_lines = _values(made)
        days, days_lines = _days(made)
    return Section((*table(("what", "found"), [*values_lines, *days_lines]),), values and days)


def _values(made: Store) -> tuple[bool, list[tuple[object, ...]]]:
    """Every check has another name. Memory is looked at when the bound has been reached, and at the end."""
    early = 0.0
    for start in range(0, VALUES // CHECKS, BATCH):
        made.write([_checking(start + n) for n in range(BATCH)], now=_NOW)
        if start * CHECKS >= VALUES // 10 and not early:
            early = _mb()
    late = _mb()
    with made.reading() as reader:
        passed = {series: sum(numbers) for series, numbers in reader.state(_NOW).sums.items()
                  if series.kpi == "pipeline.checks.passed"}  # fmt: skip
    rest = sum(number for series, number in passed.items() if OVERFLOW in series.labels)
    flat = late - early < FLAT_MB
    exact = sum(passed.values()) == VALUES and len(passed) == MOST_SERIES + 1
    return flat and exact, [
        ("label values", f"{VALUES:,}"),
        ("series of the KPI", f"{len(passed):,}"),
        ("sum over them, of that in the overflow series", f"{sum(passed.values()):,}, {rest:,}"),
        ("resident after a tenth of them, after all", f"{early:.0f} MB, {late:.0f} MB"),
    ]


def _days(made: Store) -> tuple[bool, list[tuple[object, ...]]]:
    """Days of runs, and each time what is a day old goes, as if the retention were a day."""
    sizes, memory, removed = [], [], 0
    for day in range(DAYS):
        runs = _runs_of(day)
        while batch := [value for _, value in zip(range(600), runs, strict=False)]:
            made.write(batch, now=_NOW + day * DAY_NS)
        now = _NOW + (day + 1) * DAY_NS + RETENTION_NS
        while gone := made.forget(now=now):
            removed += gone
        sizes.append(sum(path.stat().st_size for path in _files(made)) / 1e6)
        memory.append(_mb())
    with made.reading() as reader:
        left = len(reader.outcomes(10**6))
        counted = sum(f.numbers[0] for f in reader.figures(_NOW) if f.kpi.name == "pipeline.run.ended")
    runs_all = DAYS * PER_DAY * PIPELINES
    passed = counted == runs_all and sizes[-1] < sizes[0] * 1.1 and memory[-1] - memory[0] < FLAT_MB
    return passed, [
        ("runs of 5 stages, in days", f"{runs_all:,}, {DAYS}"),
        ("runs counted in the sums", f"{counted:,.0f}"),
        ("rows removed by retention; pipelines with runs left", f"{removed:,}; {left}"),
        ("file after each day", ", ".join(f"{size:.1f} MB" for size in sizes)),
        ("resident after each day", ", ".join(f"{each:.0f} MB" for each in memory)),
    ]


def _checking(number: int) -> Stage:
    checks = tuple(Check(f"check {number * CHECKS + n}", "orders", passed=1) for n in range(CHECKS))
    ids = f"{number + 1:032x}", f"{number + 1:016x}"
    return Stage(*ids, "validate", "success", _NOW - 10**9, _NOW, 0.5, run_id=f"v{number}", pipeline="p", checks=checks)


def _runs_of(day: int) -> Iterator[Run | Stage]:
    for n in range(PER_DAY * PIPELINES):
        number = day * PER_DAY * PIPELINES + n
        start = _NOW + day * DAY_NS - DAY_NS // 2 + (n // PIPELINES) * (DAY_NS // PER_DAY // 2)
        trace, run_id, pipeline = f"{number + 1:032x}", f"run {number}", f"etl{n % PIPELINES}"
        yield Run(trace, f"{8 * number + 8:016x}", run_id, pipeline, "success", start, start + 10**9, 0.1)
        for k in range(5):
            yield Stage(trace, f"{8 * number + k + 1:016x}", f"stage{k}", "success", start, start + 10**8, 0.1,
                        run_id=run_id, pipeline=pipeline, records=Records(n, n, 0))  # fmt: skip


def _files(made: Store) -> Iterator[Path]:
    from pathlib import Path

    path = Path(made.name)
    return path.parent.glob(f"{path.name}*")


def _mb() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)
