"""How durations, bounds, shares, rates and schedules are written: from a user's string to numbers.

Each reader raises ValueError with what it wants; a schedule is quoted as well. Whole nanoseconds and records, so that
bounds have no edges that depend on rounding.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from otel_pipeline.errors import ExpectationError

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_PART = 100
UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9, "w": 604_800 * 10**9}
_DURATION = r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d|w))+"
_COUNT = r"[0-9]{1,15}"
_PERCENT = r"[0-9]{1,3}(?:\.[0-9]{1,9})?%"
# Of a cron expression's fields: minute, hour, day of the month, month, day of the week.
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+)*")


class Bounds(NamedTuple):
    """The least and the greatest that is expected, both included: nanoseconds, or records."""

    low: int | None = None
    high: int | None = None


class Rate(NamedTuple):
    """At most ``most`` runs in any ``window`` nanoseconds."""

    most: int
    window: int


def schedule_text(value: object) -> str:
    """A schedule, checked by its shape: five fields of a cron expression and a time zone, UTC where none is named.

    >>> schedule_text("0 2 * * *   Europe/Berlin")
    '0 2 * * * Europe/Berlin'
    """
    parts = value.split() if isinstance(value, str) and len(value) <= _MOST_PART else []
    if len(parts) in (5, 6) and all(map(_is_field, parts, _RANGES)) and all(map(_ZONE.fullmatch, parts[5:])):
        return " ".join(parts)
    raise ExpectationError(
        f"schedule={shown(value)}: want minute, hour, day, month and weekday as cron has them, and a time zone, "
        "such as '0 2 * * * Europe/Berlin'"
    )


def duration_of(value: object) -> int:
    """A duration in nanoseconds.

    >>> duration_of("1h30m") // 10**9
    5400
    """
    if isinstance(value, str) and len(value) <= _MOST_PART and re.fullmatch(_DURATION, value):
        parts = re.findall(r"([0-9.]+)([a-z]+)", value)
        total = sum(round(float(number) * UNITS[unit]) for number, unit in parts)
        if 0 < total < 10 * 366 * UNITS["d"]:
            return total
    raise ValueError("a duration such as '90s', '10m' or '1h30m'")


def durations_of(value: object) -> Bounds:
    """Bounds of a duration, in nanoseconds.

    >>> durations_of("5m..30m")
    Bounds(low=300000000000, high=1800000000000)
    """
    return _bounds(value, _DURATION, duration_of, "bounds such as '<30m', '>=5m' or '5m..30m'")


def counts_of(value: object) -> Bounds:
    """Bounds of a number of records.

    >>> counts_of(">1000")
    Bounds(low=1001, high=None)
    """
    return _bounds(value, _COUNT, int, "bounds such as '>=1000', '<5000' or '1000..5000'")


def rate_of(value: object) -> Rate:
    """So many runs in such a time.

    >>> rate_of("3/1h").most
    3
    """
    most, slash, window = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        if slash and re.fullmatch(r"[1-9][0-9]{0,3}", most):
            return Rate(int(most), duration_of(window))
    except ValueError:
        pass
    raise ValueError("a number of runs from 1 up and a time, such as '3/1h'")


def share_of(value: object) -> tuple[float, int | None]:
    """The share that has to be good, and the limit where one is stated.

    >>> share_of("95% < 30s"), share_of("<1%")
    ((0.95, 30000000000), (0.99, None))
    """
    text = "".join(value.split()) if isinstance(value, str) and len(value) <= _MOST_PART else ""
    found = re.fullmatch(rf"(<?)({_PERCENT})(?:<({_DURATION}))?", text)
    if found is None or (found[1] and found[3]):
        raise ValueError("a share such as '99.9%'")
    stated = float(found[2].rstrip("%"))
    target = round((100 - stated if found[1] else stated) / 100, 12)
    if not 0 < target < 1:
        raise ValueError("a share that leaves something to fail: above 0% and below 100%")
    return target, duration_of(found[3]) if found[3] else None


def _is_field(text: str, allowed: tuple[int, int]) -> bool:
    least, greatest = allowed
    if not re.fullmatch(r"[0-9A-Za-z*/,#\-]+", text):
        return False
    return all(least <= int(number) <= greatest for number in re.findall(r"(?<![/#0-9])[0-9]+", text))


def _bounds(value: object, number: str, read: Callable[[str], int], wanted: str) -> Bounds:
    text = "".join(value.split()) if isinstance(value, str) and len(value) <= _MOST_PART else ""
    if (one := re.fullmatch(rf"([<>]=?)({number})", text)) is not None:
        limit = read(one[2])
        if one[1][0] == "<":
            return Bounds(None, limit - (one[1] == "<"))
        return Bounds(limit + (one[1] == ">"), None)
    if (both := re.fullmatch(rf"({number})\.\.({number})", text)) is not None:
        low, high = read(both[1]), read(both[2])
        if low <= high:
            return Bounds(low, high)
    raise ValueError(wanted)


def shown(value: object) -> str:
    """A value as an error quotes it, whatever it is: of an object of the user's only its type."""
    return f"{value!r:.80}" if isinstance(value, (str, int, float, bool)) else f"a {type(value).__name__}"
