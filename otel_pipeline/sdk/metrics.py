"""The process's own metrics about its runs (``semconv/metrics.py``): what each ended run and stage adds.

A stage adds to seven of them, at ten microseconds each by the SDK. So counts are summed here and handed to the SDK's
counters when it collects; only durations, which histograms need one by one, are handed over as they are.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, Observation

from otel_pipeline.instrument import registry
from otel_pipeline.instrument.scope import SCOPE_NAME
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import metrics as m
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.semconv.tables import Metric

# Within a sampled span the SDK draws exemplars from Python's shared random numbers, which are the program's own.
_NOWHERE = Context()
_MOST_SUMS = 2000  # label sets between two collections; then they are handed over at once


class RunMetrics:
    """The counters and histograms, on a meter of ``provider``."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(SCOPE_NAME, __version__)
        self._instruments = {metric.name: _instrument(meter, metric) for metric in m.METRICS if metric != m.RUN_ACTIVE}
        self._lock = threading.RLock()  # re-entrant: a signal handler of the program's may end a stage in between
        self._sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        active = m.RUN_ACTIVE
        # The SDK calls this before it collects, and so the counters are up to date in the same collection.
        meter.create_observable_up_down_counter(active.name, [self._collected], active.unit, active.description)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def run_ended(self, run: Run) -> None:
        """Count a run."""
        labels = ((a.PIPELINE_NAME, run.pipeline), (a.RUN_RESULT, run.result))
        with self._lock:
            self._add(m.RUN_ENDED, labels, 1)
        self._record(m.RUN_DURATION, labels, run.duration)

    def stage_ended(self, stage: Stage) -> None:
        """Count a stage and its records."""
        pipeline = ((a.PIPELINE_NAME, stage.pipeline),) if stage.pipeline else ()
        labels = (*pipeline, (a.STAGE_NAME, stage.name))
        records = stage.records
        with self._lock:
            self._add(m.STAGE_SELF_TIME, labels, stage.self_time)
            for status, count in (
                ("in", records.in_),
                ("out", records.out),
                ("failed", records.failed),
                ("dropped", records.dropped),
                ("duplicate", records.duplicate),
            ):
                if count is not None:
                    self._add(m.STAGE_RECORDS, (*labels, (a.RECORD_STATUS, status)), count)
            for dataset in stage.datasets:
                if dataset.records is not None:
                    where = ((a.DATASET_NAME, dataset.name), (a.DATASET_OPERATION, dataset.operation))
                    self._add(m.DATASET_RECORDS, (*pipeline, *where), dataset.records)
        self._record(m.STAGE_DURATION, (*labels, (a.STAGE_RESULT, stage.result)), stage.duration)
        if len(self._sums) > _MOST_SUMS:
            self._hand_over()

    def _after_fork(self) -> None:
        # What the parent has counted is the parent's.
        self._lock = threading.RLock()
        self._sums = {}

    def _add(self, metric: Metric, labels: tuple[tuple[str, str], ...], value: float) -> None:
        key = (metric.name, labels)
        self._sums[key] = self._sums.get(key, 0) + value

    def _record(self, metric: Metric, labels: tuple[tuple[str, str], ...], value: float) -> None:
        instrument = self._instruments[metric.name]
        if isinstance(instrument, Histogram):
            instrument.record(value, dict(labels), context=_NOWHERE)

    def _collected(self, options: CallbackOptions) -> Iterator[Observation]:
        del options
        self._hand_over()
        active: dict[str, int] = {}
        for run in registry.open_runs():
            active[run.name] = active.get(run.name, 0) + 1
        for name, number in active.items():
            yield Observation(number, {a.PIPELINE_NAME: name})

    def _hand_over(self) -> None:
        with self._lock:
            sums, self._sums = self._sums, {}
        for (name, labels), value in sums.items():
            instrument = self._instruments[name]
            if isinstance(instrument, Counter):
                instrument.add(value, dict(labels), context=_NOWHERE)


def _instrument(meter: Meter, metric: Metric) -> Counter | Histogram:
    if metric.instrument == "histogram":
        return meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        )
    return meter.create_counter(metric.name, metric.unit, metric.description)
