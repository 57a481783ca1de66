"""Row 6: a program that ends spans until it is killed, and writes each one's id once it has ended.

killed.py SIDE SPANS_PER_SECOND
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = os.environ["BENCH_FOLDER"]


def _ours() -> Callable[[], int]:
    import otel_pipeline as op

    op.setup("bench", endpoint=os.environ["BENCH_ENDPOINT"], queue_dir=f"{FOLDER}/queue")
    op.pipeline("orders").__enter__()

    def one() -> int:
        with op.stage("load") as stage:
            pass
        return stage.span.get_span_context().span_id

    return one


def _stock() -> Callable[[], int]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from bench.cases.stock import exporter

    # A file stands for the receiver: what was written into it has arrived.
    arrived = os.open(f"{FOLDER}/arrived", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    ids = exporter(lambda spans: os.write(arrived, b"".join(span.context.span_id.to_bytes(8, "big") for span in spans)))
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(ids))
    tracer = provider.get_tracer("bench")

    def one() -> int:
        with tracer.start_as_current_span("load") as span:
            pass
        return span.get_span_context().span_id

    return one


if __name__ == "__main__":
    end_one = {"ours": _ours, "stock": _stock}[sys.argv[1]]()
    while True:
        os.write(1, end_one().to_bytes(8, "big"))
        time.sleep(1 / float(sys.argv[2]))
