"""Every KPI is served under its own name and its aliases, with type, labels and value; and its statistics."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_pipeline.declaration import Slo, text_of
from otel_pipeline.kpi import statistics
from otel_pipeline.kpi.cardinality import bounded
from otel_pipeline.kpi.engine import Series
from otel_pipeline.kpi.exposition import as_prometheus, quantile_of_buckets
from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.names import find, names_of
from otel_pipeline.kpi.times import instant, iso
from otel_pipeline.model import Check, Dataset, Records
from otel_pipeline.semconv.catalogue import CATALOGUE, EVENTS, FIELDS
from otel_pipeline.semconv.kpi import Pack
from otel_pipeline.semconv.operations import OVERFLOW
from otel_pipeline.settings import PACKS
from otel_pipeline.store.tables import MOST_BUCKETS
from tests.kpi.events import NOW, SECOND, patient, run, seen, stage

STAGES = (
    stage(
        span=100, records=Records(10, 7, 2, 1, 1, 512), error_type="KeyError", error_stage="load", wait_time=0.5,
        datasets=(Dataset("t", "write", 7, 70, "2026-01-01T09:00:00Z"),),
        checks=(Check("s", "t", "schema", 6, 2),),
    ),
)  # fmt: skip
RUNS = (
    run("r1", "success", span=1, took=7.0), run("r2", "lost", span=2, took=1.0), run("r3", "timeout", span=3),
    run("r3", "failure", span=4, attempt=2), run("r4", "cancellation", span=5), run("r5", "skip", span=6),
    replace(run("r6", "success", span=7), cpu_time=1.5),
)  # fmt: skip
OPEN = replace(seen("r9", span=9), declared=text_of(slo=Slo(availability="75%")))


def exposed(packs: tuple[str, ...] | None = None) -> dict[str, str]:
    engine = MemoryEngine()
    engine.consume([*RUNS, *STAGES, OPEN])
    engine.tick(NOW)
    text = as_prometheus(CATALOGUE, engine.figures(NOW), packs)
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


SERVED = {
    'pipeline_runs_total{dag_id="orders",status="success"}': "2",
    'pipeline_runs_total{dag_id="orders",status="failure"}': "2",
    'pipeline_runs_total{dag_id="orders",status="cancelled"}': "1",
    'pipeline_runs_total{dag_id="orders",status="skipped"}': "1",
    'pipeline_run_ended_total{pipeline_name="orders",pipeline_run_result="lost"}': "1",
    'pipeline_run_superseded_total{pipeline_name="orders",pipeline_run_result="timeout"}': "1",
    'pipeline_duration_seconds_bucket{dag_id="orders",le="5.0"}': "5",
    'pipeline_duration_seconds_bucket{dag_id="orders",le="+Inf"}': "6",
    'pipeline_duration_seconds_sum{dag_id="orders"}': "16.0",
    'pipeline_duration_seconds_count{dag_id="orders"}': "6",
    'etl_pipeline_runtime_seconds_count{pipeline_type="orders"}': "6",
    'etl_pipeline_runtime_seconds{pipeline_type="orders",quantile="0.5"}': "1.5",
    'data_records_processed_total{table="t",operation="write"}': "7",
    'data_quality_score{table="t"}': "0.75",
    'schema_validation_failures_total{table="t"}': "2",
    'data_freshness_hours{source="t"}': "1.0",
    'error_rate_percent{service="orders"}': "33.33333333333333",
    'etl_records_processed_total{pipeline="orders",stage="load",status="success"}': "7",
    'etl_records_processed_total{pipeline="orders",stage="load",status="failed"}': "2",
    'etl_records_processed_total{pipeline="orders",stage="load",status="dropped"}': "1",
    'etl_records_processed_total{pipeline="orders",stage="load",status="duplicate"}': "1",
    'etl_active_pipelines{pipeline_type="orders"}': "1",
    'pipeline_errors_total{pipeline="orders",stage="load",error_type="KeyError"}': "1",
    'pipeline_run_busy_time_seconds_total{pipeline_name="orders"}': "1.5",
    'pipeline_stage_volume_bytes_total{pipeline_name="orders",pipeline_stage_name="load"}': "512",
    'pipeline_stage_waited_seconds_total{pipeline_name="orders",pipeline_stage_name="load"}': "0.5",
    'pipeline_run_success_rate_ratio{pipeline_name="orders"}': "0.5",
    'pipeline_run_unexpected_total{pipeline_name="orders",pipeline_expectation="lost"}': "1",
    'pipeline_run_unexpected_open{pipeline_name="orders",pipeline_expectation="lost"}': "0",
    'pipeline_run_unexpected_total{pipeline_name="orders",pipeline_expectation="late"}': "0",
    'sla_compliance_ratio{service="orders"}': "0.5",
    'pipeline_slo_objective_ratio{pipeline_name="orders",pipeline_slo_name="availability"}': "0.75",
    'pipeline_slo_compliance_ratio{pipeline_name="orders",pipeline_slo_name="availability"}': "0.5",
    'pipeline_slo_budget_remaining_ratio{pipeline_name="orders",pipeline_slo_name="availability"}': "-1.0",
    'pipeline_slo_burn_rate_ratio{pipeline_name="orders",pipeline_slo_name="availability",pipeline_slo_window="5m"}': (
        "2.0"
    ),
}


@pytest.mark.parametrize("series", SERVED)
def test_served_under_every_name_with_its_labels_and_value(series: str) -> None:
    """Timeouts and lost runs are failures, in the words of each name; what an alias does not tell apart adds up."""
    assert exposed()[series] == SERVED[series]


def test_every_name_of_the_catalogue_is_served() -> None:
    """By one history, with the type that the catalogue says."""
    served = {re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name) for name in exposed()}
    # There is no backfill in it, and a trend needs an earlier half.
    unknown = {"pipeline_dataset_volume_bytes_total", "pipeline_slo_trend_ratio", "pipeline_run_backfilled_total"}
    counted = [kpi for kpi in CATALOGUE if kpi.event != "stream"]  # of the others: test_operations.py
    assert {name.name for name in names_of(counted)} <= served | unknown
    assert {name.name: name.type for name in names_of(CATALOGUE)}["etl_pipeline_runtime_seconds"] == "summary"


def test_the_golden_signals_of_the_docs_ask_for_what_is_served() -> None:
    """Each of the four by series and labels that there are."""
    page = (Path(__file__).parents[2] / "docs" / "kpis.md").read_text("utf-8")
    section = page.partition("golden signals")[2].partition("## ")[0]
    asked = set(re.findall(r"pipeline_\w+(?=[{\[])", section))
    labels = set(re.findall(r"pipeline_(?:name|dataset_operation|run_result)\b", section))
    series = exposed()
    assert len(asked) == 4
    assert asked <= {name.partition("{")[0] for name in series}
    assert labels <= {label for name in series for label in re.findall(r"(\w+)=", name)}


def test_packs_of_aliases_can_be_left_out() -> None:
    """The canonical names stay; the setting knows each pack."""
    assert get_args(Pack) == PACKS
    assert not any(name.startswith(("etl_", "data_")) for name in exposed(()))
    assert any(name.startswith("etl_") for name in exposed(("etl",)))


def test_rows_agree_with_each_other() -> None:
    """Names are unique, labels and fields exist, histograms fit the store, and the page of the docs has each name."""
    names = [name.name for name in names_of(CATALOGUE)]
    assert [name for name, number in Counter(names).items() if number > 1] == []
    page = (Path(__file__).parents[2] / "docs" / "kpis.md").read_text("utf-8")
    for kpi in CATALOGUE:
        assert kpi.event in EVENTS
        assert set(kpi.metric.attributes) <= set(FIELDS) or kpi.event == "stream"
        assert len(kpi.metric.buckets) < MOST_BUCKETS
        assert all(key in kpi.metric.attributes for alias in kpi.aliases for _, key in alias.labels)
    assert [name for name in names if f"`{name}`" not in page] == []


def test_statistics_of_any_name() -> None:
    """Of what was counted in the window, in the alias's labels and unit; a computed gauge has the value of now."""
    facts = [(value.ended, *each) for value in RUNS[:2] for each in facts_of_run(value)]
    facts += [(value.ended, *each) for value in STAGES for each in facts_of_stage(value)]
    engine = MemoryEngine()
    engine.consume([*RUNS[:2], *STAGES])
    name = find("pipeline_duration_seconds", CATALOGUE)
    assert name is not None
    [found] = statistics.statistics(name, facts, engine.figures(NOW), NOW)
    assert (found.labels, found.count, found.min, found.max, found.mean) == ({"dag_id": "orders"}, 2, 1.0, 7.0, 4.0)
    assert (found.median, found.last, found.sum, found.value) == (4.0, 7.0, 8.0, 8.0)
    hours = find("data_freshness_hours", CATALOGUE)
    assert hours is not None
    [age] = statistics.statistics(hours, (), engine.figures(NOW), NOW)
    assert (age.labels, age.last, age.last_updated) == ({"source": "t"}, 1.0, NOW)
    assert find("pipeline.run.duration", CATALOGUE) == find("pipeline_run_duration_seconds", CATALOGUE)
    assert find("no.such", CATALOGUE) is None


def test_statistics_in_three_formats() -> None:
    """JSON, CSV and Prometheus's text say the same."""
    name = find("etl_records_processed_total", CATALOGUE)
    assert name is not None
    facts = [(value.ended, *each) for value in STAGES for each in facts_of_stage(value)]
    found = statistics.statistics(name, facts, (), NOW)
    objects = json.loads(statistics.as_json(name, found))
    rows = list(csv.DictReader(io.StringIO(statistics.as_csv(name, found))))
    text = statistics.as_prometheus(name, found)
    assert [each["labels"]["status"] for each in objects] == [row["status"] for row in rows]
    for each in objects:
        labels = ",".join(f'{key}="{value}"' for key, value in each["labels"].items())
        assert f'etl_records_processed_total{{{labels},stat="p95"}} {each["p95"]}\n' in text
    assert objects[0]["type"] == "counter"
    assert objects[0]["last_updated"].endswith("Z")


def test_labels_are_escaped() -> None:
    """Quotes, newlines and backslashes of a name do not end the label."""
    engine = MemoryEngine()
    engine.consume([replace(run(), pipeline='a"b\n\\')])
    assert 'pipeline_runs_total{dag_id="a\\"b\\n\\\\",status="success"} 1\n' in as_prometheus(
        CATALOGUE, engine.figures(0)
    )


@patient
@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_quantiles_lie_within_the_values(values: list[float], share: float) -> None:
    """And the ends are the smallest and the largest."""
    ordered = sorted(values)
    assert ordered[0] <= statistics.quantile(ordered, share) <= ordered[-1] * (1 + 1e-12)
    assert statistics.quantile(ordered, 1) == ordered[-1]


def test_quantiles_of_buckets_are_prometheuss() -> None:
    """Interpolated within the bucket; above the last bound that bound; nothing of nothing."""
    assert quantile_of_buckets(0.5, (1, 2), (2, 2, 0)) == 1.0
    assert quantile_of_buckets(0.99, (1, 2), (0, 0, 5)) == 2
    assert quantile_of_buckets(0.5, (1, 2), (0, 0, 0)) != 0


def test_a_million_label_values_make_a_bounded_number_of_series() -> None:
    """Beyond the bound everything is added to one series, so that sums stay right; it is counted."""
    sums = {Series("k", (f"v{n}",)): [1] for n in range(1000)}
    there = {Series("k", (f"v{n}",)) for n in range(3)}
    kept, overflowed = bounded(sums, lambda kpi: there, {"k": len(there)}, most=10)
    assert len(kept) == 11
    assert sum(numbers[0] for numbers in kept.values()) == 1000
    assert kept[Series("k", (OVERFLOW,))] == [990]
    assert overflowed == {"k": 990}


@pytest.mark.parametrize("text", ["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", " 2026-01-01 "])
def test_watermarks_are_iso_8601(text: str) -> None:
    """A date, or a time; without a zone it is UTC."""
    assert iso(instant(text)) == "2026-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("text", ["soon", "", None, "9999-01-01", "2026-13-01"])
def test_what_is_no_time_is_no_watermark(text: str | None) -> None:
    """Nor is one that no store can hold."""
    assert instant(text) is None
    assert iso(2**62 * SECOND) is None
