"""The encoders of our own say what the stock ones say, for every shape of span, log record and metric."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs as stock_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics as stock_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as stock_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Exemplar, MeterProvider
from opentelemetry.sdk.metrics import export as m
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_pipeline import masking
from otel_pipeline.queue import wire
from otel_pipeline.queue.encode import encode_logs, encode_spans
from otel_pipeline.queue.encode_metrics import encode_metrics, split_metrics

# Without secrets, which the stock encoders send (and Hypothesis knows the words for them from our own sources).
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80).filter(lambda text: masking.text(text) == text)
KEYS = TEXT.filter(lambda key: bool(key) and not masking.secrecy_of(key))
NANOS = st.integers(0, 2**63)
COUNTS = st.integers(0, 2**32 - 1)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    TEXT,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=40).filter(lambda data: masking.inside(data) == data),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=6)


def bounded(values: dict[str, Any], maximum: int = 4) -> BoundedAttributes:
    return BoundedAttributes(maxlen=maximum, attributes=values, immutable=False)


RESOURCES = [
    Resource({"service.name": "a", "host": ["x", "y"], "n": 3}, schema_url="https://example.test/1"),
    Resource({"service.name": "b"}),
]
SCOPES = [
    None,
    InstrumentationScope("otel_pipeline", "1.2", schema_url="https://example.test/2", attributes={"k": True}),
    InstrumentationScope("other"),
]


@st.composite
def contexts(draw: st.DrawFn) -> SpanContext:
    state = TraceState(draw(st.lists(st.tuples(st.sampled_from(["a", "b@c"]), st.just("v")), max_size=2)))
    return SpanContext(
        draw(st.integers(0, 2**128 - 1)),
        draw(st.integers(0, 2**64 - 1)),
        is_remote=draw(st.booleans()),
        trace_flags=TraceFlags(draw(st.integers(0, 1))),
        trace_state=state,
    )


def bounded_list(items: list[Any], maximum: int) -> Any:
    found: Any = BoundedList(maximum)
    found.extend(items)
    return found


@st.composite
def spans(draw: st.DrawFn) -> ReadableSpan:
    events = st.builds(Event, TEXT, ATTRIBUTES.map(bounded), NANOS)
    links = st.builds(Link, contexts(), ATTRIBUTES.map(bounded))
    code = draw(st.sampled_from(StatusCode))
    return ReadableSpan(
        name=draw(TEXT),
        context=draw(contexts()),
        parent=draw(st.none() | contexts()),
        resource=draw(st.sampled_from(RESOURCES)),
        attributes=draw(ATTRIBUTES.map(bounded) | ATTRIBUTES | st.none()),
        events=draw(st.lists(events, max_size=3).map(lambda items: bounded_list(items, 2)) | st.just(())),
        links=draw(st.lists(links, max_size=3).map(lambda items: bounded_list(items, 2)) | st.just(())),
        kind=draw(st.sampled_from(SpanKind)),
        status=Status(code, draw(TEXT) if code is StatusCode.ERROR else None),
        start_time=draw(NANOS | st.none()),
        end_time=draw(NANOS | st.none()),
        instrumentation_scope=draw(st.sampled_from(SCOPES)),
    )


@st.composite
def log_records(draw: st.DrawFn) -> ReadableLogRecord:
    record = LogRecord(
        timestamp=draw(NANOS | st.none()),
        observed_timestamp=draw(NANOS),
        severity_text=draw(TEXT | st.none()),
        severity_number=draw(st.sampled_from(SeverityNumber) | st.none()),
        body=draw(VALUES),
        attributes=draw(ATTRIBUTES.map(bounded) | st.none()),
        event_name=draw(TEXT | st.none()),
    )
    context = draw(contexts())
    record.trace_id, record.span_id, record.trace_flags = context.trace_id, context.span_id, context.trace_flags
    return ReadableLogRecord(record, draw(st.sampled_from(RESOURCES)), draw(st.sampled_from(SCOPES)))


EXEMPLARS = st.lists(
    st.builds(
        Exemplar,
        ATTRIBUTES,
        st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1),
        NANOS,
        st.none() | st.integers(0, 2**64 - 1),
        st.none() | st.integers(0, 2**128 - 1),
    ),
    max_size=2,
)
NUMBERS = st.builds(
    m.NumberDataPoint,
    ATTRIBUTES,
    NANOS,
    NANOS,
    st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
    EXEMPLARS,
)
FLOATS = st.floats(allow_nan=False)
HISTOGRAMS = st.builds(
    m.HistogramDataPoint,
    ATTRIBUTES,
    NANOS,
    NANOS,
    COUNTS,
    FLOATS,
    st.lists(COUNTS, max_size=4),
    st.lists(FLOATS, max_size=3),
    FLOATS,
    FLOATS,
    EXEMPLARS,
)


@st.composite
def exponential(draw: st.DrawFn) -> m.ExponentialHistogramDataPoint:
    buckets = sys.modules["opentelemetry.sdk.metrics._internal.point"].Buckets

    def side() -> Any:
        return buckets(draw(st.integers(-(2**31), 2**31 - 1)), draw(st.lists(COUNTS, max_size=4)))

    return m.ExponentialHistogramDataPoint(
        draw(ATTRIBUTES),
        draw(NANOS),
        draw(NANOS),
        draw(COUNTS),
        draw(FLOATS),
        draw(st.integers(-10, 20)),
        draw(COUNTS),
        side(),
        side(),
        draw(st.integers(0, 1)),
        draw(FLOATS),
        draw(FLOATS),
        draw(EXEMPLARS),
    )


TEMPORALITIES = st.sampled_from(m.AggregationTemporality)
DATA = st.one_of(
    st.builds(m.Gauge, st.lists(NUMBERS, max_size=3)),
    st.builds(m.Sum, st.lists(NUMBERS, min_size=1, max_size=3), TEMPORALITIES, st.booleans()),
    st.builds(m.Histogram, st.lists(HISTOGRAMS, min_size=1, max_size=3), TEMPORALITIES),
    st.builds(m.ExponentialHistogram, st.lists(exponential(), min_size=1, max_size=3), TEMPORALITIES),
)


@st.composite
def metrics(draw: st.DrawFn) -> m.MetricsData:
    found = st.builds(m.Metric, KEYS, TEXT | st.none(), TEXT | st.none(), DATA)
    scopes = [
        m.ScopeMetrics(scope, draw(st.lists(found, max_size=3)), scope.schema_url)
        for scope in SCOPES
        if scope is not None
    ]
    return m.MetricsData([m.ResourceMetrics(RESOURCES[0], scopes, RESOURCES[0].schema_url)])


def flat(request: Any) -> list[bytes]:
    """Each item of a request with its resource and scope, so that differently grouped requests compare equal."""
    lines = []
    for _, outers in request.ListFields():
        for outer in outers:
            (resource, inners) = (outer.resource, next(v for f, v in outer.ListFields() if f.name.startswith("scope_")))
            for inner in inners:
                items = next((v for f, v in inner.ListFields() if f.number == 2), ())
                for item in items:
                    parts = (resource, inner.scope, item)
                    texts = [part.SerializeToString(deterministic=True) for part in parts]
                    present = bytes((outer.HasField("resource"), inner.HasField("scope")))
                    lines.append(b"|".join((*texts, outer.schema_url.encode(), inner.schema_url.encode(), present)))
    return sorted(lines)


def parsed(kind: Any, data: bytes) -> Any:
    request = kind()
    request.ParseFromString(data)
    return request


@given(st.lists(spans(), min_size=1, max_size=4))
@settings(max_examples=120, deadline=None)
def test_spans_equal_the_stock_encoder_s(found: list[ReadableSpan]) -> None:
    """Every attribute type, event, link, status, flag, trace state and dropped count arrives as the stock encoder's."""
    assert flat(parsed(ExportTraceServiceRequest, encode_spans(found))) == flat(stock_spans(found))


@given(st.lists(log_records(), min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_logs_equal_the_stock_encoder_s(found: list[ReadableLogRecord]) -> None:
    """Every body type, severity, event name and trace context arrives as the stock encoder's."""
    assert flat(parsed(ExportLogsServiceRequest, encode_logs(found))) == flat(stock_logs(found))


@given(metrics())
@settings(max_examples=80, deadline=None)
def test_metrics_equal_the_stock_encoder_s(data: m.MetricsData) -> None:
    """Sums, gauges, histograms of both kinds and exemplars arrive as the stock encoder's."""
    assert flat(parsed(ExportMetricsServiceRequest, encode_metrics(data))) == flat(stock_metrics(data))


@given(metrics(), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_split_metrics_lose_no_point(data: m.MetricsData, limit: int) -> None:
    """However small the parts, together they hold every data point once, and say how many."""
    points = [
        point
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]
    assert sum(count for _, count in split_metrics(data, limit=limit)) == len(points)


def test_metrics_of_a_real_provider_equal_the_stock_encoder_s() -> None:
    """What an SDK meter collects is encoded as the stock encoder does, exponential histograms included."""
    reader = m.InMemoryMetricReader()
    views = [View(instrument_name="e*", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], resource=RESOURCES[0], views=views)
    meter = provider.get_meter("otel_pipeline")
    meter.create_counter("c").add(3, {"a": "b"})
    meter.create_up_down_counter("u").add(-2.5)
    meter.create_gauge("g").set(7)
    for value in (0.0, 0.5, -3.0, 100.0):
        meter.create_histogram("h").record(abs(value))
        meter.create_histogram("e").record(value if value >= 0 else 3.0)
    data = reader.get_metrics_data()
    assert data is not None
    assert flat(parsed(ExportMetricsServiceRequest, encode_metrics(data))) == flat(stock_metrics(data))
    provider.shutdown()


def test_concatenated_requests_are_one_request() -> None:
    """Two encoded spans joined as bytes parse as one request with both: what the sender relies on."""
    both = [ReadableSpan(name, context=SpanContext(1, 2, is_remote=False), resource=RESOURCES[0]) for name in "ab"]
    joined = parsed(ExportTraceServiceRequest, b"".join(encode_spans([span]) for span in both))
    assert flat(joined) == flat(stock_spans(both))


def test_undecodable_text_keeps_the_rest() -> None:
    """A lone surrogate (an undecodable file name) costs one character, not the attribute or the batch."""
    span = ReadableSpan(
        "n\udcff", context=SpanContext(1, 2, is_remote=False), resource=RESOURCES[0], attributes={"file": "a\udcffb"}
    )
    found = parsed(ExportTraceServiceRequest, encode_spans([span])).resource_spans[0].scope_spans[0].spans[0]
    assert (found.name, found.attributes[0].value.string_value) == ("n?", "a?b")


def test_integers_beyond_64_bits_are_left_out() -> None:
    """An attribute that OTLP cannot hold is left out, as the stock encoder does, and its neighbours stay."""
    span = ReadableSpan(
        "n", context=SpanContext(1, 2, is_remote=False), resource=RESOURCES[0], attributes={"big": 1 << 70, "ok": [1]}
    )
    found = parsed(ExportTraceServiceRequest, encode_spans([span])).resource_spans[0].scope_spans[0].spans[0]
    assert [pair.key for pair in found.attributes] == ["ok"]


def test_a_log_body_of_a_foreign_type_becomes_text() -> None:
    """A body that OTLP has no type for is sent as its `str`."""
    record: Any = LogRecord(observed_timestamp=1)
    record.body = 1 + 2j
    request = parsed(ExportLogsServiceRequest, encode_logs([ReadableLogRecord(record, RESOURCES[0])]))
    assert request.resource_logs[0].scope_logs[0].log_records[0].body.string_value == "(1+2j)"


def test_nan_and_infinity_survive() -> None:
    """The floats that compare unequal to themselves are carried too."""
    values = parsed(
        ExportTraceServiceRequest,
        encode_spans(
            [
                ReadableSpan(
                    "n",
                    context=SpanContext(1, 2, is_remote=False),
                    resource=RESOURCES[0],
                    attributes={"a": math.nan, "b": math.inf},
                )
            ]
        ),
    )
    first, second = values.resource_spans[0].scope_spans[0].spans[0].attributes
    assert math.isnan(first.value.double_value)
    assert second.value.double_value == math.inf


def test_subclasses_are_encoded_as_their_base() -> None:
    """Enums, ordered mappings and the like take the type that they derive from."""

    class Word(str):
        __slots__ = ()

    assert wire.any_value(Word("x")) == wire.any_value("x")
    assert wire.any_value(SeverityNumber.INFO.value) == wire.any_value(9)
    assert wire.any_value(StatusCode.ERROR.value) == wire.any_value(2)
    assert wire.any_value(range(2)) == wire.any_value([0, 1])
    with pytest.raises(TypeError, match="complex"):
        wire.any_value(1j)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 2**64 - 1) | st.binary(max_size=300)), max_size=6))
def test_fields_reads_what_was_written(found: list[tuple[int, int | bytes]]) -> None:
    """The reader of answers gives back field numbers and values in order."""
    message = b""
    for number, value in found:
        if isinstance(value, int):
            message += wire.varint(number << 3) + wire.varint(value)
        else:
            message += wire.delimited(wire.varint(number << 3 | 2), value)
    assert list(wire.fields(message)) == found


@given(st.binary(max_size=60))
def test_fields_refuses_what_is_no_message(data: bytes) -> None:
    """Arbitrary bytes either read as fields or raise `ValueError`, never anything else."""
    try:
        list(wire.fields(data))
    except ValueError:
        return
