"""One recorded stream has the same values in all hosts: in the process, drained from its queue, and sent by OTLP."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_pipeline.embedded import drain
from otel_pipeline.queue.format import Signal
from otel_pipeline.queue.queue import Queue
from otel_pipeline.queue.settings import QueueSettings
from otel_pipeline.semconv.catalogue import COUNTED, METRICS
from otel_pipeline.semconv.metrics import RUN_ACTIVE
from otel_pipeline.store.store import Store
from tests.sdk.receiver import Receiver
from tests.served import serving

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = Path(__file__).parent / "three_hosts_etl.py"
SIGNALS = {"traces": Signal.TRACES, "logs": Signal.LOGS, "metrics": Signal.METRICS}

Series = dict[tuple[str, tuple[str, ...]], tuple[float, ...]]
"""By KPI and labels: one number, or sum, count and buckets."""


def recorded(folder: Path) -> list[tuple[str, bytes]]:
    """What the program sent: signal and body of each request."""
    receiver = Receiver()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment = kept | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_PIPELINE_QUEUE_DIR": str(folder),
        "OTEL_PIPELINE_EXIT_TIMEOUT": "60",
    }
    subprocess.run([sys.executable, PROGRAM], env=environment, check=True, timeout=120)
    receiver.close()
    return receiver.bodies


def of_the_process(requests: Sequence[tuple[str, bytes]]) -> Series:
    """The process's own metrics, as it last sent them."""
    found: Series = {}
    rows = {metric.name: metric for metric in METRICS if metric is not RUN_ACTIVE}
    for _, body in (each for each in requests if each[0] == "metrics"):
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if (row := rows.get(metric.name)) is not None:
                    for point in getattr(metric, metric.WhichOneof("data")).data_points:
                        labels = {each.key: each.value.string_value for each in point.attributes}
                        found[row.name, tuple(labels.get(key, "") for key in row.attributes)] = _numbers(point)
    return found


def _numbers(point: Any) -> tuple[float, ...]:
    if hasattr(point, "bucket_counts"):
        return point.sum, point.count, *point.bucket_counts
    return (point.as_int if point.WhichOneof("value") == "as_int" else point.as_double,)


def of_a_store(path: Path) -> Series:
    """What a store counted, without the zeros that stand beside what occurred."""
    with Store(path).reading() as reader:
        return {
            (figure.kpi.name, figure.labels): figure.numbers
            for figure in reader.figures(0)
            if not figure.kpi.derived and any(figure.numbers)
        }


def rounded(series: Series) -> Series:
    """To the nanosecond: the SDK adds seconds as floats, the stores nanoseconds as whole numbers."""
    return {key: tuple(round(number, 9) for number in numbers) for key, numbers in series.items() if any(numbers)}


def test_one_recorded_stream_has_the_same_values_in_all_three_hosts(tmp_path: Path) -> None:
    """Every counter and histogram that a process can count, to the last record and nanosecond."""
    requests = recorded(tmp_path / "sent")
    embedded = Queue.open(QueueSettings(tmp_path / "embedded"))
    for signal, body in requests:
        embedded.append(SIGNALS[signal], body)
    embedded.close()
    drain(tmp_path / "embedded", Store(tmp_path / "drained.db"))
    with serving(tmp_path) as served:
        for signal, body in requests:
            sent = urllib.request.Request(
                f"http://{served.http}/v1/{signal}", body, {"Content-Type": "application/x-protobuf"}
            )
            urllib.request.urlopen(sent, timeout=60).close()
    process, drained, received = (
        of_the_process(requests),
        of_a_store(tmp_path / "drained.db"),
        of_a_store(tmp_path / "store.db"),
    )
    assert drained == received
    assert rounded(process) == rounded(received)
    known_to_others = {RUN_ACTIVE.name, "pipeline.run.busy_time"}  # to the process, and to the parent alone
    fed = {metric.name for metric in METRICS if metric.name in COUNTED} - known_to_others
    assert {name for name, _ in received} == fed
    assert received["pipeline.stage.records", ("orders", "clean", "failed")] == (10 + 5 + 2 + 3,)
    assert received["pipeline.run.ended", ("orders", "timeout")] == (1,)
    assert received["pipeline.run.ended", ("orders", "success")] == (1,)
    assert received["pipeline.run.backfilled", ("orders", "success")] == (1,)
