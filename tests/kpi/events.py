"""Lists of events as they happen, and every way in which they may arrive."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from otel_pipeline.kpi.values import RunSeen
from otel_pipeline.model import Check, Dataset, Records, Run, Stage
from otel_pipeline.semconv.attributes import RUN_RESULTS, STAGE_RESULTS

if TYPE_CHECKING:
    from otel_pipeline.kpi.values import Value

NOW = 1_767_261_600_000_000_000
SECOND = 10**9
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For property tests: how long one takes depends on what else the machine does."""

Batches: TypeAlias = "list[tuple[list[Value], bool]]"


def run(run_id: str = "r1", result: str = "success", *, attempt: int = 1, span: int = 1, took: float = 2.0) -> Run:
    """A run that ended ``took`` seconds after its start."""
    started = NOW - 100 * SECOND + attempt * SECOND
    return Run(TRACE, f"{span:016x}", run_id, "orders", result, started, started + round(took * SECOND),
               attempt=attempt, self_time=0.1)  # fmt: skip


def stage(
    run_id: str | None = "r1", name: str = "load", *, span: int = 100, took: float = 1.0, **more: object
) -> Stage:
    """A stage of that run."""
    made = Stage(TRACE, f"{span:016x}", name, "success", NOW - 99 * SECOND, NOW - 99 * SECOND + round(took * SECOND),
                 0.25, run_id=run_id, pipeline="orders")  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]  # fields by name, in tests


def seen(run_id: str = "r1", *, span: int = 1, ago: float = 5.0) -> RunSeen:
    """A sign of life of that run, so many seconds ago."""
    return RunSeen(TRACE, f"{span:016x}", run_id, "orders", NOW - round(ago * SECOND), starts=True)


_counts = st.none() | st.integers(0, 10**6)
_records = st.builds(Records, _counts, _counts, _counts, _counts, _counts, _counts)
_datasets = st.builds(
    Dataset, st.sampled_from("tu"), st.sampled_from(("read", "write")), _counts, _counts,
    st.sampled_from((None, "2025-12-31", "2026-01-01T05:00:00+00:00", "soon")),
)  # fmt: skip
_checks = st.builds(
    Check, st.sampled_from(("a", "b")), st.sampled_from((None, "t", "u")), st.sampled_from((None, "schema")),
    _counts, _counts,
)  # fmt: skip


@st.composite
def _runs(draw: st.DrawFn) -> list[Value]:
    """The ends of runs: some in several attempts under one run id, some first closed as lost."""
    found: list[Value] = []
    for number in range(draw(st.integers(0, 4))):
        run_id = f"r{number // 2 if draw(st.booleans()) else number}"
        made = run(
            run_id, draw(st.sampled_from(RUN_RESULTS)), attempt=draw(st.integers(1, 3)), span=number + 1,
            took=draw(st.floats(0, 10_000)),
        )  # fmt: skip
        made = replace(made, pipeline=draw(st.sampled_from(("orders", "news"))), cpu_time=draw(st.floats(0, 9)),
                       error_type=draw(st.sampled_from((None, "ValueError"))),
                       backfill=draw(st.booleans()))  # fmt: skip
        if draw(st.booleans()):
            alive = seen(run_id, span=number + 1, ago=draw(st.integers(0, 100)))
            found.append(replace(alive, backfill=made.backfill))
        if draw(st.booleans()):
            found.append(replace(made, result="lost", ended=made.started, error_type=None, cpu_time=None))
        found.append(made)
    return found


@st.composite
def _stages(draw: st.DrawFn) -> list[Value]:
    return [
        stage(
            draw(st.sampled_from((None, "r0", "r1", "r2"))), draw(st.sampled_from(("extract", "load"))), span=100 + n,
            took=draw(st.floats(0, 5000)), result=draw(st.sampled_from(STAGE_RESULTS)),
            self_time=draw(st.floats(0, 5000)), records=draw(_records),
            datasets=tuple(draw(st.lists(_datasets, max_size=2))), checks=tuple(draw(st.lists(_checks, max_size=2))),
            error_type=draw(st.sampled_from((None, "KeyError"))), backfill=draw(st.booleans()),
            error_stage=draw(st.sampled_from((None, "load"))),
        )
        for n in range(draw(st.integers(0, 5)))
    ]  # fmt: skip


histories: st.SearchStrategy[list[Value]] = st.builds(lambda runs, stages: runs + stages, _runs(), _stages())
"""What happened, in some order."""


@st.composite
def deliveries(draw: st.DrawFn, history: list[Value]) -> Batches:
    """Batches in which ``history`` arrives: in any order, repeated, and each committed or not.

    What was not committed, and whatever else was not acknowledged, arrives again at the end.
    """
    again = draw(st.lists(st.sampled_from(history), max_size=6)) if history else []
    order = draw(st.permutations(history + again))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    batches = [list(order[a:b]) for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    told = [(batch, draw(st.booleans())) for batch in batches]
    unacknowledged = [batch for batch, committed in told if not committed or draw(st.booleans())]
    return told + [(batch, True) for batch in unacknowledged]
