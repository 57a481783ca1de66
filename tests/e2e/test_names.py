"""Every name that runs, stages, records, datasets and checks feed is in Prometheus and in `otel-pipeline stats`.

Of those that operations feed: test_all_signals.py.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_pipeline.kpi.names import Name, names_of
from otel_pipeline.semconv.catalogue import CATALOGUE
from tests.exposition import samples

from .clients import eventually
from .test_processor import CLI, WITHIN, make_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .clients import Prometheus
    from .conftest import StartServer
    from .test_processor import Loop

ETL = Path(__file__).parent / "every_kpi_etl.py"
PIPELINE = "every_kpi"
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
GROWING = {"pipeline.dataset.freshness", "pipeline.slo.trend", "pipeline.slo.burn_rate"}
"""What changes by itself between two looks."""
OVER_WEEKS = "pipeline_slo_trend_ratio"  # between the halves of a month; see tests/kpi/test_slo.py

COUNTED = [kpi for kpi in CATALOGUE if kpi.event != "stream"]

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

WRITTEN = 80 + 40 + 80 + 80 + 80
TRUTH: Series = {
    ("pipeline_runs_total", (("dag_id", PIPELINE), ("status", "success"))): 4,
    ("pipeline_runs_total", (("dag_id", PIPELINE), ("status", "failure"))): 1,
    ("pipeline_run_ended_total", (("pipeline_name", PIPELINE), ("pipeline_run_result", "lost"))): 0,
    ("pipeline_run_superseded_total", (("pipeline_name", PIPELINE), ("pipeline_run_result", "failure"))): 1,
    ("pipeline_run_backfilled_total", (("pipeline_name", PIPELINE), ("pipeline_run_result", "success"))): 1,
    ("pipeline_duration_seconds_count", (("dag_id", PIPELINE),)): 5,
    ("etl_pipeline_runtime_seconds_count", (("pipeline_type", PIPELINE),)): 5,
    ("etl_active_pipelines", (("pipeline_type", PIPELINE),)): 0,
    ("etl_records_processed_total", (("pipeline", PIPELINE), ("stage", "clean"), ("status", "failed"))): 45,
    ("etl_records_processed_total", (("pipeline", PIPELINE), ("stage", "clean"), ("status", "success"))): WRITTEN,
    ("etl_records_processed_total", (("pipeline", PIPELINE), ("stage", "clean"), ("status", "dropped"))): 45,
    ("etl_records_processed_total", (("pipeline", PIPELINE), ("stage", "clean"), ("status", "duplicate"))): 45,
    ("data_records_processed_total", (("operation", "write"), ("table", PIPELINE))): WRITTEN,
    ("pipeline_dataset_volume_bytes_total",
     (("pipeline_dataset_name", PIPELINE), ("pipeline_dataset_operation", "write"), ("pipeline_name", PIPELINE))):
        8 * WRITTEN,
    ("pipeline_stage_volume_bytes_total", (("pipeline_name", PIPELINE), ("pipeline_stage_name", "load"))): 8 * WRITTEN,
    ("schema_validation_failures_total", (("table", PIPELINE),)): 10,
    ("data_quality_score", (("table", PIPELINE),)): 157 / 160,
    ("pipeline_errors_total", (("error_type", "RuntimeError"), ("pipeline", PIPELINE), ("stage", "load"))): 2,
    ("error_rate_percent", (("service", PIPELINE),)): 20,
    ("sla_compliance_ratio", (("service", PIPELINE),)): 0.8,
    ("pipeline_run_success_rate_ratio", (("pipeline_name", PIPELINE),)): 0.8,
    ("pipeline_run_unexpected_total", (("pipeline_expectation", "too_few"), ("pipeline_name", PIPELINE))): 1,
}  # fmt: skip


def test_every_name_has_its_type_labels_and_value(
    start_server: StartServer, stores: dict[str, str], tmp_path: Path, prometheus: Prometheus
) -> None:
    """In Prometheus, as text of the processor, and in `otel-pipeline stats`: the same series with the same values."""
    loop = make_loop(start_server, stores, tmp_path, PIPELINE)
    command = [str(CLI), "run", "--quiet", "--", sys.executable, str(ETL), PIPELINE]
    with subprocess.Popen(
        command, env=loop.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "open\n"
        # The last of them, and the first, whose span the parent makes at the end.
        active = ("etl_active_pipelines", (("pipeline_type", PIPELINE),))
        eventually(lambda: told(loop).get(active), lambda value: value == 2, WITHIN)
        running.communicate("")
    assert running.returncode == 0
    text = eventually(lambda: told(loop), lambda text: missing(text) == {OVER_WEEKS} and text[active] == 0, WITHIN)
    assert {key: text.get(key) for key in TRUTH} == TRUTH
    for name in names_of(COUNTED):
        wanted = of(text, name)
        found = eventually(
            lambda name=name: in_prometheus(prometheus, name),
            lambda found, name=name, wanted=wanted: agree(found, wanted, grows=name.kpi.name in GROWING),
            WITHIN,
        )
        assert agree(found, wanted, grows=name.kpi.name in GROWING), name.name
        assert_in_statistics(loop, name, wanted)


def told(loop: Loop) -> Series:
    """`GET /metrics` of the processor, what is of the pipeline."""
    with urllib.request.urlopen(f"{loop.processors[0].url('http')}/metrics", timeout=60) as response:
        text = samples(response.read().decode())
    return {(name, _labels(dict(labels))): value for (name, labels), value in text.items()
            if PIPELINE in dict(labels).values()}  # fmt: skip


def of(text: Series, name: Name) -> Series:
    """Of these the series of one name; of a histogram all parts."""
    names = {name.name + part for part in PARTS.get(name.type, ("",))}
    return {key: value for key, value in text.items() if key[0] in names}


def missing(text: Series) -> set[str]:
    """The names that have no series."""
    return {name.name for name in names_of(COUNTED) if not of(text, name)}


def in_prometheus(prometheus: Prometheus, name: Name) -> Series:
    """The series of one name, without what tells who sent them."""
    ours = {"__name__", "job", "service_name"}
    return {
        (sample.labels["__name__"], _labels({k: v for k, v in sample.labels.items() if k not in ours})): sample.value
        for part in PARTS.get(name.type, ("",))
        for sample in prometheus.query(f'{name.name}{part}{{job="otel-pipeline"}}')
        if PIPELINE in sample.labels.values()
    }


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Sorted; Prometheus writes the bound 1 as ``1`` where it came by OTLP, and as ``1.0`` where it was scraped."""
    numbers = {"le", "quantile"}
    return tuple(sorted((key, str(float(text)) if key in numbers else text) for key, text in labels.items()))


def agree(found: Series, wanted: Series, *, grows: bool) -> bool:
    """The same series with the same values, but for the last digits, and for those that change by themselves."""
    return found.keys() == wanted.keys() and (
        grows
        or all(math.isnan(value) or abs(found[key] - value) <= 1e-9 * max(1.0, abs(value))
               for key, value in wanted.items())
    )  # fmt: skip


def assert_in_statistics(loop: Loop, name: Name, wanted: Series) -> None:
    """`otel-pipeline stats` knows the name with the same type and labels, and each series's present value."""
    store = {"OTEL_PIPELINE_STORE": str(loop.processors[0].folder / "store.db")}
    shown = subprocess.run(
        [CLI, "stats", name.name, "--json"],
        env=loop.environment | store, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    objects: list[dict[str, Any]] = json.loads(shown.stdout)
    assert {each["type"] for each in objects} <= {name.type}
    labels = {tuple(sorted(each["labels"].items())) for each in objects}
    hidden = {"le", "quantile"}
    series = {tuple(pair for pair in key[1] if pair[0] not in hidden) for key in wanted}
    # A result that has not occurred is a series of 0 in Prometheus; there is nothing of it in a window.
    assert labels <= series
    assert labels or not wanted
