"""A short pipeline that comes to the end that it is told; what it does is known. See test_embedded.py."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import otel_pipeline as op

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pipeline, records, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]
op.setup(pipeline, script_run=False, instrument=False)


@op.stage
def extract() -> Iterator[int]:
    yield from range(records)


@op.stage(kind="transform")
def clean(rows: Iterable[int]) -> Iterator[int]:
    for row in rows:
        if row % 10 == 9:
            op.current_stage().fail(ValueError("ends with a 9"))
        else:
            yield row


with op.pipeline(pipeline) as run:
    print(run.id, flush=True)
    with op.stage("load") as stage:
        written = sum(1 for _ in stage.track(clean(extract())))
        stage.dataset("orders", "insert", records=written)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "failure":
            raise RuntimeError(end)
        if end == "wait":
            sys.stdin.read()
