"""What a stage says of its records: counts, failed samples, datasets and checks, kept small until the stage ends.

Datasets and checks that are named many times (once per batch, say) add up, so that a stage's span stays small.
Everything here takes whatever user code hands over: what cannot be used is left out with one warning, and no exception.
"""

from __future__ import annotations

import contextlib
import operator
from datetime import date, datetime, time, timezone
from itertools import compress, count
from typing import TYPE_CHECKING, Any, TypeVar

from otel_pipeline.instrument import results
from otel_pipeline.instrument.registry import say_once
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping

    from opentelemetry.util.types import AttributeValue

T = TypeVar("T")

# OpenTelemetry keeps 128 events of a span by default, the oldest are dropped beyond: these add up to less.
MOST_DATASETS = 40
MOST_CHECKS = 40
MOST_SAMPLES = 20
SAMPLES_PER_TYPE = 3
_MOST_KEYS = 50
_MOST_TEXT = 1000


def whole(value: object, what: str) -> int | None:
    """``value`` as a count of zero or more, or ``None`` with one warning that quotes it."""
    if value is None:
        return None
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = int(value) if isinstance(value, float) and value.is_integer() else -1
    if number >= 0 and not isinstance(value, bool):
        return number
    say_once(f"count:{what}", f"otel_pipeline: {what}={value!r:.80} was left out; a count is a whole number from 0 up")
    return None


def text(value: object, what: str) -> str | None:
    """``value`` as a bounded string, or ``None`` where there is none."""
    if value is None:
        return None
    if not isinstance(value, str):
        say_once(f"text:{what}", f"otel_pipeline: {what}={value!r:.80} is not a string; its text is used")
        value = _shown(value)
    return results.clean(value)[:_MOST_TEXT]


def _shown(value: object) -> str:
    try:
        return results.clean(str(value))
    except Exception:  # noqa: BLE001 - the user's __str__ may do anything
        return f"<{type(value).__name__}>"


def moment(value: object) -> str | None:
    """A watermark in ISO 8601, UTC. A date means its first instant; a time without zone is taken as UTC."""
    if value is None:
        return None
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), timezone.utc)
    if not isinstance(value, datetime):
        say_once(
            "watermark", f"otel_pipeline: watermark={value!r:.80} was left out; use a date, a datetime or ISO 8601"
        )
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


class Tracked:
    """Counts what passes through a foreign iterable, at the price of one C call per record.

    ``compress(rows, count(1))`` takes a number from the counter for each row that it hands on, and none when the rows
    end or raise; the counter's next number, read from its repr, is therefore one more than the rows handed on.
    """

    __slots__ = ("_counter",)

    def __init__(self) -> None:
        self._counter = count(1)

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


class Sums:
    """Datasets or checks by identity, their numbers added up, at most ``most`` identities."""

    def __init__(self, event: str, most: int) -> None:
        self._event = event
        self._most = most
        self._sums: dict[tuple[str | None, ...], dict[str, AttributeValue]] = {}

    def add(
        self, identity: Mapping[str, str | None], numbers: Mapping[str, int | None], latest: str | None = None
    ) -> None:
        """Add numbers to an identity. ``latest`` is a watermark: the later one stays."""
        key = tuple(identity.values())
        if key not in self._sums:
            if len(self._sums) >= self._most:
                say_once(
                    self._event,
                    f"otel_pipeline: more than {self._most} different {self._event} on one stage; the rest is left out",
                )
                return
            self._sums[key] = {name: value for name, value in identity.items() if value is not None}
        entry: dict[str, Any] = self._sums[key]
        for name, number in numbers.items():
            if number is not None:
                entry[name] = entry.get(name, 0) + number
        if latest is not None:
            entry[a.DATASET_WATERMARK] = max(latest, entry.get(a.DATASET_WATERMARK, latest))

    def events(self) -> Iterator[tuple[str, dict[str, AttributeValue]]]:
        """As span events."""
        for attributes in self._sums.values():
            yield self._event, attributes


class Samples:
    """The first failed records of each exception type: type and keys of the record, never its values."""

    def __init__(self) -> None:
        self._samples: list[dict[str, AttributeValue]] = []
        self._by_type: dict[str, int] = {}

    def add(self, error: BaseException | str, record: object) -> None:
        """Keep a sample, unless there are enough of its type."""
        kind = results.error_type(error) if isinstance(error, BaseException) else "str"
        seen = self._by_type.get(kind, 0)
        if seen >= SAMPLES_PER_TYPE or len(self._samples) >= MOST_SAMPLES:
            return
        self._by_type[kind] = seen + 1
        message = results.error_message(error) if isinstance(error, BaseException) else results.clean(str(error))
        sample: dict[str, AttributeValue] = {a.EXCEPTION_TYPE: kind, a.EXCEPTION_MESSAGE: message[:_MOST_TEXT]}
        if record is not None:
            sample[a.RECORD_TYPE] = type(record).__qualname__
            sample |= _keys(record)
        self._samples.append(sample)

    def events(self) -> Iterator[tuple[str, dict[str, AttributeValue]]]:
        """As span events."""
        for attributes in self._samples:
            yield events.RECORD_ERROR, attributes


def _keys(record: object) -> dict[str, AttributeValue]:
    try:
        keys = [_shown(key)[:100] for _, key in zip(range(_MOST_KEYS), record.keys(), strict=False)]  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - a record is anything; its keys() may be missing, an attribute, or raise
        return {}
    return {a.RECORD_KEYS: keys}
