"""Runs that come to every end but death, with all that stages can report. See test_three_hosts.py."""

from __future__ import annotations

import contextlib

import otel_pipeline as op


@op.stage
def extract(count):
    yield from op.current_stage().track(range(count))


@op.stage(kind="transform")
def clean(rows):
    for row in rows:
        if row % 10 == 9:
            op.current_stage().fail(ValueError("ends with a 9"), record={"id": row})
        elif row % 10 == 8:
            op.current_stage().add(dropped=1, duplicate=1)
        else:
            yield row


def run(count, attempt=1, fail=None, **more):
    with contextlib.suppress(RuntimeError, TimeoutError), op.pipeline("orders", attempt=attempt, **more):
        with op.stage("load") as stage:
            written = sum(1 for _ in stage.track(clean(extract(count))))
            stage.add(bytes=8 * written)
            stage.dataset("warehouse.orders", "write", records=written, bytes=8 * written, watermark="2026-01-01")
            stage.check("not_null", dataset="warehouse.orders", passed=written - 1, failed=1)
            stage.check("shape", dataset="warehouse.orders", kind="schema", passed=written - 2, failed=2)
        if fail is not None:
            raise fail


op.setup("three-hosts", script_run=False, instrument=False)
run(100)
run(57, fail=RuntimeError("the warehouse is closed"))
run(20, fail=TimeoutError("too long"))
run(30, backfill=True)
