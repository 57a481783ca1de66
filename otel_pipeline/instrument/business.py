"""Business KPIs: a user's own counters, gauges and histograms, by name and labels."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from otel_pipeline.instrument import measuring, registry, results
from otel_pipeline.instrument.measuring import LARGEST, Noted, number, texts
from otel_pipeline.instrument.records import text
from otel_pipeline.semconv.tables import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Collect = Callable[[], Any]
    C = TypeVar("C", bound=Collect)

BUCKETS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000)
"""Of a histogram that says none: OpenTelemetry's."""
MOST_BUCKETS = 19
MOST_METRICS = 1000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")
_UNIT = re.compile(r"[\x20-\x7e]{0,63}")
Kind = Literal["counter", "gauge", "histogram"]


class _Measure:
    """One metric. A handle on a name that cannot be used counts nothing."""

    def __init__(self, noted: Noted | None) -> None:
        self._noted = noted

    def _note(
        self, value: object, labels: Mapping[str, object] | None, named: Mapping[str, object], least: float
    ) -> None:
        noted = self._noted
        if noted is not None and (found := number(value, noted.metric.name, least=least)) is not None:
            noted.note(found, texts(labels, named))


class Counter(_Measure):
    """Adds up: revenue, orders."""

    def add(self, amount: float = 1, attributes: Mapping[str, object] | None = None, **labels: object) -> None:
        """Add an amount from 0 up, to the series of these labels."""
        self._note(amount, attributes, labels, 0)


class Gauge(_Measure):
    """What was measured last: customers in a segment."""

    def set(self, value: float, attributes: Mapping[str, object] | None = None, **labels: object) -> None:
        """Set the series of these labels."""
        self._note(value, attributes, labels, -LARGEST)


class Histogram(_Measure):
    """How values are distributed: the value of orders."""

    def record(self, value: float, attributes: Mapping[str, object] | None = None, **labels: object) -> None:
        """Count one value from 0 up, in the series of these labels."""
        self._note(value, attributes, labels, 0)


def counter(name: str, *, unit: str = "", description: str = "") -> Counter:
    """A counter of your own, by an OpenTelemetry name.

    >>> from otel_pipeline import counter
    >>> revenue = counter("revenue.processed", description="Money that came in.")
    >>> revenue.add(12.5, currency="EUR")

    In Prometheus it is ``revenue_processed_total{currency="EUR"}``. A name that is in use for something else, or none
    that OpenTelemetry allows, is said once and counts nothing.
    """
    return Counter(_noted(name, "counter", unit, description))


def gauge(name: str, *, unit: str = "", description: str = "") -> Gauge:
    """A gauge of your own.

    >>> from otel_pipeline import gauge
    >>> gauge("customer.segments.count").set(120, segment="new")
    """
    return Gauge(_noted(name, "gauge", unit, description))


def histogram(name: str, *, unit: str = "", description: str = "", buckets: Sequence[float] | None = None) -> Histogram:
    """A histogram of your own; ``buckets`` are rising upper bounds, at most 19.

    >>> from otel_pipeline import histogram
    >>> histogram("order.items", buckets=[1, 2, 5, 10]).record(3)
    """
    return Histogram(_noted(name, "histogram", unit, description, buckets))


# --- collectors -----------------------------------------------------------------------------------------------------


class Collector:
    """A function that is asked for a gauge's value on an interval: a number, or a mapping from labels to numbers.

    The keys of such a mapping are values of the one label ``label``.
    """

    def __init__(self, gauge: Gauge, function: Collect, every: float, label: str) -> None:
        self.gauge = gauge
        self.function = function
        self.every = every
        self.label = label

    def poll(self) -> None:
        """Ask once. Raises what the function raises."""
        found = self.function()
        if isinstance(found, Mapping):
            for key, value in found.items():
                self.gauge.set(value, {self.label: key})
        elif found is not None:
            self.gauge.set(found)


class _Collectors:
    def __init__(self) -> None:
        self.every: list[Collector] = []
        self.start: Callable[[Collector], None] | None = None


_collectors = _Collectors()


def collector(
    name: str, *, every: float = 60.0, label: str = "key", unit: str = "", description: str = ""
) -> Callable[[C], C]:
    """Ask the decorated function for a gauge's value, now and ``every`` so many seconds, while the process is set up.

    >>> from otel_pipeline import collector
    >>> @collector("customer.segments.count", every=30, label="segment")
    ... def segments():
    ...     return {"new": 120, "returning": 80}

    It runs on a thread of its own, daemonic, so a function that hangs holds up nothing else; what it raises is said
    once. None says that there is nothing to tell now.
    """
    seconds = number(every, "every", least=0.1)
    made = gauge(name, unit=unit, description=description)

    def register(function: C) -> C:
        if inspect.iscoroutinefunction(function) or not callable(function):
            wrong = f"collector({results.quoted(name)}): want a plain function, got {results.quoted(function)}"
            registry.misused("collector", wrong)
            return function
        found = Collector(made, function, seconds or 60.0, label)
        _collectors.every.append(found)
        if _collectors.start is not None:
            _collectors.start(found)
        return function

    return register


def on_collectors(start: Callable[[Collector], None] | None) -> None:
    """Call ``start`` for each collector that there is or will be; None: for no more."""
    _collectors.start = start
    for found in list(_collectors.every) if start is not None else ():
        start(found)  # type: ignore[misc]


# --- names ----------------------------------------------------------------------------------------------------------

_known: dict[str, Noted] = {}
_spellings: dict[str, str] = {}  # names by what Prometheus makes of them


class _Unusable(Exception):
    """Why a metric cannot be made."""


def _noted(name: object, kind: Kind, unit: object, description: object, buckets: object = None) -> Noted | None:
    measuring.begin()
    try:
        return _defined(name, kind, unit, text(description, "description") or "", buckets)
    except _Unusable as error:
        registry.misused("metric", f"{kind}({results.quoted(name)}): {error}")
        return None


def _defined(name: object, kind: Kind, unit: object, description: str, buckets: object) -> Noted:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Unusable("want a name of a letter, then letters, digits, _ . - and /")
    if not isinstance(unit, str) or not _UNIT.fullmatch(unit):
        raise _Unusable(f"unit={results.quoted(unit)}: want up to 63 characters of ASCII")
    bounds = _bounds(_ours(name, kind) if buckets is None else buckets) if kind == "histogram" else ()
    known = _known.get(name)
    if known is None:
        if len(_known) >= MOST_METRICS:
            raise _Unusable(f"there are {MOST_METRICS} metrics already; tell series apart by labels")
        _ours(name, kind)
        if (other := _spellings.setdefault(_spelt(name, kind), name)) != name:
            raise _Unusable(f"Prometheus would take it for {other!r}; choose another name")
        known = _known.setdefault(name, Noted(Metric(name, kind, unit, description, (), "", bounds)))
    if (known.metric.instrument, known.metric.unit, known.metric.buckets) != (kind, unit, bounds):
        raise _Unusable(f"it is a {known.metric.instrument} already, of another unit or other buckets")
    return known


def _bounds(buckets: Any) -> tuple[float, ...]:
    try:
        bounds = tuple(float(bound) for bound in buckets)
    except Exception:  # noqa: BLE001 - anything may have been given
        bounds = ()
    rising = all(low < high for low, high in itertools.pairwise(bounds))
    finite = all(abs(bound) < float("inf") for bound in bounds)
    if not (0 < len(bounds) <= MOST_BUCKETS and rising and finite):
        raise _Unusable(f"buckets={results.quoted(buckets)}: want 1 to {MOST_BUCKETS} rising numbers")
    return bounds


@lru_cache(maxsize=MOST_METRICS)
def _ours(name: str, kind: Kind) -> tuple[float, ...]:
    """The buckets of a histogram of that name. Raises _Unusable where Prometheus would take it for one of ours."""
    from otel_pipeline.semconv.catalogue import CATALOGUE  # noqa: PLC0415 - large, and only for those who count

    spelt = _spelt(name, kind)
    for kpi in CATALOGUE:
        if kpi.summary and kpi.name == name and kpi.metric.instrument == kind:
            return kpi.metric.buckets
        taken = {kpi.name, kpi.metric.prometheus, *(alias.name for alias in kpi.aliases)} & {name, spelt}
        if taken:
            raise _Unusable(f"{min(taken)} is one of ours; choose another name")
    return BUCKETS


def _spelt(name: str, kind: Kind) -> str:
    spelt = re.sub(r"[^A-Za-z0-9]+", "_", name)
    return f"{spelt.removesuffix('_total')}_total" if kind == "counter" else spelt
