"""What arrives is right for Prometheus: zeros first, no moment twice, nothing that falls, whoever exports."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_pipeline.forward.forwarder import Forwarder
from otel_pipeline.forward.points import requests
from otel_pipeline.kpi.names import names_of
from otel_pipeline.model import Check, Dataset
from otel_pipeline.queue.settings import SenderSettings
from otel_pipeline.store.exports import LEASE_INTERVALS, Moment
from otel_pipeline.store.store import Store
from tests.kpi.events import NOW, SECOND, deliveries, histories, patient, run, stage

if TYPE_CHECKING:
    from collections.abc import Iterable

INTERVAL = 15
HOUR = 3600 * SECOND


class Sample(NamedTuple):
    """A point as it arrived; of a histogram its count, then sum and buckets."""

    name: str
    labels: tuple[tuple[str, str], ...]
    time: int
    start: int
    numbers: tuple[float, ...]

    @property
    def series(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Name and labels."""
        return self.name, self.labels


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.db")


def samples(bodies: Iterable[bytes]) -> list[Sample]:
    """Every point in the order in which it stands in the requests."""
    return [
        _sample(metric, point)
        for body in bodies
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    ]


def _sample(metric: Any, point: Any) -> Sample:
    labels = tuple((each.key, each.value.string_value) for each in point.attributes)
    numbers: tuple[float, ...] = (point.as_double,) if hasattr(point, "as_double") else (point.count, point.sum)
    if metric.WhichOneof("data") == "histogram":
        numbers += tuple(point.bucket_counts)
    return Sample(metric.name, labels, point.time_unix_nano, point.start_time_unix_nano, numbers)


def exported(store: Store, moment: Moment | None) -> list[Sample]:
    assert moment is not None
    return samples(requests(moment, store.catalogue))


def of(found: list[Sample], name: str, **labels: str) -> list[tuple[int, float]]:
    """Seconds from NOW and first number of the points of that name and these labels."""
    wanted = labels.items()
    return [
        ((sample.time - NOW) // SECOND, sample.numbers[0])
        for sample in found
        if sample.name == name and wanted <= dict(sample.labels).items()
    ]


def test_a_new_series_is_zero_one_interval_before_its_first_value(store: Store) -> None:
    """Until that zero has arrived it is sent again, the same at the same time; then no more."""
    store.export("a", interval_s=INTERVAL, now=NOW - HOUR)
    store.write([run(result="failure")], now=NOW)
    first = store.export("a", interval_s=INTERVAL, now=NOW)
    for name in ("pipeline_runs_total", "pipeline.run.ended"):
        label = "status" if name == "pipeline_runs_total" else "pipeline.run.result"
        assert of(exported(store, first), name, **{label: "failure"}) == [(-15, 0), (0, 1)]
    assert of(exported(store, first), "pipeline.run.duration") == [(-15, 0), (0, 1)]
    second = store.export("a", interval_s=INTERVAL, now=NOW + 15 * SECOND)
    assert of(exported(store, second), "pipeline_runs_total", status="failure") == [(-15, 0), (15, 1)]
    assert second is not None
    store.delivered(second)
    third = store.export("a", interval_s=INTERVAL, now=NOW + 30 * SECOND)
    assert of(exported(store, third), "pipeline_runs_total", status="failure") == [(30, 1)]
    begun = {sample.start for sample in exported(store, third) if sample.name == "pipeline.run.ended"}
    assert begun == {NOW - 15 * SECOND}


def test_results_that_have_not_occurred_are_there_from_the_first_run(store: Store) -> None:
    """So that an alert on the first failure needs no zero in time: there is one for hours."""
    store.export("a", interval_s=INTERVAL, now=NOW - HOUR)
    store.write([run()], now=NOW)
    found = exported(store, store.export("a", interval_s=INTERVAL, now=NOW))
    assert {value for _, value in of(found, "pipeline_runs_total", status="failure")} == {0}


def test_what_a_store_has_before_its_first_export_is_history(store: Store) -> None:
    """It begins with what it has: otherwise last year's failures would all seem to happen now."""
    store.write([run(result="failure")], now=NOW - HOUR)
    moment = store.export("a", interval_s=INTERVAL, now=NOW)
    assert of(exported(store, moment), "pipeline_runs_total", status="failure") == [(0, 1)]
    assert {s.start for s in exported(store, moment) if s.name == "pipeline.run.ended"} == {NOW - HOUR}


def test_an_alias_that_exists_does_not_fall_to_zero_for_a_new_part_of_it(store: Store) -> None:
    """A second pipeline that writes the same table is a new series of ours, and a rise of the alias."""
    store.export("a", interval_s=INTERVAL, now=NOW - HOUR)
    store.write([stage(datasets=(Dataset("t", "write", 10),))], now=NOW)
    first = store.export("a", interval_s=INTERVAL, now=NOW)
    assert first is not None
    store.delivered(first)
    other = stage("r2", span=200, datasets=(Dataset("t", "write", 5),))
    store.write([replace(other, pipeline="news")], now=NOW)
    second = exported(store, store.export("a", interval_s=INTERVAL, now=NOW + 15 * SECOND))
    assert of(second, "data_records_processed_total") == [(15, 15)]
    assert of(second, "pipeline.dataset.records", **{"pipeline.name": "news"}) == [(0, 0), (15, 5)]


def test_large_exports_go_in_parts_and_lose_nothing(store: Store) -> None:
    """Each part is a whole request; together they are the export."""
    store.write([run(f"r{n}") for n in range(3)] + [stage(name=f"s{n}", span=n + 10) for n in range(50)], now=NOW)
    moment = store.export("a", interval_s=INTERVAL, now=NOW)
    assert moment is not None
    whole, parts = (list(requests(moment, store.catalogue, most=most)) for most in (10**6, 7))
    assert len(whole) == 1 < len(parts)
    assert all(len(samples([part])) <= 7 for part in parts)
    assert samples(parts) == samples(whole)


def test_every_series_has_one_name_and_label_set(store: Store) -> None:
    """Prometheus refuses a whole request for two points of a series at one time."""
    store.write([run(f"r{n}", result) for n, result in enumerate(("failure", "timeout", "lost", "skip"))], now=NOW)
    found = exported(store, store.export("a", interval_s=INTERVAL, now=NOW))
    assert len({(sample.series, sample.time) for sample in found}) == len(found)
    assert {sample.name for sample in found} <= {
        name.kpi.name if name.alias is None else name.name for name in names_of(store.catalogue)
    }


def test_one_exports_at_a_time_and_another_follows_when_it_hangs(store: Store) -> None:
    """Two processes on one store; neither is told that the other is gone."""
    other = Store(store.name)
    assert store.export("a", interval_s=INTERVAL, now=NOW) is not None
    assert other.export("b", interval_s=INTERVAL, now=NOW + 14 * SECOND) is None
    late = NOW + (LEASE_INTERVALS * INTERVAL + 1) * SECOND
    assert other.export("b", interval_s=INTERVAL, now=late) is not None
    assert store.export("a", interval_s=INTERVAL, now=late + SECOND) is None
    other.release("b")
    assert store.export("a", interval_s=INTERVAL, now=late + 2 * SECOND) is not None


def test_a_clock_that_is_set_back_repeats_no_moment(store: Store) -> None:
    """The next moment is the last one and a millisecond."""
    times = [store.export("a", interval_s=INTERVAL, now=now) for now in (NOW, NOW - HOUR, NOW - HOUR, NOW + 1)]
    taken = [moment.time for moment in times if moment is not None]
    assert taken == [NOW, NOW + 10**6, NOW + 2 * 10**6, NOW + 3 * 10**6]


@given(st.data())
@settings(patient, max_examples=40)
def test_whatever_dies_or_hangs_prometheus_sees_one_history(data: st.DataObject) -> None:
    """Two exporters that stop before sending, after it, or send much later: per series one value a moment, none falls.

    And every series that was new begins at 0.
    """
    history = data.draw(histories)
    batches = [batch for batch, _ in data.draw(deliveries(history))]
    with tempfile.TemporaryDirectory() as folder:
        store, arrived, now = Store(Path(folder) / "store.db"), list[list[Sample]](), NOW
        store.export("a", interval_s=INTERVAL, now=now)
        for batch in batches:
            store.write(batch, now=NOW)
            for _ in range(data.draw(st.integers(0, 2))):
                now += data.draw(st.sampled_from((0, 7, 15, 50))) * SECOND
                moment = store.export(data.draw(st.sampled_from("ab")), interval_s=INTERVAL, now=now)
                fate = data.draw(st.sampled_from(("arrives", "is not confirmed", "is lost", "comes late")))
                if moment is None or fate == "is lost":
                    continue
                place = 0 if fate == "comes late" else len(arrived)
                arrived.insert(place, exported(store, moment))
                if fate == "arrives":
                    store.delivered(moment)
    gauges = {name.kpi.name if name.alias is None else name.name
              for name in names_of(store.catalogue) if name.type == "gauge"}  # fmt: skip
    series: dict[object, dict[int, tuple[float, ...]]] = {}
    for sample in (sample for part in arrived for sample in part if sample.name not in gauges):
        before = series.setdefault(sample.series, {}).setdefault(sample.time, sample.numbers)
        assert before == sample.numbers
    for points in series.values():
        ordered = [points[time] for time in sorted(points)]
        assert not any(ordered[0])
        for earlier, later in pairwise(ordered):
            assert all(a <= b for a, b in zip(earlier, later, strict=True))


def test_a_collector_that_is_away_is_said_once_and_its_zeros_come_later(store: Store) -> None:
    """The next export that arrives begins at zero as if nothing had been wrong."""
    said: list[str] = []
    forwarder = Forwarder(store, SenderSettings(endpoint="http://127.0.0.1:9", timeout_s=1), say=said.append)
    assert forwarder.export()  # there is nothing to send yet
    store.write([run(result="failure")])
    assert not forwarder.export()
    assert not forwarder.export()
    assert len(said) == 1
    assert "127.0.0.1:9" in said[0]
    forwarder.close()
    moment = store.export("b", interval_s=INTERVAL)
    assert [value for _, value in of(exported(store, moment), "pipeline_runs_total", status="failure")] == [0, 1]


MOST_SERIES, MOST_BYTES = 10_000, 4 * 2**20
"""Of a KPI; and what a gRPC server takes by default."""


def test_what_comes_between_the_beginning_and_the_first_export_begins_at_zero(store: Store) -> None:
    """A processor says what is history before it drains queues; the second time says nothing."""
    store.write([run(result="failure")], now=NOW - HOUR)
    store.begin_exports(now=NOW - HOUR)
    store.write([run("r2", "timeout", span=2)], now=NOW)
    store.begin_exports(now=NOW)
    found = exported(store, store.export("a", interval_s=INTERVAL, now=NOW))
    assert of(found, "pipeline.run.ended", **{"pipeline.run.result": "failure"}) == [(0, 1)]
    store.write([replace(run("r3", span=3), pipeline="news")], now=NOW)
    later = exported(store, store.export("a", interval_s=INTERVAL, now=NOW + INTERVAL * SECOND))
    assert of(later, "pipeline.run.ended", **{"pipeline.name": "news", "pipeline.run.result": "success"}) == [
        (0, 0),
        (15, 1),
    ]


def test_ten_thousand_series_begin_at_zero_in_requests_that_a_server_takes(store: Store) -> None:
    """Until the zeros have arrived they are in each export, and then in none; what grows is seen to grow."""
    store.export("a", interval_s=INTERVAL, now=NOW - HOUR)
    stages = [
        stage(f"r{n}", span=n + 1, checks=tuple(Check(f"c{k}", f"table {n} of the warehouse", None, None, 1)
                                                for k in range(10))) for n in range(MOST_SERIES // 10)
    ]  # fmt: skip
    zeros, values = [], []
    for number in range(3):
        again = [replace(each, span_id=f"{int(each.span_id, 16) + number * 2**32:016x}") for each in stages]
        store.write(again, now=NOW)
        moment = store.export("a", interval_s=INTERVAL, now=NOW + number * INTERVAL * SECOND)
        assert moment is not None
        bodies = list(requests(moment, store.catalogue))
        assert max(map(len, bodies)) < MOST_BYTES
        found = [sample for sample in samples(bodies) if sample.name == "pipeline.checks.failed"]
        assert len({sample.series for sample in found}) == MOST_SERIES
        zeros.append([sample.time for sample in found if not any(sample.numbers)])
        values.append({sample.numbers for sample in found if any(sample.numbers)})
        if number:  # the first is not confirmed
            store.delivered(moment)
    assert zeros == [[NOW - INTERVAL * SECOND] * MOST_SERIES] * 2 + [[]]
    assert values == [{(1.0,)}, {(2.0,)}, {(3.0,)}]
