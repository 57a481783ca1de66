"""Compliance, budget, trend and burn rates follow from how much was good in which time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_pipeline.declaration import Objective, Slo, text_of
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.slo import SERVICES, Span, Tallied, Tally, fresh, spans
from tests.kpi.expected import DAY, HOUR, MINUTE, Runs, at, stage_of

NOW = at("2026-03-31T00:00:00")


def tallied(target: float, **tallies: tuple[int, int]) -> Tallied:
    names = {"first half": (0, 0), "second half": (0, 0), "1h": (0, 0)}
    named = {name.replace("_", " "): tally for name, tally in tallies.items()}
    return Tallied(Objective("availability", target), {k: Tally(*v) for k, v in (names | named).items()})


@pytest.mark.parametrize(
    ("good", "total", "budget"), [(1000, 1000, 1.0), (999, 1000, 0.9), (990, 1000, 0.0), (980, 1000, -1.0)]
)
def test_the_budget_is_what_may_be_bad(good: int, total: int, budget: float) -> None:
    """All of it is left when nothing was bad, none when as much was as may, and it can be overdrawn."""
    each = tallied(0.99, first_half=(0, 0), second_half=(good, total))
    assert each.budget == pytest.approx(budget)
    assert each.compliance == good / total


def test_where_nothing_was_counted_nothing_is_said() -> None:
    """Unknown is neither good nor bad."""
    each = tallied(0.99)
    assert (each.compliance, each.budget, each.trend, each.burn("1h")) == (None,) * 4


def test_the_trend_is_the_later_half_less_the_earlier() -> None:
    """Above 0 it gets better."""
    assert tallied(0.9, first_half=(5, 10), second_half=(9, 10)).trend == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("successes", "good", "total"),
    [([], 0, 0), ([0], 2, 10), ([-5], 0, 10), ([-1], 1, 10), ([4], 2, 6), ([0, 1, 2, 3], 5, 10), ([10], 0, 0),
     ([9], 1, 1), ([-3, 0, 5, 8], 6, 10)],
)  # fmt: skip
def test_fresh_is_the_time_in_which_the_last_success_is_young(successes: list[int], good: int, total: int) -> None:
    """Of a span of 10, with a limit of 2; before the first success there is nothing to be old."""
    assert fresh(successes, 2, Span(0, 10)) == (good, total)


@given(st.lists(st.integers(-30, 30)), st.integers(1, 20), st.integers(-20, 20), st.integers(0, 30))
def test_fresh_is_counted_as_moment_by_moment(ends: list[int], limit: int, after: int, length: int) -> None:
    """Against looking at each unit of time."""
    ends.sort()
    span = Span(after, after + length)
    known = [moment for moment in range(after, after + length) if ends and ends[0] <= moment]
    young = [moment for moment in known if any(end <= moment < end + limit for end in ends)]
    assert fresh(ends, limit, span) == (len(young), len(known))


def values(engine: MemoryEngine, name: str) -> dict[str, float]:
    return {figure.labels[1]: figure.numbers[0] for figure in engine.figures(NOW) if figure.kpi.name == name}


def test_what_each_objective_counts() -> None:
    """Runs that succeeded or failed, successes by duration, records, and time."""
    slo = Slo(availability="90%", latency="50% < 10m", errors="<10%", freshness="50% < 12h", window="10d")
    runs = Runs(text_of(slo=slo))
    made = [runs.run(NOW - 4 * DAY + n * DAY, 300 + 400 * (n % 2)) for n in range(4)]
    made += [
        runs.run(NOW - 6 * HOUR, result=result) for result in ("failure", "timeout", "lost", "skip", "cancellation")
    ]
    old = runs.run(NOW - 11 * DAY, result="failure")
    engine = MemoryEngine()
    engine.consume([*made, old, *(stage_of(run, 90, 10) for run in made[:4]), stage_of(old, 0, 1000)])
    assert values(engine, "pipeline.slo.objective") == {
        "availability": 0.9, "latency": 0.5, "errors": 0.9, "freshness": 0.5,
    }  # fmt: skip
    found = values(engine, "pipeline.slo.compliance")
    first = made[0].ended
    assert found == {
        "availability": 4 / 7, "latency": 0.5, "errors": 0.9, "freshness": 4 * 12 * HOUR / (NOW - first),
    }  # fmt: skip
    assert engine.value("pipeline.slo.compliance.least", NOW) == 4 / 7
    assert engine.value("pipeline.run.error_rate", NOW) == 3 / 9


def test_retries_count_only_where_asked_for() -> None:
    """A run that failed once and then succeeded is a good run; as attempts it is one of two."""
    for retries, compliance in ((None, 1.0), (True, 0.5)):
        runs = Runs(text_of(slo=Slo(availability="90%", retries=retries)))
        failed = runs.run(NOW - HOUR, result="failure")
        again = replace(runs.run(NOW - HOUR + MINUTE), run_id=failed.run_id, attempt=2)
        engine = MemoryEngine()
        engine.consume([failed, again])
        assert values(engine, "pipeline.slo.compliance") == {"availability": compliance}


def test_burn_rates_are_of_their_windows() -> None:
    """Three failures of four, the last hour ago at most, burn the budget fast in short windows only."""
    runs = Runs(text_of(slo=Slo(availability="90%")))
    engine = MemoryEngine()
    engine.consume([
        *(runs.run(NOW - n * HOUR) for n in range(2, 26)), *(runs.run(NOW - n * 10 * MINUTE, result="failure")
                                                              for n in range(1, 3)),
    ])  # fmt: skip
    burn = {f.labels[2]: f.numbers[0] for f in engine.figures(NOW) if f.kpi.name == "pipeline.slo.burn_rate"}
    assert burn == {
        "30m": pytest.approx(10), "1h": pytest.approx(10), "6h": pytest.approx(10 * 2 / 7),
        "3d": pytest.approx(10 * 2 / 26),
    }  # fmt: skip


def test_the_defaults_of_services() -> None:
    """Contract §3."""
    assert [(each.name, each.target, each.limit) for each in SERVICES.objectives] == [
        ("availability", 0.999, None), ("latency", 0.95, 500 * 10**6), ("errors", 0.99, None),
    ]  # fmt: skip
    assert spans(SERVICES, NOW)["first half"] == (NOW - 30 * DAY, NOW - 15 * DAY)
    assert spans(SERVICES, NOW)["second half"] == (NOW - 15 * DAY, NOW)
