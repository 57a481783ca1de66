"""What a row of the KPI catalogue is: which events feed it, how its labels come about, and its other names."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_pipeline.semconv.tables import Metric

Pack = Literal["etl", "standards", "api", "service", "crawl"]
"""Aliases that are switched on and off together (setting ``compatibility``)."""

FactEvent = Literal[
    "run", "superseded", "backfill", "stage", "records", "dataset", "check", "error", "breach",
    "pipeline", "freshness", "expectation", "objective", "burn", "stream",
]  # fmt: skip
"""What feeds a KPI. Those of the second line are not events: such a row is computed anew when it is asked for."""
_COMPUTED = ("pipeline", "freshness", "expectation", "objective", "burn", "stream")

EVENTS: Mapping[FactEvent, str] = MappingProxyType(
    {
        "run": "a run that is no backfill ended, by its last attempt",
        "superseded": "an attempt at a run after which there was another",
        "backfill": "a backfill ended, by its last attempt",
        "stage": "a stage ended, of whatever attempt, of backfills too",
        "records": "each count that an ended stage reported",
        "dataset": "each dataset that an ended stage read or wrote",
        "check": "each quality check of an ended stage",
        "error": "an exception, where it was first seen: in a stage, or outside of stages",
        "breach": "an expectation that was not met; taken back when it turns out that it was",
        "pipeline": "computed when asked for, from the runs of the last 30 days, or of the SLO's window",
        "freshness": "computed when asked for, from the datasets' newest watermarks and last checked runs",
        "expectation": "computed when asked for, from the breaches that are not over",
        "objective": "computed when asked for, from what ended in the SLO's window; retries, backfills if it says so",
        "burn": "the same of shorter windows",
        "stream": "a metric that processes have sent, added up over them; users' own have no row here",
    }
)


@dataclass(frozen=True)
class Family:
    """A name for each combination of the values of ``attributes``: the first ``most`` that were ever seen.

    ``spelt`` stands for the values in the docs. ``rest`` is the name of all others; without one they have none.
    """

    spelt: str
    attributes: tuple[str, ...]
    most: int
    rest: str = ""


@dataclass(frozen=True)
class Alias:
    """Another name of a KPI in Prometheus. Series that become the same by it are added up.

    ``labels``: its labels, each with the attribute that it comes from. ``values``: other spellings of attributes'
    values; where an attribute has some, series with a value that is not among them are left out. ``scale`` is a factor.
    Of a ``family`` the name ends in values, and ``series`` are the canonical labels of those that one name stands for.
    """

    name: str
    labels: tuple[tuple[str, str], ...]
    pack: Pack
    values: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    scale: float = 1.0
    summary: bool = False
    family: Family | None = None
    series: frozenset[tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Kpi:
    """One row. ``where``: only facts whose fields have those values; ``known``: results to begin at zero.

    ``variant`` tells definitions of one name apart that are no part of the package, and may change (``kpi/own.py``).
    ``summary``: a histogram that is served as quantiles.
    """

    metric: Metric
    event: FactEvent
    value: str
    divisor: int = 1
    where: tuple[tuple[str, str], ...] = ()
    known: tuple[str, tuple[str, ...]] | None = None
    aliases: tuple[Alias, ...] = ()
    variant: str = ""
    summary: bool = False

    @property
    def key(self) -> str:
        """What its series are kept under."""
        return f"{self.name} {self.variant}" if self.variant else self.name

    @property
    def name(self) -> str:
        """The canonical OpenTelemetry name."""
        return self.metric.name

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields of a fact that its labels come from, in their order."""
        return tuple(FIELDS.get(key, key) for key in self.metric.attributes)

    @property
    def derived(self) -> bool:
        """Computed when asked for; nothing is stored of it."""
        return self.event in _COMPUTED


FIELDS: Mapping[str, str] = MappingProxyType(
    {
        a.PIPELINE_NAME: "pipeline",
        a.RUN_RESULT: "result",
        a.STAGE_NAME: "stage",
        a.STAGE_RESULT: "result",
        a.RECORD_STATUS: "status",
        a.DATASET_NAME: "dataset",
        a.DATASET_OPERATION: "operation",
        a.CHECK_NAME: "check",
        a.CHECK_KIND: "kind",
        a.ERROR_TYPE: "error_type",
        a.EXPECTATION: "what",
        a.SLO_NAME: "objective",
        a.SLO_WINDOW: "window",
    }
)
"""From which field of a fact a label comes."""


class Told(NamedTuple):
    """What an event tells: the attributes that may be labels, and the fields that may be values."""

    labels: tuple[str, ...]
    values: tuple[str, ...]


_RUN = Told((a.PIPELINE_NAME, a.RUN_RESULT), ("one", "duration", "cpu_time"))
_STAGE = (a.PIPELINE_NAME, a.STAGE_NAME, a.STAGE_RESULT)
TOLD: Mapping[FactEvent, Told] = MappingProxyType(
    {
        "run": _RUN,
        "superseded": _RUN,
        "backfill": _RUN,
        "stage": Told(_STAGE, ("one", "duration", "self_time", "wait_time", "bytes")),
        "records": Told((*_STAGE, a.RECORD_STATUS), ("one", "count")),
        "dataset": Told((*_STAGE, a.DATASET_NAME, a.DATASET_OPERATION), ("one", "records", "bytes")),
        "check": Told((*_STAGE, a.DATASET_NAME, a.CHECK_NAME, a.CHECK_KIND), ("one", "passed", "failed")),
        "error": Told((a.PIPELINE_NAME, a.STAGE_NAME, a.ERROR_TYPE), ("one",)),
        "breach": Told((a.PIPELINE_NAME, a.EXPECTATION), ("one",)),
    }
)
"""Of the events that are not computed. ``one`` counts the events themselves."""
SECONDS = ("duration", "self_time", "wait_time", "cpu_time")
"""Values that are whole nanoseconds, and seconds when they are served."""
