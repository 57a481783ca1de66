"""`otel-pipeline serve`, a real process: what real exporters send is counted, and it ends as it should."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from otel_pipeline.errors import SettingError
from otel_pipeline.model import Run
from otel_pipeline.receive.counters import ROWS
from otel_pipeline.serve import Address
from otel_pipeline.store.store import Store
from tests.kpi.events import NOW
from tests.kpi.test_otlp import RUN, STAGE, request
from tests.sdk.receiver import Receiver
from tests.served import TIMEOUT, cli, environment, serving

if TYPE_CHECKING:
    from tests.served import Served


def exporter_to(served: Served, how: str) -> SpanExporter:
    """OpenTelemetry's own exporter."""
    if how.startswith("grpc"):
        import grpc

        packing = grpc.Compression.Gzip if how.endswith("gzip") else None
        return GrpcExporter(endpoint=served.grpc, insecure=True, compression=packing)
    from opentelemetry.exporter.otlp.proto.http import Compression

    packing = Compression.Gzip if how.endswith("gzip") else Compression.NoCompression
    return HttpExporter(endpoint=f"http://{served.http}/v1/traces", compression=packing)


def send_run(exporter: SpanExporter, run_id: str) -> None:
    """A run with one stage."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("otel_pipeline")
    known = {"pipeline.name": "orders", "pipeline.run.id": run_id}
    with tracer.start_as_current_span("run orders", attributes={**known, "pipeline.run.result": "success"}):
        stage = {"pipeline.stage.name": "load", "pipeline.stage.result": "success", "pipeline.records.in": 7}
        tracer.start_span("stage load", attributes={**known, **stage}).end()
    provider.shutdown()


@pytest.mark.parametrize("how", ["grpc", "grpc gzip", "http", "http gzip"])
def test_what_a_real_exporter_sends_is_seen_by_the_commands_and_by_prometheus(tmp_path: Path, how: str) -> None:
    """Over both transports, packed or not; only after the answer, so at once."""
    with serving(tmp_path) as served:
        send_run(exporter_to(served, how), "r1")
        [run] = json.loads(cli(tmp_path, "runs", "--json").stdout)
        assert (run["pipeline"], run["run_id"], run["result"]) == ("orders", "r1", "success")
        assert [(stage["name"], stage["records"]["in"]) for stage in run["stages"]] == [("load", 7)]
        metrics = served.metrics()
        assert metrics['pipeline_run_ended_total{pipeline_name="orders",pipeline_run_result="success"}'] == 1
        assert metrics['otel_pipeline_receive_values_total{outcome="stages"}'] == 1


def test_packs_of_other_names_can_be_switched_off(tmp_path: Path) -> None:
    """For Prometheus, over both ways, and for the commands; the KPIs' own names stay."""
    collector = Receiver()
    (tmp_path / "otel-pipeline.yaml").write_text(f"compatibility: [etl]\nforward: {collector.url}\n")
    with serving(tmp_path) as served:
        send_run(exporter_to(served, "http"), "r1")
        scraped = {series.partition("{")[0] for series in served.metrics()}
        assert served.stop() == 0
    collector.close()
    requests = [
        ExportMetricsServiceRequest.FromString(body) for signal, body in collector.bodies if signal == "metrics"
    ]
    forwarded = {metric.name for each in requests for metric in each.resource_metrics[0].scope_metrics[0].metrics}
    assert {"pipeline_run_ended_total", "etl_active_pipelines"} <= scraped
    assert {"pipeline.run.ended", "etl_active_pipelines"} <= forwarded
    assert "pipeline_runs_total" not in scraped | forwarded
    assert cli(tmp_path, "stats", "etl_active_pipelines").returncode == 0
    assert "no metric 'pipeline_runs_total'" in cli(tmp_path, "stats", "pipeline_runs_total").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_and_well_on_a_signal(tmp_path: Path, number: int) -> None:
    """Exit status 0, one line said in its life."""
    with serving(tmp_path) as served:
        assert served.stop(number) == 0
        assert len(served.said.read_text().splitlines()) == 1


@pytest.mark.parametrize("text", ["4317", "here:", ":4317", "127.0.0.1:65536", "::1:4317", "[127.0.0.1]:1", "a:-1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    """The error quotes the option and what was given, and shows what is wanted."""
    with pytest.raises(SettingError, match=re.escape(f"--grpc {text!r}: want HOST:PORT, such as 127.0.0.1:4317")):
        Address.parsed(text, "--grpc")


def test_an_address_that_is_taken_is_one_line(tmp_path: Path) -> None:
    """Of either transport; exit status 2. So is one that is none."""
    with serving(tmp_path) as served:
        for option, taken, other in (("--grpc", served.grpc, "--http"), ("--http", served.http, "--grpc")):
            done = cli(tmp_path, "serve", option, taken, other, "127.0.0.1:0")
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert f"{option} {taken}: cannot listen there: Address already in use" in done.stderr
    done = cli(tmp_path, "serve", "--grpc", "4317")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_name_that_is_not_found_is_said_in_the_systems_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the standard library adds to them: the address is quoted already."""

    def not_found(address: tuple[str, int], **_: object) -> socket.socket:
        said = f"Name or service not known (while attempting to bind on address {address!r})"
        raise socket.gaierror(socket.EAI_NONAME, said)

    monkeypatch.setattr(socket, "create_server", not_found)
    with pytest.raises(SettingError, match=r"--http etl:4318: cannot listen there: Name or service not known$"):
        Address("etl", 4318).bound("--http")


def test_a_store_that_is_none_is_one_line(tmp_path: Path) -> None:
    """Exit status 2."""
    (tmp_path / "store.db").write_text("no database, but long enough to be taken for one" * 100)
    done = cli(tmp_path, "serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "store.db" in done.stderr


def test_what_it_counts_about_itself_is_documented() -> None:
    """Each counter with its labels, in docs/serve.md."""
    page = (Path(__file__).parents[1] / "docs" / "serve.md").read_text("utf-8")
    for row in ROWS:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        assert f"| `{row.name}` | {labels} |".replace("|  |", "| |") in page


def one_run(number: int) -> bytes:
    """A request with a run and its stage, which has read as many records as the number says."""
    name = number.to_bytes(4, "big")
    known = {"pipeline.run.id": f"r{number}", "pipeline.name": "orders"}
    return request(
        {"attributes": {**RUN, **known}, "span_id": b"run-" + name},
        {"attributes": {**STAGE, **known, "pipeline.records.in": number}, "span_id": b"stag" + name},
    )


def test_stopped_in_the_middle_of_traffic_it_keeps_what_it_has_acknowledged(tmp_path: Path) -> None:
    """SIGTERM: exit status 0 while six clients send."""
    traffic = _Traffic([one_run(n) for n in range(1, 601)])
    with serving(tmp_path) as served, ThreadPoolExecutor(6) as pool:
        traffic.address = served.http
        clients = [pool.submit(traffic.send) for _ in range(6)]
        try:
            assert traffic.wait_for(100)
            assert served.stop() == 0
        finally:
            traffic.stopping = True
        for client in clients:
            client.result(TIMEOUT)
    stored = len(json.loads(cli(tmp_path, "runs", "--json").stdout))
    assert traffic.acknowledged <= stored <= traffic.acknowledged + 6


def test_killed_in_the_middle_of_traffic_it_counts_everything_once(tmp_path: Path) -> None:
    """SIGKILL again and again; clients send what was not acknowledged again, and every third request twice anyway."""
    requests = [one_run(n) for n in range(1, 601)]
    traffic = _Traffic([*requests, *requests[::3]])
    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(traffic.send) for _ in range(6)]
        try:
            for kill in range(5):
                with serving(tmp_path) as served:
                    traffic.address = served.http
                    assert traffic.wait_for((kill + 1) * 100)
                    served.process.kill()
            with serving(tmp_path) as served:
                traffic.address = served.http
                for client in clients:
                    client.result(TIMEOUT)
                metrics = served.metrics()
        finally:
            traffic.stopping = True
    assert metrics['pipeline_run_ended_total{pipeline_name="orders",pipeline_run_result="failure"}'] == 600
    records = (
        'pipeline_stage_records_total{pipeline_name="orders",pipeline_stage_name="load",pipeline_record_status="in"}'
    )
    assert metrics[records] == sum(range(1, 601))


class _Traffic:
    """Requests that several threads send until each is acknowledged."""

    def __init__(self, requests: list[bytes]) -> None:
        self.address = ""
        self.stopping = False
        self._requests = requests
        self.acknowledged = 0
        self._changed = threading.Condition()

    def send(self) -> None:
        """Send what is left, one after the other."""
        while not self.stopping:
            with self._changed:
                if not self._requests:
                    return
                body = self._requests.pop()
            while not (sent := self._sent(body)) and not self.stopping:
                time.sleep(0.01)
            with self._changed:
                self.acknowledged += sent
                self._changed.notify_all()

    def wait_for(self, acknowledged: int) -> bool:
        """Until so many are acknowledged."""
        with self._changed:
            return self._changed.wait_for(lambda: self.acknowledged >= acknowledged, TIMEOUT)

    def _sent(self, body: bytes) -> bool:
        try:
            with contextlib.closing(http.client.HTTPConnection(self.address, timeout=10)) as connection:
                connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
                return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def test_an_endpoint_that_does_not_answer_delays_nothing_else(tmp_path: Path) -> None:
    """Queues are drained and expectations looked at while an export waits; it also ends in time."""
    text = "pipelines: {orders: {expect: {duration: 1h..2h}}}\n"
    (tmp_path / "otel-pipeline.yaml").write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cli(tmp_path, "runs")  # there is a store, and something to export
        store = Store(tmp_path / "store.db")
        store.write([Run("1" * 32, "1" * 16, "r1", "news", "success", NOW, NOW + 1)], now=NOW)
        store.close()
        options = ("--forward", f"http://127.0.0.1:{silent.getsockname()[1]}", "--forward-interval", "600")
        with serving(tmp_path, *options, more={"OTEL_EXPORTER_OTLP_TIMEOUT": "600000"}) as served:
            asking, _ = silent.accept()
            with asking:
                asking.settimeout(TIMEOUT)
                assert asking.recv(1)  # it has begun to send, and waits for an answer that does not come
                program = "import otel_pipeline as op\nop.setup('etl')\nwith op.pipeline('orders'): pass"
                subprocess.run([sys.executable, "-c", program], env=environment(tmp_path), check=True, timeout=TIMEOUT)
                series = 'pipeline_run_unexpected_total{pipeline_name="orders",pipeline_expectation="too_fast"}'
                end = time.monotonic() + TIMEOUT
                while served.metrics().get(series) != 1:
                    assert time.monotonic() < end, served.said.read_text()
                    time.sleep(0.1)
                assert served.stop() == 0
