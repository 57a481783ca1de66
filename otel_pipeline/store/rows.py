"""Values as rows of the tables, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from otel_pipeline.model import Check, Dataset, RecordError, Records, Run, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_pipeline.kpi.values import RunSeen

_RUN_COLUMNS = {"trace_id", "span_id", "run_id", "pipeline", "attempt", "result", "started", "ended"}
_STAGE_COLUMNS = {
    "trace_id", "span_id", "run_id", "pipeline", "name", "result", "started", "ended", "self_time", "wait_time",
    "records",
}  # fmt: skip
_NESTED: dict[str, type] = {"datasets": Dataset, "checks": Check, "record_errors": RecordError}
_LISTS = ("upstream", "not_started", "open_stages", "keys")


def run_row(key: int, run: Run, *, final: bool) -> dict[str, Any]:
    """The row of an ended run."""
    return {
        "run": key,
        "span_id": bytes.fromhex(run.span_id),
        "trace_id": bytes.fromhex(run.trace_id),
        "pipeline": run.pipeline,
        "attempt": run.attempt,
        "result": run.result,
        "started": run.started,
        "ended": run.ended,
        "seen": run.ended,
        "final": int(final),
        "details": _details(run, _RUN_COLUMNS),
    }


def seen_row(key: int, seen: RunSeen) -> dict[str, Any]:
    """The row of a run that has not ended."""
    told = _known({"open_stages": seen.open_stages, "interval": seen.interval, "declared": seen.declared})
    return {
        "run": key,
        "span_id": bytes.fromhex(seen.span_id),
        "trace_id": bytes.fromhex(seen.trace_id),
        "pipeline": seen.pipeline,
        "attempt": seen.attempt,
        "result": None,
        "started": seen.time,
        "ended": None,
        "seen": seen.time,
        "final": 0,
        "details": _compact(told),
    }


def stage_row(key: int, stage: Stage) -> dict[str, Any]:
    """The row of an ended stage, its datasets, checks and samples of failed records in it."""
    records = stage.records
    return {
        "run": key,
        "span_id": bytes.fromhex(stage.span_id),
        "trace_id": bytes.fromhex(stage.trace_id),
        "name": stage.name,
        "pipeline": stage.pipeline,
        "result": stage.result,
        "started": stage.started,
        "ended": stage.ended,
        "self_time": stage.self_time,
        "wait_time": stage.wait_time,
        "records_in": records.in_,
        "records_out": records.out,
        "records_failed": records.failed,
        "records_dropped": records.dropped,
        "records_duplicate": records.duplicate,
        "records_bytes": records.bytes,
        "details": _details(stage, _STAGE_COLUMNS),
    }


def run_from(row: Mapping[str, Any], run_id: str) -> Run:
    """The ended run that ``run_row`` has stored."""
    return Run(
        trace_id=row["trace_id"].hex(),
        span_id=row["span_id"].hex(),
        run_id=run_id,
        pipeline=row["pipeline"],
        result=row["result"],
        started=row["started"],
        ended=row["ended"],
        attempt=row["attempt"],
        **details_of(row),
    )


def stage_from(row: Mapping[str, Any], run_id: str) -> Stage:
    """The stage that ``stage_row`` has stored."""
    return Stage(
        trace_id=row["trace_id"].hex(),
        span_id=row["span_id"].hex(),
        name=row["name"],
        result=row["result"],
        started=row["started"],
        ended=row["ended"],
        self_time=row["self_time"],
        wait_time=row["wait_time"],
        run_id=None if run_id.startswith("trace ") else run_id,
        pipeline=row["pipeline"],
        records=Records(*(row[f"records_{name}"] for name in ("in", "out", "failed", "dropped", "duplicate", "bytes"))),
        **details_of(row),
    )


def details_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that stand in a row's JSON."""
    found: dict[str, Any] = json.loads(row["details"])
    return {name: _read(name, value) for name, value in found.items()}


def _read(name: str, value: Any) -> Any:
    if (kind := _NESTED.get(name)) is not None:
        return tuple(kind(**{key: _read(key, part) for key, part in each.items()}) for each in value)
    return tuple(value) if name in _LISTS else value


def _details(value: Run | Stage, columns: set[str]) -> str:
    """What differs from a field's default; most runs and stages have little of it."""
    told = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in columns}
    return _compact({
        name: [_known(asdict(each)) for each in part] if name in _NESTED else part
        for name, part in _known(told).items()
    })  # fmt: skip


def _known(told: Mapping[str, Any]) -> dict[str, Any]:
    # "exhausted" may be unknown or false; "late" is false unless told.
    return {
        name: part for name, part in told.items() if part not in (None, ()) and not (name == "late" and part is False)
    }


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
