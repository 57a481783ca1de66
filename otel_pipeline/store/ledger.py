"""The engine's ledger as rows, within one transaction: a few statements for a batch, however many values it has."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from otel_pipeline.kpi.values import RunSeen
from otel_pipeline.store import daily
from otel_pipeline.store.rows import Key, record_from, run_row, stage_row
from otel_pipeline.store.tables import run_keys, runs, stages

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from otel_pipeline.kpi.engine import StageId
    from otel_pipeline.kpi.values import Counted, RunRecord
    from otel_pipeline.model import Stage
    from otel_pipeline.store.database import Database
    from otel_pipeline.store.rows import Row

_RUN_COLUMNS = tuple(runs.c.keys())


class SqlLedger:
    """A ``kpi.engine.Ledger``; for one transaction of ``connection``."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._keys: dict[str, Key] = {}
        self._known: dict[tuple[str, str], RunRecord] = {}

    def prepare(self, values: Mapping[str, Sequence[Counted]]) -> None:
        """Note the keys, and keep others away from what is under them until the transaction ends."""
        rows = [(key, *_shared(values[key])) for key in sorted(values)]
        self._database.merge(self._connection, run_keys, rows, ("key", "trace_id", "pipeline", "last"))
        columns = ("key", "id", "trace_id", "pipeline")
        found = self._database.find(self._connection, run_keys, columns, "key", sorted(values))
        self._keys = {key: Key(*rest) for key, *rest in found}

    def add_stages(self, values: Mapping[StageId, Stage]) -> Collection[StageId]:
        """Note ended stages; those that were not there."""
        identities, rows = {}, []
        for (key, span_id), stage in values.items():
            row = stage_row(self._keys[key], stage)
            identities[_identity(row)] = (key, span_id)
            rows.append(row)
        rows.sort(key=_identity)
        return [identities[new] for new in self._database.add_new(self._connection, stages, rows)]

    def runs(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRecord]]:
        """What is known of the runs under each key."""
        by_id = {self._keys[key].id: key for key in keys}
        found: dict[str, list[RunRecord]] = {}
        for row in self._database.find(self._connection, runs, _RUN_COLUMNS, "run", sorted(by_id)):
            named = dict(zip(_RUN_COLUMNS, row, strict=True))
            key = by_id[named["run"]]
            record = record_from({**named, "key": key, "trace_id": self._keys[key].trace_id})
            found.setdefault(key, []).append(record)
            self._known[key, record.span_id] = record
        return found

    def put_runs(self, records: Mapping[str, Sequence[RunRecord]]) -> None:
        """Note these, each instead of what was known of its span."""
        new = {(key, record.span_id): record for key, of_key in records.items() for record in of_key}
        rows = [run_row(self._keys[key], record) for (key, _), record in new.items()]
        self._database.merge(self._connection, runs, sorted(rows, key=_identity))
        moved = Counter(daily.cells(new.values()))
        moved.subtract(daily.cells(known for identity in new if (known := self._known.get(identity)) is not None))
        daily.add(self._database, self._connection, moved)


def _identity(row: Row) -> Row:
    return row[:2]


def _shared(values: Sequence[Counted]) -> tuple[bytes, str | None, int]:
    """Of the values under a key: the first one's trace and pipeline, and the latest time."""
    last = max(value.time if isinstance(value, RunSeen) else value.ended for value in values)
    return bytes.fromhex(values[0].trace_id), values[0].pipeline, last
