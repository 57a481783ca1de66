"""The gateway's configuration, run by the real Collector before the real stores."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from .clients import eventually
from .servers import CONFIGS, GATEWAY, JAEGER, binaries
from .stock import TRANSPORTS, application, post_count, post_span

if TYPE_CHECKING:
    from .clients import Jaeger, Prometheus, VictoriaLogs
    from .conftest import StartServer
    from .servers import Program, Server

each_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.mark.parametrize(("program", "file"), [(GATEWAY, "gateway.yaml"), (JAEGER, "jaeger.yaml")])
def test_configuration_is_valid(program: Program, file: str) -> None:
    """The program accepts its file with nothing set in the environment, and warns of nothing deprecated."""
    command = [str(binaries() / program.binary), "validate", f"--config={CONFIGS / file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stdout + done.stderr


@pytest.mark.parametrize("server", ["gateway", "jaeger_server"])
def test_nothing_in_the_configuration_is_on_its_way_out(server: str, request: pytest.FixtureRequest) -> None:
    """The program that runs a file warns of no deprecated and no legacy setting."""
    running: Server = request.getfixturevalue(server)
    said = running.log.read_text()
    assert [line for line in said.splitlines() if "deprecated" in line or "legacy service" in line] == []


@each_transport
def test_spans_are_found_in_jaeger(service: str, gateway: Server, jaeger: Jaeger, transport: str) -> None:
    """A trace is found by service, name and attribute, whole, with its tree, events and resource."""
    with application(service, gateway, transport) as app, app.tracer.start_as_current_span("load") as load:
        load.set_attribute("table", "orders")
        with app.tracer.start_as_current_span("write") as write:
            write.add_event("flushed", {"rows": 7})
    (trace,) = eventually(lambda: jaeger.search(service, operation="load", tags={"table": "orders"}))
    assert trace.paths() == ["load", "load > write"]
    (written,) = trace.named("write")
    assert written.events == ({"event": "flushed", "rows": "7"},)
    assert written.resource["deployment.environment.name"] == "test"
    assert jaeger.search(service, tags={"table": "customers"}) == []


@each_transport
def test_counts_are_exact_in_prometheus(service: str, gateway: Server, prometheus: Prometheus, transport: str) -> None:
    """The sum over two processes is what both counted: each sample came by one path, once."""
    for instance, count in (("1", 50), ("2", 7)):
        with application(service, gateway, transport, instance) as app:
            counter = app.meter.create_counter("orders.created", unit="{order}")
            for _ in range(count):
                counter.add(1, {"kind": "new"})
    counted = f'orders_created_total{{service_name="{service}"}}'
    eventually(lambda: prometheus.query(counted), lambda series: len(series) == 2)
    assert prometheus.value(f"sum({counted})") == 57
    (first,) = prometheus.query(f'{counted[:-1]},service_instance_id="1"}}')
    assert first.value == 50
    assert first.labels["deployment_environment_name"] == "test"
    assert first.labels["kind"] == "new"


def test_late_counts_are_accepted(service: str, gateway: Server, prometheus: Prometheus) -> None:
    """What a process counted 20 hours ago and could not send then is in Prometheus, beside newer samples of others."""
    with application(f"{service}-now", gateway, "http/protobuf") as app:
        app.meter.create_counter("orders.created").add(1)
    eventually(lambda: prometheus.query(f'orders_created_total{{service_name="{service}-now"}}'))
    then = time.time() - 20 * 3600
    assert post_count(gateway, f"{service}-late", "orders.created", 7, at=then) == 200
    late = f'orders_created_total{{service_name="{service}-late"}}'
    assert eventually(lambda: prometheus.value(late, at=then + 1)) == 7


@each_transport
def test_logs_are_found_by_trace_id(service: str, gateway: Server, logs: VictoriaLogs, transport: str) -> None:
    """The records of a trace are found by its id, in order, and only those."""
    with application(service, gateway, transport) as app:
        app.log("outside of any span")
        with app.tracer.start_as_current_span("load") as span:
            for number in range(20):
                app.log(f"message {number}")
    trace_id = f"{span.get_span_context().trace_id:032x}"
    records = eventually(lambda: logs.by_trace(trace_id), lambda found: len(found) >= 20)
    assert [record["_msg"] for record in records] == [f"message {number}" for number in range(20)]
    assert {record["service.name"] for record in records} == {service}
    assert {record["span_id"] for record in records} == {f"{span.get_span_context().span_id:016x}"}


def test_log_streams_are_not_named_by_process(service: str, gateway: Server, logs: VictoriaLogs) -> None:
    """Two processes of a service write to one stream, so that streams do not grow with the number of runs."""
    for instance in ("1", "2"):
        with application(service, gateway, "http/protobuf", instance) as app:
            app.log("hello")
    records = eventually(lambda: logs.query(f'service.name:="{service}"'), lambda found: len(found) == 2)
    assert {record["service.instance.id"] for record in records} == {"1", "2"}
    assert len({record["_stream_id"] for record in records}) == 1


def test_killed_gateway_delivers_what_it_acknowledged(
    service: str, start_server: StartServer, stores: dict[str, str], jaeger: Jaeger
) -> None:
    """What was acknowledged while Jaeger was away, and before the gateway was killed, arrives from its disk, once."""
    absent = start_server(JAEGER, ready=False)
    before = start_server(GATEWAY, stores | {"GATEWAY_JAEGER": absent.address("otlp")})
    with application(service, before, "http/protobuf") as app:
        for number in range(100):
            with app.tracer.start_as_current_span(f"span {number}"):
                pass
    before.kill()
    before.environment = stores
    before.start()
    found = eventually(lambda: jaeger.search(service, limit=1000), lambda traces: len(traces) >= 100)
    assert sorted(trace.spans[0].name for trace in found) == sorted(f"span {number}" for number in range(100))


def test_full_queue_refuses_instead_of_losing(
    service: str, start_server: StartServer, stores: dict[str, str], jaeger: Jaeger
) -> None:
    """A gateway whose queue is full refuses with 503, which senders retry; all that it did take arrives later, once."""
    absent = start_server(JAEGER, ready=False)
    small = {"GATEWAY_JAEGER": absent.address("otlp"), "GATEWAY_QUEUE_BYTES": "1000000"}
    gateway = start_server(GATEWAY, stores | small)
    taken: list[str] = []
    for number in range(200):
        status = post_span(gateway, service, f"span {number}", size=15_000)
        if status != 200:
            break
        taken.append(f"span {number}")
    assert status == 503
    gateway.stop()
    gateway.environment = stores
    gateway.start()
    found = eventually(lambda: jaeger.search(service, limit=1000), lambda traces: len(traces) >= len(taken))
    assert sorted(trace.spans[0].name for trace in found) == sorted(taken)


def test_long_value_is_cut_instead_of_stopping_the_queue(service: str, gateway: Server, jaeger: Jaeger) -> None:
    """A value that the trace store would refuse again and again arrives shortened, and later spans behind it."""
    for name in ("long", "later"):
        assert post_span(gateway, service, name, size=100_000) == 200
    (long,) = eventually(lambda: jaeger.search(service, operation="long"))
    assert len(long.spans[0].tags["padding"]) == 16_384
    eventually(lambda: jaeger.search(service, operation="later"))


def test_large_request_arrives_in_pieces(service: str, gateway: Server, jaeger: Jaeger) -> None:
    """A request above what a gRPC server takes is split on its way, instead of being refused for good."""
    assert post_span(gateway, service, "large", size=15_000, copies=400) == 200
    found = eventually(lambda: jaeger.search(service, limit=1000), lambda traces: len(traces) >= 400)
    assert len(found) == 400


def test_gateway_reports_on_itself(gateway: Server, prometheus: Prometheus) -> None:
    """The gateway's own counters reach Prometheus: what it refused or failed to send can be watched."""
    size = 'otelcol_exporter_queue_size{service_name="otel-pipeline-gateway"}'
    exporters = eventually(lambda: {sample.labels["exporter"] for sample in prometheus.query(size)})
    assert exporters == {"otlp_grpc/jaeger", "otlp_http/prometheus", "otlp_http/victorialogs"}
