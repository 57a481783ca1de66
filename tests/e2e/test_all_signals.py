"""`examples/all_signals.py` through Collector and processor: every name of the contract, with type, labels and value.

Those of HTTP services and of host metrics follow with the calls that feed them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_pipeline.semconv.operations import OPERATIONS
from tests.exposition import samples

from .clients import eventually
from .test_processor import CLI, WITHIN, make_loop

if TYPE_CHECKING:
    from .clients import Prometheus
    from .conftest import StartServer
    from .test_processor import Loop

EXAMPLE = Path(__file__).parents[2] / "examples" / "all_signals.py"
PIPELINE = "signals_of_every_kind"
ANY = object()
"""A value that depends on time."""
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}

Rows = list[tuple[str, str, dict[str, str], Any]]
"""Name, type, labels and value; of a histogram or summary count and sum."""

CONTRACT: Rows = [
    ("pipeline_runs_total", "counter", {"dag_id": PIPELINE, "status": "success"}, 1),
    ("pipeline_duration_seconds", "histogram", {"dag_id": PIPELINE}, (1, ANY)),
    ("data_records_processed_total", "counter", {"table": "articles", "operation": "insert"}, 2),
    ("data_quality_score", "gauge", {"table": "articles"}, 2 / 3),
    ("schema_validation_failures_total", "counter", {"table": "articles"}, 1),
    ("data_freshness_hours", "gauge", {"source": "articles"}, ANY),
    ("revenue_processed_total", "counter", {"currency": "EUR"}, 20),
    ("revenue_processed_total", "counter", {"currency": "USD"}, 30),
    ("customer_segments_count", "gauge", {"segment": "new"}, 120),
    ("sla_compliance_ratio", "gauge", {"service": PIPELINE}, 1),
    ("error_rate_percent", "gauge", {"service": PIPELINE}, 0),
    ("etl_records_processed_total", "counter", {"pipeline": PIPELINE, "stage": "validate", "status": "success"}, 2),
    ("etl_records_processed_total", "counter", {"pipeline": PIPELINE, "stage": "validate", "status": "failed"}, 1),
    ("etl_records_processed_total", "counter", {"pipeline": PIPELINE, "stage": "validate", "status": "dropped"}, 2),
    ("etl_records_processed_total", "counter", {"pipeline": PIPELINE, "stage": "validate", "status": "duplicate"}, 1),
    ("etl_crawler_requests_total", "counter", {"source": "example.org", "status": "success"}, 3),
    ("etl_crawler_requests_total", "counter", {"source": "example.org", "status": "error"}, 3),
    ("etl_crawler_request_duration_seconds", "histogram", {"source": "example.org"}, (5, ANY)),
    ("etl_database_operations_total", "counter",
     {"operation": "insert", "table": "articles", "status": "success"}, 1),
    ("etl_database_operations_total", "counter", {"operation": "delete", "table": "articles", "status": "error"}, 1),
    ("etl_operation_duration_seconds", "histogram",
     {"pipeline": PIPELINE, "stage": "load", "operation": "compress"}, (1, ANY)),
    ("etl_operation_duration_seconds", "histogram",
     {"pipeline": "database", "stage": "articles", "operation": "insert"}, (1, ANY)),
    ("etl_active_pipelines", "gauge", {"pipeline_type": PIPELINE}, 0),
    ("etl_pipeline_runtime_seconds", "summary", {"pipeline_type": PIPELINE}, (1, ANY)),
    ("etl_queue_size", "gauge", {"queue_name": "default"}, 0),
    ("pipeline_errors_total", "counter",
     {"pipeline": PIPELINE, "stage": "report", "error_type": "RuntimeError"}, 1),
    ("db_query_duration_seconds", "histogram", {"operation": "insert", "table": "articles"}, (1, ANY)),
    ("cache_hits_total", "counter", {"cache": "users"}, 3),
    ("cache_misses_total", "counter", {"cache": "users"}, 1),
    ("active_users", "gauge", {}, 42),
    ("order_value_dollars", "summary", {}, (3, 50)),
    ("pipeline_sessions_started", "counter", {}, 1),
    ("pipeline_sessions_completed", "counter", {}, 1),
    ("pipeline_sessions_active", "gauge", {}, 0),
    ("pipeline_session_duration", "histogram", {}, (1, ANY)),
    ("pipeline_session_urls_processed", "histogram", {}, (1, 6)),
    ("pipeline_session_articles_found", "histogram", {}, (1, 3)),
    ("pipeline_performance_urls_per_second", "gauge", {}, ANY),
    ("pipeline_performance_articles_per_second", "gauge", {}, ANY),
    ("pipeline_urls_total", "counter", {}, 6),
    ("pipeline_urls_success", "counter", {}, 3),
    ("pipeline_urls_failed", "counter", {}, 3),
    ("pipeline_urls_response_time", "histogram", {}, (5, ANY)),
    ("pipeline_urls_status_200", "counter", {}, 3),
    ("pipeline_urls_status_404", "counter", {}, 1),
    ("pipeline_urls_status_500", "counter", {}, 1),
    ("pipeline_articles_stored", "counter", {}, 3),
    ("pipeline_articles_word_count", "histogram", {}, (3, 1200)),
    ("pipeline_articles_processing_time", "histogram", {}, (3, 0.03)),
    ("pipeline_duplicates_detected", "counter", {}, 1),
    ("pipeline_duplicates_confidence", "histogram", {}, (1, 0.97)),
    ("pipeline_search_queries", "counter", {}, 2),
    ("pipeline_search_response_time", "histogram", {}, (2, ANY)),
    ("pipeline_search_result_count", "histogram", {}, (2, 6)),
    ("pipeline_search_query_length", "histogram", {}, (2, 5)),
    ("pipeline_queue_size", "gauge", {}, 0),
    ("pipeline_db_duration", "histogram", {"operation": "insert", "table": "articles"}, (1, ANY)),
    ("pipeline_db_insert_articles", "histogram", {}, (1, ANY)),
    ("pipeline_db_delete_articles", "histogram", {}, (1, ANY)),
]  # fmt: skip
OWN: Rows = [
    ("pipeline_crawl_progress_ratio", "gauge",
     {"pipeline_name": PIPELINE, "pipeline_crawl_source": "example.org"}, 1),
    ("pipeline_database_rows_total", "counter",
     {"pipeline_name": PIPELINE, "db_operation_name": "insert", "db_collection_name": "articles"}, 2),
]  # fmt: skip


def test_every_name_of_the_contract(
    start_server: StartServer, stores: dict[str, str], tmp_path: Path, prometheus: Prometheus
) -> None:
    """In Prometheus, in the processor's text with its type, and in `otel-pipeline stats`."""
    loop = make_loop(start_server, stores, tmp_path, PIPELINE)
    ended = subprocess.run(
        [sys.executable, str(EXAMPLE), PIPELINE],
        env=loop.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    rows = CONTRACT + OWN
    text, types = eventually(lambda: told(loop), lambda found: lacking(rows, found[0]) == [], WITHIN)
    assert lacking(rows, text) == []
    assert {name: types[name] for name, *_ in rows} == {name: type_ for name, type_, *_ in rows}
    in_prometheus = eventually(lambda: asked(prometheus, rows), lambda found: lacking(rows, found) == [], WITHIN)
    assert lacking(rows, in_prometheus) == []
    in_statistics(loop, rows)


def test_every_row_of_operations_is_asked_for() -> None:
    """A row that is added to the catalogue is added here, or has a test of its own."""
    asked = {name for name, *_ in CONTRACT + OWN}
    with_aliases = {alias.name for kpi in OPERATIONS for alias in kpi.aliases if alias.family is None}
    assert with_aliases <= asked
    assert {kpi.name for kpi in OPERATIONS if not kpi.aliases} == {
        "pipeline.crawl.progress", "pipeline.database.rows", "order_value_dollars",
        "pipeline.telemetry.rejected", "pipeline.telemetry.overflowed",
    }  # fmt: skip


Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


def lacking(rows: Rows, found: Found) -> list[Any]:
    """What is not there as it should be."""
    return [(row, got) for row in rows if (got := value_of(row, found)) != wanted(row)]


def wanted(row: tuple[str, str, dict[str, str], Any]) -> Any:
    """Its value, rounded; True where any will do."""
    value = row[3]
    if isinstance(value, tuple):
        return tuple(True if part is ANY else round(part, 9) for part in value)
    return True if value is ANY else round(value, 9)


def value_of(row: tuple[str, str, dict[str, str], Any], found: Found) -> Any:
    """What there is of it, in the same form."""
    name, type_, labels, value = row
    key = frozenset(labels.items())
    if type_ in PARTS:
        parts = (found.get((f"{name}_count", key)), found.get((f"{name}_sum", key)))
        shapes = {"histogram": f"{name}_bucket", "summary": name}
        shaped = any(series == shapes[type_] and key < told for series, told in found)
        if not shaped or None in parts:
            return None
        return tuple(True if want is ANY else round(part or 0, 9) for part, want in zip(parts, value, strict=True))
    got = found.get((name, key))
    return None if got is None else True if value is ANY else round(got, 9)


def told(loop: Loop) -> tuple[Found, dict[str, str]]:
    """`GET /metrics` of the processor, and the type of each name."""
    with urllib.request.urlopen(f"{loop.processors[0].url('http')}/metrics", timeout=60) as response:
        text = response.read().decode()
    types = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE "))
    return {(name, frozenset(labels)): value for (name, labels), value in samples(text).items()}, types


def asked(prometheus: Prometheus, rows: Rows) -> Found:
    """The same of Prometheus, without what tells who sent them."""
    ours = {"__name__", "job", "service_name"}
    names = {name + part for name, type_, *_ in rows for part in PARTS.get(type_, ("",))}
    return {
        (sample.labels["__name__"], frozenset((k, v) for k, v in sample.labels.items() if k not in ours)): sample.value
        for name in sorted(names)
        for sample in prometheus.query(f'{name}{{job="otel-pipeline"}}')
    }


def in_statistics(loop: Loop, rows: Rows) -> None:
    """`otel-pipeline stats` knows each name with the same type and labels, and what it stands at."""
    store = {"OTEL_PIPELINE_STORE": str(loop.processors[0].folder / "store.db")}
    shown: dict[str, list[dict[str, Any]]] = {}
    for name, type_, labels, value in rows:
        if name not in shown:
            ended = subprocess.run(
                [CLI, "stats", name, "--json"],
                env=loop.environment | store, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert ended.returncode == 0, ended.stderr
            shown[name] = json.loads(ended.stdout)
        [found] = [each for each in shown[name] if each["labels"] == labels]
        assert found["type"] == type_
        if value is not ANY and not isinstance(value, tuple):
            assert round(found["value"], 9) == round(value, 9), name
        elif isinstance(value, tuple):
            assert found["count"] == value[0], name
