"""Row 8: a job of 50 ms. ``short.py ours 1`` is a run of ours, ``short.py stock 1`` counts itself by a counter."""

from __future__ import annotations

import os
import sys
import time

ENDPOINT = os.environ["BENCH_ENDPOINT"]
SECONDS = 0.05


def ours() -> None:
    """A run."""
    import otel_pipeline as op

    handle = op.setup("bench", endpoint=ENDPOINT, queue_dir=f"{os.environ['BENCH_FOLDER']}/queue", exit_timeout=60)
    with op.pipeline("short"):
        time.sleep(SECONDS)
    handle.shutdown()


def stock() -> None:
    """A counter, as OpenTelemetry's documentation has it."""
    from bench.cases.stock import three_signals

    providers = three_signals(ENDPOINT)
    time.sleep(SECONDS)
    providers[1].get_meter("bench").create_counter("runs").add(1)
    for provider in providers:
        provider.shutdown()


{"ours": ours, "stock": stock}[sys.argv[1]]()
