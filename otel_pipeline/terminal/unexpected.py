"""What was not as expected, in a sentence: for `otel-pipeline show` and `runs`, and the lines that `serve` writes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from rich.text import Text

from otel_pipeline.terminal.figures import clean, count, duration, fit, plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from otel_pipeline.kpi.verdicts import Breach
    from otel_pipeline.terminal.figures import Signs

_RECORDS = ("too_few", "too_many")


def sentence(breach: Breach, zone: tzinfo | None = None) -> str:
    """What happened, and what was expected: ``it took 42m 00s, expected at most 30m 00s``."""
    if (said := _SAID.get(breach.kind)) is not None:
        over = f", until {_moment(breach.resolved, zone)}" if breach.resolved is not None else ""
        return said.format(_moment(breach.about, zone)) + over
    limit = breach.low if breach.kind in ("too_fast", "too_few") else breach.high
    side = "at least" if breach.kind in ("too_fast", "too_few") else "at most"
    learned = f", learned from {plural(breach.learned, 'run')}" if breach.learned is not None else ""
    return f"{_found(breach)}, expected {side} {_figure(breach.kind, limit)}{learned}"


_SAID = {
    "did_not_start": "it did not start at {}",
    "late": "it had not succeeded in time for {}",
    "overdue": "no success in time after that of {}",
    "lost": "the run that began at {} was lost",
}


def _found(breach: Breach) -> str:
    if breach.kind in ("too_fast", "too_slow"):
        return "it goes on" if breach.value is None else f"it took {_figure(breach.kind, breach.value)}"
    return _figure(breach.kind, breach.value) + (" in that time" if breach.kind == "too_often" else "")


def _figure(kind: str, value: int | None) -> str:
    if kind in ("too_fast", "too_slow"):
        return duration((value or 0) / 1e9)
    return plural(value or 0, "record" if kind in _RECORDS else "run")


def _moment(nanoseconds: int, zone: tzinfo | None) -> str:
    return f"{datetime.fromtimestamp(nanoseconds // 10**9, timezone.utc).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def unexpected_lines(breaches: Sequence[Breach], width: int, signs: Signs, zone: tzinfo | None = None) -> list[Text]:
    """A line each, below a title; none where there are none."""
    lines = [Text(fit(f"  {clean(sentence(each, zone), signs)}", width, signs), style="yellow") for each in breaches]
    return [Text(f"Unexpected ({count(len(lines))})", style="bold"), *lines] if lines else []
