"""A run that is no longer heard of is closed, unless it may be that nobody can be heard."""

from __future__ import annotations

import pytest

from otel_pipeline.kpi.silence import DEAF_NS, closed, is_lost
from otel_pipeline.kpi.values import RunRecord
from tests.kpi.events import NOW, SECOND, TRACE

DAY = 86_400 * SECOND


def open_run(interval: float | None, seen: int = NOW) -> RunRecord:
    ids = ("r1", TRACE, "00f067aa0ba902b7", "orders")
    return RunRecord(*ids, NOW - 500 * SECOND, seen, ("load",), interval, attempt=2)


@pytest.mark.parametrize(
    ("interval", "patience"),
    [(15.0, 60 * SECOND), (1.0, 60 * SECOND), (60.0, 240 * SECOND), (0.0, DAY), (None, DAY)],
)
def test_silence_lasts_four_intervals_and_at_least_a_minute(interval: float | None, patience: int) -> None:
    """Without signs of life it means nothing for a day."""
    limit = NOW + patience
    assert not is_lost(open_run(interval), heard=limit + 1, now=limit)
    assert is_lost(open_run(interval), heard=limit + 1, now=limit + 1)


def test_when_nobody_is_heard_it_may_be_the_way_that_is_broken() -> None:
    """So somebody must be heard after the deadline, or an hour pass."""
    limit = NOW + 60 * SECOND
    assert not is_lost(open_run(15.0), heard=limit, now=limit + DEAF_NS)
    assert is_lost(open_run(15.0), heard=limit, now=limit + DEAF_NS + 1)
    assert is_lost(open_run(15.0), heard=limit + 1, now=limit + 2)


def test_it_ended_with_its_last_sign_of_life() -> None:
    """As whoever closes it says, so that it is counted once."""
    run = closed(open_run(15.0))
    assert (run.result, run.ended, run.attempt, run.open_stages) == ("lost", NOW, 2, ("load",))
    assert run.error_message == "its signs of life ended, in stage load"
