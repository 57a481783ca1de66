"""``Store``: opening the file, one transaction per batch, retention.

What ``write`` was given is counted when it returns, and not at all when it raises: only then may whoever sent it be
told that it has arrived.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select, tuple_

from otel_pipeline.config import is_url
from otel_pipeline.kpi import silence
from otel_pipeline.kpi.engine import Engine
from otel_pipeline.kpi.streams import split
from otel_pipeline.kpi.times import DAY_NS
from otel_pipeline.store import breaches, daily, exports, schema, streams
from otel_pipeline.store.errors import StoreError
from otel_pipeline.store.ledger import SqlLedger
from otel_pipeline.store.reading import Reader
from otel_pipeline.store.sqlite import Sqlite
from otel_pipeline.store.streams import StreamRows
from otel_pipeline.store.sums import Sums
from otel_pipeline.store.tables import checked, run_keys, runs, stages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from otel_pipeline.kpi.breaches import Change
    from otel_pipeline.kpi.values import Value
    from otel_pipeline.semconv.catalogue import Kpi
    from otel_pipeline.store.database import Database

RETENTION_NS = 400 * DAY_NS
"""How long runs are kept. What ended before is late when it arrives: it may have been counted and forgotten."""
_CLOCKS_NS = 3600 * 10**9
"""Kept that much longer, since the clocks of several processors differ: what one forgets is late for the others too."""
_KEYS, _ROWS = 100, 1000
"""Removed in one transaction: every writer waits for it."""


class Store:
    """The store in ``place``: a file, or a URL ``postgresql://…``.

    A file is made (for its user alone) when missing, and the tables are brought up to the present schema. What cannot
    be written is opened for reading; ``read_only`` then says so. ``busy_s``: how long a writer waits for another;
    ``sync``: see ``Sqlite``. Raises StoreError.
    """

    def __init__(
        self, place: Path | str, *, engine: Engine | None = None, busy_s: float = 10.0, sync: str = "normal"
    ) -> None:
        self._database = _database(place, busy_s, sync)
        self._counting = engine or Engine()
        self._sums = Sums(self._database)
        self._streams = StreamRows(self._database)
        weakref.finalize(self, self._database.close)
        with self._database.translated():
            self._database.prepare()
            self._upgrade()

    @property
    def name(self) -> str:
        """Where it is, as people and errors see it."""
        return self._database.name

    @property
    def read_only(self) -> bool:
        """Whether it can only be read."""
        return self._database.read_only

    def close(self) -> None:
        """Close its connections."""
        self._database.close()

    @property
    def catalogue(self) -> Sequence[Kpi]:
        """The KPIs that are counted."""
        return self._counting.catalogue

    def write(self, values: Iterable[Value], *, now: int | None = None) -> Counter[str]:
        """Count ``values``, in one transaction; returns what happened to them (``kpi.engine.Updates.counts``).

        ``now`` is in nanoseconds since the epoch.
        """
        now = time.time_ns() if now is None else now
        counted, points = split(values)
        with contextlib.ExitStack() as failing:
            failing.callback(self._streams.reset)
            with self._writing() as connection:
                ledger = SqlLedger(self._database, connection)
                updates = self._counting.consume(counted, ledger, horizon=now - RETENTION_NS)
                breaches.mark(self._database, connection, updates.changed)  # before the sums, as ``judge`` has them
                applied = self._sums.apply(connection, updates, now)
                counts = updates.counts + self._streams.take(connection, points, now)
            failing.pop_all()
        self._sums.committed(applied)
        if applied.overflowed:
            counts["overflowed"] += applied.overflowed.total()
        return counts

    def judge(self, file: Mapping[str, str] | None = None, *, now: int) -> tuple[list[Change], list[str]]:
        """Note what is not as expected, of the pipelines where that may have changed, each in a transaction.

        ``file``: what a config file declares, by pipeline; None leaves what it said before. Returns what has changed,
        and lines about what was declared and cannot be used.
        """
        with self._snapshot() as connection:
            news = breaches.news_in(connection, file) if file is not None else {}
        if news:
            with self._writing() as connection:
                breaches.take_in(self._database, connection, news, now)
        with self._snapshot() as connection:
            waiting = breaches.waiting(connection, now)
        changes: list[Change] = []
        faults: list[str] = []
        for pipeline in waiting:
            with self._writing() as connection:
                found, lines = breaches.judge(connection, self._counting, self._sums, pipeline, now=now)
            changes += found
            faults += lines
        return changes, faults

    def close_silent(self, *, now: int) -> Counter[str]:
        """Close as lost the open runs that are no longer heard of (``kpi.silence``)."""
        with self._snapshot() as connection:
            heard = breaches.heard(connection, now)
            gone = [run for run in breaches.open_runs(connection, now) if silence.is_lost(run, heard, now)]
        return self.write([silence.closed(run) for run in gone], now=now) if gone else Counter()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        """A reader, of one moment: what is written meanwhile is not seen."""
        with self._snapshot() as connection:
            yield Reader(connection, self._counting.catalogue)

    def begin_exports(self, *, now: int | None = None) -> None:
        """What is here before the first export is history for Prometheus; series that are new after this begin at 0."""
        with self._writing() as connection:
            exports.remember(connection, self._database.clock(connection) if now is None else now)

    def export(self, holder: str, *, interval_s: float, now: int | None = None) -> exports.Moment | None:
        """The figures as counters that never fall, at a moment that is exported once; None while another exports.

        ``holder`` names the process, ``interval_s`` is the time between its exports in seconds.
        """
        began, interval = time.monotonic(), round(interval_s * 1e9)
        with self._writing() as connection:
            moment = exports.begin(
                connection, holder, self._database.clock(connection) if now is None else now, interval
            )
        if moment is None:
            return None
        with self.reading() as reader:
            found = reader.exported(moment)
        late = time.monotonic() - began > interval_s * exports.LEASE_INTERVALS / 2
        return None if late else found

    def delivered(self, moment: exports.Moment) -> None:
        """Note that what was exported at ``moment`` has arrived."""
        if due := [series for series, begun in moment.begun.items() if begun.due]:
            with self._writing() as connection:
                exports.deliver(self._database, connection, due)

    def untold(self, most: int) -> list[breaches.Untold]:
        """Breaches whose state has not been told to those who keep events: at most so many, the earliest first."""
        with self._snapshot() as connection:
            return breaches.untold(connection, most)

    def told(self, these: Iterable[breaches.Untold]) -> None:
        """Note that it has been."""
        with self._writing() as connection:
            # In the order in which ``judge`` writes them: nobody waits in a circle.
            for each in sorted(these, key=lambda each: breaches.place_of(each.noted)):
                breaches.told(connection, each.noted)

    def release(self, holder: str) -> None:
        """Let another process export at once."""
        with self._writing() as connection:
            exports.release(connection, holder)

    def forget(self, *, now: int | None = None, most: int = 20) -> int:
        """Remove what is older than the retention, in at most ``most`` small transactions; returns how many rows."""
        now = time.time_ns() if now is None else now
        horizon = now - RETENTION_NS - _CLOCKS_NS
        total = 0
        for _ in range(most):
            with self._writing() as connection:
                removed = _forget(self._database, connection, horizon) + streams.fold(self._database, connection, now)
            total += removed
            if not removed:
                break
        return total

    def _upgrade(self) -> None:
        with self._database.reading() as connection:
            found = schema.version_of(connection)
        if found == schema.VERSION:
            return
        if self.read_only:
            raise StoreError(f"store {self.name}: it is read-only and of another version of otel_pipeline")
        with self._database.writing() as connection:
            self._database.alone(connection)
            schema.upgrade(connection)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with self._database.translated(), self._database.reading() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._database.translated(), self._database.writing() as connection:
            yield connection


def _database(place: Path | str, busy_s: float, sync: str) -> Database:
    if isinstance(place, Path) or not is_url(place):
        return Sqlite(Path(place), busy_s=busy_s, sync=sync)
    from otel_pipeline.store.postgresql import Postgresql  # noqa: PLC0415 - its driver is loaded where it is used

    return Postgresql(place, busy_s=busy_s)


def _forget(database: Database, connection: Connection, horizon: int) -> int:
    """Remove some rows under keys whose last sign of life was before ``horizon``; how many."""
    # Held, so that nobody notes anything under them meanwhile; those that somebody holds are not that old.
    old = select(run_keys.c.id).where(run_keys.c.last < horizon).order_by(run_keys.c.last).limit(_KEYS)
    keys = list(connection.scalars(old.with_for_update(skip_locked=True)))
    some = select(stages.c.run, stages.c.span_id).where(stages.c.run.in_(keys)).limit(_ROWS)
    removed = connection.execute(delete(stages).where(tuple_(stages.c.run, stages.c.span_id).in_(some))).rowcount
    if removed < _ROWS:
        daily.take_out(database, connection, keys, horizon)
        removed += connection.execute(delete(runs).where(runs.c.run.in_(keys))).rowcount
        connection.execute(delete(run_keys).where(run_keys.c.id.in_(keys)))
    removed += breaches.forget(connection, horizon, _ROWS)
    newest = select(checked.c.ended).where(checked.c.ended < horizon).limit(1)
    if connection.scalar(newest) is not None:
        later = checked.alias()
        outdated = exists().where(later.c.dataset == checked.c.dataset, later.c.ended > checked.c.ended)
        connection.execute(delete(checked).where(checked.c.ended < horizon, outdated))
    return removed
