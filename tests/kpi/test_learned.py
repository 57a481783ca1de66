"""Bounds that are learned: robust, per weekday once there is enough, and seldom wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_pipeline.kpi.learned import WARM_UP, WIDTHS, learned

MINUTE = 60 * 10**9


def test_nothing_is_said_while_it_warms_up() -> None:
    """With one run less than enough."""
    assert learned([(0, 100)] * (WARM_UP - 1), 0, "normal", offset=10) is None
    assert learned([(0, 100)] * WARM_UP, 0, "normal", offset=10) is not None


def test_the_same_each_time_leaves_room_for_half_as_much_again() -> None:
    """Else the first difference would be an alarm."""
    found = learned([(0, 1000)] * 20, 0, "high", offset=10)
    assert found is not None
    assert found.bounds == (663, 1505)


def test_a_few_strange_runs_move_nothing() -> None:
    """Two of twenty that took a hundred times as long."""
    usual = [(0, 1000 + n) for n in range(18)]
    clean, spoilt = (learned(usual + more, 0, "normal", offset=10) for more in ([], [(0, 100_000)] * 2))
    assert clean is not None
    assert spoilt is not None
    assert spoilt.bounds.high is not None
    assert spoilt.bounds.high <= 1.1 * (clean.bounds.high or 0)


def test_weekdays_are_told_apart_once_there_is_enough_of_one() -> None:
    """Mondays have ten times as much; with seven of them they are judged by all days."""
    others = [(day, 100) for _ in range(8) for day in range(1, 7)]
    few, enough = (learned(others + [(0, 1000)] * n, 0, "normal", offset=10) for n in (7, 8))
    assert few is not None
    assert enough is not None
    assert (few.weekday, few.runs) == (False, 55)
    assert (enough.weekday, enough.runs, enough.bounds) == (True, 8, (663, 1505))


def test_more_sensitive_is_narrower() -> None:
    """In the order of the words."""
    history = [(0, 1000 * 2**n) for n in range(10)]
    widths = [found.bounds.high for name in WIDTHS if (found := learned(history, 0, name, offset=10)) is not None]
    assert widths == sorted(widths, key=lambda high: -(high or 0))
    assert len(set(widths)) == 3


@given(st.lists(st.integers(0, 2**62), min_size=WARM_UP, max_size=30), st.sampled_from(sorted(WIDTHS)))
def test_bounds_lie_around_the_median_and_depend_on_no_order(values: list[int], sensitivity: str) -> None:
    """Whatever was learned from; they can be stored, and a count is never below 0."""
    history = [(0, value) for value in values]
    found = learned(history, 0, sensitivity, offset=10)
    assert found == learned(history[::-1], 0, sensitivity, offset=10)
    assert found is not None
    low, high = found.bounds
    assert low is not None
    assert high is not None
    middle = sorted(values)[len(values) // 2]
    assert 0 <= low <= middle
    assert high <= 2**62
    assert high >= min(sorted(values)[(len(values) - 1) // 2], 2**61)


@pytest.mark.parametrize(("sensitivity", "most"), [("low", 0), ("normal", 2), ("high", 8)])
def test_what_is_usual_is_seldom_an_alarm_and_what_is_strange_is_one(sensitivity: str, most: int) -> None:
    """1000 runs that vary as durations do (lognormal, a tenth either way), each judged by the 100 before it."""
    chance = random.Random(6)
    values = [round(chance.lognormvariate(0, 0.1) * 30 * MINUTE) for _ in range(1100)]
    alarms = strange = 0
    for place in range(100, 1100):
        found = learned([(0, value) for value in values[place - 100 : place]], 0, sensitivity, offset=10 * 10**9)
        assert found is not None
        low, high = found.bounds
        alarms += not (low or 0) <= values[place] <= (high or 0)
        strange += not (low or 0) <= values[place] * 4 <= (high or 0)
    assert alarms <= most
    assert strange == 1000


def test_fewer_false_alarms_than_a_fixed_threshold() -> None:
    """Mondays take three times as long, and all grow by 0.3 % a day; the threshold is twice and half the first mean."""
    chance = random.Random(7)
    values = [
        (day % 7, round(chance.lognormvariate(0, 0.1) * 30 * MINUTE * (1 if day % 7 else 3) * 1.003**day))
        for day in range(700)
    ]
    mean = sum(value for _, value in values[:100]) / 100
    fixed = sum(not mean / 2 <= value <= mean * 2 for _, value in values[100:])
    alarms = 0
    for place in range(100, 700):
        weekday, value = values[place]
        found = learned(values[place - 100 : place], weekday, "normal", offset=10 * 10**9)
        assert found is not None
        alarms += not (found.bounds.low or 0) <= value <= (found.bounds.high or 0)
    assert (alarms, fixed > 300) == (0, True)
