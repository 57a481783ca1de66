#!/usr/bin/env python3
"""Writes the pages of docs/ that are derived from tables in the code.

::

    otel_pipeline/semconv/*  ─► docs/semantic-conventions.md
    otel_pipeline/semconv/catalogue.py ─► docs/kpis.md
    otel_pipeline/settings.py ─► docs/configuration.md

    scripts/generate_docs.py            write the pages
    scripts/generate_docs.py --check    exit 1 and show the difference when a page is stale
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_pipeline.semconv import catalogue
from otel_pipeline.semconv.attributes import ATTRIBUTES
from otel_pipeline.semconv.catalogue import METRICS
from otel_pipeline.semconv.events import EVENTS
from otel_pipeline.semconv.kpi import TOLD, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otel_pipeline.semconv.tables import Attribute, Event, Metric

ROOT = Path(__file__).resolve().parent.parent


class Page(NamedTuple):
    """A generated page: where it stands, and what writes it (``None`` while its table does not exist)."""

    path: str
    write: Callable[[], str | None]


class Group(NamedTuple):
    """Attributes that are shown in one table: those whose key is, or begins with, one of ``prefixes``."""

    title: str
    prefixes: tuple[str, ...]


GROUPS = (
    Group("Runs", ("pipeline.name", "pipeline.run.", "process.")),
    Group("Expectations", ("pipeline.declaration", "pipeline.expectation", "pipeline.slo.")),
    Group("Stages", ("pipeline.stage.",)),
    Group("Records", ("pipeline.records.", "pipeline.record.")),
    Group("Datasets and checks", ("pipeline.dataset.", "pipeline.check.")),
    Group("Errors", ("error.", "pipeline.error.", "exception.")),
    Group("Who sends", ("",)),
)


def semantic_conventions() -> str:
    """Return docs/semantic-conventions.md: every attribute, event and metric that is emitted."""
    attributes = (
        part for title, rows in _grouped(ATTRIBUTES) for part in (f"### {title}", _table(_ATTRIBUTE_TITLES, rows))
    )
    return _page(
        "Semantic conventions",
        "otel_pipeline/semconv",
        "Every attribute, event and metric that `otel_pipeline` emits, under the instrumentation scope "
        "`otel_pipeline`. Where OpenTelemetry has a convention its name is used as it is. A count that nobody "
        "reported is absent: unknown is not zero. *Development* names may still change, and the changelog says so.",
        "## Attributes",
        *attributes,
        "## Events",
        "Span events stand on the stage's span (exceptions that end the run on the run's as well), log records are "
        "sent while the run goes on.",
        _table(("Event", "Form", "Description", "Attributes", "Stability", "Follows"), map(_event, EVENTS)),
        "## Metrics",
        "Cumulative, one stream per process. The name in Prometheus is the one that its OTLP receiver makes "
        "(`UnderscoreEscapingWithSuffixes`).",
        _table(
            ("Metric", "Instrument", "Unit", "Description", "Attributes", "In Prometheus", "Stability", "Follows"),
            map(_metric, METRICS),
        ),
        "### Buckets",
        _table(("Metric", "Upper bounds"), (_buckets(metric) for metric in METRICS if metric.buckets)),
    )


def configuration() -> str | None:
    """Return docs/configuration.md: every setting in its spellings."""
    if importlib.util.find_spec("otel_pipeline.settings") is None:
        return None
    settings = getattr(importlib.import_module("otel_pipeline.settings"), "SETTINGS", None)
    if not settings:
        return None
    rows = settings.values() if isinstance(settings, dict) else settings
    return _page(
        "Configuration",
        "otel_pipeline/settings.py",
        "An argument wins over the environment, the environment over the config file, the file over the default. "
        "Where several variables are named, the first that is set counts.",
        _table(("Setting", "Environment", "Type", "Default", "Description"), map(_setting, rows)),
    )


def kpis() -> str:
    """Return docs/kpis.md: every KPI, what feeds it, and its other names."""
    rows = catalogue.CATALOGUE
    return _page(
        "KPIs",
        "otel_pipeline/semconv/catalogue.py",
        "What runs, stages, records, datasets and checks are counted as. Whatever order they arrive in, and however "
        "often, the figures are those of what happened. Look at one with `otel-pipeline stats NAME --window 7d`, by "
        "any of its names.",
        "A run that was closed as lost and ends after all is corrected. A count that nobody reported is absent: "
        "unknown is not zero.",
        "## The four golden signals of every pipeline",
        _table(("Signal", "Answers", "PromQL"), ((signal, text, _code(query)) for signal, text, query in _SIGNALS)),
        "## Retries and backfills",
        "Of several attempts at a run the last one counts as a run; `pipeline.run.superseded` counts the others. A run "
        "that fills in old data says `backfill=True`, and is kept apart: it is counted in `pipeline.run.backfilled`, "
        "and in no other row about runs, no rate, objective or [expectation](expectations.md), and its watermarks and "
        "checks leave the freshness and quality of datasets as they are. Its stages, records, datasets, checks and "
        "errors are counted like all others: that work was done. In a task of Airflow, say:",
        f"```python\n{_SCHEDULED}```",
        "`Slo(…, retries=True)` and `Slo(…, backfills=True)` count them in objectives. `otel-pipeline runs` and `show` "
        "mark them, and `show` compares a backfill with the last backfill that succeeded.",
        "## The rows",
        _table(("KPI", "Instrument", "Unit", "Description", "Labels", "In Prometheus", "Fed by"), map(_kpi, rows)),
        "## High-volume counts",
        "What is fed by `stream` is counted by [calls](operations.md) that may be made a million times: by metrics and "
        "not by spans. Each process exports how much it has counted until now, and whoever keeps the sums adds the "
        "processes up, those that are long gone too; what arrives twice or late changes nothing. A process that is "
        "killed loses what it counted since its last export (`OTEL_METRIC_EXPORT_INTERVAL`, a minute by default); its "
        "ended stages and their records are not lost. Counters and histograms of your own are served in the same way, "
        "under the names that Prometheus makes of theirs.",
        "## What feeds them",
        _table(("Event", "Is", "Labels", "Values"), (_fed(event, text) for event, text in catalogue.EVENTS.items())),
        "## Other names",
        "Each belongs to a pack that can be left out by the setting [`compatibility`](configuration.md). "
        "Series that become the same by an alias's labels are added up.",
        _table(
            ("Name", "Is", "Labels", "Values", "Times", "Pack"),
            (_alias(kpi, alias) for kpi in rows for alias in kpi.aliases),
        ),
        "## Rows of your own",
        "A row is data. This one, in `otel-pipeline.yaml`, counts the bytes that were read from datasets, by dataset "
        "alone; `otel-pipeline serve`, `runs`, `show` and `stats` then count and show it like the others:",
        f"```yaml\n{_OWN_ROW_IN_FILE}```",
        "It needs a `name` and an `event` of the table above, whose labels and values there are to choose from. By "
        "default `value` is `one` (the events are counted), `labels` is `[pipeline.name]`, `instrument` is `counter`; "
        "a `histogram` also needs `buckets`. Names that exist are refused. A row counts from when it is there; one "
        "whose labels, value, conditions or buckets change begins anew. Let all processors of a store have the same "
        "rows. "
        "The same in code:",
        f"<!-- test: run -->\n```python\n{_OWN_ROW}```",
    )


_SIGNALS = (
    (
        "latency",
        "how long its runs take, 95 of 100 at most",
        "histogram_quantile(0.95, sum by (pipeline_name, le) (rate(pipeline_run_duration_seconds_bucket[1d])))",
    ),
    (
        "traffic",
        "how many records a second it reads and writes",
        "sum by (pipeline_name, pipeline_dataset_operation) (rate(pipeline_dataset_records_total[1d]))",
    ),
    (
        "errors",
        "which share of its runs fails",
        'sum by (pipeline_name) (rate(pipeline_run_ended_total{pipeline_run_result=~"failure|timeout|lost"}[1d]))'
        " / sum by (pipeline_name) (rate(pipeline_run_ended_total[1d]))",
    ),
    (
        "saturation",
        "which share of the time it is running; towards 1 there is no room left, above 1 its runs overlap",
        "sum by (pipeline_name) (rate(pipeline_run_duration_seconds_sum[1d]))",
    ),
)
_SCHEDULED = """def load_orders(**context):
    dag_run, attempt = context["dag_run"], context["ti"].try_number
    backfill = dag_run.run_type == "backfill"
    with op.pipeline("orders", run_id=dag_run.run_id, attempt=attempt, backfill=backfill):
        ...
"""

_OWN_ROW = """from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.semconv.catalogue import CATALOGUE, Kpi
from otel_pipeline.semconv.tables import Metric

read = Kpi(
    Metric("shop.read", "counter", "By", "Bytes read.", ("pipeline.dataset.name",), "shop_read_bytes_total"),
    event="dataset", value="bytes", where=(("operation", "read"),),
)
engine = MemoryEngine([*CATALOGUE, read])
"""


_OWN_ROW_IN_FILE = """kpis:
  - name: shop.read
    description: Bytes read.
    event: dataset
    value: bytes
    where: {operation: read}
    labels: [pipeline.dataset.name]
    unit: By
"""


def _fed(event: catalogue.FactEvent, text: str) -> tuple[str, ...]:
    told = TOLD.get(event, Told((), ()))
    return _code(event), text, _codes(told.labels), _codes(told.values)


def _kpi(kpi: catalogue.Kpi) -> tuple[str, ...]:
    metric = kpi.metric
    where = "".join(f", where {field} is `{value}`" for field, value in kpi.where)
    fed = f"{_code(kpi.event)}: {kpi.value.replace('_', ' ')}{where}"
    labels, prometheus = _codes(metric.attributes), _code(metric.prometheus)
    return _code(metric.name), metric.instrument, _code(metric.unit), metric.description, labels, prometheus, fed


def _alias(kpi: catalogue.Kpi, alias: catalogue.Alias) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}` = `{key}`" for label, key in alias.labels)
    values = "; ".join(f"`{ours}`: `{theirs}`" for spelt in alias.values.values() for ours, theirs in spelt.items())
    name = _code(alias.name) + (" (summary)" if alias.summary else "")
    if (family := alias.family) is not None:
        rest = f", then {_code(family.rest)}" if family.rest else ""
        name = f"{_code(f'{alias.name}_{family.spelt}')}: at most {family.most}{rest}"
    return name, _code(kpi.name), labels, values, "" if alias.scale == 1 else f"{alias.scale:.4g}", alias.pack


PAGES = (
    Page("docs/semantic-conventions.md", semantic_conventions),
    Page("docs/kpis.md", kpis),
    Page("docs/configuration.md", configuration),
)

_ATTRIBUTE_TITLES = ("Attribute", "Type", "Unit", "Found on", "Description", "Stability", "Follows")


def _grouped(attributes: Iterable[Attribute]) -> list[tuple[str, list[tuple[str, ...]]]]:
    rows: dict[str, list[tuple[str, ...]]] = {group.title: [] for group in GROUPS}
    for attribute in attributes:
        title = next(group.title for group in GROUPS if attribute.key.startswith(group.prefixes))
        rows[title].append(_attribute(attribute))
    return [(title, cells) for title, cells in rows.items() if cells]


def _attribute(row: Attribute) -> tuple[str, ...]:
    values = f" One of {_codes(row.values)}." if row.values else ""
    found = ", ".join(row.found)
    return _code(row.key), row.type, _code(row.unit), found, row.description + values, row.stability, row.follows


def _event(row: Event) -> tuple[str, ...]:
    return _code(row.name), row.form, row.description, _codes(row.attributes), row.stability, row.follows


def _metric(row: Metric) -> tuple[str, ...]:
    attributes, name = _codes(row.attributes), _code(row.prometheus)
    return (
        _code(row.name),
        row.instrument,
        _code(row.unit),
        row.description,
        attributes,
        name,
        row.stability,
        row.follows,
    )


def _buckets(row: Metric) -> tuple[str, ...]:
    return _code(row.name), ", ".join(f"{bound:g}" for bound in row.buckets) + f" {row.unit}"


def _setting(row: Any) -> tuple[str, ...]:
    kind = getattr(row, "type", None) or getattr(row, "kind", "")
    kind = getattr(kind, "__name__", None) or str(kind)
    return _code(row.name), _codes(_variables(row)), kind, _default(row), row.description


def _variables(row: Any) -> tuple[str, ...]:
    """The setting's own variable first, then those of OpenTelemetry that it falls back to."""
    own = getattr(row, "env", None) or ()
    return (*((own,) if isinstance(own, str) else own), *getattr(row, "falls_back_to", ()))


def _default(row: Any) -> str:
    default = getattr(row, "default", None)
    if default is None:
        return ""
    return _code(str(default).lower() if isinstance(default, bool) else str(default))


def _page(title: str, source: str, *parts: str) -> str:
    note = f"<!-- Written by scripts/generate_docs.py from {source}: change it there, then run the script. -->"
    return "\n\n".join((f"# {title}", note, *parts)) + "\n"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(map(_code, texts))


def difference(page: Page, root: Path = ROOT) -> str:
    """Return the unified diff from the page as it stands to the page as it should be; empty when they are the same."""
    wanted, path = page.write(), root / page.path
    if wanted is None:
        return ""
    found = path.read_text("utf-8") if path.exists() else ""
    lines = difflib.unified_diff(
        found.splitlines(keepends=True), wanted.splitlines(keepends=True), page.path, f"{page.path} (generated)"
    )
    return "".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with ``--check`` compare them."""
    parser = argparse.ArgumentParser(description="Writes the pages of docs/ that are derived from tables in the code.")
    parser.add_argument("--check", action="store_true", help="exit 1 and show the difference when a page is stale")
    if parser.parse_args(arguments).check:
        stale = "".join(map(difference, PAGES))
        sys.stdout.write(stale)
        return int(bool(stale))
    for page in PAGES:
        if (text := page.write()) is not None:
            (ROOT / page.path).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
