"""Under which names, types and labels a KPI is served: its own, and its aliases.

::

    Kpi ─┬─► Name "pipeline_run_ended_total"  {pipeline_name, pipeline_run_result}
         └─► Name "pipeline_runs_total"       {dag_id, status}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otel_pipeline.semconv.catalogue import Alias, Kpi

_TYPES = {"updowncounter": "gauge"}
_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tibibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius",
    "Hz": "hertz", "%": "percent",
}  # fmt: skip
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


@dataclass(frozen=True)
class Name:
    """One name of ``kpi`` in Prometheus; ``alias`` where it is not the canonical one."""

    kpi: Kpi
    alias: Alias | None = None

    @property
    def name(self) -> str:
        """The name."""
        return self.alias.name if self.alias is not None else self.kpi.metric.prometheus

    @property
    def type(self) -> str:
        """counter, gauge, histogram or summary."""
        if self.kpi.summary if self.alias is None else self.alias.summary:
            return "summary"
        return _TYPES.get(self.kpi.metric.instrument, self.kpi.metric.instrument)

    @property
    def unit(self) -> str:
        """The metric's unit; none for an alias that has another."""
        return "" if self.scale != 1 else self.kpi.metric.unit

    @property
    def scale(self) -> float:
        """By what a canonical value is multiplied."""
        return self.alias.scale if self.alias is not None else 1.0

    def labels(self, values: Sequence[str]) -> dict[str, str] | None:
        """The labels of a series, from its canonical ones; None where the alias leaves that series out."""
        by_key = dict(zip(self.kpi.metric.attributes, values, strict=True))
        if self.alias is None:
            return {label_name(key): value for key, value in by_key.items()}
        if self.alias.series is not None and tuple(values) not in self.alias.series:
            return None
        for key, spelt in self.alias.values.items():
            if (value := spelt.get(by_key[key])) is None:
                return None
            by_key[key] = value
        return {label: by_key[key] for label, key in self.alias.labels}


def names_of(catalogue: Iterable[Kpi], packs: Iterable[str] | None = None) -> list[Name]:
    """All names, the canonical one of each KPI first; aliases of ``packs`` alone, where given.

    The names of families are those of what there is: ``measures.served`` finds them.
    """
    wanted = None if packs is None else set(packs)
    return [
        name
        for kpi in catalogue
        for name in (Name(kpi), *(Name(kpi, alias) for alias in kpi.aliases if wanted is None or alias.pack in wanted))
        if name.alias is None or name.alias.family is None
    ]


def find(text: str, catalogue: Iterable[Kpi], packs: Iterable[str] | None = None) -> Name | None:
    """The name that ``text`` is: in Prometheus's spelling or, for a canonical one, OpenTelemetry's."""
    for name in names_of(catalogue, packs):
        if text == name.name or (name.alias is None and text == name.kpi.name):
            return name
    return None


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as Prometheus's text format has them: ``{a="b"}``; empty for none."""
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def prometheus_name(name: str, unit: str, instrument: str) -> str:
    """The name that Prometheus's OTLP receiver stores (strategy UnderscoreEscapingWithSuffixes).

    What is no letter or digit becomes an underscore, the unit is written out, counters end in ``_total``, gauges of
    unit 1 in ``_ratio``.

    >>> prometheus_name("revenue.processed", "EUR", "counter")
    'revenue_processed_EUR_total'
    >>> prometheus_name("orders.created", "{order}", "counter")
    'orders_created_total'
    >>> prometheus_name("queue.depth", "1", "gauge")
    'queue_depth_ratio'
    """
    main, _, per = (part.strip() for part in unit.partition("/"))
    suffixes = [_UNITS.get(main, main) if "{" not in main and main != "1" else ""]
    suffixes += [f"per_{_PER.get(per, per)}" if per and "{" not in per else ""]
    parts = [part for part in re.split(r"[^A-Za-z0-9:]+", name) if part]
    for suffix in (_clean(suffix) for suffix in suffixes):
        if suffix and suffix not in "_".join(parts).split("_"):
            parts.append(suffix)
    if instrument == "counter":
        parts = [part for part in parts if part != "total"] + ["total"]
    if instrument == "gauge" and unit == "1":
        parts = [part for part in parts if part != "ratio"] + ["ratio"]
    found = "_".join(parts)
    return f"_{found}" if found[:1].isdigit() else found


def _clean(text: str) -> str:
    return "_".join(part for part in re.split(r"[^A-Za-z0-9:]+", text) if part)


def label_name(key: str) -> str:
    """The label that Prometheus makes of an attribute.

    >>> label_name("pipeline.name")
    'pipeline_name'
    """
    found = re.sub(r"[^A-Za-z0-9]+", "_", key)
    return f"key_{found}" if found[:1].isdigit() else found
