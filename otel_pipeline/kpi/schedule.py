"""The times that a schedule names: a cron expression in a time zone, read by ``cronsim`` (extra ``server``).

Daylight saving as Debian's cron has it. A fixed time that the clock skips is due when the clock goes on; one that comes
twice is due the first time. ``*`` and ``*/15`` in hours or minutes follow elapsed time, and are due in both hours.

Times are looked up by whole days of UTC and kept, so that what is due does not depend on when it is asked for.
"""

from __future__ import annotations

from array import array
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from otel_pipeline.errors import ExpectationError
from otel_pipeline.kpi.times import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

_SECOND = 10**9
_MARGIN = timedelta(hours=26)  # wider than a zone's offset and any jump of its clock
_FARTHEST_DAYS = 366


@lru_cache(maxsize=2048)
def zone_of(schedule: str | None) -> tzinfo:
    """The schedule's time zone; UTC where it names none. Raises ExpectationError for a zone that does not exist."""
    parts = (schedule or "").split()
    if len(parts) < 6:
        return timezone.utc
    try:
        return ZoneInfo(parts[5])
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ExpectationError(f"schedule={schedule!r}: there is no time zone {parts[5]!r}") from error


def last_due(schedule: str, after: int, until: int, most: int) -> list[int]:
    """The last ``most`` due times in (``after``, ``until``], the earliest first; nanoseconds since the epoch.

    Raises ExpectationError for an expression or a zone that does not exist.
    """
    found: list[int] = []
    for day in range(until // DAY_NS, after // DAY_NS - 1, -1):
        found = [due for due in due_on(schedule, day) if after < due <= until] + found
        if len(found) >= most:
            break
    return found[-most:] if most > 0 else []


def next_due(schedule: str, after: int) -> int | None:
    """The first due time after ``after``; None when there is none within a year."""
    first = after // DAY_NS
    return next(
        (due for day in range(first, first + _FARTHEST_DAYS) for due in due_on(schedule, day) if due > after), None
    )


@lru_cache(maxsize=4096)
def due_on(schedule: str, day: int) -> Sequence[int]:
    """What is due on a day of UTC, given as its number since 1970."""
    begin = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(days=day)
    found = sorted({int(moment.timestamp()) * _SECOND for moment in _from(schedule, begin)})
    # An array: a schedule may be due 1440 times a day, and thousands of days are kept.
    return array("q", (due for due in found if day * DAY_NS <= due < (day + 1) * DAY_NS))


def _from(schedule: str, begin: datetime) -> Iterator[datetime]:
    # Begun early: what cronsim does at a jump of the clock depends on what came before it.
    zone = zone_of(schedule)
    try:
        times = CronSim(" ".join(schedule.split()[:5]), (begin - _MARGIN).astimezone(zone))
    except CronSimError as error:
        raise ExpectationError(f"schedule={schedule!r}: {error}") from error
    end = begin + timedelta(days=1)
    for moment in times:
        if moment >= end:
            return
        yield moment
