"""The metrics that more than one room knows by name; the rest of the catalogue stands in catalogue.py alone.

``prometheus`` is the name that Prometheus's OTLP receiver stores (translation strategy UnderscoreEscapingWithSuffixes).
"""

from __future__ import annotations

from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv.tables import Metric

# 1 s to 24 h: a run shorter than a second falls into the first bucket; nobody alerts on less.
RUN_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
STAGE_BUCKETS = (0.01, 0.1, 0.5, *RUN_BUCKETS)

RUN_ENDED = Metric(
    "pipeline.run.ended",
    "counter",
    "{run}",
    "Runs that ended, by result.",
    (a.PIPELINE_NAME, a.RUN_RESULT),
    "pipeline_run_ended_total",
)
RUN_DURATION = Metric(
    "pipeline.run.duration",
    "histogram",
    "s",
    "Duration of runs.",
    (a.PIPELINE_NAME, a.RUN_RESULT),
    "pipeline_run_duration_seconds",
    RUN_BUCKETS,
)
STAGE_DURATION = Metric(
    "pipeline.stage.duration",
    "histogram",
    "s",
    "Duration of stages, from the first pull to the end.",
    (a.PIPELINE_NAME, a.STAGE_NAME, a.STAGE_RESULT),
    "pipeline_stage_duration_seconds",
    STAGE_BUCKETS,
)
STAGE_SELF_TIME = Metric(
    "pipeline.stage.self_time",
    "counter",
    "s",
    "Time in the stages' own code.",
    (a.PIPELINE_NAME, a.STAGE_NAME),
    "pipeline_stage_self_time_seconds_total",
)
STAGE_RECORDS = Metric(
    "pipeline.stage.records",
    "counter",
    "{record}",
    "Records of stages, by status.",
    (a.PIPELINE_NAME, a.STAGE_NAME, a.RECORD_STATUS),
    "pipeline_stage_records_total",
)
DATASET_RECORDS = Metric(
    "pipeline.dataset.records",
    "counter",
    "{record}",
    "Records read from or written to datasets.",
    (a.PIPELINE_NAME, a.DATASET_NAME, a.DATASET_OPERATION),
    "pipeline_dataset_records_total",
)

RUN_ACTIVE = Metric(
    "pipeline.run.active",
    "updowncounter",
    "{run}",
    "Runs that are open.",
    (a.PIPELINE_NAME,),
    "pipeline_run_active",
)
