"""When a schedule is due: also when clocks are put forward and back, and whenever it is asked."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_pipeline.errors import ExpectationError
from otel_pipeline.kpi.schedule import due_on, last_due, next_due, zone_of
from otel_pipeline.kpi.times import DAY_NS
from tests.kpi.expected import DAY, HOUR, MINUTE, at


def due(schedule: str, after: str, until: str, most: int = 50) -> list[str]:
    return [
        f"{datetime.fromtimestamp(moment // 10**9, timezone.utc):%d %H:%M}"
        for moment in last_due(schedule, at(after), at(until), most)
    ]


SPRING = ("2026-03-28T12:00:00", "2026-03-29T12:00:00")  # at 2 o'clock in Berlin, 1 o'clock UTC, it becomes 3
AUTUMN = ("2026-10-24T12:00:00", "2026-10-25T12:00:00")  # at 3 o'clock, 1 o'clock UTC, it becomes 2


@pytest.mark.parametrize(
    ("schedule", "span", "found"),
    [
        ("0 2 * * * Europe/Berlin", SPRING, ["29 01:00"]),  # the clock skips it: due when it goes on
        ("30 2 * * * Europe/Berlin", SPRING, ["29 01:00"]),
        ("0 1,3 * * * Europe/Berlin", SPRING, ["29 00:00", "29 01:00"]),
        ("30 2 * * * Europe/Berlin", AUTUMN, ["25 00:30"]),  # it comes twice: due the first time
        ("0 2,3 * * * Europe/Berlin", AUTUMN, ["25 00:00", "25 02:00"]),
        ("30 2 * * *", SPRING, ["29 02:30"]),
        ("30 2 * * * America/New_York", SPRING, ["29 06:30"]),
    ],
)
def test_a_fixed_time_is_due_once_a_day(schedule: str, span: tuple[str, str], found: list[str]) -> None:
    """Whatever the clock does in that night."""
    assert due(schedule, *span) == found


@pytest.mark.parametrize(("span", "hours"), [(SPRING, 24), (AUTUMN, 24)])
def test_each_hour_goes_by_elapsed_time(span: tuple[str, str], hours: int) -> None:
    """An hour that comes twice is due twice, one that is skipped not at all."""
    found = last_due("0 * * * * Europe/Berlin", at(span[0]), at(span[1]), 50)
    assert len(found) == hours
    assert {b - a for a, b in pairwise(found)} == {HOUR}


def test_after_is_out_and_until_is_in() -> None:
    """So spans that follow each other have each due time once; the last ones are kept."""
    assert due("0 * * * *", "2026-01-01T01:00:00", "2026-01-01T03:00:00") == ["01 02:00", "01 03:00"]
    assert due("*/10 * * * *", "2026-01-01T00:00:00", "2026-01-02T00:00:00", 2) == ["01 23:50", "02 00:00"]
    assert last_due("* * * * *", 0, at("2026-01-01T00:00:00"), 0) == []


@pytest.mark.parametrize(
    ("schedule", "following"),
    [("0 2 * * *", "2026-01-01T02:00:00"), ("0 0 1 * *", "2026-02-01T00:00:00"),
     ("0 12 * * MON Asia/Tokyo", "2026-01-05T03:00:00"), ("0 0 31 12 *", "2026-12-31T00:00:00"),
     ("0 0 29 2 *", None)],
)  # fmt: skip
def test_the_next_one(schedule: str, following: str | None) -> None:
    """None where it is more than a year away."""
    assert next_due(schedule, at("2026-01-01T01:00:00")) == (None if following is None else at(following))


_zones = st.sampled_from(
    ("", " Europe/Berlin", " America/New_York", " Pacific/Apia", " Australia/Lord_Howe", " Asia/Kolkata")
)
_expressions = st.sampled_from(
    ("0 2 * * *", "30 1,2 * * *", "*/20 * * * *", "15 */3 * * *", "0 0 * * 0", "59 23 L * *")
)


@given(_zones, _expressions, st.integers(14_000, 21_000), st.integers(0, 3 * 1440), st.integers(0, 3 * 1440))
def test_what_is_due_does_not_depend_on_when_it_is_asked_for(
    zone: str, expression: str, day: int, begin: int, length: int
) -> None:
    """A span has the due times of its parts, at days of UTC that are near any change of any clock."""
    schedule = expression + zone
    start = day * DAY_NS + begin * MINUTE
    middle, end = start + length * MINUTE // 2, start + length * MINUTE
    whole = last_due(schedule, start, end, 10_000)
    assert whole == last_due(schedule, start, middle, 10_000) + last_due(schedule, middle, end, 10_000)
    assert whole == sorted(set(whole))
    days = range(start // DAY, end // DAY + 1)
    assert whole == [moment for each in days for moment in due_on(schedule, each) if start < moment <= end]


@pytest.mark.parametrize("schedule", ["0 2 30 2 *", "0 2 * * * Europe/Atlantis", "0 2 * FOO *", "5-1 2 * * *"])
def test_what_no_calendar_has_is_an_error(schedule: str) -> None:
    """Its shape was right; it quotes the schedule."""
    with pytest.raises(ExpectationError, match="schedule='"):
        last_due(schedule, 0, at("2026-01-01T00:00:00"), 1)


def test_the_zone_is_utc_where_none_is_named() -> None:
    """Also for no schedule at all."""
    assert zone_of("0 2 * * *") is zone_of(None) is timezone.utc
    assert str(zone_of("0 2 * * * Europe/Berlin")) == "Europe/Berlin"
