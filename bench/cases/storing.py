"""Row 7: from an ended span to bytes that outlive the process. Items are spans."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cases import child, stock

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan


def _ended(size: int) -> list[ReadableSpan]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    found: list[ReadableSpan] = []
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(stock.exporter(found.extend)))
    tracer = provider.get_tracer("otel_pipeline", "0.1")
    for number in range(size):
        tracer.start_span("stage load", attributes=child.attributes(number)).end()
    return found


def _ours(size: int) -> Callable[[], None]:
    from otel_pipeline.queue import Queue, QueueSettings, Signal
    from otel_pipeline.queue.encode import encode_span

    spans, queue = _ended(size), Queue.open(QueueSettings(Path(child.FOLDER) / "queue"))

    def work() -> None:
        for span in spans:
            queue.append(Signal.TRACES, encode_span(span))

    return work


def _sqlite(size: int) -> Callable[[], None]:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    spans = _ended(size)
    database = sqlite3.connect(Path(child.FOLDER) / "queue.db", isolation_level=None)  # each insert is committed
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=normal")
    database.execute("create table record(id integer primary key, body blob)")

    def work() -> None:
        for span in spans:
            database.execute("insert into record(body) values(?)", (encode_spans([span]).SerializeToString(),))

    return work


SIDES = {"ours": _ours, "stock encoder and SQLite": _sqlite}

if __name__ == "__main__":
    child.resident(SIDES)
