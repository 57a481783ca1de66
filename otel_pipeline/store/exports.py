"""What is exported when, and by whom: the rows that keep several processors from contradicting each other.

::

    begin ──one transaction──► lease: is it mine? ─► a moment that nobody has exported and nobody will again
                               exported: series that are new, and when each was 0
    read  ──a later one──────► the figures, unless the lease may have run out meanwhile
    delivered ───────────────► those 0s have arrived

**A new series begins at zero.** Prometheus's ``increase()`` does not see a first value. So a series that is new at a
moment is exported as 0 one interval before it, and again with every export until one has arrived: it is the same 0 at
the same time. Series that are older than the first export of this store are history and begin with what they have.

**One at a time.** Whoever holds the lease exports; it runs out by itself, so one that died or hangs is followed by
another. A moment is taken before the figures are read, and figures that were read so late that another may have
exported since are thrown away. So what is sent at an earlier moment is never more than what is sent at a later one,
even by a process that was stopped in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import BigInteger, Integer, and_, exists, insert, literal, select, update

from otel_pipeline.kpi.engine import Series
from otel_pipeline.store.sums import labels_of, text_of
from otel_pipeline.store.tables import FORWARD, bases, exported, lease, sums

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, RowMapping, Table

    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.store.database import Database

LEASE_INTERVALS = 3
"""For how many intervals an export keeps others away."""
_MS = 10**6
_SERIES = (sums, bases)
"""Where the series stand that begin at zero."""


class Begun(NamedTuple):
    """When a series was 0 (nanoseconds since the epoch), and whether that 0 still has to arrive."""

    zero: int
    due: bool


@dataclass(frozen=True)
class Moment:
    """One export: ``time`` in nanoseconds since the epoch, a whole millisecond, unique in this store."""

    time: int
    figures: Sequence[Figure]
    begun: Mapping[Series, Begun]
    """Of the series that are stored; gauges, which are computed, have no beginning."""


def begin(connection: Connection, holder: str, now: int, interval: int) -> int | None:
    """Take a moment at ``now`` (nanoseconds since the epoch, of one clock for all who share the store).

    None while another holds the lease. New series are given their zero, ``interval`` nanoseconds before the moment.
    """
    held = _held(connection)
    if held["holder"] != holder and held["until"] > now:
        return None
    moment: int = max(now // _MS, held["last"] // _MS + 1) * _MS
    until = now + LEASE_INTERVALS * interval
    connection.execute(update(lease).where(lease.c.name == FORWARD).values(holder=holder, until=until, last=moment))
    _register(connection, zero=(moment - interval) if held["last"] else None)
    return moment


def remember(connection: Connection, now: int) -> None:
    """Where nothing was exported yet: all series that there are, are history."""
    if not _held(connection)["last"]:
        connection.execute(update(lease).where(lease.c.name == FORWARD).values(last=now // _MS * _MS))
        _register(connection, zero=None)


def release(connection: Connection, holder: str) -> None:
    """Let another export at once; for one that is about to end."""
    mine = and_(lease.c.name == FORWARD, lease.c.holder == holder)
    connection.execute(update(lease).where(mine).values(until=0))


def begun(connection: Connection) -> dict[Series, Begun]:
    """How each registered series began."""
    return {
        Series(kpi, labels_of(labels)): Begun(created if zero is None else zero, not delivered)
        for table in _SERIES
        for kpi, labels, zero, delivered, created in connection.execute(
            select(exported, table.c.created).join(table, _same(table))
        )
    }


def deliver(database: Database, connection: Connection, series: Iterable[Series]) -> None:
    """Note that the zeros of ``series`` have arrived."""
    rows = sorted((kpi, text_of(labels), 1) for kpi, labels in series)
    database.merge(connection, exported, rows, ("kpi", "labels", "delivered"))


def _held(connection: Connection) -> RowMapping:
    """The lease, which nobody else can take until the transaction ends."""
    return connection.execute(select(lease).where(lease.c.name == FORWARD).with_for_update()).mappings().one()


def _register(connection: Connection, zero: int | None) -> None:
    for table in _SERIES:
        told = literal(zero, BigInteger), literal(int(zero is None), Integer)
        new = select(table.c.kpi, table.c.labels, *told).where(~exists().where(_same(table)))
        connection.execute(insert(exported).from_select(["kpi", "labels", "zero", "delivered"], new))


def _same(table: Table) -> ColumnElement[bool]:
    return and_(exported.c.kpi == table.c.kpi, exported.c.labels == table.c.labels)
