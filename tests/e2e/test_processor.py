"""Pipelines → Collector → processor → Collector → Prometheus: the KPIs are exactly what happened, whatever breaks."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from otel_pipeline.kpi.names import prometheus_name
from tests.kpi.test_streams import request as metrics_request

from .clients import Prometheus, eventually
from .servers import LOOP, PROCESSOR, Server, free_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.postgresql import Server as Postgresql

    from .conftest import StartServer

ETL = Path(__file__).parents[1] / "embedded_etl.py"
CLI = Path(sys.executable).parent / "otel-pipeline"
AT_ONCE = 6
WITHIN = 120.0
ENDS = ("success", "success", "failure", "kill")

Stages = dict[tuple[str, str], int]


@dataclass
class Truth:
    """What a number of runs did: runs by result, and records by stage and status."""

    runs: Counter[str] = field(default_factory=Counter)
    records: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __add__(self, other: Truth) -> Truth:
        return Truth(self.runs + other.runs, self.records + other.records)

    def add(self, records: int, end: str) -> None:
        """One run of embedded_etl.py, which fails every tenth record."""
        failed = records // 10
        self.runs[{"kill": "lost"}.get(end, end)] += 1
        self.records["extract", "out"] += records
        self.records["clean", "in"] += records
        self.records["clean", "failed"] += failed
        self.records["clean", "out"] += records - failed
        if end != "kill":  # otherwise the stage never ended
            self.records["load", "in"] += records - failed


class Loop:
    """A gateway and its processors, and processes that send to it."""

    def __init__(self, gateway: Server, processors: list[Server], folder: Path, pipeline: str) -> None:
        self.gateway = gateway
        self.processors = processors
        self.pipeline = pipeline
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self.environment = kept | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": gateway.url("http"),
            "OTEL_PIPELINE_QUEUE_DIR": str(folder / "queue"),
        }

    def run(self, count: int, seed: int = 0) -> Truth:
        """Run so many short processes, several at a time, and send what those that died have left."""
        random_ = random.Random(seed)
        told = [(random_.randrange(20, 200), ENDS[number % len(ENDS)]) for number in range(count)]
        with futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda each: self.run_one(*each), told))
        drained = subprocess.run(
            [CLI, "queue", "drain", "--timeout", "60"],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert drained.returncode == 0, drained.stderr + drained.stdout
        truth = Truth()
        for records, end in told:
            truth.add(records, end)
        return truth

    def run_one(self, records: int, end: str) -> None:
        """One process; it ends as it is told to."""
        ended = subprocess.run(
            [sys.executable, str(ETL), self.pipeline, str(records), end],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode == {"success": 0, "failure": 1, "kill": -9}[end], ended.stderr

    def runs(self, processor: Server) -> list[dict[str, Any]]:
        """What `otel-pipeline runs` says of the pipeline, by that processor's store."""
        environment = self.environment | dict(processor.environment)
        environment.setdefault("OTEL_PIPELINE_STORE", str(processor.folder / "store.db"))
        shown = subprocess.run(
            [CLI, "runs", self.pipeline, "--json"],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return json.loads(shown.stdout) if shown.returncode == 0 else []


@pytest.fixture
def pipeline(service: str) -> str:
    """A pipeline that no other test has."""
    return service.replace("service", "pipeline")


@pytest.fixture
def loop(start_server: StartServer, stores: dict[str, str], tmp_path: Path, pipeline: str) -> Loop:
    """A gateway with one processor on SQLite, exporting each second."""
    return make_loop(start_server, stores, tmp_path, pipeline)


def make_loop(  # noqa: PLR0917 - what a loop is made of
    start_server: StartServer,
    stores: Mapping[str, str],
    folder: Path,
    pipeline: str,
    between: Callable[[str], str] = lambda address: address,
    interval: float = 1,
) -> Loop:
    """``between`` may stand between gateway and processor: it is given the processor's address and gives its own."""
    gateway, processor = start_server(LOOP, ready=False), start_server(PROCESSOR, ready=False)
    gateway.environment = {**stores, "GATEWAY_PROCESSOR": between(processor.address("grpc"))}
    processor.environment = forwarding(gateway, interval)
    processor.start()
    gateway.start()
    return Loop(gateway, [processor], folder, pipeline)


def forwarding(gateway: Server, interval: float = 1) -> dict[str, str]:
    """The environment of a processor that sends its KPI metrics to that gateway."""
    return {"OTEL_PIPELINE_FORWARD": gateway.url("http"), "OTEL_PIPELINE_FORWARD_INTERVAL": str(interval)}


def in_prometheus(prometheus: Prometheus, pipeline: str) -> Truth:
    """What Prometheus has of a pipeline, one series for each result, stage and status."""
    of_it = f'{{pipeline_name="{pipeline}"}}'
    found = Truth()
    for sample in prometheus.query(f"pipeline_run_ended_total{of_it}"):
        found.runs[sample.labels["pipeline_run_result"]] += int(sample.value)
    for sample in prometheus.query(f"pipeline_stage_records_total{of_it}"):
        labels = sample.labels
        found.records[labels["pipeline_stage_name"], labels["pipeline_record_status"]] += int(sample.value)
    return Truth(+found.runs, +found.records)


def in_store(runs: list[dict[str, Any]]) -> Truth:
    """What `otel-pipeline runs` has of it."""
    found = Truth()
    for run in runs:
        found.runs[str(run["result"])] += 1
        for stage in run["stages"]:
            for status, count in stage["records"].items():
                found.records[stage["name"], status] += count or 0
    return Truth(+found.runs, +found.records)


def assert_exact(loop: Loop, prometheus: Prometheus, truth: Truth) -> None:
    """Both say the truth, and each series is one."""
    wanted = Truth(+truth.runs, +truth.records)
    assert eventually(lambda: in_prometheus(prometheus, loop.pipeline), lambda found: found == wanted, WITHIN) == wanted
    assert in_store(loop.runs(loop.processors[0])) == wanted
    series = prometheus.query(f'{{__name__=~"pipeline_.+|etl_.+|data_.+",pipeline_name="{loop.pipeline}"}}')
    assert not {label for sample in series for label in sample.labels} & {"instance", "service_instance_id"}


def test_a_hundred_short_processes_are_exact(loop: Loop, prometheus: Prometheus) -> None:
    """Runs by result and records by stage, killed processes among them."""
    assert_exact(loop, prometheus, loop.run(100))


def test_every_request_three_times_in_another_order(
    start_server: StartServer, stores: dict[str, str], tmp_path: Path, pipeline: str, prometheus: Prometheus
) -> None:
    """A network that repeats and reorders changes nothing."""
    with_relay = Relays()
    try:
        loop = make_loop(start_server, stores, tmp_path, pipeline, with_relay.before)
        truth = loop.run(100, seed=1)
        repeated = with_relay.repeat_all(seed=1)
        assert repeated > 0
        assert_exact(loop, prometheus, truth)
    finally:
        with_relay.stop()


def test_a_processor_that_is_killed_every_second(loop: Loop, prometheus: Prometheus) -> None:
    """What it has acknowledged it has counted, and the rest comes again."""
    [processor] = loop.processors
    done, kills = threading.Event(), 0

    def torment() -> None:
        nonlocal kills
        while not done.wait(1):
            processor.kill()
            processor.start()
            kills += 1

    tormentor = threading.Thread(target=torment)
    tormentor.start()
    try:
        truth = loop.run(100, seed=2)
        eventually(lambda: kills, lambda number: number >= 5, WITHIN)
    finally:
        done.set()
        tormentor.join()
    assert_exact(loop, prometheus, truth)


def test_the_first_failure_of_a_new_pipeline_is_seen_by_increase(
    start_server: StartServer, stores: dict[str, str], tmp_path: Path, pipeline: str, prometheus: Prometheus
) -> None:
    """By the expression of the alert PipelineFailure, at the interval that users have."""
    loop = make_loop(start_server, stores, tmp_path, pipeline, interval=15)
    loop.run_one(50, "failure")
    seen = f'increase(pipeline_runs_total{{dag_id="{pipeline}",status="failure"}}[5m])'
    assert eventually(lambda: prometheus.value(seen), lambda value: value is not None and value > 0, WITHIN)
    others = f'increase(pipeline_runs_total{{dag_id="{pipeline}",status!="failure"}}[5m]) > 0'
    assert prometheus.query(others) == []


SECOND = """
exporters:
  otlp_grpc/second:
    endpoint: {address}
    tls: {{insecure: true}}
    retry_on_failure: {{initial_interval: 1s, max_interval: 5s, max_elapsed_time: 0}}
    sending_queue: {{storage: file_storage}}
service:
  pipelines:
    traces/ours: {{exporters: [otlp_grpc/processor, otlp_grpc/second]}}
    logs/ours: {{exporters: [otlp_grpc/processor, otlp_grpc/second]}}
    metrics/ours: {{exporters: [otlp_grpc/processor, otlp_grpc/second]}}
"""
"""What a gateway needs to send all to two processors: the store that these share counts it once."""


def test_two_processors_on_postgresql_one_killed_one_stopped_half_way(  # noqa: PLR0917 - fixtures
    start_server: StartServer,
    stores: dict[str, str],
    tmp_path: Path,
    pipeline: str,
    prometheus: Prometheus,
    postgresql: Postgresql,
) -> None:
    """Both get everything; what one has counted the other does not, and one of them exports."""
    store = {"OTEL_PIPELINE_STORE": postgresql.new_database()}
    gateway = start_server(LOOP, ready=False)
    first, second = (start_server(PROCESSOR, ready=False) for _ in range(2))
    gateway.environment = {**stores, "GATEWAY_PROCESSOR": first.address("grpc")}
    (gateway.folder / "second.yaml").write_text(SECOND.format(address=second.address("grpc")))
    for processor in (first, second):
        processor.environment = forwarding(gateway) | store
        processor.start()
    gateway.start()
    loop = Loop(gateway, [first, second], tmp_path, pipeline)
    truth = Truth()
    truth += loop.run(30, seed=3)
    first.kill()
    truth += loop.run(20, seed=4)
    first.start()
    truth += loop.run(20, seed=5)
    second.pause()
    try:
        truth += loop.run(30, seed=6)
        assert_exact(loop, prometheus, truth)  # whoever exported before, the other does
    finally:
        second.resume()
    first.kill()
    truth += loop.run(10, seed=7)
    assert_exact(Loop(gateway, [second], tmp_path, pipeline), prometheus, truth)
    for series in prometheus.samples(f'pipeline_run_ended_total{{pipeline_name="{pipeline}"}}[1h]'):
        assert [value for _, value in series] == sorted(value for _, value in series)
    refused = 'increase(otelcol_exporter_send_failed_metric_points_total{exporter="otlp_http/prometheus"}[1h]) > 0'
    assert prometheus.query(refused) == []


@pytest.mark.parametrize(
    ("name", "unit"),
    [("revenue.processed", ""), ("orders", "{order}"), ("wait.time", "s"), ("9 lives--left", "By/s"), ("a_total", "1")],
)
def test_a_metric_of_two_processes_is_one_series_by_the_name_that_we_say(
    loop: Loop, prometheus: Prometheus, pipeline: str, name: str, unit: str
) -> None:
    """A counter of ours that no span tells of: added up, without a process, from zero."""
    now, shop = time.time_ns(), pipeline
    for instance, value in (("1", 5), ("2", 7), ("1", 5), ("1", 3)):
        body = metrics_request(
            name=name, unit=unit, instance=instance, value=value, time=now, start=now - 10**9, labels={"shop": shop}
        )
        sent = urllib.request.Request(
            f"{loop.gateway.url('http')}/v1/metrics", body, {"Content-Type": "application/x-protobuf"}
        )
        urllib.request.urlopen(sent, timeout=60).close()
    stored = f'{prometheus_name(name, unit, "counter")}{{shop="{shop}"}}'
    assert eventually(lambda: prometheus.value(stored), lambda value: value == 12, WITHIN) == 12
    [series] = prometheus.samples(f"{stored}[5m]")
    assert series[0][1] == 0
    [sample] = prometheus.query(stored)
    assert set(sample.labels) == {"__name__", "job", "service_name", "shop"}


class Relays:
    """Stand between a gateway and its processor: deliver each request, keep it, and later deliver all twice more."""

    def __init__(self) -> None:
        self._servers: list[grpc.Server] = []
        self._seen: list[tuple[str, bytes]] = []
        self._channel: grpc.Channel | None = None

    def before(self, address: str) -> str:
        """Start one before ``address``; its own address."""
        self._channel = grpc.insecure_channel(address)
        server = grpc.server(futures.ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((_Raw(self._deliver),))
        [own] = free_addresses(["relay"]).values()
        assert server.add_insecure_port(own)
        server.start()
        self._servers.append(server)
        return own

    def _deliver(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._seen.append((method, request))
        try:
            return self._send(method, request)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details() or "")
            raise

    def _send(self, method: str, request: bytes) -> bytes:
        assert self._channel is not None
        answer: bytes = self._channel.unary_unary(method)(request, timeout=60, wait_for_ready=True)
        return answer

    def repeat_all(self, seed: int) -> int:
        """Deliver everything seen so far twice more, in another order; how many requests that were."""
        again = self._seen * 2
        random.Random(seed).shuffle(again)
        for method, request in again:
            self._send(method, request)
        return len(again)

    def stop(self) -> None:
        """End them."""
        for server in self._servers:
            server.stop(None)
        if self._channel is not None:
            self._channel.close()


class _Raw(grpc.GenericRpcHandler):
    def __init__(self, deliver: Callable[[str, bytes, grpc.ServicerContext], bytes]) -> None:
        self._deliver = deliver

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        method = details.method
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._deliver(method, request, context))
