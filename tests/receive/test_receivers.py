"""What `handle` answers comes back in OTLP's words over both transports; what never reaches it is answered for it."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_pipeline.receive import counters as c
from otel_pipeline.receive.answer import Accepted, Refused, RetryLater
from otel_pipeline.receive.bounds import Limits
from tests.kpi.test_otlp import RUN, SPAN, TRACE, request

from .running import JSON, PROTOBUF, TIMEOUT, Receiving, Replied, receiving

if TYPE_CHECKING:
    from otel_pipeline.receive.answer import Answer, Signal

SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")
BODY = request({"attributes": RUN})
REJECTED = {"traces": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}
OK = grpc.StatusCode.OK


class Handle:
    """Answers always the same, and keeps what it was given."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer or Accepted()
        self.given: list[tuple[Signal, bytes]] = []

    async def __call__(self, signal: Signal, payload: bytes) -> Answer:
        """As a receiver calls it."""
        self.given.append((signal, payload))
        return self.answer


def both(receiver: Receiving, body: bytes, signal: Signal = "traces") -> list[Replied]:
    """The same over HTTP and gRPC."""
    return [receiver.post(body, signal), receiver.call(body, signal)]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_request_is_handed_on_as_it_came_packed_or_not(signal: Signal) -> None:
    """The bytes that were sent, over both transports and with every packing that they have."""
    handle = Handle()
    with receiving(handle) as receiver:
        replies = both(receiver, BODY, signal)
        replies.append(receiver.post_packed(BODY, signal))
        replies.append(receiver.call(BODY, signal, grpc.Compression.Gzip))
        replies.append(receiver.call(BODY * 50, signal, grpc.Compression.Deflate))
        replies.append(receiver.post(BODY, signal, headers={"content-encoding": "identity"}))
    assert [reply.code for reply in replies] == [200, OK, 200, OK, OK, 200]
    assert all(not reply.message.ByteSize() for reply in replies)
    assert handle.given == [*[(signal, BODY)] * 4, (signal, BODY * 50), (signal, BODY)]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_partial_success_says_how_many_and_why(signal: Signal) -> None:
    """In the field of the signal; not an error: the client does not send it again."""
    with receiving(Handle(Accepted(3, "cannot be used: trace_id (3)"))) as receiver:
        for reply in [*both(receiver, BODY, signal), receiver.post(b"{}", signal, JSON)]:
            assert reply.code in (200, OK)
            assert getattr(reply.message.partial_success, REJECTED[signal]) == 3
            assert reply.text == "cannot be used: trace_id (3)"
        assert receiver.count(c.REQUESTS, signal, "grpc", "partial") == 1


def test_what_is_refused_is_not_worth_a_retry() -> None:
    """400 and INVALID_ARGUMENT, with the words in a Status."""
    with receiving(Handle(Refused("not an export request"))) as receiver:
        over_http, over_grpc = both(receiver, BODY)
        as_json = receiver.post(b"{}", kind=JSON)
    assert (over_http.code, over_grpc.code, as_json.code) == (400, grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert over_http.text == over_grpc.text == as_json.text == "not an export request"
    assert "Retry-After" not in over_http.headers
    assert not over_grpc.message.details


def test_later_means_later() -> None:
    """503 with Retry-After in whole seconds, UNAVAILABLE with RetryInfo."""
    with receiving(Handle(RetryLater("the store is busy", 1.5))) as receiver:
        over_http, over_grpc = both(receiver, BODY)
    assert (over_http.code, over_http.headers["Retry-After"], over_http.text) == (503, "2", "the store is busy")
    assert over_grpc.code == grpc.StatusCode.UNAVAILABLE
    for reply in (over_http, over_grpc):
        info = RetryInfo()
        assert reply.message.details[0].Unpack(info)
        assert info.retry_delay.ToTimedelta().total_seconds() == 1.5


JSON_TRACES = {
    "resourceSpans": [{"scopeSpans": [{"scope": {"name": "otel_pipeline"}, "spans": [{
        "traceId": TRACE.hex().upper(), "spanId": SPAN.hex(), "parentSpanId": "", "kind": 2, "name": "ü\n\0",
        "startTimeUnixNano": "1767261600000000000", "endTimeUnixNano": 1767261600000000005, "unknown": {"a": []},
        "attributes": [{"key": "k", "value": {"intValue": "-7"}}], "status": {"code": 2},
    }]}]}], "more": 1,
}  # fmt: skip


def test_json_is_the_same_request(tmp_path: Any) -> None:
    """Ids are hexadecimal, large numbers strings or not, enums numbers; unknown fields are passed over."""
    handle = Handle()
    with receiving(handle) as receiver:
        reply = receiver.post(json.dumps(JSON_TRACES).encode(), kind=f"{JSON}; charset=utf-8")
        assert (reply.code, reply.headers["content-type"]) == (200, JSON)
        packed = gzip.compress(json.dumps(JSON_TRACES).encode())
        assert receiver.post(packed, kind=JSON, headers={"content-encoding": "gzip"}).code == 200
    for _, payload in handle.given:
        [span] = ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans
        assert (span.trace_id, span.span_id, span.parent_span_id) == (TRACE, SPAN, b"")
        assert (span.kind, span.name, span.status.code, span.attributes[0].value.int_value) == (2, "ü\n\0", 2, -7)
        assert span.end_time_unix_nano - span.start_time_unix_nano == 5


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"resourceSpans": [', "line 1 column 20 (char 19)"),
        (b"[]", "want an object, got list"),
        (b'{"resourceSpans": 7}', "resourceSpans"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "x"}]}]}]}', "startTimeUnixNano"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\\ud800"}]}]}]}', "name"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": 1e999}]}]}]}', "infinity"),
        (b'{"a":' * 50_000, "the body is not JSON: "),
        (b'{"resourceSpans":' + b"[" * 600 + b"]" * 600 + b"}", "the body is no ExportTraceServiceRequest: "),
        (b'{"resourceSpans": ' + b"9" * 5000 + b"}", "the body is not JSON: "),
        (b"\xff\xfe{", "the body is not JSON: "),
    ],
)  # fmt: skip
def test_json_that_is_no_request_is_refused_where_it_is_wrong(body: bytes, said: str) -> None:
    """400, with the place; `handle` does not see it."""
    handle = Handle()
    with receiving(handle) as receiver:
        reply = receiver.post(body, kind=JSON)
    assert reply.code == 400
    assert said in reply.text
    assert len(reply.text) < 500
    assert not handle.given


@pytest.mark.parametrize("digits", ["xyz", "ü", "0102", "AQIDBAUGBwgJCgsMDQ4PEA=="])
def test_an_id_that_is_not_hexadecimal_spoils_its_item_alone(digits: str) -> None:
    """The rest of the request is handed on; what is wrong with the item is for `handle` to say."""
    handle = Handle()
    spans = [{"traceId": digits, "spanId": SPAN.hex()}, {"traceId": TRACE.hex(), "spanId": SPAN.hex()}]
    with receiving(handle) as receiver:
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
        assert receiver.post(body, kind=JSON).code == 200
    found = ExportTraceServiceRequest.FromString(handle.given[0][1]).resource_spans[0].scope_spans[0].spans
    assert len(found[0].trace_id) != 16
    assert found[1].trace_id == TRACE


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"content-type": "text/plain"}, "content type 'text/plain': want application/x-protobuf or application/json"),
        ({"content-type": ""}, "content type ''"),
        ({"content-encoding": "br"}, "content encoding 'br': want gzip or identity"),
    ],
)
def test_what_is_not_understood_is_415(headers: dict[str, str], said: str) -> None:
    """It quotes what came and says what is understood."""
    with receiving(Handle()) as receiver:
        reply = receiver.post(BODY, headers=headers)
        assert (reply.code, said in reply.message) == (415, True)
        assert receiver.count(c.REQUESTS, "traces", "http", "unsupported") == 1


def test_another_method_is_405_and_another_path_404() -> None:
    """With what is allowed."""
    import urllib.error
    import urllib.request

    with receiving(Handle()) as receiver:
        for path, status, allow in (("/v1/traces", 405, "POST"), ("/v1/profiles", 404, None)):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(f"http://127.0.0.1:{receiver.port}{path}", timeout=TIMEOUT)
            with error.value as reply:
                assert (reply.code, reply.headers["allow"]) == (status, allow)


SMALL = Limits(request_bytes=100_000, in_flight_bytes=250_000, read_s=0.5)


def test_over_the_limit_is_refused_for_ever() -> None:
    """413 and RESOURCE_EXHAUSTED without RetryInfo: sent again it would not be smaller. Up to the limit is taken."""
    handle = Handle()
    with receiving(handle, SMALL) as receiver:
        assert [reply.code for reply in both(receiver, b"\n" * 100_000)] == [200, OK]
        over_http, over_grpc = both(receiver, b"\n" * 100_001)
        chunked = receiver.post(iter([b"\n" * 60_000] * 2))  # type: ignore[arg-type]  # its length is not said
        assert (over_http.code, chunked.code) == (413, 413)
        assert over_http.text == "the request has more than 100000 bytes; let the exporter send less at once"
        assert over_grpc.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not over_grpc.message.details
        assert receiver.count(c.REQUESTS, "traces", "http", "too_large") == 2
        assert receiver.count(c.REQUESTS, "traces", "grpc", "too_large") == 1
        assert receiver.in_flight.bytes == 0
    assert len(handle.given) == 2


def test_a_bomb_is_not_unpacked() -> None:
    """What grows beyond the limit is given up there, also in several members of gzip; nothing stays in memory."""
    bomb = gzip.compress(bytes(90_000)) * 1000
    with receiving(Handle(), SMALL) as receiver:
        packed = {"content-encoding": "gzip"}
        assert receiver.post(gzip.compress(bytes(50_000_000)), headers=packed).code == 413
        assert receiver.post(bomb, headers=packed).code == 413
        reply = receiver.call(bytes(20_000_000), compression=grpc.Compression.Gzip)
        assert (reply.code, len(reply.message.details)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0)
        assert receiver.count(c.REQUESTS, "traces", "grpc", "too_large") == 1
        assert receiver.in_flight.bytes == 0


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(BODY)[:-9], gzip.compress(BODY) + b"more", b"\x1f", b"\x78"]
)
def test_what_cannot_be_unpacked_is_refused(body: bytes) -> None:
    """Not gzip, broken off, with something behind it."""
    with receiving(Handle()) as receiver:
        reply = receiver.post(body, headers={"content-encoding": "gzip"})
        assert reply.code == 400
        assert reply.text.startswith("the body cannot be decompressed: ")
        if body[:1] in (b"\x1f", b"\x78"):
            assert receiver.call(body).code == grpc.StatusCode.INVALID_ARGUMENT


def test_zlib_broken_off_over_grpc_is_refused() -> None:
    """As gzip is."""
    with receiving(Handle()) as receiver:
        assert receiver.call(zlib.compress(BODY)[:-2]).code == grpc.StatusCode.INVALID_ARGUMENT


def test_more_than_may_be_in_flight_is_put_off_and_taken_later() -> None:
    """While others wait for their commit; when they are answered there is room again."""
    gate = asyncio.Event()

    async def waits(signal: Signal, payload: bytes) -> Answer:
        del signal, payload
        loops.append(asyncio.get_running_loop())
        await gate.wait()
        return Accepted()

    loops: list[asyncio.AbstractEventLoop] = []
    from concurrent.futures import ThreadPoolExecutor

    body = b"\n" * 80_000
    with receiving(waits, SMALL) as receiver, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(receiver.post, body) for _ in range(3)]
        end = time.monotonic() + TIMEOUT
        while len(loops) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        over_http, over_grpc = both(receiver, body)
        assert (over_http.code, over_grpc.code) == (503, grpc.StatusCode.UNAVAILABLE)
        assert "250000 bytes wait" in over_http.text
        assert over_http.headers["Retry-After"] == "1"
        assert over_grpc.message.details[0].Is(RetryInfo.DESCRIPTOR)
        loops[0].call_soon_threadsafe(gate.set)
        assert [reply.result(TIMEOUT).code for reply in waiting] == [200] * 3
        assert [reply.code for reply in both(receiver, body)] == [200, OK]
        assert receiver.count(c.REQUESTS, "traces", "http", "later") == 1


def test_a_client_that_stops_in_the_middle_is_not_waited_for() -> None:
    """It is told to send again; one that goes away is counted. Neither keeps memory."""
    head = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 99\r\n\r\n"
    with receiving(Handle(), SMALL) as receiver:
        with receiver.socket() as slow:
            slow.sendall(head + b"\n" * 50)
            assert slow.recv(100).startswith(b"HTTP/1.1 503")
        with receiver.socket() as gone:
            gone.sendall(head + b"\n" * 50)
        end = time.monotonic() + TIMEOUT
        while not receiver.count(c.REQUESTS, "traces", "http", "broken") and time.monotonic() < end:
            time.sleep(0.01)
        assert receiver.count(c.REQUESTS, "traces", "http", "broken") == 1
        assert receiver.in_flight.bytes == 0


def test_bytes_that_are_not_http_harm_nobody() -> None:
    """The next request is served."""
    with receiving(Handle()) as receiver:
        for noise in (b"\0" * 70_000, b"GET / HTTP/9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            with receiver.socket() as connection:
                connection.sendall(noise)
                assert connection.recv(100)[:9] in (b"HTTP/1.1 ", b"")
        assert [reply.code for reply in both(receiver, BODY)] == [200, OK]


def test_the_content_type_of_an_answer_is_that_of_the_request() -> None:
    """Also of an error."""
    with receiving(Handle(Refused("no"))) as receiver:
        for kind in (PROTOBUF, JSON):
            assert receiver.post(b"{}", kind=kind).headers["content-type"] == kind
