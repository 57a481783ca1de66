"""What a stage says of its records: counts, failed samples, datasets and checks, kept small until the stage ends.

Datasets and checks that are named many times (once per batch, say) add up, so that a stage's span stays small.
Everything here takes whatever user code hands over: what cannot be used is left out with one warning, and no exception.
"""

from __future__ import annotations

import contextlib
import operator
import re
import threading
from collections.abc import AsyncIterable, Iterable, Mapping
from itertools import compress, count
from typing import TYPE_CHECKING, Any, TypeVar

from otel_pipeline.instrument import results
from otel_pipeline.instrument.registry import misused, say_once, values_are_kept
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from opentelemetry.util.types import AttributeValue

T = TypeVar("T")

# OpenTelemetry keeps 128 events of a span by default, the oldest are dropped beyond: these add up to less.
MOST_DATASETS = 40
MOST_CHECKS = 40
MOST_SAMPLES = 20
SAMPLES_PER_TYPE = 3
_MOST_KEYS = 50
_MOST_VALUE = 100
_MOST_TEXT = 1000
_MOST_ITEMS = 100
# An exporter that meets a larger number loses the whole batch: OTLP's integers have 64 bits.
LARGEST = 2**63 - 1


def whole(value: object, what: str) -> int | None:
    """``value`` as a count of zero or more, or ``None`` with one warning that quotes it."""
    if value is None:
        return None
    try:
        exact = int(value) if isinstance(value, float) and value.is_integer() else value
        number = operator.index(exact)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - the user's __index__ may do anything
        number = -1
    if 0 <= number <= LARGEST and not isinstance(value, bool):
        return number
    _say(what, value, "was left out; a count is a whole number from 0 up")
    return None


def text(value: object, what: str) -> str | None:
    """``value`` as a bounded string, or ``None`` where there is none."""
    if value is None:
        return None
    if not isinstance(value, str):
        _say(what, value, "is not a string; its text is used")
        return _shown(value)
    return results.clean(value[:_MOST_TEXT])


def needed(value: object, what: str) -> str | None:
    """As ``text``, where without it nothing can be said: the warning says so."""
    found = text(value, what)
    if not found:
        _say(what, value, "names nothing; the call was left out")
    return found or None


def attributes_from(given: object, what: str) -> dict[str, AttributeValue] | None:
    """A user's attributes, as every exporter can write them; ``None`` where there are none."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        _say("attributes", given, "was left out; attributes are a mapping from names to values")
        return None
    found: dict[str, AttributeValue] = {}
    with contextlib.suppress(Exception):  # a mapping of the user's may do anything
        for key, value in given.items():
            kind = type(value)
            if _plain(key) and (
                kind is float
                or kind is bool
                or (kind is int and -LARGEST <= value <= LARGEST)
                or (kind is str and value.isascii() and 0 < len(value) <= _MOST_TEXT)
            ):  # what nearly all are, told without a call for each
                found[key] = value
                continue
            name, usable = text(key, "attribute name"), _attribute(value)
            if name and usable is not None:
                found[name] = usable
    return found or None


def _plain(value: object) -> bool:
    """Whether it is what nearly all names are: a short string, not empty, of ASCII."""
    return type(value) is str and value.isascii() and 0 < len(value) <= _MOST_TEXT


def _attribute(value: object) -> AttributeValue | None:
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [_simple(item) for item in list(value)[:_MOST_ITEMS]]
        same = len({type(item) for item in items}) <= 1
        return items if same else [_shown(item) for item in items]
    return _simple(value)


def _simple(value: object) -> str | bool | int | float:
    if isinstance(value, (bool, float)):
        return value
    with contextlib.suppress(Exception):
        if abs(number := operator.index(value)) <= LARGEST:  # type: ignore[arg-type]
            return number
    return _shown(value)


def _shown(value: object) -> str:
    try:
        return results.clean(str(value)[:_MOST_TEXT])
    except Exception:  # noqa: BLE001 - the user's __str__ may do anything
        return f"<{results.clean(type(value).__name__)}>"


def _say(what: str, value: object, why: str) -> None:
    misused(what, f"{what}={results.quoted(value)} {why}")


def moment(value: object) -> str | None:
    """A watermark in ISO 8601, UTC. A date means its first instant; a time without zone is taken as UTC."""
    if value is None:
        return None
    from datetime import date, datetime, time, timezone  # noqa: PLC0415 - only watermarks need it

    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            # Python 3.10 reads neither a Z nor fractions of other than three or six digits.
            micros = re.sub(r"\.(\d{1,6})\d*", lambda found: f".{found[1]:0<6}", value)
            value = datetime.fromisoformat(micros.replace("Z", "+00:00"))
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), timezone.utc)
    if not isinstance(value, datetime):
        _no_moment(value)
        return None
    try:
        value = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        return value.isoformat().replace("+00:00", "Z")
    except Exception:  # noqa: BLE001 - before the year 1, not a time, a time zone of the user's
        _no_moment(value)
        return None


def _no_moment(value: object) -> None:
    _say("watermark", value, "was left out; use a date, a datetime or ISO 8601")


class CountsItself:
    """What is pulled from it is counted where it is pulled: ``track`` leaves it alone."""

    __slots__ = ()


class Tracked:
    """Counts what passes through a foreign iterable, at the price of one C call per record.

    ``compress(rows, count(1))`` takes a number from the counter for each row that it hands on, and none when the rows
    end or raise; the counter's next number, read from its repr, is therefore one more than the rows handed on.
    """

    __slots__ = ("_counter",)

    def __init__(self) -> None:
        self._counter = count(1)

    def over_any(self, rows: Any) -> Any:
        """The same rows, in whichever way they can be iterated; what cannot be is given back."""
        if isinstance(rows, AsyncIterable):
            return _Either(self, rows) if isinstance(rows, Iterable) else self.over_async(rows)
        try:
            iterator = iter(rows)
        except TypeError:
            return rows
        return self.over(iterator)

    def over(self, rows: Iterable[T]) -> Iterator[T]:
        """The same rows."""
        return compress(rows, self._counter)

    async def over_async(self, rows: AsyncIterable[T]) -> AsyncIterator[T]:
        """The same rows."""
        async for row in rows:
            next(self._counter)
            yield row

    @property
    def seen(self) -> int:
        """How many rows were handed on until now."""
        return int(repr(self._counter)[6:-1]) - 1


class _Either:
    """Rows that can be iterated in both ways, such as some cursors: the loop around it decides."""

    def __init__(self, tracked: Tracked, rows: Any) -> None:
        self._tracked = tracked
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return self._tracked.over(self._rows)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._tracked.over_async(self._rows)


class Sums:
    """Datasets or checks by identity, their numbers added up, at most ``most`` identities."""

    def __init__(self, event: str, most: int) -> None:
        self._event = event
        self._most = most
        self._sums: dict[tuple[str | None, ...], dict[str, AttributeValue]] = {}
        self._lock = threading.RLock()

    def add(
        self, identity: Mapping[str, str | None], numbers: Mapping[str, int | None], latest: str | None = None
    ) -> None:
        """Add numbers to an identity. ``latest`` is a watermark: the later one stays."""
        key = tuple(identity.values())
        with self._lock:
            if key not in self._sums:
                if len(self._sums) >= self._most:
                    over = f"more than {self._most} different {self._event} on one stage; the rest is left out"
                    say_once(self._event, f"otel_pipeline: {over}")
                    return
                self._sums[key] = {name: value for name, value in identity.items() if value is not None}
            entry: dict[str, Any] = self._sums[key]
            for name, number in numbers.items():
                if number is not None:
                    entry[name] = min(entry.get(name, 0) + number, LARGEST)
            if latest is not None:
                # Without the Z, which sorts behind the point of a fraction.
                entry[a.DATASET_WATERMARK] = max(latest, entry.get(a.DATASET_WATERMARK, latest), key=lambda at: at[:-1])

    def events(self) -> Iterator[tuple[str, dict[str, AttributeValue]]]:
        """As span events."""
        for attributes in list(self._sums.values()):
            yield self._event, attributes


class Samples:
    """The first failed records of each exception type: type and keys of the record; values only where asked for."""

    def __init__(self) -> None:
        self._samples: list[dict[str, AttributeValue]] = []
        self._by_type: dict[str, int] = {}

    def add(self, error: BaseException | str, record: object, kind: str = "str") -> None:
        """Keep a sample, unless there are enough of its type; ``kind`` is that of an error without one."""
        kind = results.error_type(error) if isinstance(error, BaseException) else kind
        seen = self._by_type.get(kind, 0)
        if seen >= SAMPLES_PER_TYPE or len(self._samples) >= MOST_SAMPLES:
            return
        self._by_type[kind] = seen + 1
        message = results.error_message(error) if isinstance(error, BaseException) else _shown(error)
        sample: dict[str, AttributeValue] = {a.EXCEPTION_TYPE: kind, a.EXCEPTION_MESSAGE: message[:_MOST_TEXT]}
        if record is not None:
            sample[a.RECORD_TYPE] = _shown(type(record).__qualname__)
            sample |= _keys(record)
            if values_are_kept():
                sample[a.RECORD_VALUES] = _first_values(record, sample.get(a.RECORD_KEYS))
        self._samples.append(sample)

    def events(self) -> Iterator[tuple[str, dict[str, AttributeValue]]]:
        """As span events."""
        for attributes in list(self._samples):
            yield events.RECORD_ERROR, attributes


def _keys(record: object) -> dict[str, AttributeValue]:
    try:
        keys = [_shown(key)[:100] for _, key in zip(range(_MOST_KEYS), record.keys(), strict=False)]  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - a record is anything; its keys() may be missing, an attribute, or raise
        return {}
    return {a.RECORD_KEYS: keys}


def _first_values(record: Any, keys: object) -> list[str]:
    """The beginnings of its values, secrets masked: by the names that its keys are, and by what they look like."""
    from otel_pipeline import masking  # noqa: PLC0415 - for the few who ask for it

    try:
        if keys is not None:
            named = [(_shown(key), record[key]) for _, key in zip(range(_MOST_KEYS), record.keys(), strict=False)]
        elif isinstance(record, (list, tuple)):
            named = [("", item) for item in record[:_MOST_KEYS]]
        else:
            named = [("", record)]
        # Masked before it is cut: of a secret that is cut nobody would know what it is.
        return [str(masking.value(key, _shown(value)))[:_MOST_VALUE] for key, value in named]
    except Exception:  # noqa: BLE001 - as for its keys
        return []
