"""The process's own metrics about its runs (``semconv/metrics.py``): what each ended run and stage adds.

They have a meter provider of their own, apart from the user's: a forked child begins a new one at zero, since the
counts it inherits are its parent's and would be exported twice.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from otel_pipeline.instrument.scope import SCOPE_NAME
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import metrics as m
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.metrics import Counter, Histogram
    from opentelemetry.sdk.metrics import MeterProvider

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.semconv.tables import Metric

_STATUSES = {"in": "in_", "out": "out", "failed": "failed", "dropped": "dropped", "duplicate": "duplicate"}


class RunMetrics:
    """Counters and histograms on the provider that ``make_provider`` makes, a new one in each process."""

    def __init__(self, make_provider: Callable[[], MeterProvider]) -> None:
        self._make_provider = make_provider
        self._pid = 0
        self._provider: MeterProvider | None = None
        self._instruments: dict[str, Counter | Histogram] = {}

    def run_ended(self, run: Run) -> None:
        """Count a run."""
        labels = {a.PIPELINE_NAME: run.pipeline, a.RUN_RESULT: run.result}
        self._add(m.RUN_ENDED, 1, labels)
        self._add(m.RUN_DURATION, run.duration, labels)

    def stage_ended(self, stage: Stage) -> None:
        """Count a stage and its records."""
        labels = {a.STAGE_NAME: stage.name} | ({a.PIPELINE_NAME: stage.pipeline} if stage.pipeline else {})
        self._add(m.STAGE_DURATION, stage.duration, labels | {a.STAGE_RESULT: stage.result})
        self._add(m.STAGE_SELF_TIME, stage.self_time, labels)
        for status, name in _STATUSES.items():
            if (count := getattr(stage.records, name)) is not None:
                self._add(m.STAGE_RECORDS, count, labels | {a.RECORD_STATUS: status})
        for dataset in stage.datasets:
            if dataset.records is not None:
                where = {a.DATASET_NAME: dataset.name, a.DATASET_OPERATION: dataset.operation}
                pipeline = {a.PIPELINE_NAME: stage.pipeline} if stage.pipeline else {}
                self._add(m.DATASET_RECORDS, dataset.records, where | pipeline)

    def flush(self, timeout: float) -> bool:
        """Export what was counted, in at most ``timeout`` seconds."""
        if self._provider is None or self._pid != os.getpid():
            return True
        return self._provider.force_flush(timeout * 1000)

    def shutdown(self, timeout: float) -> None:
        """Export for the last time and stop."""
        provider, self._provider = self._provider, None
        if provider is not None and self._pid == os.getpid():
            provider.shutdown(timeout * 1000)

    def _add(self, metric: Metric, value: float, attributes: Mapping[str, str]) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._provider = self._make_provider()
            self._instruments = {}
        if self._provider is None:
            return
        instrument = self._instruments.get(metric.name)
        if instrument is None:
            instrument = self._instruments[metric.name] = self._make(self._provider, metric)
        if metric.instrument == "histogram":
            instrument.record(value, attributes)  # type: ignore[union-attr]
        else:
            instrument.add(value, attributes)  # type: ignore[union-attr]

    def _make(self, provider: MeterProvider, metric: Metric) -> Counter | Histogram:
        meter = provider.get_meter(SCOPE_NAME, __version__)
        if metric.instrument == "histogram":
            return meter.create_histogram(
                metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
            )
        return meter.create_counter(metric.name, metric.unit, metric.description)
