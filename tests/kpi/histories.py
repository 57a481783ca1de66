"""Lives of one pipeline: some of its runs are open, lost or tried again, and what they carry changes now and then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from otel_pipeline.declaration import Slo
from tests.kpi.expected import MINUTE, SECOND, Runs, at, begun, declared, stage_of

if TYPE_CHECKING:
    from otel_pipeline.kpi.values import Value

FIRST = at("2026-03-02T02:00:01")  # a Monday

_slo = Slo(availability="90%", latency="50% < 10m", errors="<5%", freshness="80% < 1h", window="6h")
_texts = st.sampled_from((
    None, declared("*/30 * * * *", finish_within="20m"), declared("0 * * * *", duration="1m..10m", every="2h"),
    declared(at_most="2/1h", records=">=10", learn="high"), declared(slo=_slo),
    declared(slo=Slo(availability="90%", retries=True), records="<20"),
    declared(slo=replace(_slo, backfills=True)),
))  # fmt: skip


@st.composite
def lives(draw: st.DrawFn) -> list[Value]:
    """What happened, in ten hours from ``FIRST`` on."""
    runs = Runs()
    values: list[Value] = []
    for _ in range(draw(st.integers(0, 12))):
        runs.declared = draw(_texts)
        started = FIRST + draw(st.integers(0, 600)) * MINUTE // 2
        run = runs.run(started, draw(st.integers(1, 3000)),
                       draw(st.sampled_from(("success", "failure", "skip"))),
                       backfill=draw(st.booleans()))  # fmt: skip
        if draw(st.booleans()):
            values.append(begun(run))
        if draw(st.booleans()):
            values.append(stage_of(run, draw(st.integers(0, 30)), draw(st.sampled_from((None, 0, 3)))))
        fate = draw(st.sampled_from(("ends", "open", "lost", "retried")))
        if fate in ("lost", "retried"):
            values.append(replace(run, result="lost", ended=run.started + SECOND))
        if fate == "retried":
            values.append(replace(runs.run(run.ended + MINUTE), run_id=run.run_id, attempt=2,
                                  backfill=run.backfill))  # fmt: skip
        if fate == "ends":
            values.append(run)
    return values
