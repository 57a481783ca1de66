"""Values as rows of the tables, and back. A row is a tuple, in the order of its table's columns.

What a run or stage has in common with its key's row (its trace, a stage's pipeline) is not repeated; where it differs
it is among the details.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from otel_pipeline.kpi.facts import nanoseconds
from otel_pipeline.kpi.values import RunRecord
from otel_pipeline.kpi.verdicts import Attempt, subject
from otel_pipeline.model import Check, Dataset, Operation, RecordError, Records, Run, Stage
from otel_pipeline.store.tables import COUNTS, run_keys, runs, stages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Row: TypeAlias = "tuple[Any, ...]"

_NESTED: dict[str, type] = {"datasets": Dataset, "checks": Check, "record_errors": RecordError, "operations": Operation}
_LISTS = ("upstream", "not_started", "open_stages", "keys", "values")
_IN_RUN_COLUMNS = {
    "trace_id", "span_id", "run_id", "pipeline", "attempt", "result", "started", "ended", "self_time", "backfill",
}  # fmt: skip
_IN_STAGE_COLUMNS = {
    "trace_id", "span_id", "run_id", "pipeline", "name", "result", "started", "ended", "self_time", "wait_time",
    "records", "kind",
}  # fmt: skip


class _Details:
    """Some fields of a class, as far as they differ from their defaults; most runs and stages have little of it."""

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._defaults = defaults
        self._values = tuple(defaults.values())
        self._read = attrgetter(*defaults)

    def of(self, value: Run | Stage | RunRecord) -> dict[str, Any]:
        """Those of a value."""
        found = self._read(value)
        if found == self._values:
            return {}
        return {
            name: [_known(asdict(each)) for each in part] if name in _NESTED else part
            for (name, default), part in zip(self._defaults.items(), found, strict=True)
            if part != default
        }


_RUN_DETAILS = _Details({each.name: each.default for each in fields(Run) if each.name not in _IN_RUN_COLUMNS})
_STAGE_DETAILS = _Details({each.name: each.default for each in fields(Stage) if each.name not in _IN_STAGE_COLUMNS})
_OPEN_DETAILS = _Details({"open_stages": (), "interval": None, "declared": None})
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Key(NamedTuple):
    """A row of ``run_key``, as far as its runs and stages need it."""

    id: int
    trace_id: bytes
    pipeline: str | None


RUNS = select(runs, run_keys.c.key, run_keys.c.trace_id).join(run_keys, run_keys.c.id == runs.c.run)
"""What ``record_from`` reads."""
STAGES = select(stages, run_keys.c.key, run_keys.c.trace_id, run_keys.c.pipeline).join(
    run_keys, run_keys.c.id == stages.c.run
)
"""What ``stage_from`` reads."""


def run_row(key: Key, record: RunRecord) -> Row:
    """The row of a run, ended or not."""
    run, trace_id = record.run, bytes.fromhex(record.trace_id)
    told: dict[str, Any] = {} if trace_id == key.trace_id else {"trace_id": record.trace_id}
    if run is not None:
        told |= _RUN_DETAILS.of(run)
    else:
        told |= _OPEN_DETAILS.of(record)
    return (
        key.id,
        bytes.fromhex(record.span_id),
        record.pipeline,
        run.attempt if run is not None else record.attempt,
        run.result if run is not None else None,
        record.started,
        run.ended if run is not None else None,
        record.seen if run is None else None,
        int(run is not None and not record.superseded),
        int(record.backfill),
        run.self_time if run is not None else None,
        _compact(told),
    )


def stage_row(key: Key, stage: Stage) -> Row:
    """The row of an ended stage, its datasets, checks and samples of failed records in it."""
    told = _STAGE_DETAILS.of(stage)
    if bytes.fromhex(stage.trace_id) != key.trace_id:
        told["trace_id"] = stage.trace_id
    if stage.pipeline != key.pipeline:
        told["pipeline"] = stage.pipeline
    records = stage.records
    return (
        key.id,
        bytes.fromhex(stage.span_id),
        stage.name,
        stage.kind,
        None if stage.result == "success" else stage.result,
        stage.started,
        stage.ended - stage.started,
        nanoseconds(stage.self_time) or 0,
        nanoseconds(stage.wait_time) or 0,
        records.in_,
        records.out,
        records.failed,
        records.dropped,
        records.duplicate,
        records.bytes,
        _compact(told),
    )


def record_from(row: Mapping[str, Any]) -> RunRecord:
    """The run that ``run_row`` has stored; ``row`` has its columns, and the key's ``key`` and ``trace_id``."""
    told = {"trace_id": row["trace_id"].hex(), **_read_details(row["details"])}
    ids = {"trace_id": told.pop("trace_id"), "span_id": row["span_id"].hex(), "run_id": row["key"]}
    shared = {**ids, "pipeline": row["pipeline"], "started": row["started"], "backfill": bool(row["backfill"])}
    if row["result"] is None:
        return RunRecord(**shared, seen=row["seen"], attempt=row["attempt"], **told)
    columns = {name: row[name] for name in ("result", "ended", "attempt", "self_time")}
    run = Run(**shared, **columns, **told)
    return RunRecord(**shared, seen=run.ended, superseded=not row["final"], run=run)


def stage_from(row: Mapping[str, Any]) -> Stage:
    """The stage that ``stage_row`` has stored; ``row`` has its columns, and ``key``, ``trace_id``, ``pipeline``."""
    shared = {"trace_id": row["trace_id"].hex(), "pipeline": row["pipeline"]}
    return Stage(
        span_id=row["span_id"].hex(),
        name=row["name"],
        kind=row["kind"],
        result=row["result"] or "success",
        started=row["started"],
        ended=row["started"] + row["duration"],
        self_time=row["self_time"] / 1e9,
        wait_time=row["wait_time"] / 1e9,
        run_id=None if row["key"].startswith("trace ") else row["key"],
        records=Records(*(row[f"records_{name}"] for name in COUNTS)),
        **{**shared, **_read_details(row["details"])},
    )


ATTEMPT = (run_keys.c.key, run_keys.c.trace_id, *(runs.c[name] for name in (
    "span_id", "started", "ended", "result", "final", "details",
)))  # fmt: skip
"""The columns of what is judged."""


def attempt_from(row: Any) -> Attempt:
    """The run of such columns, but for its records; what only people read of it is left unread."""
    key, trace_id, span_id, started, ended, result, final, details = row
    if details is None or ('"declared":' not in details and '"trace_id":' not in details):  # nearly always
        return Attempt(subject(trace_id.hex(), span_id.hex()), key, started, ended, result, bool(final))
    told = json.loads(details)
    named = subject(told.get("trace_id", trace_id.hex()), span_id.hex())
    return Attempt(named, key, started, ended, result, bool(final), declared=told.get("declared"))


def declared_in(details: str | None) -> str | None:
    """What a run of such details carries of its author's expectations."""
    if details is None or '"declared":' not in details:  # nearly always
        return None
    found: str | None = json.loads(details).get("declared")
    return found


def _read_details(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    found: dict[str, Any] = json.loads(text)
    return {name: _read(name, value) for name, value in found.items()}


def _read(name: str, value: Any) -> Any:
    if (kind := _NESTED.get(name)) is not None:
        return tuple(kind(**{key: _read(key, part) for key, part in each.items()}) for each in value)
    return tuple(value) if name in _LISTS else value


def _known(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in told.items() if part not in (None, ())}


def _compact(told: dict[str, Any]) -> str | None:
    return _encode(told) if told else None
