"""One line, or none: the same run in Jaeger, Prometheus and the log store, whichever way the process was set up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .clients import Jaeger, JaegerTrace, Prometheus, VictoriaLogs, eventually

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
ETL = str(HERE / "orders_etl.py")
WAYS = {
    "setup": [sys.executable, ETL, "--setup"],
    "launcher": [str(BIN / "opentelemetry-instrument"), sys.executable, ETL],
    "run": [str(BIN / "otel-pipeline"), "run", "--", sys.executable, ETL],
}
TREE = {
    "run orders_etl",
    "run orders_etl > stage extract",
    "run orders_etl > stage transform",
    "run orders_etl > stage load",
    "run orders_etl > stage load > CREATE",
    "run orders_etl > stage load > INSERT",
}


@pytest.fixture
def environment(otlp_environment: dict[str, str], service: str, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, **otlp_environment, "OTEL_SERVICE_NAME": service, "OTEL_PIPELINE_QUEUE_DIR": str(tmp_path)}


def run_pipeline(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def found(jaeger: Jaeger, service: str, **tags: str) -> JaegerTrace:
    def complete() -> JaegerTrace | None:
        traces = jaeger.search(service, tags=tags)
        assert len(traces) <= 1, [trace.paths() for trace in traces]
        return traces[0] if traces and traces[0].named("run orders_etl") else None

    trace = eventually(complete)
    assert trace is not None
    return trace


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_one_trace_in_jaeger_found_by_pipeline_run_stage_and_error(
    way: str, environment: dict[str, str], service: str, jaeger: Jaeger
) -> None:
    """A failing run is one trace with the right tree, whichever of its attributes one asks by."""
    ended = run_pipeline([*WAYS[way], "--fail"], environment)
    assert ended.returncode == 1
    assert "RuntimeError: the warehouse is closed" in ended.stderr
    trace = found(jaeger, service, **{"pipeline.name": "orders_etl"})
    assert set(trace.paths()) == TREE
    assert len(trace.spans) == len(TREE)
    [run] = trace.named("run orders_etl")
    assert run.tags["pipeline.run.result"] == "failure"
    assert run.tags["error.type"] == "RuntimeError"
    assert run.tags["pipeline.error.stage"] == "load"
    if way == "run":
        assert run.tags["process.exit.code"] == "1"
        assert int(run.tags["pipeline.run.memory.peak"]) > 0
    for tags in (
        {"pipeline.run.id": run.tags["pipeline.run.id"]},
        {"pipeline.stage.name": "transform"},
        {"error": "true"},
        {"error.type": "RuntimeError"},
    ):
        assert found(jaeger, service, **tags).trace_id == trace.trace_id


@pytest.mark.parametrize("way", WAYS)
def test_prometheus_has_the_exact_counts_and_the_log_store_the_runs_logs(  # noqa: PLR0917 - fixtures
    way: str, environment: dict[str, str], service: str, jaeger: Jaeger, prometheus: Prometheus, logs: VictoriaLogs
) -> None:
    """Two runs: their records add up to the truth in Prometheus; each run's log record is found by its trace id."""
    for _ in range(2):
        ended = run_pipeline(WAYS[way], environment)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == ""
    records = f'sum(pipeline_stage_records_total{{job="{service}",pipeline_name="orders_etl",'
    truth = {
        ("extract", "in"): 2000,
        ("extract", "out"): 2000,
        ("transform", "in"): 2000,
        ("transform", "out"): 1600,
        ("transform", "failed"): 200,
        ("transform", "dropped"): 200,
        ("transform", "duplicate"): 200,
        ("load", "in"): 1600,
    }
    for (stage, status), count in truth.items():
        query = f'{records}pipeline_stage_name="{stage}",pipeline_record_status="{status}"}})'
        assert (
            eventually(lambda query=query: prometheus.value(query), lambda value, count=count: value == count) == count
        )
    runs = f'sum(pipeline_run_ended_total{{job="{service}",pipeline_run_result="success"}})'
    assert eventually(lambda: prometheus.value(runs), lambda value: value == 2) == 2
    written = f'sum(pipeline_dataset_records_total{{job="{service}",pipeline_dataset_name="warehouse.orders"}})'
    assert prometheus.value(written) == 1600

    traces = eventually(lambda: jaeger.search(service), lambda traces: len(traces) == 2)
    for trace in traces:
        found_logs = eventually(
            lambda trace=trace: [each for each in logs.by_trace(trace.trace_id) if "loaded" in each["_msg"]]
        )
        assert [each["_msg"] for each in found_logs] == ["loaded 800 orders"]
        [load] = trace.named("stage load")
        assert found_logs[0]["span_id"] == load.span_id


@pytest.mark.parametrize("way", ["launcher", "run"])
def test_an_unmodified_script_is_one_run_with_its_database_spans(
    way: str, environment: dict[str, str], service: str, jaeger: Jaeger
) -> None:
    """The example's twin has no line of ours: one run span, the database spans beneath it, and no stages."""
    twin = str(HERE.parents[1] / "examples" / "stdlib_index_plain.py")
    command = [part if part != ETL else twin for part in WAYS[way]]
    ended = run_pipeline([*command, "--limit", "20"], environment)
    assert ended.returncode == 0, ended.stderr
    trace = eventually(lambda: next((t for t in jaeger.search(service) if t.named("run stdlib_index_plain")), None))
    assert trace is not None
    assert {path.count(" > ") for path in trace.paths()} == {0, 1}
    assert [path for path in trace.paths() if " > " not in path] == ["run stdlib_index_plain"]
    assert "run stdlib_index_plain > INSERT" in trace.paths()
    assert not [path for path in trace.paths() if "stage" in path]
