"""What no sender of ours would send, through real receivers into a real store: told, counted, and nothing else hurt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from otel_pipeline.kpi.cardinality import MOST_SERIES
from otel_pipeline.kpi.exposition import as_prometheus
from otel_pipeline.receive import counters as c
from otel_pipeline.semconv.operations import OVERFLOW
from otel_pipeline.store.store import Store
from tests.exposition import samples
from tests.kpi.test_otlp import NOW, RUN, STAGE, request

from .running import Receiving, receiving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otel_pipeline.model import Run, Stage

YEAR_2200 = 7_258_118_400 * 10**9
GOOD = {"attributes": {**RUN, "pipeline.run.id": "good"}, "span_id": b"goodgood"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.db")


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiving]:
    with receiving(store) as found:
        yield found


def runs(store: Store) -> dict[str, Run]:
    """The ended runs of all pipelines, by run id."""
    with store.reading() as reader:
        records = [record for name in reader.pipelines() for record in reader.last_runs(name, 100)]
    return {record.run_id: record.run for record in records if record.run is not None}


def stages(store: Store, run_id: str) -> list[Stage]:
    """The stages of one run."""
    with store.reading() as reader:
        return reader.stages_of(reader.find_run(run_id)[0])


@pytest.mark.parametrize("body", [request(GOOD)[:-3], b"\x0a\xff\xff\xff\xff\x0f", b"<html>", b"\x00", b"\xff" * 1000])
def test_what_is_no_protobuf_is_refused(receiver: Receiving, store: Store, body: bytes) -> None:
    """Truncated or something else: 400 and INVALID_ARGUMENT, and nothing of it is counted."""
    over_http, over_grpc = receiver.post(body), receiver.call(body)
    assert (over_http.code, over_grpc.code) == (400, grpc.StatusCode.INVALID_ARGUMENT)
    assert over_http.text.startswith("not an ExportTraceServiceRequest: ")
    assert over_http.text == over_grpc.text
    assert receiver.count(c.REQUESTS, "traces", "http", "refused") == 1
    assert runs(store) == {}


@pytest.mark.parametrize(
    ("span", "field"),
    [
        ({"trace_id": b"123456789012345"}, "trace_id"),
        ({"trace_id": b"12345678901234567"}, "trace_id"),
        ({"span_id": b"1234567"}, "span_id"),
        ({"span_id": bytes(8)}, "span_id"),
        ({"start": 0}, "time"),
        ({"start": YEAR_2200, "end": YEAR_2200 + 1}, "time"),
        ({"attributes": {**RUN, "pipeline.name": 7}}, "attributes"),
    ],
)
def test_a_span_that_cannot_be_used_is_named_and_the_others_are_kept(
    receiver: Receiving, store: Store, span: dict[str, Any], field: str
) -> None:
    """A partial success with one rejected span and the field's name."""
    for send in (receiver.post, receiver.call):
        reply = send(request({"attributes": RUN, **span}, GOOD))
        assert reply.message.partial_success.rejected_spans == 1
        assert f"{field} (1)" in reply.text
    assert receiver.count(c.LEFT_OUT, "traces", field) == 2
    assert receiver.count(c.VALUES, "repeated") == 1
    assert list(runs(store)) == ["good"]


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("pipeline.records.in", -1, "count"),
        ("pipeline.records.in", 2**63 - 1, "count"),
        ("pipeline.records.in", 1.5, "count"),
        ("pipeline.stage.self_time", float("nan"), "attribute"),
        ("pipeline.stage.self_time", float("inf"), "attribute"),
        ("pipeline.stage.self_time", -1.0, "attribute"),
        ("pipeline.stage.upstream", "no list", "attribute"),
    ],
)
def test_a_figure_that_is_none_is_named_and_its_span_kept(
    receiver: Receiving, store: Store, name: str, value: Any, field: str
) -> None:
    """Nothing is rejected, and the figure is unknown, not zero."""
    reply = receiver.post(request({"attributes": {**STAGE, "pipeline.run.id": "good", name: value}}, GOOD))
    assert reply.message.partial_success.rejected_spans == 0
    assert f"{field} (1)" in reply.text
    assert receiver.count(c.LEFT_OUT, "traces", field) == 1
    [stage] = stages(store, "good")
    assert (stage.records.in_, stage.self_time, stage.upstream) == (None, 0.0, ())
    with store.reading() as reader:
        assert all(number == number for figure in reader.figures(NOW) for number in figure.numbers)  # noqa: PLR0124


def test_spans_that_are_each_others_parents_are_counted_once_each(receiver: Receiving, store: Store) -> None:
    """No figure follows from parents."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    made = ExportTraceServiceRequest.FromString(request(*(
        {"attributes": {**STAGE, "pipeline.run.id": "good"}, "span_id": name} for name in (b"aaaaaaaa", b"bbbbbbbb")
    ), GOOD))  # fmt: skip
    one, other, run = made.resource_spans[0].scope_spans[0].spans
    one.parent_span_id, other.parent_span_id, run.parent_span_id = other.span_id, one.span_id, run.span_id
    assert receiver.post(made.SerializeToString()).code == 200
    assert len(stages(store, "good")) == 2


HOSTILE = (
    'quo"te', "back\\slash", "new\nline", "NUL\0", "🙂 emoji", "\r\u2028", '{a="b"}', "' OR 1=1 --", " ", "\x7f",
)  # fmt: skip


def test_names_with_anything_in_them_are_kept_and_prometheus_can_read_them(receiver: Receiving, store: Store) -> None:
    """As they are, but for NUL, which no text of a database holds."""
    spans = [
        {
            "attributes": {**RUN, "pipeline.run.id": f"r{number}", "pipeline.name": name, "error.type": name},
            "span_id": bytes([number + 1] * 8),
            "events": [("exception", {"exception.message": name})],
        }
        for number, name in enumerate(HOSTILE)
    ]
    assert not receiver.post(request(*spans)).message.ByteSize()
    kept = [name.replace("\0", "\ufffd") for name in HOSTILE]
    found = runs(store)
    assert [found[f"r{number}"].pipeline for number in range(len(HOSTILE))] == kept
    assert [found[f"r{number}"].error_message for number in range(len(HOSTILE))] == kept
    with store.reading() as reader:
        read = samples(as_prometheus(reader.catalogue, reader.figures(NOW)))
    for name in kept:
        labels = (("pipeline_name", name), ("pipeline_run_result", "failure"))
        assert read["pipeline_run_ended_total", labels] == 1
    receiver.counters.add(c.JOBS, 'a "name"\n\\', "done")
    assert samples(receiver.counters.as_prometheus())


def test_more_label_values_than_there_may_be_series_overflow(receiver: Receiving, store: Store) -> None:
    """The sum is right, the rest is one series."""
    each, requests = 4000, 3
    for number in range(requests):
        spans = (
            {
                "attributes": {**STAGE, "pipeline.stage.name": f"s{number}-{n}", "pipeline.records.in": 2},
                "span_id": (number * each + n + 1).to_bytes(8, "big"),
            }
            for n in range(each)
        )
        assert receiver.post(request(*spans)).code == 200
    with store.reading() as reader:
        records = [figure for figure in reader.figures(NOW) if figure.kpi.name == "pipeline.stage.records"]
    assert sum(figure.numbers[0] for figure in records) == 2 * each * requests
    assert len(records) == MOST_SERIES + 1
    [rest] = [figure for figure in records if OVERFLOW in figure.labels]
    assert rest.numbers[0] == 2 * (each * requests - MOST_SERIES)
    assert receiver.count(c.VALUES, "overflowed") > 0


def test_more_pipelines_than_there_may_be_series_have_no_gauges_beyond_that(
    receiver: Receiving, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is computed for each pipeline is bounded as what is counted for each is."""
    monkeypatch.setattr("otel_pipeline.store.reading.MOST_SERIES", 5)
    spans = (
        {"attributes": {**RUN, "pipeline.run.id": f"r{n}", "pipeline.name": f"p{n}"}, "span_id": bytes([n + 1] * 8)}
        for n in range(9)
    )
    assert receiver.post(request(*spans)).code == 200
    with store.reading() as reader:
        assert [each.pipeline for each in reader.state(NOW).pipelines] == [f"p{n}" for n in range(5)]
        assert len(reader.pipelines()) == 9
