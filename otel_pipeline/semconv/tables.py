"""The row types of the vocabulary, and the values that fields may take.

Tuples and not data classes, since every user's process imports them, and a data class takes three times as long.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

ValueType = Literal["string", "int", "double", "boolean", "string[]", "int[]", "double[]"]
Stability = Literal["stable", "development"]
Instrument = Literal["counter", "histogram", "updowncounter", "gauge"]
Found = Literal["resource", "run span", "stage span", "span event", "log event", "metric"]


class Attribute(NamedTuple):
    """One attribute: ``key`` as it stands on the wire, where it is ``found``, and the standard that it ``follows``."""

    key: str
    type: ValueType
    found: tuple[Found, ...]
    description: str
    unit: str = ""
    stability: Stability = "development"
    follows: str = "ours"
    values: tuple[str, ...] = ()


class Event(NamedTuple):
    """One event: a span event, or a log record with this event name."""

    name: str
    form: Literal["span event", "log record"]
    description: str
    attributes: tuple[str, ...]
    follows: str = "ours"
    stability: Stability = "development"


class Metric(NamedTuple):
    """One metric: its OpenTelemetry name, and the name that Prometheus's OTLP receiver makes of it."""

    name: str
    instrument: Instrument
    unit: str
    description: str
    attributes: tuple[str, ...]
    prometheus: str
    buckets: tuple[float, ...] = ()
    follows: str = "ours"
    stability: Stability = "development"
