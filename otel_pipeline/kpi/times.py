"""Times as texts and as nanoseconds since the epoch."""

from __future__ import annotations

from datetime import datetime, timezone

DAY_NS = 86_400 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def instant(text: str | None) -> int | None:
    """An ISO 8601 date or time as nanoseconds since the epoch; without a zone it is UTC. None for anything else.

    >>> instant("2026-01-01")
    1767225600000000000
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    since = moment - _EPOCH
    nanoseconds = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    return nanoseconds if abs(nanoseconds) < 2**63 else None


def iso(nanoseconds: int | None) -> str | None:
    """A time in UTC with microseconds, as ISO 8601; None for None and for what no calendar has.

    >>> iso(1767225600000000000)
    '2026-01-01T00:00:00.000000Z'
    """
    if nanoseconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(nanoseconds // 10**9, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9 // 1000:06d}Z"
