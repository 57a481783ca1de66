"""The network: OTLP's rules over HTTP and gRPC, against real servers on the loopback."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from queue_fakes import http_server, names, span_bytes

from otel_pipeline.queue import SenderSettings, Signal, wire
from otel_pipeline.queue.partial import read_answer, read_retry_delay
from otel_pipeline.queue.settings import signal_endpoint
from otel_pipeline.queue.transport import Accepted, Outcome, Rejected, Retry, TooLarge, open_transport
from otel_pipeline.queue.transport_http import HttpTransport, retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def send(
    settings: SenderSettings, signal: Signal = Signal.TRACES, body: bytes = b"", timeout_s: float = 10.0
) -> Outcome:
    transport = open_transport(settings)
    try:
        return transport.send(signal, body, timeout_s)
    finally:
        transport.close()


def test_each_signal_has_its_path() -> None:
    """A base URL gets the signal's path, a signal's own URL stays as it is, gRPC has no paths."""
    own = SenderSettings(endpoint="http://h:1/base/", endpoints={Signal.LOGS: "http://l:2/"})
    assert signal_endpoint(own, Signal.METRICS) == "http://h:1/base/v1/metrics"
    assert signal_endpoint(own, Signal.LOGS) == "http://l:2/"
    assert signal_endpoint(SenderSettings(endpoint="http://h:4317", protocol="grpc"), Signal.LOGS) == "http://h:4317"


def test_requests_arrive_as_otlp_says() -> None:
    """Path, content type, headers and body over one kept connection."""
    with http_server() as (url, seen):
        transport = HttpTransport(SenderSettings(endpoint=url, headers={"Authorization": "Bearer x"}))
        for signal in Signal:
            assert transport.send(signal, span_bytes("a"), 10) == Accepted()
        transport.close()
    assert [path for path, _, _ in seen] == ["/v1/traces", "/v1/metrics", "/v1/logs"]
    assert {headers["content-type"] for _, headers, _ in seen} == {"application/x-protobuf"}
    assert {headers["authorization"] for _, headers, _ in seen} == {"Bearer x"}
    assert names(seen[0][2]) == ["a"]


def test_a_receiver_is_reached_before_anything_is_sent() -> None:
    """The connection is kept for what follows; where there is none, the reason is that of a request."""
    with http_server() as (url, seen):
        transport = HttpTransport(SenderSettings(endpoint=url))
        assert transport.reach(Signal.TRACES, 10) is None
        assert transport.send(Signal.TRACES, span_bytes("a"), 10) == Accepted()
        assert transport.reach(Signal.TRACES, 10) is None
        transport.close()
    assert len(seen) == 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    transport = HttpTransport(SenderSettings(endpoint=closed))
    assert transport.reach(Signal.TRACES, 10) == transport.send(Signal.TRACES, b"", 10)
    transport.close()


def test_gzip_is_said_and_done() -> None:
    """With compression the body is gzip and the header says so."""
    with http_server() as (url, seen):
        send(SenderSettings(endpoint=url, compression="gzip"), body=span_bytes("a"))
    assert seen[0][1]["content-encoding"] == "gzip"
    assert names(gzip.decompress(seen[0][2])) == ["a"]


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),
    [
        (200, {}, Accepted()),
        (202, {}, Accepted()),
        (301, {}, Rejected("HTTP 301 Moved Permanently")),
        (400, {}, Rejected("HTTP 400 Bad Request")),
        (401, {}, Rejected("HTTP 401 Unauthorized")),
        (404, {}, Rejected("HTTP 404 Not Found")),
        (413, {}, TooLarge("HTTP 413 Request Entity Too Large")),
        (429, {"Retry-After": "7"}, Retry("HTTP 429 Too Many Requests", 7.0)),
        (500, {}, Rejected("HTTP 500 Internal Server Error")),
        (502, {}, Retry("HTTP 502 Bad Gateway")),
        (503, {"Retry-After": "soon"}, Retry("HTTP 503 Service Unavailable")),
        (504, {}, Retry("HTTP 504 Gateway Timeout")),
    ],
)
def test_http_statuses_mean_what_otlp_says(status: int, headers: dict[str, str], outcome: Outcome) -> None:
    """429, 502, 503 and 504 are tried again, 413 in parts, other errors never."""
    with http_server([(status, headers, b"")]) as (url, _):
        assert send(SenderSettings(endpoint=url)) == outcome


def test_partial_success_is_read() -> None:
    """The dropped items and the message of the answer arrive; an unreadable answer is a success, as the status said."""
    answer = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=3, error_message="no")
    ).SerializeToString()
    with http_server([(200, PROTOBUF, answer), (200, PROTOBUF, b"\xff\xff")]) as (url, _):
        assert send(SenderSettings(endpoint=url)) == Accepted(3, "no")
        assert send(SenderSettings(endpoint=url)) == Accepted()
    assert read_answer(b"") == Accepted()


def test_retry_after_reads_seconds_and_dates() -> None:
    """Both forms of RFC 9110; a date that has passed means at once, nonsense means no wish."""
    assert retry_after("1.5", 0) == 1.5
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 10.0) == 50.0
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 100.0) == 0.0
    assert retry_after("inf", 0) is retry_after("later", 0) is retry_after(None, 0) is None


def test_a_refused_connection_is_a_retry() -> None:
    """Nobody listens: the reason names the address."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        outcome = send(SenderSettings(endpoint=url))
    assert isinstance(outcome, Retry)
    assert url in outcome.reason


def test_a_silent_server_costs_the_timeout() -> None:
    """A black hole that takes the connection and never answers is a retry after the time that was given."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = send(SenderSettings(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout_s=0.1)
    assert isinstance(outcome, Retry)
    assert "timed out" in outcome.reason


def test_a_connection_that_the_server_closed_is_opened_again() -> None:
    """A kept connection that went stale between two requests is not a failure."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                peer, _ = server.accept()
                with peer:
                    peer.recv(65536)
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        transport = HttpTransport(SenderSettings(endpoint=f"http://127.0.0.1:{server.getsockname()[1]}"))
        assert transport.send(Signal.TRACES, b"1", 10) == Accepted()
        time.sleep(0.05)
        assert transport.send(Signal.TRACES, b"2", 10) == Accepted()
        transport.close()
        thread.join()


def test_a_proxy_is_asked_for_the_whole_url() -> None:
    """Plain HTTP through a proxy: absolute target, credentials from the proxy's URL."""
    with http_server() as (url, seen):
        proxy = url.replace("//", "//user:p%40ss@")
        send(SenderSettings(endpoint="http://collector.invalid:4318", proxy=proxy))
    assert seen[0][0] == "http://collector.invalid:4318/v1/traces"
    assert seen[0][1]["proxy-authorization"] == "Basic dXNlcjpwQHNz"


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://h/", "http://"])
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    """The error quotes the value and says what is wanted."""
    with pytest.raises(ValueError, match="want http"):
        HttpTransport(SenderSettings(endpoint=url, endpoints=dict.fromkeys(Signal, url)))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    crt, key = folder / "tls.crt", folder / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extension = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(crt)]
    try:
        subprocess.run([*command, *extension], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no usable openssl command")
    return crt, key


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[str]:
    """Answers every request with 200, over TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(peer, server_side=True) as secure:
                        secure.recv(65536)
                        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except OSError:
                    peer.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_tls_checks_the_server_and_shows_our_certificate(certificate: tuple[Path, Path]) -> None:
    """With the authority's file the server is trusted, without it is not; mTLS servers get our certificate."""
    crt, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    context.load_verify_locations(crt)
    context.verify_mode = ssl.CERT_REQUIRED
    with tls_server(context) as url:
        mutual = SenderSettings(endpoint=url, certificate=crt, client_certificate=crt, client_key=key)
        assert send(mutual) == Accepted()
        assert isinstance(send(SenderSettings(endpoint=url, certificate=crt)), Retry)
        distrust = send(SenderSettings(endpoint=url))
    assert isinstance(distrust, Retry)
    assert "CERTIFICATE_VERIFY_FAILED" in distrust.reason


@contextmanager
def grpc_server(
    answers: list[Any], credentials: Any = None
) -> Iterator[tuple[str, list[tuple[str, bytes, dict[str, Any]]]]]:
    """A loopback gRPC server for all three services; an answer is bytes, or (code, details, trailing metadata)."""
    seen: list[tuple[str, bytes, dict[str, Any]]] = []

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            def unary(body: bytes, context: Any) -> bytes:
                seen.append((call.method, body, dict(context.invocation_metadata())))
                answer = answers.pop(0) if answers else b""
                if isinstance(answer, bytes):
                    return answer
                code, details, trailing = answer
                context.set_trailing_metadata(trailing)
                context.abort(code, details)
                raise AssertionError

            return grpc.unary_unary_rpc_method_handler(unary)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()])
    if credentials:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        server.stop(None).wait()


def retry_info(seconds: int, nanos: int) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata with a RetryInfo, encoded by hand as the specification lays it out."""
    duration = b"\x08" + wire.varint(seconds) + b"\x10" + wire.varint(nanos)
    info = wire.delimited(b"\x0a", duration)
    detail = wire.text(b"\x0a", "type.googleapis.com/google.rpc.RetryInfo") + wire.delimited(b"\x12", info)
    return (("grpc-status-details-bin", b"\x08\x08" + wire.delimited(b"\x1a", detail)),)


def test_grpc_calls_the_three_services() -> None:
    """Each signal reaches its service, with the headers, over targets with and without a scheme."""
    with grpc_server([]) as (target, seen):
        for endpoint, compression in ((target, "none"), (f"http://{target}", "gzip")):
            settings = SenderSettings(
                endpoint=endpoint, protocol="grpc", headers={"X-Key": "v"}, compression=compression
            )
            for signal in Signal:
                assert send(settings, signal, span_bytes("a")) == Accepted()
    services = ["trace.v1.TraceService", "metrics.v1.MetricsService", "logs.v1.LogsService"]
    assert [method for method, _, _ in seen] == [
        f"/opentelemetry.proto.collector.{name}/Export" for name in services
    ] * 2
    assert {metadata["x-key"] for _, _, metadata in seen} == {"v"}
    assert names(seen[0][1]) == ["a"]


@pytest.mark.parametrize(
    ("code", "details", "trailing", "kind", "after"),
    [
        (grpc.StatusCode.UNAVAILABLE, "busy", (), Retry, None),
        (grpc.StatusCode.UNAVAILABLE, "busy", retry_info(3, 500_000_000), Retry, 3.5),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", (), Retry, None),
        (grpc.StatusCode.ABORTED, "", (), Retry, None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", retry_info(2, 0), Retry, 2.0),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", (), Rejected, None),
        (grpc.StatusCode.INVALID_ARGUMENT, "bad", (), Rejected, None),
        (grpc.StatusCode.UNAUTHENTICATED, "who", (), Rejected, None),
        (grpc.StatusCode.UNIMPLEMENTED, "what", (), Rejected, None),
    ],
)
def test_grpc_codes_mean_what_otlp_says(
    code: Any, details: str, trailing: Any, kind: type, after: float | None
) -> None:
    """The specification's retryable codes are tried again, RESOURCE_EXHAUSTED only with RetryInfo."""
    with grpc_server([(code, details, trailing)]) as (target, _):
        outcome = send(SenderSettings(endpoint=target, protocol="grpc"))
    assert type(outcome) is kind
    assert getattr(outcome, "after_s", None) == after


def test_a_grpc_server_s_size_limit_asks_for_smaller_requests() -> None:
    """A message above the server's limit (4 MiB) is to be split."""
    with grpc_server([]) as (target, _):
        outcome = send(SenderSettings(endpoint=target, protocol="grpc"), body=bytes(5 << 20))
    assert isinstance(outcome, TooLarge)


def test_grpc_over_tls(certificate: tuple[Path, Path]) -> None:
    """An https endpoint with the authority's file is a secure channel, with our certificate where asked for."""
    crt, key = (path.read_bytes() for path in certificate)
    credentials = grpc.ssl_server_credentials([(key, crt)], crt, require_client_auth=True)
    with grpc_server([], credentials) as (target, _):
        files = {"certificate": certificate[0], "client_certificate": certificate[0], "client_key": certificate[1]}
        assert send(SenderSettings(endpoint=f"https://{target}", protocol="grpc", **files)) == Accepted()  # type: ignore[arg-type]
        assert isinstance(send(SenderSettings(endpoint=f"https://{target}", protocol="grpc")), Retry)


def test_a_dead_grpc_server_is_a_retry() -> None:
    """Nobody listens: UNAVAILABLE, at once."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        outcome = send(SenderSettings(endpoint=f"127.0.0.1:{held.getsockname()[1]}", protocol="grpc"))
    assert isinstance(outcome, Retry)
    assert "UNAVAILABLE" in outcome.reason


def test_details_without_a_retry_info_say_nothing() -> None:
    """Other details and garbage give no delay."""
    assert read_retry_delay(b"") is None
    assert read_retry_delay(b"\xff") is None
    assert read_retry_delay(wire.delimited(b"\x1a", wire.text(b"\x0a", "type.googleapis.com/other"))) is None
