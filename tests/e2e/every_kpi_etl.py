"""Runs that feed every KPI that runs, stages, records, datasets and checks can feed. See test_names.py."""

import contextlib
import sys

import otel_pipeline as op

NAME = sys.argv[1]
op.setup(NAME, script_run=False, instrument=False)


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


DECLARED = {"expect": op.Expect(records=">=50"), "slo": op.Slo(availability="50%", errors="<20%")}


def run(count, fail=None, **more):
    with contextlib.suppress(RuntimeError), op.pipeline(NAME, **DECLARED, **more), op.stage("load") as stage:
        written = sum(1 for _ in stage.track(clean(extract(count))))
        stage.add(bytes=8 * written)
        stage.dataset(NAME, "write", records=written, bytes=8 * written, watermark="2026-01-01")
        stage.check("not_null", dataset=NAME, passed=written - 1, failed=1)
        stage.check("shape", dataset=NAME, kind="schema", passed=written - 2, failed=2)
        if fail is not None:
            raise fail


run(100)
run(50)  # 40 written: too few
run(100, RuntimeError("closed"), run_id=f"{NAME}-retried", attempt=1)
run(100, run_id=f"{NAME}-retried", attempt=2)
run(100, RuntimeError("closed"))
with op.pipeline(NAME, backfill=True):
    pass
with op.pipeline(NAME, **DECLARED):
    print("open", flush=True)
    sys.stdin.read()
