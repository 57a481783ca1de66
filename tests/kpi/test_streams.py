"""Series of streams are what the processes counted, however their points arrive."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from otel_pipeline.forward.points import requests
from otel_pipeline.kpi.exposition import as_prometheus
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.names import prometheus_name
from otel_pipeline.kpi.otlp import NotOtlpError
from otel_pipeline.kpi.otlp_metrics import read_metrics
from otel_pipeline.kpi.streams import ALIVE_NS, WINDOW_NS, Measure, Point, Streams
from otel_pipeline.semconv.catalogue import CATALOGUE
from otel_pipeline.store.sqlite import Sqlite
from otel_pipeline.store.store import Store
from otel_pipeline.store.streams import StreamRows
from tests.kpi.events import NOW, SECOND, deliveries, patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_pipeline.kpi.state import Figure

REVENUE = Measure("revenue.processed", "counter")
EUR = (("currency", "EUR"),)
DAY = 86_400 * SECOND


def point(
    value: float, *, process: int = 1, measure: Measure = REVENUE, labels: Any = EUR, ago: float = 0, age: float = 60
) -> Point:
    """A point so many seconds before NOW, of a stream that began ``age`` seconds before NOW."""
    time, start = NOW - round(ago * SECOND), NOW - round(age * SECOND)
    return Point(measure, labels, bytes([process]) * 16, start, time, (value,))


def total(streams: Streams, now: int = NOW) -> list[float]:
    return [each.numbers[0] for each in streams.totals(now)]


@patient
@given(st.data())
def test_order_repeats_and_folding_change_nothing(data: st.DataObject) -> None:
    """The sum of what each process last said, whatever arrives when, and whatever is folded in between."""
    said = {process: sorted(data.draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=4)))
            for process in range(data.draw(st.integers(1, 4)))}  # fmt: skip
    points = [point(value, process=process + 1, ago=10 - n) for process, values in said.items()
              for n, value in enumerate(values)]  # fmt: skip
    arriving = data.draw(st.permutations(points + data.draw(st.lists(st.sampled_from(points), max_size=5))))
    streams = Streams()
    for each in arriving:
        streams.take([each], NOW)
        streams.fold(NOW)
    truth = [sum(values[-1] for values in said.values())]
    assert total(streams) == truth
    streams.fold(NOW + WINDOW_NS + 11 * SECOND)
    assert total(streams) == truth
    assert streams.take(points, NOW + WINDOW_NS + 11 * SECOND) == {"late": len(points)}
    assert total(streams) == truth


def test_a_stream_that_may_have_been_folded_counts_from_what_it_has() -> None:
    """A process that sleeps for more than the window, and one of a processor that has just begun."""
    streams, wakes = Streams(), NOW + WINDOW_NS + DAY
    streams.take([point(100)], NOW)
    streams.fold(wakes)
    again = replace(point(100), time=wakes)
    streams.take([again], wakes)
    assert total(streams) == [100]
    streams.take([replace(again, time=wakes + SECOND, numbers=(107,))], wakes + SECOND)
    assert total(streams) == [107]


def test_a_gauge_is_what_was_measured_last() -> None:
    """By whichever process, whatever arrives last."""
    segments, streams = Measure("customer.segments", "gauge"), Streams()
    streams.take([point(3, process=1, measure=segments, ago=5), point(9, process=2, measure=segments, ago=9)], NOW)
    assert total(streams) == [3]


def test_an_up_down_counter_is_the_sum_over_those_that_live() -> None:
    """What a dead process had open is not open."""
    users, streams = Measure("active.users", "updowncounter"), Streams()
    streams.take(
        [point(3, process=1, measure=users), point(4, process=2, measure=users, ago=ALIVE_NS / SECOND + 1)], NOW
    )
    assert total(streams) == [3]


def test_the_first_definition_of_a_metric_holds() -> None:
    """A counter and a gauge under one name cannot be added up."""
    streams = Streams()
    counts = streams.take([point(1), point(5, measure=replace(REVENUE, instrument="gauge"))], NOW)
    assert counts == {"points": 1, "conflicting": 1}
    assert total(streams) == [1]


@pytest.mark.parametrize(
    ("name", "unit", "instrument", "stored"),
    [
        ("revenue.processed", "", "counter", "revenue_processed_total"),
        ("orders_total", "1", "counter", "orders_total"),
        ("order.value", "{dollar}", "gauge", "order_value"),
        ("load", "1", "gauge", "load_ratio"),
        ("cache.size", "By", "updowncounter", "cache_size_bytes"),
        ("rate", "By/s", "gauge", "rate_bytes_per_second"),
        ("wait.seconds", "s", "histogram", "wait_seconds"),
        ("9lives--left", "", "gauge", "_9lives_left"),
    ],
)
def test_names_are_those_of_prometheus(name: str, unit: str, instrument: str, stored: str) -> None:
    """By the rules of its OTLP translator; the real one is asked in tests/e2e."""
    assert prometheus_name(name, unit, instrument) == stored


def request(**fields: Any) -> bytes:
    """A request with one cumulative counter of ours, ``fields`` changed."""
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    told: dict[str, Any] = {"scope": "otel_pipeline", "name": "orders.created", "value": 5, "time": NOW,
                            "start": NOW - SECOND, "temporality": cumulative, "labels": {"shop": "a"}}  # fmt: skip
    told |= fields
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    resource.resource.attributes.add(key="service.instance.id").value.string_value = told.get("instance", "i1")
    scope = resource.scope_metrics.add()
    scope.scope.name = told["scope"]
    metric = scope.metrics.add(name=told["name"], unit=told.get("unit", ""))
    metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, told["temporality"]
    made = metric.sum.data_points.add(time_unix_nano=told["time"], start_time_unix_nano=told["start"])
    if isinstance(told["value"], int):
        made.as_int = told["value"]
    else:
        made.as_double = told["value"]
    for key, value in told["labels"].items():
        made.attributes.add(key=key).value.string_value = value
    return message.SerializeToString()


def test_points_are_read_and_served_as_prometheus_has_them() -> None:
    """From OTLP to text: two processes, one series, no label that tells which process it was."""
    engine = MemoryEngine()
    for instance, value in (("i1", 5), ("i2", 7), ("i1", 5)):
        engine.consume(read_metrics(request(instance=instance, value=value), now=NOW).values)
    lines = as_prometheus(CATALOGUE, engine.figures(NOW)).splitlines()
    assert lines == ["# HELP orders_created_total ", "# TYPE orders_created_total counter",
                     'orders_created_total{shop="a"} 12.0']  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("foreign", {"scope": "fastapi"}),
        ("foreign", {"name": "pipeline.run.ended"}),
        ("temporality", {"temporality": AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA}),
        ("value", {"value": float("nan")}),
        ("value", {"value": float("inf")}),
        ("value", {"value": -1}),
        ("time", {"time": 0}),
        ("time", {"time": NOW + 2 * DAY}),
        ("time", {"start": 2**64 - 1}),
        ("labels", {"labels": {f"k{n}": "v" for n in range(21)}}),
        ("labels", {"labels": {"": "v"}}),
    ],
)
def test_what_cannot_be_used_is_left_out_by_name(reason: str, fields: dict[str, Any]) -> None:
    """Nothing of it reaches a series."""
    read = read_metrics(request(**fields), now=NOW)
    assert (read.values, read.left_out) == ([], {reason: 1})


def test_bytes_that_are_no_request_say_so() -> None:
    """The receiver answers 400 by it."""
    with pytest.raises(NotOtlpError):
        read_metrics(b"\xff\xff")


def test_a_metric_under_a_name_that_is_ours_is_not_served_twice() -> None:
    """Prometheus refuses a text in which a series stands twice."""
    engine = MemoryEngine()
    engine.consume(read_metrics(request(name="pipeline.runs"), now=NOW).values)
    assert as_prometheus(CATALOGUE, engine.figures(NOW)) == ""


@patient
@given(st.data())
def test_a_store_has_what_the_memory_has(data: st.DataObject) -> None:
    """Any points in any order, repeated, in batches some of which are not committed, with folding in between."""
    kinds = [REVENUE, Measure("users", "updowncounter"), Measure("queue", "gauge"),
             Measure("wait", "histogram", "s", bounds=(1.0, 5.0))]  # fmt: skip
    drawn = st.tuples(st.sampled_from(kinds), st.integers(1, 3), st.integers(0, 9), st.integers(0, 99).map(float))
    points = [
        Point(measure, (("k", data.draw(st.sampled_from("ab"))),), bytes([process]) * 16, NOW - 60 * SECOND,
              NOW - ago * SECOND, (value,) if measure.instrument != "histogram" else (value, value, value, 0.0, 0.0))
        for measure, process, ago, value in data.draw(st.lists(drawn, max_size=12))
    ]  # fmt: skip
    memory = MemoryEngine()
    memory.consume(points)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store.db")
        for batch, committed in data.draw(deliveries(points)):
            if committed:
                store.write(batch, now=NOW)
            else:
                with pytest.raises(KilledError):
                    store.write(dying(batch), now=NOW)
        assert sent(store, NOW) == sent(memory, NOW)
        store.forget(now=NOW + WINDOW_NS + 60 * SECOND)
        gauges = {"users"}  # whose processes are gone
        later = [figure for figure in sent(store, NOW) if figure.kpi.name not in gauges]
        assert later == [figure for figure in sent(memory, NOW) if figure.kpi.name not in gauges]


class KilledError(Exception):
    """The process is gone."""


def dying(batch: list[Point]) -> Iterator[Point]:
    yield from batch
    raise KilledError


def sent(host: Store | MemoryEngine, now: int) -> list[Figure]:
    """The figures of streams; which was seen first depends on the order of arrival."""
    if isinstance(host, MemoryEngine):
        found = host.figures(now)
    else:
        with host.reading() as reader:
            found = reader.figures(now)
    of_streams = [figure for figure in found if figure.kpi.event == "stream"]
    return sorted(of_streams, key=lambda figure: (figure.kpi.name, figure.labels))


def test_a_new_series_begins_at_zero_and_says_no_process(tmp_path: Path) -> None:
    """A business counter is exported like a KPI."""
    store = Store(tmp_path / "store.db")
    store.export("a", interval_s=15, now=NOW - DAY)
    store.write(read_metrics(request(), now=NOW).values, now=NOW)
    moment = store.export("a", interval_s=15, now=NOW)
    assert moment is not None
    [request_] = [ExportMetricsServiceRequest.FromString(body) for body in requests(moment, store.catalogue)]
    [metric] = request_.resource_metrics[0].scope_metrics[0].metrics
    points = [(p.time_unix_nano, p.as_double, {a.key for a in p.attributes}) for p in metric.sum.data_points]
    assert (metric.name, points) == ("orders.created", [(NOW - 15 * SECOND, 0, {"shop"}), (NOW, 5, {"shop"})])


def test_a_million_label_values_are_bounded(tmp_path: Path) -> None:
    """Beyond the bound of a metric everything is added to one series, and the total stays right."""
    database = Sqlite(tmp_path / "s.db", busy_s=1, sync="normal")
    store = Store(tmp_path / "s.db")
    rows = StreamRows(database, most=10)
    points = [point(1.0, labels=(("user", str(n)),), process=n) for n in range(100)]
    with database.writing() as connection:
        counts = rows.take(connection, points, NOW)
    assert counts == {"points": 100, "overflowed": 90}
    figures = sent(store, NOW)
    assert len(figures) == 11
    assert sum(figure.numbers[0] for figure in figures) == 10 + 90
