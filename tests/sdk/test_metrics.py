"""``RunMetrics``: what a process counts of its own runs and stages."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_pipeline.model import Stage
from otel_pipeline.sdk.metrics import RunMetrics
from otel_pipeline.semconv import metrics as m

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = count(1)


def _stage() -> Stage:
    number = next(_numbers)
    return Stage("0" * 31 + "1", f"{number:016x}", "load", "success", 10**9, 2 * 10**9, 1.0, pipeline="orders")


def _counted(reader: InMemoryMetricReader) -> int:
    """How many stages' durations were counted until now."""
    data: Any = reader.get_metrics_data()
    return sum(
        point.count
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == m.STAGE_DURATION.name
        for point in metric.data.data_points
    )


def _made() -> tuple[RunMetrics, InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    return RunMetrics(MeterProvider([reader], shutdown_on_exit=False)), reader


def test_a_stage_is_counted_when_the_sdk_collects() -> None:
    """At each collection what has ended since the last."""
    metrics, reader = _made()
    metrics.count(_stage())
    assert _counted(reader) == 1
    metrics.count(_stage())
    assert _counted(reader) == 2


def test_a_stage_that_ends_during_a_collection_is_counted_by_the_next() -> None:
    """A thread may have been interrupted by the collection between looking up where to add and adding."""
    metrics, reader = _made()
    add: Callable[[Stage], None] = metrics._ended.append
    metrics.count(_stage())
    assert _counted(reader) == 1
    add(_stage())
    assert _counted(reader) == 2
