"""OTLP requests become values; what cannot be used is left out by itself and counted; only non-OTLP raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from otel_pipeline.kpi.otlp import NotOtlpError, read_logs, read_traces
from otel_pipeline.kpi.values import RunSeen
from otel_pipeline.model import Check, Dataset, Records, Run, Stage
from tests.kpi.events import patient

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_767_261_600_000_000_000
TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))
STAGE = {"pipeline.stage.name": "load", "pipeline.stage.result": "success", "pipeline.run.id": "r"}
RUN = {"pipeline.name": "orders", "pipeline.run.id": "r", "pipeline.run.result": "failure"}


def value_of(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, tuple):
        return AnyValue(array_value=ArrayValue(values=[value_of(each) for each in value]))
    kinds = {int: "int_value", float: "double_value", str: "string_value"}
    return AnyValue(**{kinds[type(value)]: value})


def pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value_of(value)) for key, value in attributes.items()]


def request(*spans: dict[str, Any], scope: str = "otel_pipeline") -> bytes:
    made = ExportTraceServiceRequest()
    scope_spans = made.resource_spans.add().scope_spans.add()
    scope_spans.scope.name = scope
    for span in spans:
        added = scope_spans.spans.add(
            trace_id=span.get("trace_id", TRACE),
            span_id=span.get("span_id", SPAN),
            start_time_unix_nano=span.get("start", NOW),
            end_time_unix_nano=span.get("end", NOW + 5),
            attributes=pairs(span.get("attributes", {})),
        )
        for name, attributes in span.get("events", ()):
            added.events.add(name=name, attributes=pairs(attributes))
    return made.SerializeToString()


def test_a_stage_with_all_that_it_reported() -> None:
    """Records, datasets and checks; a count that nobody reported stays unknown."""
    stage = {
        "attributes": {**STAGE, "pipeline.records.in": 7, "pipeline.stage.self_time": 0.5, "x": 1},
        "events": [
            ("pipeline.dataset", {"pipeline.dataset.name": "t", "pipeline.dataset.operation": "write"}),
            ("pipeline.check", {"pipeline.check.name": "c", "pipeline.check.passed": 3}),
        ],
    }
    read = read_traces(request(stage, {"attributes": RUN}))
    [found, run] = read.values
    assert isinstance(found, Stage)
    assert found.records == Records(in_=7)
    assert found.self_time == 0.5
    assert found.datasets == (Dataset("t", "write"),)
    assert found.checks == (Check("c", passed=3),)
    assert isinstance(run, Run)
    assert (run.trace_id, run.span_id, run.result) == (TRACE.hex(), SPAN.hex(), "failure")
    assert not read.left_out


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"trace_id": b"short"}, "trace_id"),
        ({"trace_id": bytes(16)}, "trace_id"),
        ({"span_id": b""}, "span_id"),
        ({"start": 0}, "time"),
        ({"end": NOW + 10**18}, "time"),
        ({"end": 2**64 - 1}, "time"),
        ({"attributes": {}}, "attributes"),
        ({"attributes": {**RUN, "pipeline.run.result": "great"}}, "attributes"),
    ],
)
def test_a_span_that_would_make_numbers_wrong_is_left_out_and_the_others_stay(
    span: dict[str, Any], reason: str
) -> None:
    """Each is counted by what is wrong with it."""
    read = read_traces(request({"attributes": RUN, **span}, {"attributes": RUN}), now=NOW)
    assert len(read.values) == 1
    assert read.left_out[reason] == 1


@pytest.mark.parametrize("value", [-1, 2**62, 1.5, "7", True, (1,)])
def test_a_count_that_is_none_is_left_out_alone(value: Any) -> None:
    """Negative, huge or of another type: unknown, and the stage is kept."""
    read = read_traces(request({"attributes": {**STAGE, "pipeline.records.out": value}}))
    [stage] = read.values
    assert isinstance(stage, Stage)
    assert stage.records == Records()
    assert read.left_out == {"count": 1}


def test_a_self_time_that_is_no_number_is_unknown() -> None:
    """NaN does not reach a sum."""
    read = read_traces(request({"attributes": {**STAGE, "pipeline.stage.self_time": float("nan")}}))
    assert isinstance(read.values[0], Stage)
    assert read.values[0].self_time == 0.0
    assert read.left_out == {"attribute": 1}


def test_an_end_before_the_start_is_moved_there() -> None:
    """The clock was set back: the run counts, its duration does not become negative."""
    read = read_traces(request({"attributes": RUN, "end": NOW - 5}))
    assert isinstance(read.values[0], Run)
    assert read.values[0].duration == 0
    assert read.left_out == {"clock": 1}


def test_scopes_of_others_are_passed_over() -> None:
    """Whatever their attributes say; scopes below ours are ours."""
    assert read_traces(request({"attributes": RUN}, scope="otel_pipelines")).left_out == {"foreign": 1}
    assert len(read_traces(request({"attributes": RUN}, scope="otel_pipeline.dlt")).values) == 1


def test_starts_and_heartbeats() -> None:
    """Log events of ours are signs of life; other log records are foreign."""
    made = ExportLogsServiceRequest()
    scope = made.resource_logs.add().scope_logs.add()
    scope.scope.name = "otel_pipeline"
    known = {"pipeline.name": "orders", "pipeline.run.id": "r"}
    told = {"pipeline.run.heartbeat.interval": 15.0, "pipeline.declaration": "{}", "pipeline.run.attempt": 2}
    for name, more in (
        ("pipeline.run.started", told),
        ("pipeline.run.heartbeat", {"pipeline.run.stages.open": ("a",)}),
    ):
        scope.log_records.add(
            event_name=name, time_unix_nano=NOW, trace_id=TRACE, span_id=SPAN, attributes=pairs({**known, **more})
        )
    scope.log_records.add(event_name="other", time_unix_nano=NOW, trace_id=TRACE, span_id=SPAN)
    scope.log_records.add(event_name="pipeline.run.started", time_unix_nano=NOW, trace_id=TRACE, span_id=SPAN)
    read = read_logs(made.SerializeToString())
    ids = (TRACE.hex(), SPAN.hex(), "r", "orders", NOW)
    assert read.values == [
        RunSeen(*ids, starts=True, interval=15.0, declared="{}", attempt=2),
        RunSeen(*ids, open_stages=("a",)),
    ]
    assert read.left_out == {"foreign": 1, "attributes": 1}


@patient
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    """Bytes either are a request or raise NotOtlpError, nothing else."""
    for read in (read_traces, read_logs):
        try:
            read(payload, now=NOW)
        except NotOtlpError as error:
            assert "not an Export" in str(error)


@patient
@given(st.data())
def test_any_change_of_a_request_is_read_or_refused(data: st.DataObject) -> None:
    """The same for a real request with some bytes changed."""
    payload = bytearray(request({"attributes": {**STAGE, "pipeline.records.in": 7}}, {"attributes": RUN}))
    for _ in range(data.draw(st.integers(1, 5))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_traces(bytes(payload), now=NOW)
    except NotOtlpError:
        return
