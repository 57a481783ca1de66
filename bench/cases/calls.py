"""Row 2b: what a business counter, a histogram and a timed operation cost, with the collection. Items are calls."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.cases import child, stock
from bench.cases.stage import SENTRY_TRANSACTION, sentry_to_nowhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Tracer

    Call = Callable[[], object]


def _ours(prepare: Callable[[Any], Call]) -> Callable[[int], Call]:
    """``prepare`` makes the call of our package, which is made in a stage, as users do."""

    def prepared(size: int) -> Call:
        import otel_pipeline as op

        handle = op.setup("bench", endpoint=child.ENDPOINT, queue_dir=f"{child.FOLDER}/queue")
        call, collected = prepare(op), handle.meter_provider
        assert collected is not None

        def work() -> None:
            with op.pipeline("orders"), op.stage("load"):
                for _ in range(size):
                    call()
            collected.force_flush()

        return work

    return prepared


def _opentelemetry(prepare: Callable[[Meter, Tracer], Call]) -> Callable[[int], Call]:
    """``prepare`` makes the call of OpenTelemetry's, which is made in a span; batches and collections go nowhere."""

    def prepared(size: int) -> Call:
        spans, meters = stock.with_null_exporter(), stock.metrics_to_nowhere()
        tracer = spans.get_tracer("bench")
        call = prepare(meters.get_meter("bench"), tracer)

        def work() -> None:
            with tracer.start_as_current_span("load"):
                for _ in range(size):
                    call()
            meters.force_flush()
            spans.force_flush()

        return work

    return prepared


def _prometheus(prepare: Callable[[Any], Call]) -> Callable[[int], Call]:
    """``prepare`` makes the call of prometheus_client's; what it shows is asked for once."""

    def prepared(size: int) -> Call:
        client: Any = import_module("prometheus_client")
        call = prepare(client)

        def work() -> None:
            for _ in range(size):
                call()
            client.generate_latest()

        return work

    return prepared


def _our_counter(op: Any) -> Call:
    counter = op.counter("revenue.processed")
    return lambda: counter.add(1, currency="EUR")


def _our_histogram(op: Any) -> Call:
    histogram = op.histogram("order.value")
    return lambda: histogram.record(12.5, currency="EUR")


def _our_operation(op: Any) -> Call:
    def call() -> None:
        with op.timed("parse"):
            pass

    return call


def _otel_counter(meter: Meter, tracer: Tracer) -> Call:
    del tracer
    counter = meter.create_counter("revenue.processed")
    return lambda: counter.add(1, {"currency": "EUR"})


def _otel_histogram(meter: Meter, tracer: Tracer) -> Call:
    del tracer
    histogram = meter.create_histogram("order.value")
    return lambda: histogram.record(12.5, {"currency": "EUR"})


def _otel_operation(meter: Meter, tracer: Tracer) -> Call:
    from time import perf_counter

    duration = meter.create_histogram("operation.duration", "s")

    def call() -> None:
        began = perf_counter()
        with tracer.start_as_current_span("parse"):
            pass
        duration.record(perf_counter() - began, {"operation": "parse", "status": "success"})

    return call


def _prometheus_counter(client: Any) -> Call:
    counter = client.Counter("revenue_processed", "Revenue.", ["currency"])
    return lambda: counter.labels(currency="EUR").inc()


def _prometheus_histogram(client: Any) -> Call:
    histogram = client.Histogram("order_value", "Values.", ["currency"])
    return lambda: histogram.labels(currency="EUR").observe(12.5)


def _sentry_operation(size: int) -> Call:
    sentry = sentry_to_nowhere()

    def work() -> None:
        for first in range(0, size, SENTRY_TRANSACTION):
            with sentry.start_transaction(name="orders"):
                for _ in range(first, min(size, first + SENTRY_TRANSACTION)):
                    with sentry.start_span(name="parse"):
                        pass
        sentry.flush()

    return work


SIDES = {
    "counter": _ours(_our_counter),
    "histogram": _ours(_our_histogram),
    "timed": _ours(_our_operation),
    "OpenTelemetry add": _opentelemetry(_otel_counter),
    "OpenTelemetry record": _opentelemetry(_otel_histogram),
    "OpenTelemetry span and record": _opentelemetry(_otel_operation),
    "prometheus_client labels().inc()": _prometheus(_prometheus_counter),
    "prometheus_client labels().observe()": _prometheus(_prometheus_histogram),
    "Sentry span": _sentry_operation,
}

if __name__ == "__main__":
    child.resident(SIDES)
