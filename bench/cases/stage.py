"""Row 2: what a stage's span costs, from its start until it is on its way. Items are spans."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.cases import child, stock
from bench.cases.child import attributes

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import TracerProvider

# Sentry keeps at most 1,000 spans of one transaction, by default.
SENTRY_TRANSACTION = 500


def _stages(delivered: bool = False) -> Callable[[int], Callable[[], None]]:
    def prepare(size: int) -> Callable[[], None]:
        import otel_pipeline as op

        handle = op.setup("bench", endpoint=child.ENDPOINT, queue_dir=f"{child.FOLDER}/queue")

        def work() -> None:
            with op.pipeline("orders"):
                for number in range(size):
                    with op.stage("load", attributes=attributes(number)):
                        pass
            if delivered:
                handle.flush(30)

        return work

    return prepare


def _spans(provider: TracerProvider, size: int) -> Callable[[], None]:
    tracer = provider.get_tracer("bench")

    def work() -> None:
        with tracer.start_as_current_span("orders"):
            for number in range(size):
                with tracer.start_as_current_span("load", attributes=attributes(number)):
                    pass
        provider.force_flush()

    return work


def sentry_to_nowhere() -> Any:
    """Sentry's package, set up so that its envelopes are thrown away."""
    sentry: Any = import_module("sentry_sdk")

    class Nowhere(import_module("sentry_sdk.transport").Transport):  # type: ignore[misc]
        def capture_envelope(self, envelope: object) -> None:
            """Take it."""

    sentry.init(dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0, transport=Nowhere)
    return sentry


def _sentry(size: int) -> Callable[[], None]:
    sentry = sentry_to_nowhere()

    def work() -> None:
        for first in range(0, size, SENTRY_TRANSACTION):
            with sentry.start_transaction(name="orders"):
                for number in range(first, min(size, first + SENTRY_TRANSACTION)):
                    with sentry.start_span(name="load") as span:
                        for name, value in attributes(number).items():
                            span.set_data(name, value)
        sentry.flush()

    return work


def _logfire(size: int) -> Callable[[], None]:
    logfire: Any = import_module("logfire")
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    nowhere = BatchSpanProcessor(stock.exporter(lambda spans: None))
    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[nowhere])

    def work() -> None:
        with logfire.span("orders"):
            for number in range(size):
                with logfire.span("load", **attributes(number)):
                    pass
        logfire.force_flush()

    return work


SIDES = {
    "ours": _stages(),
    "ours, delivered": _stages(delivered=True),
    "OpenTelemetry": lambda size: _spans(stock.with_null_exporter(), size),
    "OpenTelemetry, delivered": lambda size: _spans(stock.traces_to(child.ENDPOINT), size),
    "Sentry": _sentry,
    "Logfire": _logfire,
}

if __name__ == "__main__":
    child.resident(SIDES)
