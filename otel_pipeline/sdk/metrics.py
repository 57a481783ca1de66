"""The process's own metrics about its runs (``semconv/metrics.py``): what each ended run and stage adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram

from otel_pipeline.instrument.scope import SCOPE_NAME
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import metrics as m
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.metrics import Meter, MeterProvider

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.semconv.tables import Metric

_STATUSES = {"in": "in_", "out": "out", "failed": "failed", "dropped": "dropped", "duplicate": "duplicate"}
# Within a sampled span the SDK draws exemplars from Python's shared random numbers, which are the program's own.
_NOWHERE = Context()


class RunMetrics:
    """The counters and histograms, on a meter of ``provider``."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(SCOPE_NAME, __version__)
        self._instruments = {metric.name: _instrument(meter, metric) for metric in m.METRICS}

    def run_ended(self, run: Run) -> None:
        """Count a run."""
        labels = {a.PIPELINE_NAME: run.pipeline, a.RUN_RESULT: run.result}
        self._add(m.RUN_ENDED, 1, labels)
        self._add(m.RUN_DURATION, run.duration, labels)

    def stage_ended(self, stage: Stage) -> None:
        """Count a stage and its records."""
        pipeline = {a.PIPELINE_NAME: stage.pipeline} if stage.pipeline else {}
        labels = {a.STAGE_NAME: stage.name} | pipeline
        self._add(m.STAGE_DURATION, stage.duration, labels | {a.STAGE_RESULT: stage.result})
        self._add(m.STAGE_SELF_TIME, stage.self_time, labels)
        for status, name in _STATUSES.items():
            if (count := getattr(stage.records, name)) is not None:
                self._add(m.STAGE_RECORDS, count, labels | {a.RECORD_STATUS: status})
        for dataset in stage.datasets:
            if dataset.records is not None:
                where = {a.DATASET_NAME: dataset.name, a.DATASET_OPERATION: dataset.operation}
                self._add(m.DATASET_RECORDS, dataset.records, where | pipeline)

    def _add(self, metric: Metric, value: float, attributes: Mapping[str, str]) -> None:
        instrument = self._instruments[metric.name]
        if isinstance(instrument, Histogram):
            instrument.record(value, attributes, _NOWHERE)
        else:
            instrument.add(value, attributes, _NOWHERE)


def _instrument(meter: Meter, metric: Metric) -> Counter | Histogram:
    if metric.instrument == "histogram":
        return meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        )
    return meter.create_counter(metric.name, metric.unit, metric.description)
