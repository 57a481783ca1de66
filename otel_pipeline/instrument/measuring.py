"""Numbers for OpenTelemetry's metrics: noted at the price of an append, handed over when the SDK collects.

::

    a call of the user's ──append──► noted ──when the SDK collects, or there are many──► counters: summed by labels
                                                                                         histograms: one by one
                                                                                         gauges: the last one

OpenTelemetry's own ``add`` costs several microseconds, which a call per page or row should not. Labels are bounded for
each metric: beyond, everything is added to one overflow series, so that sums stay right and memory stays bounded.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import Observation

from otel_pipeline.instrument import registry, results
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import operations as o
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider

    from otel_pipeline.semconv.tables import Metric

MOST_LABEL_SETS = 2000
"""For each metric of a process, as OpenTelemetry's specification has it (its cardinality limit)."""
MOST_LABELS = 16
_LONGEST = 200
_MOST_NOTED = 1000
_MOST_SPELLINGS = 20_000
NOWHERE = Context()
"""To count in: within a sampled span the SDK draws exemplars from Python's shared random numbers, the program's own."""

P = TypeVar("P")
Given = dict[str, str]
"""Labels as they were given: texts by name. An empty text is no label."""
Labels = tuple[tuple[str, str], ...]
"""Sorted by name."""


class Noted:
    """A metric under which numbers are noted."""

    __slots__ = ("_over", "_sets", "_spelt", "metric")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._sets: set[Labels] = set()
        self._over: set[Labels] = set()
        self._spelt: dict[Labels, Labels] = {}

    def note(self, value: float, labels: Given) -> None:
        """Note a number; it is handed over at the latest when the SDK collects."""
        _noted.append((self, value, labels))
        if len(_noted) >= _MOST_NOTED:
            hand_over()

    def series(self, given: Given) -> tuple[Labels, bool]:
        """The labels to count it under, and whether they are those of the overflow."""
        items = tuple(given.items())
        if (labels := self._spelt.get(items)) is None:
            labels = tuple(sorted((_clean(key), _clean(text)) for key, text in items if text))[:MOST_LABELS]
            if len(self._spelt) >= _MOST_SPELLINGS:
                self._spelt.clear()
            self._spelt[items] = labels
        if labels not in self._sets:
            if len(self._sets) >= MOST_LABEL_SETS:
                over = tuple((key, o.OVERFLOW) for key, _ in labels)
                if over not in self._over:
                    if len(self._over) >= MOST_LABELS:  # names without end are as bad as values without end
                        return ((a.TELEMETRY_METRIC, o.OVERFLOW),), True
                    self._over.add(over)
                return over, True
            self._sets.add(labels)
        return labels, False


class _Receiver:
    """The current provider, and the instruments of ours on it: made when first used, a metric without value is none.

    ``instead``: the one to use instead of OpenTelemetry's global one.
    """

    def __init__(self, instead: MeterProvider | None = None) -> None:
        self.instead = instead
        self.provider: MeterProvider | None = None
        self.meter: Meter | None = None
        self.made: dict[str, Any] = {}
        self.parts: dict[type[Any], Any] = {}
        self.busy = False


levels: dict[str, Callable[[], Iterable[tuple[float, Given]]]] = {}
"""By metric: who knows the values of an up-down counter, whenever the SDK collects."""
watches: list[Callable[[], object]] = []
"""What is to be called before a collection, to note what it knows."""
_LEVELS = (o.SESSIONS_ACTIVE.metric, o.URL_RATE.metric, o.ARTICLE_RATE.metric)

_noted: deque[tuple[Noted, float, Given]] = deque()
# Held while numbers are on their way, so that a collection does not miss what another thread has taken out already.
# Re-entrant: a signal handler of the program's may note something in between.
_lock = threading.RLock()
_receiver = _Receiver()
_overflowed, _rejected = Noted(o.OVERFLOWED.metric), Noted(o.REJECTED.metric)


def part(kind: type[P]) -> P:
    """The one object of this kind that belongs to where numbers go now."""
    if (found := _receiver.parts.get(kind)) is None:
        found = _receiver.parts.setdefault(kind, kind())
    return cast("P", found)


def rejected(call: str) -> None:
    """Something that was given to ``call`` could not be used."""
    begin()
    _rejected.note(1, {a.TELEMETRY_CALL: call})


def begin() -> None:
    """Be asked whenever the current provider collects."""
    provider = _receiver.instead or metrics.get_meter_provider()
    if provider is _receiver.provider:
        return
    with _lock:
        known = _receiver.provider
        if provider is known:
            return
        _receiver.provider = provider
        # What was made before there was a provider is forwarded to the one that was set then.
        if known is not None and type(known).__name__ == "_ProxyMeterProvider":
            return
        _receiver.made.clear()
        _receiver.meter = metrics.NoOpMeter(registry.SCOPE_NAME)
    try:
        _begin(provider)
    except Exception as error:  # noqa: BLE001 - a provider of the program's may raise anything
        registry.say_once("measuring", f"otel_pipeline: cannot measure: {results.described(error)}")


def _begin(provider: MeterProvider) -> None:
    # Kept, since a provider that is shutting down collects once more and hands out no meters by then.
    _receiver.meter = meter = provider.get_meter(registry.SCOPE_NAME, __version__)
    # Without our lock: the SDK holds one of its own both for this and while it asks, which takes ours.
    # The SDK asks the observable instruments first, so that the others are up to date in the same collection.
    for metric in _LEVELS:
        meter.create_observable_up_down_counter(metric.name, [_asked(metric.name)], metric.unit, metric.description)


def hand_over() -> None:
    """Hand everything that is noted over to OpenTelemetry's instruments."""
    begin()
    with _lock:
        # A signal handler of the program's may come here in the middle, where the SDK holds a lock: that goes on later.
        if _receiver.busy:
            return
        _receiver.busy = True
        try:
            _hand_all_over()
        except Exception as error:  # noqa: BLE001 - instruments of a provider of the program's may raise anything
            registry.say_once("measuring", f"otel_pipeline: cannot hand measurements over: {results.described(error)}")
        finally:
            _receiver.busy = False


def _hand_all_over() -> None:
    sums: dict[tuple[Noted, Labels], float] = {}
    last: dict[tuple[Noted, Labels], float] = {}
    waiting = _noted
    for _ in range(len(waiting)):
        noted, value, given = waiting.popleft()
        labels, over = noted.series(given)
        if over:
            key = (_overflowed, ((a.TELEMETRY_METRIC, noted.metric.name),))
            sums[key] = sums.get(key, 0) + 1
        if noted.metric.instrument == "histogram":
            _instrument(noted.metric).record(value, dict(labels), context=NOWHERE)
        elif noted.metric.instrument == "gauge":
            last[noted, labels] = value
        else:
            sums[noted, labels] = sums.get((noted, labels), 0) + value
    for (noted, labels), value in sums.items():
        _instrument(noted.metric).add(value, dict(labels), context=NOWHERE)
    for (noted, labels), value in last.items():
        _instrument(noted.metric).set(value, dict(labels), context=NOWHERE)


@contextlib.contextmanager
def aside(provider: MeterProvider) -> Iterator[None]:
    """For a while ``provider`` has what is noted, and nobody else: for tests of user code."""
    global _noted, _receiver
    before = _noted, _receiver
    _noted, _receiver = deque(), _Receiver(provider)
    try:
        yield
    finally:
        _noted, _receiver = before


def reset() -> None:
    """Forget what is noted: for tests, and in a forked child, since what its parent has noted is the parent's."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.RLock()
    _noted.clear()
    _receiver.busy = False
    _receiver.parts.clear()  # its sessions, too, are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=reset)


def _asked(metric: str) -> Callable[[CallbackOptions], list[Observation]]:
    def asked(options: CallbackOptions) -> list[Observation]:
        del options
        for watch in tuple(watches):
            with contextlib.suppress(Exception):  # what one of them cannot tell, the others can
                watch()
        hand_over()
        values = levels.get(metric, tuple)()
        return [Observation(value, {key: text for key, text in labels.items() if text}) for value, labels in values]

    return asked


def _instrument(metric: Metric) -> Any:
    if (found := _receiver.made.get(metric.name)) is None:
        found = _receiver.made[metric.name] = instrument_of(_receiver.meter, metric)
    return found


def instrument_of(meter: Any, metric: Metric) -> Any:
    """OpenTelemetry's counter, gauge or histogram on ``meter``."""
    if metric.instrument == "histogram":
        return meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        )
    make = meter.create_gauge if metric.instrument == "gauge" else meter.create_counter
    return make(metric.name, metric.unit, metric.description)


def _clean(text: str) -> str:
    return results.clean(text[:_LONGEST])


# --- what calls check -----------------------------------------------------------------------------------------------


LARGEST = 1e300
"""What is larger could add up to infinity, which no sum comes back from."""


def number(value: object, what: str, *, least: float = -LARGEST, most: float = LARGEST) -> float | None:
    """``value`` where it is a finite number within the bounds; else None, and it is said and counted."""
    found: Any = value if type(value) in (int, float) else _as_number(value)
    try:
        if found is not None and least <= found <= most:
            return float(found)  # an integer of more than 64 bits could not be exported
    except OverflowError:  # an integer that no float can hold
        pass
    bounds = f" from {least:g}" if least > -LARGEST else ""
    bounds += f" to {most:g}" if most < LARGEST else ""
    registry.misused(what, f"{what}={results.quoted(value)} was left out; want a finite number{bounds}")
    return None


def _as_number(value: object) -> float | None:
    if value is None or isinstance(value, (bool, str, bytes)):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # a Decimal, one of numpy's numbers
    except Exception:  # noqa: BLE001 - the user's __float__ may do anything
        return None


def texts(given: Mapping[str, object] | None, named: Mapping[str, object]) -> Given:
    """A user's labels as texts."""
    found: Given = {}
    for labels in (given, named):
        if labels is None:
            continue
        try:
            for key, value in labels.items():
                found[key if type(key) is str else str(key)] = value if type(value) is str else _as_text(value)
        except Exception:  # noqa: BLE001 - a mapping of the user's may do anything
            registry.misused(
                "labels", f"labels={results.quoted(labels)} were left out; want a mapping of names to texts"
            )
    return found


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)[:_LONGEST]
