"""Rows 3 and 16: a job's set-up, its whole life, and its memory. Prints one number; items are spans.

job.py ours 0 setup       CPU seconds until it is set up
job.py ours 3 life        a run with that many stages, delivered; its CPU time is measured from outside
job.py ours 2000 memory   bytes in memory after that many spans, delivered
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Spans = Callable[[int], object]

ENDPOINT = os.environ["BENCH_ENDPOINT"]


def _bare() -> Spans:
    return lambda size: None


def _ours() -> Spans:
    import otel_pipeline as op

    handle = op.setup("bench", endpoint=ENDPOINT, queue_dir=f"{os.environ['BENCH_FOLDER']}/queue")

    def spans(size: int) -> None:
        from bench.cases.child import attributes

        with op.pipeline("orders"):
            for number in range(size):
                with op.stage("load", attributes=attributes(number)):
                    pass
        handle.flush(30)

    return spans


def _stock() -> Spans:
    from bench.cases.stock import three_signals

    providers = three_signals(ENDPOINT)

    def spans(size: int) -> None:
        from bench.cases.child import attributes

        tracer = providers[0].get_tracer("bench")
        counter = providers[1].get_meter("bench").create_counter("stages")
        with tracer.start_as_current_span("orders"):
            for number in range(size):
                with tracer.start_as_current_span("load", attributes=attributes(number)):
                    counter.add(1, {"stage": "load"})
                if number % 500 == 499:  # else its queue of 2,048 might overflow, and drop
                    providers[0].force_flush()
        for provider in providers:
            provider.force_flush()

    return spans


def _logfire() -> Spans:
    logfire = import_module("logfire")
    options = logfire.AdvancedOptions(base_url=ENDPOINT)
    logfire.configure(token="bench", send_to_logfire=True, console=False, advanced=options)
    return lambda size: None


SIDES = {"bare": _bare, "ours": _ours, "stock": _stock, "logfire.configure": _logfire}


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Do what the command line says."""
    side, size, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    before = time.process_time()
    spans = SIDES[side]()
    if what == "setup":
        print(time.process_time() - before, flush=True)
        os._exit(0)
    spans(size)
    print(_resident_bytes() if what == "memory" else 0)


if __name__ == "__main__":
    main()
