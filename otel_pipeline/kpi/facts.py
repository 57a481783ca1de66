"""Values taken apart into facts: flat dictionaries by event, which the catalogue's rows read by field.

Durations are whole nanoseconds here, so that sums do not depend on their order. An unknown value is None.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_pipeline.model import Check, Run, Stage
    from otel_pipeline.semconv.catalogue import FactEvent

Fact: TypeAlias = dict[str, "str | float | None"]
Dated: TypeAlias = "tuple[int, FactEvent, Fact]"
"""A fact, its event, and when it was (nanoseconds since the epoch)."""


def facts_of_run(run: Run, *, superseded: bool = False) -> Iterator[tuple[FactEvent, Fact]]:
    """What an ended run says; as one of several attempts it is ``superseded`` by a later one. Backfills are apart."""
    fact: Fact = {
        "pipeline": run.pipeline,
        "result": run.result,
        "one": 1,
        "duration": run.ended - run.started,
        "cpu_time": nanoseconds(run.cpu_time),
    }
    yield ("superseded" if superseded else "backfill" if run.backfill else "run"), fact
    if run.error_type is not None and run.error_stage is None:
        yield "error", {"pipeline": run.pipeline, "stage": "", "error_type": run.error_type, "one": 1}


def facts_of_stage(stage: Stage) -> Iterator[tuple[FactEvent, Fact]]:
    """What an ended stage says, with its records, datasets and checks."""
    names: Fact = {"pipeline": stage.pipeline or "", "stage": stage.name, "result": stage.result, "one": 1}
    yield (
        "stage",
        {
            **names,
            "duration": stage.ended - stage.started,
            "self_time": nanoseconds(stage.self_time),
            "wait_time": nanoseconds(stage.wait_time),
            "bytes": stage.records.bytes,
        },
    )
    for status, count in (
        ("in", stage.records.in_),
        ("out", stage.records.out),
        ("failed", stage.records.failed),
        ("dropped", stage.records.dropped),
        ("duplicate", stage.records.duplicate),
    ):
        if count is not None:
            yield "records", {**names, "status": status, "count": count}
    for dataset in stage.datasets:
        told: Fact = {"dataset": dataset.name, "operation": dataset.operation, "records": dataset.records}
        yield "dataset", {**names, **told, "bytes": dataset.bytes}
    for check in stage.checks:
        yield "check", {**names, **_checked(check)}
    # An exception that leaves several stages is an error of the first that saw it.
    if stage.error_type is not None and stage.error_stage in (None, stage.name):
        yield "error", {**names, "error_type": stage.error_type}


def _checked(check: Check) -> Fact:
    return {
        "dataset": check.dataset or "",
        "check": check.name,
        "kind": check.kind or "",
        "passed": check.passed,
        "failed": check.failed,
    }


def nanoseconds(seconds: float | None) -> int | None:
    """Seconds as whole nanoseconds; None for what is no duration."""
    return round(seconds * 1e9) if seconds is not None and 0 <= seconds < math.inf else None
