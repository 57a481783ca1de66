"""The whole way with the real Collector: SDK, queue, sender, network."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from queue_fakes import http_server, left, names

from otel_pipeline.queue import Queue, QueueSettings, Sender, SenderSettings, Signal
from otel_pipeline.queue.exporters import DurableMetricExporter
from otel_pipeline.queue.processors import DurableLogProcessor, DurableSpanProcessor

if TYPE_CHECKING:
    from collections.abc import Iterator


def collector() -> Path | None:
    where = Path(__file__).parents[2] / "scripts" / "backends"
    if not where.exists():
        return None
    found = subprocess.run([str(where), "--where"], capture_output=True, text=True, check=False)
    binary = Path(found.stdout.strip() or "/nonexistent") / "otelcol-pipeline"
    return binary if binary.exists() else None


@contextmanager
def real_collector(folder: Path) -> Iterator[tuple[dict[str, int], list[tuple[str, dict[str, str], bytes]]]]:
    """The Collector between the sender and a server of ours: its ports by protocol, and what it sent on.

    What it sent is complete after the block, since the Collector passes everything on before it ends.
    """
    binary = collector()
    if binary is None:
        pytest.skip("no Collector: run `make backends`")
    grpc_port, http_port = free_ports(2)
    with http_server() as (url, seen), (folder / "collector.log").open("wb") as log:
        (folder / "collector.yaml").write_text(COLLECTOR % (grpc_port, http_port, url))
        command = [str(binary), "--config", str(folder / "collector.yaml")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield {"grpc": grpc_port, "http/protobuf": http_port}, seen
        finally:
            process.terminate()
            process.wait(30)


def tell(queue: Queue) -> None:
    """100 spans, 100 log records and a counter at 100, through the SDK."""
    resource_ = Resource({"service.name": "t"})
    spans = TracerProvider(resource=resource_, shutdown_on_exit=False)
    spans.add_span_processor(DurableSpanProcessor(queue, at_once=lambda span: span.name.endswith("0")))
    logs = LoggerProvider(resource=resource_, shutdown_on_exit=False)
    logs.add_log_record_processor(DurableLogProcessor(queue, at_once=lambda record: True))
    reader = PeriodicExportingMetricReader(DurableMetricExporter(queue))
    meters = MeterProvider([reader], resource=resource_, shutdown_on_exit=False)
    counter = meters.get_meter("t").create_counter("c")
    for number in range(100):
        with spans.get_tracer("t").start_as_current_span(f"s{number}") as span:
            span.add_event("e", {"list": ["a", "b"]})
        logs.get_logger("t").emit(body=f"l{number}", event_name="pipeline.run.heartbeat")
        counter.add(1)
    for provider in (spans, meters, logs):
        provider.shutdown()


@pytest.mark.e2e
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_real_collector_takes_all_three_signals(tmp_path: Path, protocol: str) -> None:
    """An SDK's spans, logs and metrics pass queue, sender and the real Collector, each once, with gzip."""
    queue = Queue.open(QueueSettings(tmp_path / "q"))
    tell(queue)
    with real_collector(tmp_path) as (ports, seen):
        endpoint = f"http://127.0.0.1:{ports[protocol]}"
        sending = Sender(
            queue,
            SenderSettings(endpoint, protocol=protocol, compression="gzip", backoff_s=0.2, backoff_max_s=0.5),
        )
        assert sending.flush(60), queue.counts.last_error
        assert sending.stop(30)
    spans, logs, metrics = (
        [body for path, _, body in seen if path == f"/v1/{signal.label}"]
        for signal in (Signal.TRACES, Signal.LOGS, Signal.METRICS)
    )
    assert sorted(names(*spans)) == sorted(f"s{number}" for number in range(100))
    texts = [b"\x0a" + bytes((len(text),)) + text for text in (b"l%d" % number for number in range(100))]
    assert [b"".join(logs).count(text) for text in texts] == [1] * 100
    (resource_metrics,) = ExportMetricsServiceRequest.FromString(b"".join(metrics)).resource_metrics
    (point,) = resource_metrics.scope_metrics[0].metrics[0].sum.data_points
    assert point.as_int == 100
    assert left(tmp_path / "q") == []


COLLECTOR = """
receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:%d"}, http: {endpoint: "127.0.0.1:%d"}}}}
exporters: {otlp_http: {endpoint: "%s", compression: none, sending_queue: {enabled: false}}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [otlp_http]}
    logs: {receivers: [otlp], exporters: [otlp_http]}
    metrics: {receivers: [otlp], exporters: [otlp_http]}
"""


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports
