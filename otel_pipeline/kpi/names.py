"""Under which names, types and labels a KPI is served: its own, and its aliases.

::

    Kpi ─┬─► Name "pipeline_run_ended_total"  {pipeline_name, pipeline_run_result}
         └─► Name "pipeline_runs_total"       {dag_id, status}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otel_pipeline.semconv.catalogue import Alias, Kpi

_TYPES = {"updowncounter": "gauge"}


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
        if self.alias is not None and self.alias.summary:
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
            return {key.replace(".", "_"): value for key, value in by_key.items()}
        told: dict[str, str] = {}
        for label, key in self.alias.labels:
            spelt = self.alias.values.get(key)
            value = by_key[key]
            if spelt is not None and (value := spelt.get(value, "")) == "":
                return None
            told[label] = value
        return told


def names_of(catalogue: Iterable[Kpi], packs: Iterable[str] | None = None) -> list[Name]:
    """All names, the canonical one of each KPI first; aliases of ``packs`` alone, where given."""
    wanted = None if packs is None else set(packs)
    return [
        name
        for kpi in catalogue
        for name in (Name(kpi), *(Name(kpi, alias) for alias in kpi.aliases if wanted is None or alias.pack in wanted))
    ]


def find(text: str, catalogue: Iterable[Kpi]) -> Name | None:
    """The name that ``text`` is: in Prometheus's spelling or, for a canonical one, OpenTelemetry's."""
    for name in names_of(catalogue):
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
