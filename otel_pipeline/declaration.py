"""What is expected of a pipeline: declared in code or in a file, carried by its runs, judged by whoever counts them.

::

    op.pipeline("orders", schedule=…, expect=…, slo=…) ──────► text ─► run span, start event ─┐
    otel-pipeline.yaml: pipelines: {orders: {schedule: …}} ──► text ─► the store ─────────────┴─► effective

One spelling everywhere: the strings that a user writes are those in the file and on the wire, so that this module reads
all three. Standard library only, since a user's process imports it: calendars are for whoever judges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_pipeline.errors import ExpectationError
from otel_pipeline.spellings import UNITS, counts_of, duration_of, durations_of, rate_of, schedule_text, share_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION = 1
MOST_TEXT = 2000
"""Characters of a declaration on the wire; what is longer is not read."""
SENSITIVITIES = ("low", "normal", "high")


class Objective(NamedTuple):
    """Which share of what is counted has to be good: ``target`` in (0, 1); ``limit`` in nanoseconds where one is."""

    name: str
    target: float
    limit: int | None = None


@dataclass(frozen=True)
class Expect:
    """What every run of a pipeline is expected to be.

    ``duration`` and ``records`` are bounds: ``"<30m"``, ``">=1000"``, or both sides as ``"5m..30m"``. Records are those
    that the run wrote to datasets, else what came out of its last stage. ``start_within`` and ``finish_within``
    (``"10m"``) count from each time that the schedule names; without ``start_within`` it is 5 minutes, without
    ``finish_within`` the end is not watched. ``every="1h"``: a run succeeds at least once in that time, with a schedule
    or without. ``at_most="3/1h"``: no more runs start in any such time. ``learn`` (``"low"``, ``"normal"``, ``"high"``:
    how sensitive) derives the bounds that are not stated from the runs before, once there are 8.

    Durations: a number with ms, s, m, h, d or w, also several (``"1h30m"``).

    >>> Expect(duration="<30m", records=">=1000")
    Expect(duration='<30m', records='>=1000')

    Raises ExpectationError, a ValueError, which quotes what cannot be used.
    """

    duration: str | None = None
    records: str | None = None
    start_within: str | None = None
    finish_within: str | None = None
    every: str | None = None
    at_most: str | None = None
    learn: str | None = None

    def __post_init__(self) -> None:
        _check(self, _EXPECT)

    def __repr__(self) -> str:
        return _repr(self)


@dataclass(frozen=True)
class Slo:
    """Objectives of a pipeline or service over ``window``.

    ``availability="99.9%"``: of the runs that succeeded or failed, the share that succeeds. ``latency="95% < 30m"``: of
    those that succeeded, the share that took less. ``errors="<1%"``: of the records, the share that may fail.
    ``freshness="99% < 2h"``: the share of the time in which the last success is younger. Attempts after which there was
    another do not count, unless ``retries`` is true, nor do backfills, unless ``backfills`` is.

    >>> Slo(availability="99.9%", latency="95% < 30m")
    Slo(availability='99.9%', latency='95% < 30m')

    Raises ExpectationError, a ValueError, which quotes what cannot be used.
    """

    availability: str | None = None
    latency: str | None = None
    errors: str | None = None
    freshness: str | None = None
    window: str | None = None
    retries: bool | None = None
    backfills: bool | None = None

    def __post_init__(self) -> None:
        _check(self, _SLO)

    def __repr__(self) -> str:
        return _repr(self)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Those that are stated."""
        return tuple(
            Objective(name, *share_of(told)) for name in OBJECTIVES if (told := getattr(self, name)) is not None
        )

    @property
    def window_ns(self) -> int:
        """The window in nanoseconds: 30 days where none is stated."""
        return duration_of(self.window) if self.window is not None else 30 * UNITS["d"]


@dataclass(frozen=True)
class Declaration:
    """All that is declared of one pipeline."""

    schedule: str | None = None
    expect: Expect = field(default_factory=Expect)
    slo: Slo | None = None


OBJECTIVES = ("availability", "latency", "errors", "freshness")


def text_of(schedule: object = None, expect: object = None, slo: object = None) -> str | None:
    """A declaration as it is carried: compact JSON; None where nothing is declared. Raises ExpectationError."""
    told: dict[str, Any] = {}
    if schedule is not None:
        told["schedule"] = schedule_text(schedule)
    for name, part, kind in (("expect", expect, Expect), ("slo", slo, Slo)):
        if part is not None and not isinstance(part, kind):
            raise ExpectationError(f"{name}={shown(part)}: want op.{kind.__name__}(…)")
        if part is not None and (stated := _stated(part)):
            told[name] = stated
    return json.dumps({"v": VERSION, **told}, separators=(",", ":")) if told else None


def texts_of(file: object, where: str) -> dict[str, str]:
    """The declarations of a config file's ``pipelines``, by pipeline; a part that is null there is switched off.

    ``where`` names the file in errors. Raises ExpectationError.
    """
    found: dict[str, str] = {}
    for name, told in _mapping(file, f"{where}: pipelines").items():
        here = f"{where}: pipelines: {name}"
        parts: dict[str, Any] = {}
        for key, value in _mapping(told, here).items():
            if key not in _PARTS:
                raise ExpectationError(f"{here}: {key}: there is no such part; there are {', '.join(_PARTS)}")
            try:
                parts[key] = None if value is None else _PARTS[key](value, f"{here}: {key}")
            except ExpectationError as error:
                text = str(error)
                raise ExpectationError(text if text.startswith(here) else f"{here}: {text}") from None
        found[str(name)] = json.dumps({"v": VERSION, **parts}, separators=(",", ":"))
    return found


@lru_cache(maxsize=2048)
def effective(code: str | None, file: str | None = None) -> Declaration:
    """What holds, of what a run carries and what a file says: the file's parts win, each as a whole.

    A text of another version, and a part that cannot be used, says nothing: it came over the network.
    """
    told = {**_object(code), **_object(file)}
    schedule, expect, slo = None, Expect(), None
    if isinstance(named := told.get("schedule"), str):
        schedule = _usable(lambda: schedule_text(named), None)
    if isinstance(parts := told.get("expect"), dict):
        expect = _usable(lambda: Expect(**_known(parts, Expect)), expect)
    if isinstance(objectives := told.get("slo"), dict):
        slo = _usable(lambda: Slo(**_known(objectives, Slo)), None)
    return Declaration(schedule, expect, slo)


def _sensitivity(value: object) -> object:
    if isinstance(value, str) and value in SENSITIVITIES:
        return value
    raise ValueError(f"one of {', '.join(SENSITIVITIES)}")


def _share(limited: bool, below: bool, example: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        try:
            found = share_of(value)
        except ValueError as error:
            raise ValueError(f"{error}, here as '{example}'") from None
        if (found[1] is not None) is not limited or ("<" in str(value).strip()[:1]) is not below:
            raise ValueError(f"a share such as '{example}'")
        return found

    return check


def _flag(value: object) -> object:
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


_EXPECT: Mapping[str, Callable[[Any], object]] = {
    "duration": durations_of,
    "records": counts_of,
    "start_within": duration_of,
    "finish_within": duration_of,
    "every": duration_of,
    "at_most": rate_of,
    "learn": _sensitivity,
}
_SLO: Mapping[str, Callable[[Any], object]] = {
    "availability": _share(False, False, "99.9%"),
    "latency": _share(True, False, "95% < 30m"),
    "errors": _share(False, True, "<1%"),
    "freshness": _share(True, False, "99% < 2h"),
    "window": duration_of,
    "retries": _flag,
    "backfills": _flag,
}
_PARTS: Mapping[str, Callable[[Any, str], object]] = {
    "schedule": lambda value, where: schedule_text(value),
    "expect": lambda value, where: _stated(Expect(**_fields(value, Expect, where))),
    "slo": lambda value, where: _stated(Slo(**_fields(value, Slo, where))),
}


def _check(part: Expect | Slo, checks: Mapping[str, Callable[[Any], object]]) -> None:
    for name, check in checks.items():
        if (value := getattr(part, name)) is not None:
            try:
                check(value)
            except ValueError as error:
                raise ExpectationError(f"{type(part).__name__}({name}={shown(value)}): want {error}") from None


def _fields(told: object, kind: type, where: str) -> dict[str, Any]:
    known = [field.name for field in fields(kind)]
    values = _mapping(told, where)
    for name in values:
        if name not in known:
            raise ExpectationError(f"{where}: {name}: there is no such thing to state; there are {', '.join(known)}")
    return values


def _known(told: Mapping[str, Any], kind: type) -> dict[str, Any]:
    return {field.name: told[field.name] for field in fields(kind) if field.name in told}


def _stated(part: Expect | Slo) -> dict[str, Any]:
    return {f.name: getattr(part, f.name) for f in fields(part) if getattr(part, f.name) is not None}


def _repr(part: Expect | Slo) -> str:
    return f"{type(part).__name__}({', '.join(f'{name}={value!r}' for name, value in _stated(part).items())})"


def _mapping(told: object, where: str) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise ExpectationError(f"{where}: want `name: value` lines, got {shown(told)}")
    return told


def _object(text: str | None) -> dict[str, Any]:
    if text is None or len(text) > MOST_TEXT:
        return {}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) and told.get("v") == VERSION else {}


def _usable(read: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return read()
    except ExpectationError:
        return otherwise
