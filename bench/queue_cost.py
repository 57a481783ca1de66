"""What storing one span costs: the encoders, and the media that a durable queue could be.

    python bench/queue_cost.py [--rounds N] [--spans N]

CPU time (user and system, all threads) per span of 8 attributes, medians of interleaved rounds; ratios are taken round
by round, so that what else runs on the machine touches both sides. docs/decisions/0005 rests on the table.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as stock_encode
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from otel_pipeline.queue import Queue, QueueSettings, Signal
from otel_pipeline.queue.encode import encode_spans
from otel_pipeline.queue.processors import DurableSpanProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

RESOURCE = Resource({"service.name": "orders-etl", "service.version": "1.4.0", "deployment.environment.name": "prod"})


def sample_spans(count: int) -> list[ReadableSpan]:
    """Ended spans with 8 attributes, half of them different from span to span."""
    found: list[ReadableSpan] = []

    class Keep(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            """Keep them."""
            found.extend(spans)  # type: ignore[arg-type]
            return SpanExportResult.SUCCESS

    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    processor = BatchSpanProcessor(Keep(), max_queue_size=count + 1)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("otel_pipeline", "0.1")
    for number in range(count):
        tracer.start_span(f"stage {number % 5}", attributes=attributes(number)).end()
    provider.shutdown()
    return found


def attributes(number: int) -> dict[str, str | int | float | bool]:
    """Eight attributes like a stage's."""
    return {
        "pipeline.name": "orders_etl",
        "pipeline.run.id": f"run-{number // 10}",
        "pipeline.stage.name": f"stage {number % 5}",
        "pipeline.stage.kind": "transform",
        "pipeline.records.in": 1000 + number,
        "pipeline.records.out": 990 + number,
        "pipeline.seconds": number * 0.37,
        "pipeline.stage.result": "success",
    }


class SqliteQueue:
    """The rival medium: one row per record in a WAL database, synchronous NORMAL or OFF, a commit per append."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._connection = sqlite3.connect(folder / "queue.db", isolation_level=None)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute(f"pragma synchronous={synchronous}")
        self._connection.execute(
            "create table record(id integer primary key, signal integer, items integer, body blob)"
        )

    def append(self, signal: Signal, payload: bytes) -> None:
        """Store one record."""
        self._connection.execute("insert into record(signal, items, body) values(?, 1, ?)", (int(signal), payload))


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds that `work` takes."""
    before = time.process_time()
    work()
    return time.process_time() - before


def measure(
    cases: dict[str, Callable[[Path], Callable[[], object]]], rounds: int, count: int
) -> dict[str, list[float]]:
    """Microseconds per span of each case in each round; every round sets each case up anew, in its own folder."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        order = list(cases.items())
        for name, prepare in order[number % len(order) :] + order[: number % len(order)]:
            with tempfile.TemporaryDirectory() as folder:
                work = prepare(Path(folder))
                found[name].append(cpu(work) / count * 1e6)
    return found


def storing(spans: list[ReadableSpan]) -> dict[str, Callable[[Path], Callable[[], object]]]:
    """Ways to encode and store spans one by one, and the parts of them."""
    payloads = [encode_spans((span,)) for span in spans]

    def file(folder: Path) -> Callable[[Signal, bytes], object]:
        return Queue(QueueSettings(folder / "q")).append

    def plain(folder: Path) -> Callable[[], object]:
        fd = os.open(folder / "plain", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        return lambda: [os.write(fd, payload) for payload in payloads]

    def appending(append: Callable[[Signal, bytes], object]) -> Callable[[], object]:
        return lambda: [append(Signal.TRACES, payload) for payload in payloads]

    def both(
        append: Callable[[Signal, bytes], object], encode: Callable[[ReadableSpan], bytes]
    ) -> Callable[[], object]:
        return lambda: [append(Signal.TRACES, encode(span)) for span in spans]

    def ours(span: ReadableSpan) -> bytes:
        return encode_spans((span,))

    def stock(span: ReadableSpan) -> bytes:
        return stock_encode((span,)).SerializeToString()

    return {
        "encode: own, one by one": lambda folder: lambda: [ours(span) for span in spans],
        "encode: stock, one by one": lambda folder: lambda: [stock(span) for span in spans],
        "encode: own, 512 at once": lambda folder: lambda: encode_spans(spans[:512] * (len(spans) // 512)),
        "encode: stock, 512 at once": lambda folder: (
            lambda: stock_encode(spans[:512] * (len(spans) // 512)).SerializeToString()
        ),
        "append: os.write alone": plain,
        "append: queue file": lambda folder: appending(file(folder)),
        "append: SQLite WAL, synchronous OFF": lambda folder: appending(SqliteQueue(folder, "off").append),
        "append: SQLite WAL, synchronous NORMAL": lambda folder: appending(SqliteQueue(folder, "normal").append),
        "both: own encoder, queue file": lambda folder: both(file(folder), ours),
        "both: own encoder, SQLite WAL": lambda folder: both(SqliteQueue(folder, "normal").append, ours),
        "both: stock encoder, queue file": lambda folder: both(file(folder), stock),
        "both: stock encoder, SQLite WAL": lambda folder: both(SqliteQueue(folder, "normal").append, stock),
    }


class Null(SpanExporter):
    """Takes spans and does nothing."""

    def export(self, spans: object) -> SpanExportResult:
        """Take them."""
        return SpanExportResult.SUCCESS


def spanning(count: int) -> dict[str, Callable[[Path], Callable[[], object]]]:
    """Whole spans: started, given 8 attributes, ended, under several processors."""

    def case(make: Callable[[Path], object] | None) -> Callable[[Path], Callable[[], object]]:
        def prepare(folder: Path) -> Callable[[], object]:
            provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
            if make:
                provider.add_span_processor(make(folder))  # type: ignore[arg-type]
            tracer = provider.get_tracer("otel_pipeline", "0.1")

            def work() -> None:
                for number in range(count):
                    tracer.start_span("stage", attributes=attributes(number)).end()
                provider.shutdown()

            return work

        return prepare

    def durable(at_once: bool) -> Callable[[Path], object]:
        return lambda folder: DurableSpanProcessor(Queue(QueueSettings(folder / "q")), at_once=lambda span: at_once)

    return {
        "span: no processor": case(None),
        "span: BatchSpanProcessor, null exporter": case(
            lambda folder: BatchSpanProcessor(Null(), max_queue_size=count)
        ),
        "span: durable, at once": case(durable(at_once=True)),
        "span: durable, in batches": case(durable(at_once=False)),
    }


def report(found: dict[str, list[float]], ratios: list[tuple[str, str, str, str]]) -> None:
    """Print medians with quartiles, then the ratios that the goals name."""
    for name, values in found.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name:44} {middle:8.2f} us/span   ({low:.2f} - {high:.2f})")
    for title, ours, theirs, goal in ratios:
        pairs = [a / b for a, b in zip(found[ours], found[theirs], strict=True)]
        low, middle, high = statistics.quantiles(pairs, n=4)
        print(f"{title:60} {middle:6.2f}  ({low:.2f} - {high:.2f})  goal {goal}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--spans", type=int, default=4096)
    given = parser.parse_args()
    spans = sample_spans(given.spans)
    cases = storing(spans) | spanning(given.spans)
    report(
        measure(cases, given.rounds, given.spans),
        [
            (
                "row 7: own + file / stock + SQLite WAL",
                "both: own encoder, queue file",
                "both: stock encoder, SQLite WAL",
                "<= 0.3",
            ),
            (
                "medium alone: file / SQLite WAL",
                "append: queue file",
                "append: SQLite WAL, synchronous NORMAL",
                "-",
            ),
            ("encoder alone: own / stock", "encode: own, one by one", "encode: stock, one by one", "-"),
            (
                "part of row 2: durable at once / BatchSpanProcessor",
                "span: durable, at once",
                "span: BatchSpanProcessor, null exporter",
                "<= 1.5",
            ),
        ],
    )


if __name__ == "__main__":
    main()
