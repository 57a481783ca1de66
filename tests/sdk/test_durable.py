"""``durable_otlp`` by name gives any OpenTelemetry Python application the queue, without the rest of us."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from otel_pipeline.queue.inspect import status

if TYPE_CHECKING:
    from pathlib import Path

# What OpenTelemetry's own configurator does with the variables; our distro is not involved.
PROGRAM = """
    import sys
    from opentelemetry import metrics, trace
    from opentelemetry.sdk._configuration import _initialize_components

    _initialize_components()
    with trace.get_tracer("app").start_as_current_span("work"):
        metrics.get_meter("app").create_counter("things").add(3)
    assert "otel_pipeline.sdk.setup" not in sys.modules
    assert "grpc" not in sys.modules
"""


def test_a_stock_application_stores_all_three_signals(tmp_path: Path) -> None:
    """With a dead receiver it ends at once, and what it had is in the queue."""
    environment = {
        "OTEL_TRACES_EXPORTER": "durable_otlp",
        "OTEL_METRICS_EXPORTER": "durable_otlp",
        "OTEL_LOGS_EXPORTER": "durable_otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_PIPELINE_QUEUE_DIR": str(tmp_path),
        "OTEL_PIPELINE_EXIT_TIMEOUT": "0",
    }
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    pending = {signal.label: number for signal, number in status(tmp_path).pending.items()}
    assert pending["traces"] == 1
    assert pending["metrics"] == 1
