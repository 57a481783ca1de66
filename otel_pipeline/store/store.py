"""``Store``: opening the file, one transaction per batch, retention.

What ``write`` was given is counted when it returns, and not at all when it raises: only then may whoever sent it be
told that it has arrived.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, delete, event, exists, select, tuple_
from sqlalchemy.pool import NullPool

from otel_pipeline.kpi.engine import Engine
from otel_pipeline.store import exports, schema, sums
from otel_pipeline.store.errors import StoreError, translated
from otel_pipeline.store.ledger import SqlLedger
from otel_pipeline.store.reading import Reader
from otel_pipeline.store.tables import checked, run_ids, runs, stages

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from otel_pipeline.kpi.values import Value
    from otel_pipeline.semconv.catalogue import Kpi

DAY_NS = 86_400 * 10**9
RETENTION_NS = 400 * DAY_NS
"""How long runs are kept. What ended before is late when it arrives: it may have been counted and forgotten."""
_CHUNK = 500


class Store:
    """The store in the file ``path``.

    It is made (for its user alone) when missing, and brought up to the present schema. A file that cannot be written is
    opened for reading; ``read_only`` then says so. Raises StoreError.
    """

    def __init__(self, path: Path, *, engine: Engine | None = None, busy_s: float = 10.0) -> None:
        self.path = path
        self.read_only = False
        self._counting = engine or Engine()
        self._busy_s = busy_s
        with translated(path):
            self._make()
            self._engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
            event.listen(self._engine, "begin", _begin)
            self._prepare()

    @property
    def catalogue(self) -> Sequence[Kpi]:
        """The KPIs that are counted."""
        return self._counting.catalogue

    def write(self, values: Iterable[Value], *, now: int | None = None) -> Counter[str]:
        """Count ``values``, in one transaction; returns what happened to them (``kpi.engine.Updates.counts``).

        ``now`` is in nanoseconds since the epoch.
        """
        now = time.time_ns() if now is None else now
        with translated(self.path), self._writing() as connection:
            updates = self._counting.consume(values, SqlLedger(connection), horizon=now - RETENTION_NS)
            overflowed = sums.apply(connection, updates, now)
        if overflowed:
            updates.counts["overflowed"] += overflowed.total()
        return updates.counts

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        """A reader, of one moment: what is written meanwhile is not seen."""
        with translated(self.path), self._engine.connect() as connection:
            yield Reader(connection, self._counting.catalogue)

    def export(self, holder: str, *, interval_s: float, now: int | None = None) -> exports.Moment | None:
        """The figures as counters that never fall, at a moment that is exported once; None while another exports.

        ``holder`` names the process, ``interval_s`` is the time between its exports in seconds.
        """
        began, interval = time.monotonic(), round(interval_s * 1e9)
        with translated(self.path), self._writing() as connection:
            moment = exports.begin(connection, holder, self._clock(connection) if now is None else now, interval)
        if moment is None:
            return None
        with self.reading() as reader:
            found = reader.exported(moment)
        late = time.monotonic() - began > interval_s * exports.LEASE_INTERVALS / 2
        return None if late else found

    def delivered(self, moment: exports.Moment) -> None:
        """Note that what was exported at ``moment`` has arrived."""
        if due := [series for series, begun in moment.begun.items() if begun.due]:
            with translated(self.path), self._writing() as connection:
                exports.deliver(connection, due)

    def release(self, holder: str) -> None:
        """Let another process export at once."""
        with translated(self.path), self._writing() as connection:
            exports.release(connection, holder)

    def _clock(self, connection: Connection) -> int:
        """Now, in nanoseconds since the epoch, by one clock for all who share the store."""
        del connection
        return time.time_ns()

    def forget(self, *, now: int | None = None, most: int = 20) -> int:
        """Remove what is older than the retention, in at most ``most`` small transactions; returns how many rows."""
        horizon = (time.time_ns() if now is None else now) - RETENTION_NS
        total = 0
        for _ in range(most):
            with translated(self.path), self._writing() as connection:
                removed = _forget(connection, horizon)
            total += removed
            if not removed:
                break
        return total

    def _make(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _connect(self) -> sqlite3.Connection:
        mode = "mode=ro" if self.read_only else "mode=rw"
        if self.read_only and not self.path.with_name(f"{self.path.name}-wal").exists():
            mode += "&immutable=1"  # its journal could not be made here, and nobody has one open
        address = f"{self.path.absolute().as_uri()}?{mode}"
        connection = sqlite3.connect(address, uri=True, timeout=self._busy_s, isolation_level=None)
        # With the journal, what is committed outlives the process; FULL would outlive a loss of power too.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _prepare(self) -> None:
        """The journal and the schema; where the file cannot be written, see that it can be read."""
        if not os.access(self.path, os.W_OK) or not os.access(self.path.parent, os.W_OK):
            self.read_only = True
        else:
            with self._engine.connect() as connection:
                connection.connection.driver_connection.execute("PRAGMA journal_mode = WAL")  # type: ignore[union-attr]
                found = schema.version_of(connection)
            if found != schema.VERSION:
                with self._writing() as connection:
                    schema.upgrade(connection)
            return
        with self._engine.connect() as connection:
            if schema.version_of(connection) != schema.VERSION:
                raise StoreError(f"store {self.path}: it is read-only and of another version of otel_pipeline")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        # IMMEDIATE: a transaction that begins by reading and then finds another writer could only fail.
        with self._engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection, connection.begin():
            yield connection


def _begin(connection: Any) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _forget(connection: Connection, horizon: int) -> int:
    removed = 0
    for table, when in ((stages, stages.c.ended), (runs, runs.c.seen)):
        old = select(table.c.run, table.c.span_id).where(when < horizon).order_by(when).limit(_CHUNK)
        keys = {key for key, _ in connection.execute(old)}
        removed += connection.execute(delete(table).where(tuple_(table.c.run, table.c.span_id).in_(old))).rowcount
        unused = [~exists().where(other.c.run == run_ids.c.id) for other in (stages, runs)]
        connection.execute(delete(run_ids).where(run_ids.c.id.in_(sorted(keys)), *unused))
    newest = select(checked.c.ended).where(checked.c.ended < horizon).limit(1)
    if connection.scalar(newest) is not None:
        later = checked.alias()
        outdated = exists().where(later.c.dataset == checked.c.dataset, later.c.ended > checked.c.ended)
        connection.execute(delete(checked).where(checked.c.ended < horizon, outdated))
    return removed
