"""A processor, as far as its store goes: writes the stream of a seed, three times and shuffled, until all of it is in.

``python -m tests.store.writer URL SEED [BATCH SIGNAL]``: in the middle of that batch's transaction, after its rows and
sums are written and before the commit, it gives itself the signal.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from otel_pipeline.model import Check, Dataset, Records
from otel_pipeline.store.errors import StoreBusyError
from otel_pipeline.store.store import Store
from otel_pipeline.store.sums import Applied, Sums
from tests.kpi.events import NOW, SECOND, run, seen, stage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from otel_pipeline.kpi.engine import Updates
    from otel_pipeline.kpi.values import Value

RUNS = 120
BATCH = 26
_PATIENCE_S = 90


def stream() -> list[Value]:
    """What happened, once: runs of ten pipelines, some in two attempts, some first thought lost."""
    values: list[Value] = []
    for n in range(RUNS):
        pipeline = f"etl{n % 10}"
        ended = replace(
            run(f"r{n}", "failure" if n % 7 == 0 else "success", attempt=2, span=2 * n + 2), pipeline=pipeline
        )
        values += [ended, replace(seen(f"r{n}", span=2 * n + 2), pipeline=pipeline)]
        if n % 3 == 0:
            values.append(replace(run(f"r{n}", "failure", attempt=1, span=2 * n + 1), pipeline=pipeline))
        if n % 5 == 0:
            values.append(replace(ended, result="lost", ended=ended.started))
        for k in range(4):
            values.append(stage(
                f"r{n}", f"stage{k}", span=10_000 + 10 * n + k, pipeline=pipeline, records=Records(n, n - 1, 1),
                datasets=(Dataset(f"t{k}", "write", n, None, "2026-01-01"),), checks=(Check("c", f"t{k}", passed=n),),
            ))  # fmt: skip
    return values


def deliveries(seed: int) -> list[list[Value]]:
    """The stream three times, in the order of the seed, in batches."""
    every = stream() * 3
    random.Random(seed).shuffle(every)
    return [every[start : start + BATCH] for start in range(0, len(every), BATCH)]


def main(url: str, seed: int, at: int = -1, name: str = "") -> None:
    """Write everything; says ``done`` at the end, and before that when it is about to signal itself."""
    store = Store(url)
    for number, batch in enumerate(deliveries(seed)):
        if number == at:
            _signal_in_the_middle(store, getattr(signal, name))
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                store.write(batch, now=NOW + SECOND)
                break
            except StoreBusyError as error:
                print(error, flush=True)
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
    print("done", flush=True)


def _signal_in_the_middle(store: Store, number: signal.Signals) -> None:
    plain = store._sums

    class Signalled(Sums):
        def apply(self, connection: Connection, updates: Updates, now: int) -> Applied:
            store._sums = plain
            applied = plain.apply(connection, updates, now)
            print("in the middle", flush=True)
            os.kill(os.getpid(), number)
            return applied

    store._sums = Signalled(store._database)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:4]), *sys.argv[4:5])
