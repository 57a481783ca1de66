"""Row 5: a program that ends while its receiver is dead. Prints when its own work was done, then ends.

exiting.py SIDE SPANS TIMEOUT
"""

from __future__ import annotations

import os
import sys
import time

ENDPOINT, FOLDER = os.environ["BENCH_ENDPOINT"], os.environ["BENCH_FOLDER"]


def _ours(spans: int, timeout: float) -> None:
    import otel_pipeline as op

    op.setup("bench", endpoint=ENDPOINT, queue_dir=f"{FOLDER}/queue", exit_timeout=timeout)
    with op.pipeline("orders"):
        for _ in range(spans):
            with op.stage("load"):
                pass


def _stock(spans: int, timeout: float) -> None:
    from bench.cases.stock import traces_to

    tracer = traces_to(ENDPOINT).get_tracer("bench")
    for _ in range(spans):
        with tracer.start_as_current_span("load"):
            pass


if __name__ == "__main__":
    {"ours": _ours, "stock": _stock}[sys.argv[1]](int(sys.argv[2]), float(sys.argv[3]))
    print(time.monotonic(), flush=True)  # one clock for all processes
