"""The KPI catalogue: every KPI that runs, stages, records, datasets, checks and operations feed, a row each.

::

    a value ─► facts (kpi/facts.py), by event ─► the rows of that event ─► what to add to which series
                 "stage": {"pipeline": …, "duration": …}      Kpi(metric, "stage", "duration")

A row's labels are its metric's attributes, each read from the fact's field of ``FIELDS``; its value is the fact's field
``value`` over ``divisor``, and where that is unknown nothing is counted. Counts and nanoseconds stay whole numbers, so
that sums are exact in whatever order they are made. Aliases are other names of the same KPI (contract, §2).
"""

from __future__ import annotations

from types import MappingProxyType

from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import metrics as m
from otel_pipeline.semconv.kpi import EVENTS, FIELDS, Alias, FactEvent, Kpi
from otel_pipeline.semconv.operations import OPERATIONS
from otel_pipeline.semconv.tables import Metric

__all__ = ["CATALOGUE", "EVENTS", "FIELDS", "UNEXPECTED", "Alias", "FactEvent", "Kpi"]

_NANOSECONDS = 10**9
_STATUS = MappingProxyType(
    {
        "success": "success",
        "failure": "failure",
        "timeout": "failure",
        "lost": "failure",
        "cancellation": "cancelled",
        "skip": "skipped",
    }
)
_RECORD_STATUS = MappingProxyType(
    {"out": "success", "failed": "failed", "dropped": "dropped", "duplicate": "duplicate"}
)
_PIPELINE = (a.PIPELINE_NAME,)
_STAGE = (a.PIPELINE_NAME, a.STAGE_NAME)
_DATASET = (a.PIPELINE_NAME, a.DATASET_NAME, a.DATASET_OPERATION)
_CHECK = (a.PIPELINE_NAME, a.DATASET_NAME, a.CHECK_NAME)
_EXPECTATION = (a.PIPELINE_NAME, a.EXPECTATION)
_OBJECTIVE = (a.PIPELINE_NAME, a.SLO_NAME)


def _objective(name: str, value: str, description: str) -> Kpi:
    prometheus = f"{name.replace('.', '_')}_ratio"
    return Kpi(Metric(name, "gauge", "1", description, _OBJECTIVE, prometheus), "objective", value)


UNEXPECTED = Metric(
    "pipeline.run.unexpected",
    "counter",
    "{breach}",
    "Expectations that were not met: due times, runs and successes that were not as declared.",
    _EXPECTATION,
    "pipeline_run_unexpected_total",
)

CATALOGUE: tuple[Kpi, ...] = (
    Kpi(
        m.RUN_ENDED,
        "run",
        "one",
        known=(a.RUN_RESULT, a.RUN_RESULTS),
        aliases=(
            Alias(
                "pipeline_runs_total",
                (("dag_id", a.PIPELINE_NAME), ("status", a.RUN_RESULT)),
                "standards",
                {a.RUN_RESULT: _STATUS},
            ),
        ),
    ),
    Kpi(
        m.RUN_DURATION,
        "run",
        "duration",
        _NANOSECONDS,
        aliases=(
            Alias("pipeline_duration_seconds", (("dag_id", a.PIPELINE_NAME),), "standards"),
            Alias("etl_pipeline_runtime_seconds", (("pipeline_type", a.PIPELINE_NAME),), "etl", summary=True),
        ),
    ),
    Kpi(
        Metric(
            "pipeline.run.superseded",
            "counter",
            "{run}",
            "Attempts at runs after which there was another, by result. They are not among the runs that ended.",
            (a.PIPELINE_NAME, a.RUN_RESULT),
            "pipeline_run_superseded_total",
        ),
        "superseded",
        "one",
    ),
    Kpi(
        Metric(
            "pipeline.run.backfilled",
            "counter",
            "{run}",
            "Backfills that ended, by result. They are not among the runs that ended.",
            (a.PIPELINE_NAME, a.RUN_RESULT),
            "pipeline_run_backfilled_total",
        ),
        "backfill",
        "one",
    ),
    Kpi(
        Metric(
            "pipeline.run.busy_time",
            "counter",
            "s",
            "CPU time of runs under `otel-pipeline run`, user and system.",
            _PIPELINE,
            "pipeline_run_busy_time_seconds_total",
        ),
        "run",
        "cpu_time",
        _NANOSECONDS,
    ),
    Kpi(m.STAGE_DURATION, "stage", "duration", _NANOSECONDS),
    Kpi(m.STAGE_SELF_TIME, "stage", "self_time", _NANOSECONDS),
    Kpi(
        Metric(
            "pipeline.stage.waited",
            "counter",
            "s",
            "Time that stages waited for records of the stages upstream.",
            _STAGE,
            "pipeline_stage_waited_seconds_total",
        ),
        "stage",
        "wait_time",
        _NANOSECONDS,
    ),
    Kpi(
        Metric(
            "pipeline.stage.volume",
            "counter",
            "By",
            "Bytes that stages processed.",
            _STAGE,
            "pipeline_stage_volume_bytes_total",
        ),
        "stage",
        "bytes",
    ),
    Kpi(
        m.STAGE_RECORDS,
        "records",
        "count",
        aliases=(
            Alias(
                "etl_records_processed_total",
                (("pipeline", a.PIPELINE_NAME), ("stage", a.STAGE_NAME), ("status", a.RECORD_STATUS)),
                "etl",
                {a.RECORD_STATUS: _RECORD_STATUS},
            ),
        ),
    ),
    Kpi(
        m.DATASET_RECORDS,
        "dataset",
        "records",
        aliases=(
            Alias(
                "data_records_processed_total",
                (("table", a.DATASET_NAME), ("operation", a.DATASET_OPERATION)),
                "standards",
            ),
        ),
    ),
    Kpi(
        Metric(
            "pipeline.dataset.volume",
            "counter",
            "By",
            "Bytes read from or written to datasets.",
            _DATASET,
            "pipeline_dataset_volume_bytes_total",
        ),
        "dataset",
        "bytes",
    ),
    Kpi(
        Metric(
            "pipeline.checks.passed",
            "counter",
            "{record}",
            "Records that passed quality checks.",
            _CHECK,
            "pipeline_checks_passed_total",
        ),
        "check",
        "passed",
    ),
    Kpi(
        Metric(
            "pipeline.checks.failed",
            "counter",
            "{record}",
            "Records that failed quality checks.",
            _CHECK,
            "pipeline_checks_failed_total",
        ),
        "check",
        "failed",
    ),
    Kpi(
        Metric(
            "pipeline.schema.failures",
            "counter",
            "{record}",
            "Records that failed checks of kind `schema`.",
            (a.DATASET_NAME,),
            "pipeline_schema_failures_total",
        ),
        "check",
        "failed",
        where=(("kind", "schema"),),
        aliases=(Alias("schema_validation_failures_total", (("table", a.DATASET_NAME),), "standards"),),
    ),
    Kpi(
        Metric(
            "pipeline.run.errors",
            "counter",
            "{error}",
            "Exceptions in stages, or in runs outside of stages (stage is then empty), each where it was first seen.",
            (a.PIPELINE_NAME, a.STAGE_NAME, a.ERROR_TYPE),
            "pipeline_run_errors_total",
        ),
        "error",
        "one",
        aliases=(
            Alias(
                "pipeline_errors_total",
                (("pipeline", a.PIPELINE_NAME), ("stage", a.STAGE_NAME), ("error_type", a.ERROR_TYPE)),
                "service",
            ),
        ),
    ),
    Kpi(
        m.RUN_ACTIVE,
        "pipeline",
        "active",
        aliases=(Alias("etl_active_pipelines", (("pipeline_type", a.PIPELINE_NAME),), "etl"),),
    ),
    Kpi(
        Metric(
            "pipeline.run.success_rate",
            "gauge",
            "1",
            "success / (success + failure) of the runs of 30 days, or of the SLO's window.",
            _PIPELINE,
            "pipeline_run_success_rate_ratio",
        ),
        "pipeline",
        "success_rate",
    ),
    Kpi(
        Metric(
            "pipeline.run.error_rate",
            "gauge",
            "1",
            "failure / all of the runs of 30 days, or of the SLO's window; timeouts and lost runs are failures.",
            _PIPELINE,
            "pipeline_run_error_rate_ratio",
        ),
        "pipeline",
        "error_rate",
        aliases=(Alias("error_rate_percent", (("service", a.PIPELINE_NAME),), "standards", scale=100),),
    ),
    Kpi(
        Metric(
            "pipeline.run.last_success",
            "gauge",
            "s",
            "When the last successful run ended, in seconds since 1970.",
            _PIPELINE,
            "pipeline_run_last_success_seconds",
        ),
        "pipeline",
        "last_success",
        _NANOSECONDS,
    ),
    Kpi(
        Metric(
            "pipeline.dataset.freshness",
            "gauge",
            "s",
            "How old the newest watermark is; grows by itself while nothing arrives.",
            (a.DATASET_NAME,),
            "pipeline_dataset_freshness_seconds",
        ),
        "freshness",
        "age",
        _NANOSECONDS,
        aliases=(Alias("data_freshness_hours", (("source", a.DATASET_NAME),), "standards", scale=1 / 3600),),
    ),
    Kpi(
        Metric(
            "pipeline.dataset.quality",
            "gauge",
            "1",
            "passed / (passed + failed) of the checks of the last run that checked the dataset.",
            (a.DATASET_NAME,),
            "pipeline_dataset_quality_ratio",
        ),
        "freshness",
        "quality",
        aliases=(Alias("data_quality_score", (("table", a.DATASET_NAME),), "standards"),),
    ),
    Kpi(
        UNEXPECTED,
        "breach",
        "one",
        known=(a.EXPECTATION, a.EXPECTATIONS),
    ),
    Kpi(
        Metric(
            "pipeline.run.unexpected.open",
            "gauge",
            "{breach}",
            "Those of them that are not over: late right now, too slow the last time.",
            _EXPECTATION,
            "pipeline_run_unexpected_open",
        ),
        "expectation",
        "open",
    ),
    _objective("pipeline.slo.objective", "target", "The share that has to be good."),
    _objective("pipeline.slo.compliance", "compliance", "The share that was good in the SLO's window."),
    _objective(
        "pipeline.slo.budget.remaining",
        "budget",
        "How much of the share that may be bad is left; below 0 when there was more.",
    ),
    _objective(
        "pipeline.slo.trend",
        "trend",
        "Compliance in the second half of the window, less that in the first: above 0 it gets better.",
    ),
    Kpi(
        Metric(
            "pipeline.slo.burn_rate",
            "gauge",
            "1",
            "How many times faster than allowed the error budget was used up; 1 uses it up in the SLO's window.",
            (*_OBJECTIVE, a.SLO_WINDOW),
            "pipeline_slo_burn_rate_ratio",
        ),
        "burn",
        "rate",
    ),
    Kpi(
        Metric(
            "pipeline.slo.compliance.least",
            "gauge",
            "1",
            "The compliance of the objective that has used up most of its budget.",
            _PIPELINE,
            "pipeline_slo_compliance_least_ratio",
        ),
        "pipeline",
        "least_compliance",
        aliases=(Alias("sla_compliance_ratio", (("service", a.PIPELINE_NAME),), "standards"),),
    ),
    *OPERATIONS,
)
"""The rows, in the order of the docs."""

COUNTED = frozenset(kpi.name for kpi in CATALOGUE if kpi.event != "stream")
"""The names of those that are counted from spans and events: as metrics they are the same counts a second time."""
_OF_ONE_RUN = ("run", "backfill", "stage", "records", "dataset", "check", "error")
METRICS: tuple[Metric, ...] = (
    *(kpi.metric for kpi in CATALOGUE if kpi.event in _OF_ONE_RUN), m.RUN_ACTIVE, *(kpi.metric for kpi in OPERATIONS)
)  # fmt: skip
"""Those that a process publishes: about its own runs (sdk/metrics.py), and of operations (instrument/measuring.py)."""
